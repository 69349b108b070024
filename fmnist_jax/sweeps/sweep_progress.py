"""Sweeps under way: what there is of them, and what is this process's to do."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fmnist_jax.sweeps.checkpoints import Kept
    from fmnist_jax.sweeps.planning import Plan


class Share(NamedTuple):
    """Which groups are a process's: every ``total``-th from ``number`` on."""

    number: int
    total: int


ALONE = Share(0, 1)


@dataclasses.dataclass(frozen=True)
class SweepProgress:
    """Sweeps under way.

    Attributes:
      folder: of their parts.
      digest: of their plans.
      plans: as they were when the sweeps began.
      kept: for each, by the positions of its groups, what there is of them.
      share: which groups are this process's.
      notices: what the user must be told.
    """

    folder: Path
    digest: str
    plans: Sequence["Plan"]
    kept: Sequence[Mapping[int, "Kept"]]
    share: Share = ALONE
    notices: Sequence[str] = ()


def own_groups(progress: SweepProgress) -> list[tuple[int, int]]:
    """Returns the sweep and the position in it of each of this process's groups."""
    groups = [
        (number, group)
        for number, todo in enumerate(progress.plans)
        for group in range(len(todo.groups))
    ]
    return groups[progress.share.number :: progress.share.total]


def path_of(progress: SweepProgress, number: int, group: int) -> Path:
    """Returns where what a group gives is kept.

    Args:
      progress: the sweeps.
      number: of the group's sweep.
      group: its position in the plan.
    """
    return progress.folder / f"{number}-{group}.part"


def own_files(progress: SweepProgress) -> list[Path]:
    """Returns where this process's groups of all sweeps are kept."""
    return [path_of(progress, *pair) for pair in own_groups(progress)]


def is_done(progress: SweepProgress, number: int, group: int) -> bool:
    """Whether nothing is left to do of a group."""
    kept = progress.kept[number].get(group)
    return kept is not None and kept.left is None


def num_epochs(progress: SweepProgress) -> int:
    """Returns how many epochs of runs this process's share has."""
    return sum(
        len(progress.plans[n].groups[g].runs) * progress.plans[n].config.num_epochs
        for n, g in own_groups(progress)
    )


def num_epochs_kept(progress: SweepProgress) -> int:
    """Returns how many of them there are already."""
    kept = [
        progress.kept[n][g] for n, g in own_groups(progress) if g in progress.kept[n]
    ]
    return sum(len(p.runs) for k in kept for p in k.parts if p.epoch is not None)


def said(progress: SweepProgress, command: str) -> list[str]:
    """Returns what is said before the start: what is done, and how to go on."""
    own = own_groups(progress)
    done = sum(is_done(progress, *pair) for pair in own)
    going_on = any(g in progress.kept[n] for n, g in own)
    there = f"Resuming: {done} of {_groups(len(own))} are done."
    shared = f"This process's share of the runs: {_groups(len(own))}."
    return [
        *progress.notices,
        *([shared] if progress.share.total > 1 else []),
        *([there] if going_on else []),
        f"To resume: {command}",
    ]


def said_of_share(progress: SweepProgress) -> list[str]:
    """Returns what is said at the end of a share."""
    return [
        f"Share {progress.share.number} of {progress.share.total} is done: "
        f"{_groups(len(own_groups(progress)))} in {progress.folder}.",
    ]


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'} of runs"
