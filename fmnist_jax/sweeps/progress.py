"""The progress of sweeps: their plans, and the checkpoints of their groups."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.sweeps import checkpoints
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.plan_file import SINGLE, Shard
from fmnist_jax.sweeps.planning import Plan

if TYPE_CHECKING:
    from fmnist_jax.sweeps.workers import Cluster


@dataclasses.dataclass(frozen=True)
class SweepProgress:
    """Sweeps that are running, and their progress."""

    folder: Path  # of the plan file and the checkpoints
    digest: str  # of the plan file's sweeps; every checkpoint bears it
    plans: Sequence[Plan]  # of each sweep, with the groups that the plan file records
    data: Sequence[Data]  # of each sweep
    checkpoints: Sequence[dict[int, Checkpoint]]  # by group; updated while they run
    shard: Shard = SINGLE  # the groups that this process runs
    notices: Sequence[str] = ()  # lines for the user
    since: int = 0  # epoch after which the groups begin
    until: int | None = None  # epoch after which groups pause; None for the last
    rung: int = 0  # number of the stage of a search, from 0
    is_saved: bool = True  # if not, checkpoints are kept in memory only
    cluster: "Cluster | None" = None  # whose workers train; None for this process


def read_checkpoints(progress: SweepProgress) -> list[str]:
    """Reads the checkpoint files of groups that are not yet finished in memory.

    Returns a line for each damaged file.
    """
    notices = []
    for number, group in all_groups(progress) if progress.is_saved else ():
        path, saved = checkpoint_path(progress, number, group), progress.checkpoints
        if is_finished(progress, number, group) or not path.exists():
            continue
        try:
            saved[number][group] = checkpoints.read(path, progress.digest)
        except UserError as error:
            notices.append(f"Note: {error} Its runs are trained again.")
    return notices


def all_groups(progress: SweepProgress) -> list[tuple[int, int]]:
    """Returns the number of the sweep and the position in it of every group."""
    sizes = enumerate(len(plan.groups) for plan in progress.plans)
    return [(number, group) for number, size in sizes for group in range(size)]


def shard_groups(progress: SweepProgress) -> list[tuple[int, int]]:
    """Returns the groups of this process."""
    return all_groups(progress)[progress.shard.number :: progress.shard.total]


def checkpoint_path(progress: SweepProgress, number: int, group: int) -> Path:
    """Returns the checkpoint file of a sweep's group."""
    rung = f"rung{progress.rung}-" if progress.rung else ""
    return progress.folder / f"{rung}{number}-{group}.part"


def is_finished(progress: SweepProgress, number: int, group: int) -> bool:
    """Whether a sweep's group has ended, or has reached the epoch where it pauses."""
    saved = progress.checkpoints[number].get(group)
    if saved is None or not saved.parts:
        return False
    has_paused = saved.parts[-1].epoch == progress.until is not None
    return saved.is_finished or has_paused


def num_epochs(progress: SweepProgress) -> int:
    """Returns the total number of epochs of this process's runs."""
    return sum(
        len(progress.plans[n].groups[g].runs) * progress.plans[n].config.num_epochs
        for n, g in shard_groups(progress)
    )


def num_epochs_trained(progress: SweepProgress) -> int:
    """Returns how many epochs of this process's runs are trained, of this stage."""
    saved = [progress.checkpoints[n].get(g) for n, g in shard_groups(progress)]
    parts = [part for group in saved if group is not None for part in group.parts]
    return sum(len(part.runs) for part in parts if (part.epoch or 0) > progress.since)


def saved_parts(progress: SweepProgress, number: int) -> list[Part]:
    """Returns the parts of a sweep's groups so far."""
    saved = progress.checkpoints[number]
    return [part for group in sorted(saved) for part in saved[group].parts]
