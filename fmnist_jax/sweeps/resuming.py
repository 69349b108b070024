"""Sweeps that save checkpoints in a folder and resume from it."""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.sweeps import checkpoints, workers
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part, digest
from fmnist_jax.sweeps.engine import Steps, run_groups_resumably, train_until
from fmnist_jax.sweeps.environment import environment
from fmnist_jax.sweeps.fingerprint import fingerprint, regroup
from fmnist_jax.sweeps.plan_file import (
    PARTS,
    SINGLE,
    Shard,
    read_plan,
    refuse,
    sweeps_difference,
    write_plan,
)
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import (
    SweepProgress,
    all_groups,
    checkpoint_path,
    is_finished,
    read_checkpoints,
    shard_groups,
)

# A running group is saved after an epoch, but not more often than this, and so rarely
# that saving takes at most a fiftieth of the time.
SECONDS_BETWEEN_SAVES, SAVING_SHARE = 60.0, 1 / 50


def next_rung(
    progress: SweepProgress,
    plans: Sequence[Plan],
    starts: Sequence[Mapping[int, Checkpoint]],
    until: int | None,
    data: Sequence[Data] | None = None,
) -> SweepProgress:
    """Returns the progress of sweeps that follow others of the same search.

    Each of the plans follows a sweep; ``starts`` are the checkpoints with which its
    groups start. The groups pause after epoch ``until``; None: they run to the last.
    Without ``data``, each sweep has those of the sweep before.
    """
    data = progress.data if data is None else data
    prints = [fingerprint(*pair, {}) for pair in zip(plans, data, strict=True)]
    further = dataclasses.replace(
        progress,
        digest=digest([progress.digest, prints]),
        plans=plans,
        data=data,
        checkpoints=[{} for _ in plans],
        notices=(),
        since=progress.until or 0,
        until=until,
        rung=progress.rung + 1,
    )
    notices = read_checkpoints(further)
    for saved, start in zip(further.checkpoints, starts, strict=True):
        for group, begin in start.items():
            saved.setdefault(group, begin)
    return dataclasses.replace(further, notices=notices)


def open_sweeps(
    out_dir: Path,
    plans: Sequence[Plan],
    data: Sequence[Data],
    command: Mapping[str, Any],
    overwrite: bool = False,
    shard: Shard = SINGLE,
    cure: str = "pass --overwrite",
    search: Mapping[str, str] = MappingProxyType({}),
    cluster: workers.Cluster | None = None,
) -> SweepProgress:
    """Saves plans before their first run, or resumes those that are saved.

    The caller has locked the folder of checkpoints in ``out_dir``. ``command`` has the
    "experiment" and the "arguments" that make the plans. ``search`` has settings of a
    search, which determine the results, too. Without a cluster, this process runs the
    groups of its shard.

    An unfinished sweep with other settings is refused, with the ``cure`` in the
    message; with ``overwrite``, it is dropped.
    """
    here = {**(cluster.environment if cluster else environment()), **search}
    sweeps = [fingerprint(*pair, here) for pair in zip(plans, data, strict=True)]
    saved, problem = None, ""
    try:
        saved = read_plan(out_dir)
    except UserError as error:
        problem = f"a sweep that cannot be resumed: {str(error).rstrip('.')}"
    if saved is not None and (change := sweeps_difference(saved["sweeps"], sweeps)):
        problem = f"a sweep with other settings: {change}"
    if problem and not overwrite:
        raise refuse(out_dir, problem, cure)
    if problem or saved is None:
        saved = {**command, "sweeps": sweeps, "shares": shard.total}
        write_plan(out_dir, saved, clear=bool(problem) or shard == SINGLE)
    else:
        pairs = zip(plans, saved["sweeps"], strict=True)
        plans = [regroup(plan, sweep) for plan, sweep in pairs]
    progress = _progress(out_dir, plans, data, saved["sweeps"], shard)
    return dataclasses.replace(progress, cluster=cluster)


def open_finished_sweeps(
    out_dir: Path, plans: Sequence[Plan], data: Sequence[Data]
) -> SweepProgress:
    """Opens sweeps whose groups are all finished, on whatever machine they ran."""
    saved = read_plan(out_dir)
    sweeps = saved["sweeps"] if saved is not None else []
    triples = list(zip(plans, data, sweeps, strict=False))
    expected = [fingerprint(p, on, sweep["environment"]) for p, on, sweep in triples]
    if change := sweeps_difference(sweeps, expected):
        raise UserError(
            f"The shards in {out_dir} do not match the sweep that their command now "
            f"describes: {change}."
        )
    plans = [regroup(plan, sweep) for plan, _, sweep in triples]
    progress = _progress(out_dir, plans, data, sweeps, SINGLE)
    for pair in all_groups(progress):
        if not is_finished(progress, *pair):
            path = checkpoint_path(progress, *pair)
            raise UserError(f"{path} is unfinished: run its shard again, then merge.")
    return progress


def _progress(
    out_dir: Path,
    plans: Sequence[Plan],
    data: Sequence[Data],
    sweeps: Sequence[Any],
    shard: Shard,
) -> SweepProgress:
    empty: list[dict[int, Checkpoint]] = [{} for _ in plans]
    folder = out_dir / PARTS
    progress = SweepProgress(folder, digest(sweeps), plans, data, empty, shard)
    return dataclasses.replace(progress, notices=read_checkpoints(progress))


def run_sweeps(
    progress: SweepProgress, is_stopped: Callable[[], bool]
) -> Iterator[Part]:
    """Runs the unfinished groups, here or on a cluster's workers; saves checkpoints.

    Yields new parts, as ``run_groups`` does. The parts of unfinished groups are kept in
    ``progress``, too. If ``is_stopped()`` is true after an epoch, KeyboardInterrupt is
    raised.
    """
    for number in range(len(progress.plans)):
        yield from _run_sweep(progress, number, is_stopped)


def _run_sweep(
    progress: SweepProgress, number: int, is_stopped: Callable[[], bool]
) -> Iterator[Part]:
    saved = progress.checkpoints[number]
    unfinished = {
        group
        for n, group in shard_groups(progress)
        if n == number and not is_finished(progress, n, group)
    }
    if not unfinished:
        return
    plan, data = progress.plans[number], progress.data[number]
    save = functools.partial(_save, progress, number)
    if progress.cluster is not None:
        work = workers.Work(plan, data, sorted(unfinished), saved, _pause(progress))
        yield from workers.train_groups(progress.cluster, work, save, is_stopped)
        return
    skip = set(range(len(plan.groups))) - unfinished
    resumable = {g: saved[g] for g in unfinished if g in saved}
    for group, steps in run_groups_resumably(plan, data, skip, resumable):
        parts = list(saved[group].parts) if group in saved else []
        saved[group] = Checkpoint(parts, np.zeros(0, int))  # unfinished
        save_group = functools.partial(save, group)
        saved[group] = yield from _run_saving(
            progress, parts, steps, save_group, is_stopped
        )
        save(group, saved[group])
        if is_stopped():
            raise KeyboardInterrupt


def _run_saving(
    progress: SweepProgress,
    parts: list[Part],
    steps: Steps,
    save: Callable[[Checkpoint], None],
    is_stopped: Callable[[], bool],
) -> Generator[Part, None, Checkpoint]:
    """Yields the parts of a group, appends them to ``parts``, and saves at epochs.

    Returns the checkpoint at the end or at the pause.
    """
    pause, interval = _pause(progress), SECONDS_BETWEEN_SAVES
    last_save = start = time.monotonic()

    def is_due() -> bool:
        nonlocal start
        start = time.monotonic()
        return progress.is_saved and (start - last_save > interval or is_stopped())

    while True:
        saved = yield from train_until(steps, parts, pause, is_due)
        if saved.is_finished or parts[-1].epoch == pause:
            return saved
        save(saved)
        if is_stopped():
            raise KeyboardInterrupt
        last_save = time.monotonic()
        interval = max(SECONDS_BETWEEN_SAVES, (last_save - start) / SAVING_SHARE)


def _pause(progress: SweepProgress) -> int | None:
    """Returns the epoch after which groups pause; None for the last."""
    last = progress.plans[0].config.num_epochs
    return progress.until if progress.until != last else None


def _save(progress: SweepProgress, number: int, group: int, saved: Checkpoint) -> None:
    if not progress.is_saved:
        return
    path = checkpoint_path(progress, number, group)
    with explaining_write_errors(progress.folder.parent):
        checkpoints.write(path, saved, progress.digest)


def check_finished(progress: SweepProgress) -> None:
    """Raises UserError if a group is unfinished, because its checkpoint was lost.

    Checkpoints of other processes are read from the folder.
    """
    notices = " ".join(read_checkpoints(progress))
    if not all(is_finished(progress, *pair) for pair in all_groups(progress)):
        lost = f"Checkpoints in {progress.folder} are lost. {notices}"
        raise UserError(lost.rstrip())
