"""Rungs of successive halving: selection of settings, and new batches of their runs."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, choose
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.cost import slot_seconds
from fmnist_jax.sweeps.planning import Group, Plan, with_runs
from fmnist_jax.sweeps.progress import SweepProgress
from fmnist_jax.sweeps.stages import joined
from fmnist_jax.values import COUNT

# The score of a setting, which is minimised, is the metric times its sign.
SIGNS = {"validation_loss": 1, "validation_accuracy": -1}


class Rungs(NamedTuple):
    """When settings are pruned, and which: a ``Search`` with a stage for each rung."""

    epochs: tuple[int, ...] = (1, 3, 9)  # ascending; the last ends training
    keep: float = 1 / 3  # share of the settings that continue after each rung
    by: str = "validation_loss"  # the validation metric that ranks the settings
    fewest: int = 1  # minimum number of settings that continue, if there are as many

    @property
    def settings(self) -> Mapping[str, str]:
        """The rungs in words."""
        epochs = ",".join(map(str, self.epochs))
        return {"rungs": f"{epochs} keep {self.keep:g} by {self.by}"}

    def first(self, plan: Plan) -> Plan:
        """Returns the plan of all runs."""
        return plan

    def run(
        self, stages: list[SweepProgress], is_stopped: Callable[[], bool]
    ) -> Iterator[Part]:
        """Trains the runs from rung to rung; see ``Search``."""
        from fmnist_jax.sweeps.resuming import next_rung, run_sweeps  # imports jax

        stages[0] = dataclasses.replace(stages[0], until=self.epochs[0])
        for until in (*self.epochs[1:], None):
            progress = stages[-1]
            yield from run_sweeps(progress, is_stopped)
            if until is None:
                return
            epochs = (until or self.epochs[-1]) - (progress.until or 0)
            sweeps = progress.plans, progress.checkpoints, progress.data
            pairs = [
                survivors(*sweep, self, epochs) for sweep in zip(*sweeps, strict=True)
            ]
            plans, starts = zip(*pairs, strict=True)
            for saved in progress.checkpoints:  # frees the states
                saved.update({g: c._replace(leaves=()) for g, c in saved.items()})
            stages.append(next_rung(progress, plans, starts, until))

    def labelled(self, stages: Sequence[SweepProgress]) -> list[xr.Dataset]:
        """Returns the results of each sweep, also of an interrupted one."""
        results = []
        for number, plan in enumerate(stages[0].plans):
            repeated: list[Part] = []
            for stage, further in itertools.pairwise(stages):
                stay = {r for g in further.plans[number].groups for r in g.runs}
                for checkpoint in stage.checkpoints[number].values():
                    last = checkpoint.parts[-1]
                    repeated += _repeated(last, stay, plan.config.num_epochs)
            dataset = joined(stages, number, repeated)
            dataset.attrs |= {"rungs": list(self.epochs), "rungs_keep": self.keep}
            dataset.attrs["rungs_by"] = self.by
            results.append(dataset)
        return results

    def num_kept(self, settings: int) -> int:
        """Returns how many of the settings continue after a rung."""
        share = math.floor(settings * self.keep + 1e-9)
        return min(settings, max(self.fewest, share))

    def num_epochs(self, stages: Sequence[SweepProgress]) -> int:
        """Returns the number of epochs that are trained, summed over all runs."""
        return self._num_epochs(stages[0].plans)

    def _num_epochs(self, plans: Sequence[Plan]) -> int:
        total = 0
        for plan in plans:
            seeds = len(plan.axes["seed"])
            settings, before = plan.num_distinct_runs // seeds, 0
            for epoch in self.epochs:
                total += settings * seeds * (epoch - before)
                settings, before = self.num_kept(settings), epoch
        return total

    def expectation(self, plans: Sequence[Plan]) -> tuple[float, str]:
        """Returns the share of all epochs that is trained, and a sentence about it."""
        runs = sum(plan.num_distinct_runs for plan in plans)
        share = self._num_epochs(plans) / (runs * self.epochs[-1])
        after = " and epoch ".join(map(str, self.epochs[:-1]))
        return share, (
            f"Successive halving: the best {100 * self.keep:.3g} % of the settings "
            f"continue after epoch {after}; {100 * share:.0f} % of all epochs are "
            "trained."
        )


def _repeated(last: Part, stay: Collection[int], num_epochs: int) -> list[Part]:
    """Returns parts that repeat the last values of pruned runs in all later epochs."""
    rows = [row for row, run in enumerate(last.runs) if run not in stay]
    if not rows:
        return []
    runs = tuple(last.runs[row] for row in rows)
    values = {name: array[rows] for name, array in last.values.items()}
    values["pruned"] = np.ones(len(rows), np.float32)
    epochs = range((last.epoch or 0) + 1, num_epochs + 1)
    return [Part(last.group, runs, epoch, values) for epoch in epochs]


def check_rungs(rungs: Rungs) -> Rungs:
    """Returns the rungs; raises UserError if they, ``keep`` or ``by`` are invalid."""
    choose("by", rungs.by, SIGNS)
    epochs = rungs.epochs
    ascending = all(a < b for a, b in itertools.pairwise(epochs))
    if not (epochs and all(map(COUNT.accepts, epochs)) and ascending):
        raise UserError(
            f"rungs is {epochs}; expected ascending numbers of epochs, such as 1, 3, 9."
        )
    if not (isinstance(rungs.keep, int | float) and 0 < rungs.keep < 1):
        raise UserError(
            f"keep (--keep_share) is {rungs.keep!r}; expected a number above 0 and "
            "below 1, such as 0.5."
        )
    return rungs


def survivors(
    plan: Plan,
    checkpoints: Mapping[int, Checkpoint],
    data: Data,
    rungs: Rungs,
    num_epochs: int,
) -> tuple[Plan, dict[int, Checkpoint]]:
    """Returns the plan of the best settings, and the checkpoints to continue from.

    ``plan`` and ``checkpoints`` are those of a whole stage. The next rung is at epoch
    ``num_epochs``.
    """
    scores = _scores(plan, checkpoints, rungs)
    best = sorted(scores, key=lambda setting: (scores[setting], setting))
    kept = {*best[: rungs.num_kept(len(best))]}
    num_seeds = len(plan.axes["seed"])
    runs = {n * num_seeds + seed for n in kept for seed in range(num_seeds)}
    rest = with_runs(plan, runs, lambda c: slot_seconds(c, data, num_epochs))
    where = _where(plan, checkpoints)
    starts = {
        index: _start(rest, index, group, checkpoints, where)
        for index, group in enumerate(rest.groups)
    }
    return rest, starts


def _scores(
    plan: Plan, checkpoints: Mapping[int, Checkpoint], rungs: Rungs
) -> dict[int, tuple[float, ...]]:
    """Returns the score of each setting, by its position in the grid without seeds.

    The other metric decides between equal scores: few images have few accuracies.
    """
    metrics = sorted(SIGNS, key=lambda name: name != rungs.by)
    values: dict[int, list[list[float]]] = {}
    for checkpoint in checkpoints.values():
        last = checkpoint.parts[-1]
        known = (name for name in metrics if name in last.values)
        columns = [SIGNS[name] * last.values[name].astype(float) for name in known]
        for run, *scores in zip(last.runs, *columns, strict=True):
            values.setdefault(run // len(plan.axes["seed"]), []).append(scores)
    means = {setting: np.mean(rows, axis=0) for setting, rows in values.items()}
    return {
        n: tuple(np.where(np.isfinite(mean), mean, math.inf).tolist())
        for n, mean in means.items()
    }


class _Place(NamedTuple):
    """Where a run is: its group, its position there, and its slot if it is active."""

    group: int
    position: int
    slot: int | None


def _where(plan: Plan, checkpoints: Mapping[int, Checkpoint]) -> dict[int, _Place]:
    where = {}
    for number, checkpoint in checkpoints.items():
        positions = np.asarray(checkpoint.positions).tolist()
        slots = {position: slot for slot, position in enumerate(positions)}
        for position, run in enumerate(plan.groups[number].runs):
            where[run] = _Place(number, position, slots.get(position))
    return where


def _start(
    plan: Plan,
    index: int,
    group: Group,
    checkpoints: Mapping[int, Checkpoint],
    where: Mapping[int, _Place],
) -> Checkpoint:
    """Returns the checkpoint from which a group of remaining runs continues."""
    at = [where[run] for run in group.runs]
    parts = []
    for parts_of_runs in zip(
        *(checkpoints[place.group].parts for place in at), strict=True
    ):
        rows = [
            {name: v[place.position] for name, v in part.values.items()}
            for part, place in zip(parts_of_runs, at, strict=True)
        ]
        values = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        parts.append(Part(index, group.runs, parts_of_runs[0].epoch, values))
    active = [p for p, place in enumerate(at) if place.slot is not None]
    if not active:
        return Checkpoint(parts, np.zeros(0, int), [])
    slots = group.width * plan.num_devices
    positions = np.asarray(active)[np.minimum(np.arange(slots), len(active) - 1)]
    chosen = [at[position] for position in positions]
    leaves = [
        np.stack([checkpoints[place.group].leaves[i][place.slot] for place in chosen])
        for i in range(len(checkpoints[chosen[0].group].leaves))
    ]
    return Checkpoint(parts, positions, leaves)
