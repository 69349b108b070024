"""Adaptive maps: cells of a coarse grid are divided where their points differ.

Each level is a sweep of the points that are new at this level; the other points of the
map are filled in from the nearest corner of their cell.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.analysis.criteria import judge
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.files import local_folder
from fmnist_jax.search.cells import (
    UNKNOWN,
    Cell,
    coarse_cells,
    nearest_corners,
    refined,
)
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.engine import plan_for_local_devices
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import SweepProgress, saved_parts
from fmnist_jax.sweeps.resuming import next_rung, open_sweeps, run_sweep
from fmnist_jax.sweeps.stop_signals import never_stopped, stop_signals
from fmnist_jax.sweeps.sweep import check_findings, progress_bar
from fmnist_jax.values import COUNT, STATUS, plain

POINT = "point"  # the axis of the points of a level
Points = Sequence[tuple[int, int]]


def refined_map(
    plane: Mapping[str, Sequence[float]],
    axes: Mapping[str, Any],
    data: Data,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    *,
    step: int = 8,
    criterion: str = STATUS,
    folder: Path | str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Trains a map of two settings; cells are divided where their points differ.

    Every ``step``-th point is trained first; a corner fills in the points of its cell.

    Args:
      plane: the two settings to their values, ascending.
      axes: further axes, as ``sweep`` takes them. Cells are divided if any runs differ.
      data: training and test set.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      step: a power of 2.
      criterion: of ``analysis.criteria.judge``; points differ in status or by it.
      folder: of checkpoints, as ``sweep`` uses it.
      progress: whether to show a progress bar for each level.

    Returns:
      As ``sweep``, and ``is_trained`` along the plane: False for points filled in.

    Raises:
      UserError: as ``sweep``; for a plane or a step that is none.
      SweepInterrupted: on Ctrl-C; its ``results`` are those of finished levels.
    """
    plane = _checked(plane, axes, step)
    whole = plan_for_local_devices({**plane, **axes}, data, config, hparams)
    check_findings(whole, data)
    labels, parts = np.full(whole.shape[:2], UNKNOWN), list[Part]()
    cells = coarse_cells(labels.shape, step)
    text = f"{'x'.join(map(str, labels.shape))} from every {step}. point by {criterion}"
    try:
        with _opened(data, folder, text) as run_level:
            for points in _levels(cells, labels):
                level = _level(whole, points, data)
                new = run_level(level, progress)
                parts += [_on_map(part, level, whole, points) for part in new]
                _enter(labels, points, join(level, new, data), criterion)
    except KeyboardInterrupt:
        raise _interrupted(whole, parts, data, is_saved=folder is not None) from None
    return _filled(_joined(whole, parts, data), cells, labels, [*plane])


def _interrupted(
    whole: Plan, parts: Sequence[Part], data: Data, is_saved: bool
) -> SweepInterrupted:
    ends = [part for part in parts if part.epoch == whole.config.num_epochs]
    results = _joined(whole, parts, data) if ends else None
    finished = sum(len(part.runs) for part in ends)
    return SweepInterrupted(finished, whole.num_runs, results, is_saved=is_saved)


def _joined(whole: Plan, parts: Sequence[Part], data: Data) -> xr.Dataset:
    """Returns the results of all levels; their groups are not those of the plan."""
    results = join(whole, parts, data)
    del results.attrs["groups_halved_for_memory"]
    return results


def _checked(
    plane: Mapping[str, Sequence[float]], axes: Mapping[str, Any], step: int
) -> dict[str, Any]:
    plane = {name: plain(list(values)) for name, values in plane.items()}
    if len(plane) != 2 or not {*plane}.isdisjoint(axes) or POINT in axes:
        raise UserError(
            "plane needs two settings that are no further axes, such as "
            "{'divisor': […], 'learning_rate': […]}."
        )
    for name, values in plane.items():
        if len(values) < 3 or any(np.diff(values) <= 0):
            raise UserError(f"plane[{name!r}] needs at least 3 values, ascending.")
    if not COUNT.accepts(step) or step & (step - 1):
        raise UserError(f"step is {step!r}; expected a power of 2, such as 8.")
    return plane


def _level(whole: Plan, points: Points, data: Data) -> Plan:
    """Returns the plan of a level: its points, crossed with the further axes."""
    (x_name, xs), (y_name, ys), *further = whole.axes.items()
    bundles = [{x_name: xs[x], y_name: ys[y]} for x, y in points]
    axes = {POINT: bundles, **dict(further)}
    return plan_for_local_devices(axes, data, whole.config, whole.hparams)


@contextlib.contextmanager
def _opened(
    data: Data, folder: Path | str | None, text: str
) -> Iterator[Callable[[Plan, bool], list[Part]]]:
    """Yields a function that runs the next level, in a locked folder if given.

    It takes the plan of the level and whether to show a progress bar. ``text`` says
    which map it is.
    """
    levels: list[SweepProgress] = []

    def run_level(level: Plan, is_shown: bool) -> list[Part]:
        if levels:
            levels.append(next_rung(levels[-1], [level], [{}], None))
        elif folder is None:
            memory = SweepProgress(Path(), "", [level], [data], [{}], is_saved=False)
            levels.append(memory)
        else:
            command = {"experiment": "refined_map", "arguments": []}
            out_dir, cure = local_folder(folder), "delete this one"
            levels.append(
                open_sweeps(
                    out_dir, [level], [data], command, cure=cure, search={"map": text}
                )
            )
        total = level.num_distinct_runs * level.config.num_epochs
        with progress_bar(total, is_shown) as advance:
            for part in run_sweep(levels[-1], 0, is_stopped):
                advance(part)
        return saved_parts(levels[-1], 0)

    with contextlib.ExitStack() as stack:
        is_stopped = never_stopped
        if folder is not None:
            stack.enter_context(locked(local_folder(folder)))
            is_stopped = stack.enter_context(stop_signals())
        yield run_level


def _on_map(part: Part, level: Plan, whole: Plan, points: Points) -> Part:
    """Returns a part of a level with the positions of its runs on the whole map."""
    point, *rest = np.unravel_index(np.asarray(part.runs), level.shape)
    x, y = np.asarray(points)[point].T
    runs = np.ravel_multi_index((x, y, *rest), whole.shape)
    return part._replace(group=0, runs=tuple(runs.tolist()))


def _enter(
    labels: np.ndarray, points: Points, results: xr.Dataset, criterion: str
) -> None:
    """Enters the labels of points: a number for each combination of statuses."""
    statuses = [results.status, judge(results, criterion).status]
    ordered = [status.transpose(POINT, ...).values for status in statuses]
    columns = [values.reshape(len(points), -1).tolist() for values in ordered]
    for point, *rows in zip(points, *columns, strict=True):
        digest = hashlib.sha256(repr(rows).encode()).digest()
        labels[point] = int.from_bytes(digest[:7], "big")  # the same in every process


def _levels(cells: list[Cell], labels: np.ndarray) -> Iterator[Points]:
    """Yields the points to train at each level, and divides ``cells``.

    Their labels are entered before the next level is requested.
    """
    while True:
        leaves, points = refined(cells, labels)
        is_done = not points and len(leaves) == len(cells)
        cells[:] = leaves
        if is_done:
            return
        if points:
            yield points


def _filled(
    dataset: xr.Dataset, cells: list[Cell], labels: np.ndarray, names: list[str]
) -> xr.Dataset:
    """Returns results of a map without gaps, with ``is_trained``."""
    x, y = nearest_corners(cells, labels)
    for name, variable in dataset.data_vars.items():
        if {*names} <= {*variable.dims}:
            values = variable.transpose(*names, ...)
            filled = values.copy(data=values.values[x, y])
            dataset[name] = filled.transpose(*variable.dims)
    attrs = {"long_name": "trained, not filled in from the nearest corner of a cell"}
    dataset["is_trained"] = xr.Variable(names, labels != UNKNOWN, attrs)
    return dataset
