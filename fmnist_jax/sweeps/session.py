"""What is known while workers train the groups of a plan, and which group is next."""

import collections
import dataclasses
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from fmnist_jax.data.dataset import Data
from fmnist_jax.sweeps.checkpoints import Checkpoint
from fmnist_jax.sweeps.cluster import Cluster
from fmnist_jax.sweeps.planning import Plan

# An idle worker repeats the work of one that has not answered for so long, and for so
# many times as long as any answer has taken.
SECONDS_TO_ANSWER, TIMES_TO_ANSWER = 60.0, 4


class Work(NamedTuple):
    """The groups of a plan that are to be trained."""

    plan: Plan
    data: Data
    groups: Sequence[int]  # positions of the unfinished groups
    saved: dict[int, Checkpoint]  # checkpoints by group, which are replaced
    pause: int | None  # epoch after which groups pause; None for the last

    def is_done(self, group: int) -> bool:
        """Whether a group has ended or paused."""
        saved = self.saved.get(group)
        if saved is None or not saved.parts:
            return False
        has_paused = self.pause is not None and saved.parts[-1].epoch == self.pause
        return saved.is_finished or has_paused


@dataclasses.dataclass
class Task:
    """What a worker does."""

    name: str  # of the function of ``worker``
    address: str
    group: int | None = None  # that it trains, while the result is needed; or None
    # When it was submitted, in seconds.
    start: float = dataclasses.field(default_factory=time.monotonic)


@dataclasses.dataclass
class Session:
    """The training of the groups of a plan."""

    cluster: Cluster  # whose workers train
    work: Work
    key: str  # of the plan on the workers
    pending: list[int]  # groups that no worker trains
    seconds: float  # that a worker trains until it returns a checkpoint
    # What the workers do, by future.
    tasks: dict[Any, Task] = dataclasses.field(default_factory=dict)
    # Futures that are done.
    answers: "queue.Queue[Any]" = dataclasses.field(default_factory=queue.Queue)
    # By address of a worker that has opened the plan, its compiled programs.
    ready: dict[str, set[Any]] = dataclasses.field(default_factory=dict)
    # By group, how often a worker ended while it trained the group.
    ends: "collections.Counter[int]" = dataclasses.field(
        default_factory=collections.Counter
    )
    # Groups whose checkpoints are newer than the saved ones.
    unsaved: set[int] = dataclasses.field(default_factory=set)
    longest: float = 0.0  # that the training of a task has taken, in seconds
    asked: float = 0.0  # when the scheduler was last asked for its workers, in seconds
    # When there last was a usable worker, in seconds.
    manned: float = dataclasses.field(default_factory=time.monotonic)

    def is_trained(self, group: int) -> bool:
        """Whether a worker trains a group."""
        return any(task.group == group for task in self.tasks.values())


def program_of(session: Session, group: int) -> Any:
    """Returns what the program of a group is compiled for."""
    entry = session.work.plan.groups[group]
    return entry.config, entry.width


def next_group(session: Session, programs: set[Any]) -> int | None:
    """Returns a group for a worker with these compiled programs; None for none.

    A group whose program it has compiled comes first, then one whose program no worker
    has; groups that have ended workers come last. If no group is pending, it is one
    whose worker has not answered for long.
    """
    others = set().union(*session.ready.values())

    def order(group: int) -> Any:
        program = program_of(session, group)
        return session.ends[group], program not in programs, program in others, group

    if session.pending:
        group = min(session.pending, key=order)
        session.pending.remove(group)
        return group
    patience = max(SECONDS_TO_ANSWER, TIMES_TO_ANSWER * session.longest)
    since: dict[int, float] = {}
    for task in session.tasks.values():
        if task.group is not None:
            since[task.group] = max(task.start, since.get(task.group, 0.0))
    late = [g for g, start in since.items() if time.monotonic() - start > patience]
    return min(late, key=since.__getitem__, default=None)
