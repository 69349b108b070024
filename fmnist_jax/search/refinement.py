"""Adaptive maps: cells of a coarse grid are divided where their points differ."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from fmnist_jax.analysis.criteria import judge
from fmnist_jax.devices import accelerator
from fmnist_jax.search.cells import (
    UNKNOWN,
    Cell,
    leaves,
    nearest_corners,
    unknown_points,
)
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.planning import Plan, with_runs, with_widths
from fmnist_jax.sweeps.progress import SweepProgress, num_epochs, saved_parts
from fmnist_jax.sweeps.stages import joined
from fmnist_jax.values import STATUS

# Of the map under SGD in docs/how_to/sweep.md, 5.0 % of the points were trained because
# of boundaries, whose dimension was 1.24.
MEASURED_SIZE, MEASURED_SHARE, MEASURED_DIMENSION = 512, 0.050, 1.24
LEVEL_WIDTH = 4096  # maximum number of runs of an accelerator at once


class Refinement(NamedTuple):
    """Divides cells of the plane of the first two axes: a ``Search`` by levels.

    Each stage trains the points that are new at its level. The other points of the map
    are filled in from the nearest corner of their cell.
    """

    step: int = 8  # every ``step``-th point is trained first; a power of 2
    criterion: str = STATUS  # of ``criteria.judge``; points differ in status or by it
    max_width: int | None = None  # maximum number of runs per device at once

    @property
    def settings(self) -> Mapping[str, str]:
        """Step, criterion and width in words; they are the same when resuming."""
        width = "" if self.max_width is None else f", max_width {self.max_width}"
        return {"map": f"step {self.step}, by {self.criterion}{width}"}

    def first(self, plan: Plan) -> Plan:
        """Returns the plan of the coarse grid."""
        return _level(plan, self._coarse(plan))

    def _coarse(self, plan: Plan) -> set[int]:
        labels = np.full(plan.shape[:2], UNKNOWN)
        points = unknown_points(leaves(labels, self.step), labels)
        return _runs(plan, points)

    def expectation(self, plans: Sequence[Plan]) -> tuple[float, str]:
        """Returns the share of the points that is usually trained, and a sentence."""
        size = math.prod(plans[0].shape[:2])
        coarse = len(self._coarse(plans[0])) / plans[0].num_distinct_runs
        finer = MEASURED_SIZE / math.sqrt(size)
        boundary = MEASURED_SHARE * finer ** (2 - MEASURED_DIMENSION)
        share = min(1.0, coarse + boundary)
        return share, (
            f"Adaptive map of {size:,} points: {100 * coarse:.2g} % of them are "
            "trained first, then those along boundaries. Usually "
            f"{100 * share:.0f} % are trained in all; the others are filled in."
        )

    def num_epochs(self, stages: Sequence[SweepProgress]) -> int:
        """Returns the number of epochs of all levels so far."""
        return sum(map(num_epochs, stages))

    def run(
        self, stages: list[SweepProgress], is_stopped: Callable[[], bool]
    ) -> Iterator[Part]:
        """Trains the points from level to level; see ``Search``."""
        from fmnist_jax.sweeps.cluster import plan_for  # imports jax
        from fmnist_jax.sweeps.resuming import next_rung, run_sweeps

        first, data = stages[0].plans[0], stages[0].data[0]
        settings = first.config, first.hparams, first.probes, self.max_width
        whole, _ = plan_for(stages[0].cluster, first.axes, data, *settings)
        whole = dataclasses.replace(whole, num_devices=first.num_devices)
        while True:
            yield from run_sweeps(stages[-1], is_stopped)
            _, labels = self._explored(stages)
            points = unknown_points(leaves(labels, self.step), labels)
            if not points:
                return
            runs = _runs(whole, points) - {*_trained(stages)}
            stages.append(next_rung(stages[-1], [_level(whole, runs)], [{}], None))

    def labelled(self, stages: Sequence[SweepProgress]) -> list[xr.Dataset]:
        """Returns the results of the map, which has gaps if it was interrupted."""
        results, labels = self._explored(stages)
        cells = leaves(labels, self.step)
        is_finished = not unknown_points(cells, labels)
        return [_filled(results, cells, labels) if is_finished else results]

    def _explored(
        self, stages: Sequence[SweepProgress]
    ) -> tuple[xr.Dataset, np.ndarray]:
        """Returns the results so far, and the label of each point of the plane.

        Points with the same label agree in the status of all runs, and by the
        criterion.
        """
        results, plan = joined(stages, 0), stages[0].plans[0]
        plane = plan.shape[:2]
        statuses = [results.status, judge(results, self.criterion).status]
        names = np.stack([s.values.reshape(*plane, -1) for s in statuses])
        codes = np.unique(names, return_inverse=True)[1].reshape(names.shape)
        rows = np.moveaxis(codes, 0, -1).reshape(math.prod(plane), -1)
        labels = np.unique(rows, axis=0, return_inverse=True)[1].reshape(plane)
        known = np.isin(plan.trained_runs, [*_trained(stages)])
        return results, np.where(known.reshape(*plane, -1).all(-1), labels, UNKNOWN)


def _level(plan: Plan, runs: set[int]) -> Plan:
    """Returns a plan of some runs of a map.

    On an accelerator, the groups of all levels are equally wide: empty slots cost less
    than a program for each level.
    """
    if not accelerator():
        return with_runs(plan, runs)
    programs = {group.config: group.width for group in plan.groups}
    widths = {config: min(width, LEVEL_WIDTH) for config, width in programs.items()}
    return with_runs(with_widths(plan, widths), runs, lambda _: 0.0)


def _runs(plan: Plan, points: Sequence[tuple[int, int]]) -> set[int]:
    """Returns the runs that are trained for some points of the plane."""
    x, y = np.transpose(points)
    return {*plan.trained_runs.reshape(plan.shape)[x, y].ravel().tolist()}


def _trained(stages: Sequence[SweepProgress]) -> Iterator[int]:
    """Yields the runs that have reached the last epoch."""
    last = stages[0].plans[0].config.num_epochs
    parts = itertools.chain(*(saved_parts(stage, 0) for stage in stages))
    return (run for part in parts if part.epoch == last for run in part.runs)


def _filled(dataset: xr.Dataset, cells: list[Cell], labels: np.ndarray) -> xr.Dataset:
    """Returns results of a map without gaps, with ``is_trained``."""
    x, y = nearest_corners(cells, labels)
    plane = dataset.status.dims[:2]
    for name, variable in dataset.data_vars.items():
        if {*plane} <= {*variable.dims}:
            values = variable.transpose(*plane, ...)
            filled = values.copy(data=values.values[x, y])
            dataset[name] = filled.transpose(*variable.dims)
    attrs = {"long_name": "trained, not filled in from the nearest corner of a cell"}
    dataset["is_trained"] = xr.Variable(plane, labels != UNKNOWN, attrs)
    return dataset
