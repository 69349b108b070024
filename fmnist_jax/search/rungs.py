"""Selection of settings at a rung, and the new batches of their runs."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fmnist_jax.errors import UserError, choose
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.planning import Group, Plan, with_runs
from fmnist_jax.values import COUNT

# The score of a setting, which is minimised, is the metric times its sign.
SIGNS = {"validation_loss": 1, "validation_accuracy": -1}


class Rungs(NamedTuple):
    """When settings are pruned, and which.

    Attributes:
      epochs: after which settings are pruned, ascending; the last ends training.
      keep: share of the settings that continue after each rung; at least one does.
      by: the validation metric that ranks the settings.
    """

    epochs: tuple[int, ...] = (1, 3, 9)
    keep: float = 1 / 3
    by: str = "validation_loss"

    @property
    def text(self) -> str:
        """The rungs in words, as folders of checkpoints record them."""
        return f"{','.join(map(str, self.epochs))} keep {self.keep:g} by {self.by}"

    def num_kept(self, settings: int) -> int:
        """Returns how many of the settings continue after a rung."""
        return max(1, math.floor(settings * self.keep + 1e-9))

    def num_epochs(self, plans: Sequence[Plan]) -> int:
        """Returns the number of trained epochs, summed over all runs."""
        total = 0
        for plan in plans:
            seeds = len(plan.axes["seed"])
            settings, before = plan.num_distinct_runs // seeds, 0
            for epoch in self.epochs:
                total += settings * seeds * (epoch - before)
                settings, before = self.num_kept(settings), epoch
        return total

    def share_trained(self, plans: Sequence[Plan]) -> float:
        """Returns the number of trained epochs, relative to that without pruning."""
        runs = sum(plan.num_distinct_runs for plan in plans)
        return self.num_epochs(plans) / (runs * self.epochs[-1])


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
    plan: Plan, checkpoints: Mapping[int, Checkpoint], rungs: Rungs
) -> tuple[Plan, dict[int, Checkpoint]]:
    """Returns the plan of the best settings, and the checkpoints to continue from."""
    scores = _scores(plan, checkpoints, rungs)
    best = sorted(scores, key=lambda setting: (scores[setting], setting))
    kept = {*best[: rungs.num_kept(len(best))]}
    num_seeds = len(plan.axes["seed"])
    runs = {n * num_seeds + seed for n in kept for seed in range(num_seeds)}
    rest = with_runs(plan, runs)
    where = _where(plan, checkpoints)
    starts = {
        index: _start(rest, index, group, checkpoints, where)
        for index, group in enumerate(rest.groups)
    }
    return rest, starts


def _scores(
    plan: Plan, checkpoints: Mapping[int, Checkpoint], rungs: Rungs
) -> dict[int, float]:
    """Returns the score of each setting, by its position in the grid without seeds."""
    values: dict[int, list[float]] = {}
    for checkpoint in checkpoints.values():
        last = checkpoint.parts[-1]
        for run, value in zip(last.runs, last.values[rungs.by], strict=True):
            setting = run // len(plan.axes["seed"])
            values.setdefault(setting, []).append(SIGNS[rungs.by] * float(value))
    means = {setting: float(np.mean(some)) for setting, some in values.items()}
    return {n: mean if math.isfinite(mean) else math.inf for n, mean in means.items()}


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
