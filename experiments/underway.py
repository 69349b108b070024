"""Sweeps under way: what there is of them, and what is this process's to do."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.shares import ALONE, Share

if TYPE_CHECKING:
    from fmnist_jax.parts import Kept
    from fmnist_jax.planning import Plan


@dataclasses.dataclass(frozen=True)
class Begun:
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


def own_groups(begun: Begun) -> list[tuple[int, int]]:
    """Returns the sweep and the position in it of each of this process's groups."""
    groups = [
        (number, group)
        for number, todo in enumerate(begun.plans)
        for group in range(len(todo.groups))
    ]
    return groups[begun.share.number :: begun.share.total]


def path_of(begun: Begun, number: int, group: int) -> Path:
    """Returns where what a group gives is kept.

    Args:
      begun: the sweeps.
      number: of the group's sweep.
      group: its position in the plan.
    """
    return begun.folder / f"{number}-{group}.part"


def own_files(begun: Begun) -> list[Path]:
    """Returns where this process's groups of all sweeps are kept."""
    return [path_of(begun, *pair) for pair in own_groups(begun)]


def is_done(begun: Begun, number: int, group: int) -> bool:
    """Whether nothing is left to do of a group."""
    kept = begun.kept[number].get(group)
    return kept is not None and kept.left is None


def num_epochs(begun: Begun) -> int:
    """Returns how many epochs of runs this process's share has."""
    return sum(
        len(begun.plans[n].groups[g].runs) * begun.plans[n].config.num_epochs
        for n, g in own_groups(begun)
    )


def num_epochs_kept(begun: Begun) -> int:
    """Returns how many of them there are already."""
    kept = [begun.kept[n][g] for n, g in own_groups(begun) if g in begun.kept[n]]
    return sum(len(p.runs) for k in kept for p in k.parts if p.epoch is not None)


def said(begun: Begun, command: str) -> list[str]:
    """Returns what is said before the start: what is done, and how to go on."""
    own = own_groups(begun)
    done = sum(is_done(begun, *pair) for pair in own)
    going_on = any(g in begun.kept[n] for n, g in own)
    there = f"Going on: {done} of {_groups(len(own))} done."
    shared = f"This process's share of the runs: {_groups(len(own))}."
    return [
        *begun.notices,
        *([shared] if begun.share.total > 1 else []),
        *([there] if going_on else []),
        f"If interrupted, this goes on: {command}",
    ]


def said_of_share(begun: Begun) -> list[str]:
    """Returns what is said at the end of a share."""
    return [
        f"Share {begun.share.number} of {begun.share.total} is done: "
        f"{_groups(len(own_groups(begun)))} in {begun.folder}.",
    ]


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'} of runs"
