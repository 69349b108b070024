"""Sweeps that go on where they were stopped: plan and parts beside the results."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.errors import UserError
from fmnist_jax.files import atomic_write, explaining_write_errors
from fmnist_jax.sweeps import plan_file
from fmnist_jax.sweeps.plan_file import PARTS
from fmnist_jax.sweeps.sweep_progress import (
    ALONE,
    Share,
    SweepProgress,
    is_done,
    own_groups,
    path_of,
)

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.checkpoints import Kept
    from fmnist_jax.sweeps.engine import Steps
    from fmnist_jax.sweeps.labelling import Part
    from fmnist_jax.sweeps.planning import Plan

# A group under way is saved after an epoch, but no more often than this, and so seldom
# that saving takes at most a fiftieth of the time.
SECONDS_BETWEEN_SAVES, SHARE_OF_SAVING = 60.0, 1 / 50


def begin(
    out_dir: Path,
    plans: Sequence["Plan"],
    data: Sequence["Data"],
    command: Mapping[str, Any],
    overwrite: bool,
    share: Share = ALONE,
) -> SweepProgress:
    """Saves plans before their first run, or takes up those that were progress.

    Args:
      out_dir: for the results; the caller holds its folder for parts.
      plans: what is to run.
      data: on what, for each.
      command: what makes the plans: "experiment" and "arguments".
      overwrite: whether what was progress with other settings may be dropped.
      share: which groups are this process's.

    Raises:
      UserError: where something else was progress.
    """
    from fmnist_jax.sweeps.fingerprint import described

    here = plan_file.environment()
    sweeps = [described(*pair, here) for pair in zip(plans, data, strict=True)]
    saved, problem = plan_file.saved_in(out_dir, "sweeps")
    if saved is not None and (differs := plan_file.difference(saved["sweeps"], sweeps)):
        problem = f"a sweep that is not finished: {differs}"
    plan_file.refuse(out_dir, problem, overwrite)
    if problem or saved is None:
        saved = {**command, "sweeps": sweeps, "shares": share.total}
        plan_file.write_plan(out_dir, saved, alone=bool(problem) or share == ALONE)
    return _taken_up(out_dir, plans, saved, share)


def finished(
    out_dir: Path, plans: Sequence["Plan"], data: Sequence["Data"]
) -> SweepProgress:
    """Takes up sweeps of which all groups are done, wherever they were trained.

    Raises:
      UserError: where they are of other plans or data, or where groups are not done.
    """
    from fmnist_jax.sweeps.fingerprint import described

    saved, problem = plan_file.saved_in(out_dir, "sweeps")
    there = saved["sweeps"] if saved is not None else []
    pairs = zip(plans, data, there, strict=False)
    sweeps = [described(todo, on, s["environment"]) for todo, on, s in pairs]
    if problem := problem or plan_file.difference(there, sweeps):
        raise UserError(
            f"The shards in {out_dir} are not what their own command gives here: "
            f"{problem}."
        )
    progress = _taken_up(out_dir, plans, saved, ALONE)
    if left := [pair for pair in own_groups(progress) if not is_done(progress, *pair)]:
        path = path_of(progress, *left[0])
        raise UserError(f"{path} is not done: run its shard again, then merge.")
    return progress


def _taken_up(
    out_dir: Path, plans: Sequence["Plan"], saved: Mapping[str, Any], share: Share
) -> SweepProgress:
    """Returns sweeps as they are saved, with what there is of them."""
    from fmnist_jax.sweeps.checkpoints import digest
    from fmnist_jax.sweeps.fingerprint import as_described

    sweeps = saved["sweeps"]
    plans = [as_described(*pair) for pair in zip(plans, sweeps, strict=True)]
    return _with_kept(SweepProgress(out_dir / PARTS, digest(sweeps), plans, (), share))


def _with_kept(progress: SweepProgress) -> SweepProgress:
    """Returns sweeps with what there is of them; what is damaged is done again."""
    from fmnist_jax.sweeps import checkpoints

    kept: list[dict[int, Kept]] = []
    notices = []
    for number, todo in enumerate(progress.plans):
        kept.append({})
        for group in range(len(todo.groups)):
            path = path_of(progress, number, group)
            try:
                if path.exists():
                    kept[-1][group] = checkpoints.read(path, progress.digest)
            except UserError as error:
                notices.append(f"Note: {error} Its runs are done again.")
    return dataclasses.replace(progress, kept=kept, notices=notices)


def gather(out_dir: Path, saved: Mapping[str, Any], found: Mapping[str, bytes]) -> None:
    """Writes a plan, and part files by their names, to a folder that is held."""
    plan_file.write_plan(out_dir, saved, alone=False)
    for name, content in found.items():
        store(out_dir / PARTS / name, content)


def store(path: Path, content: bytes) -> None:
    """Writes a part file that another process made."""
    with explaining_write_errors(path.parent.parent), atomic_write(path) as new:
        new.write_bytes(content)


def joined(progress: SweepProgress, data: Sequence["Data"]) -> list["xr.Dataset"]:
    """Returns the results of sweeps of which all groups are done.

    Raises:
      UserError: where a part was lost meanwhile.
    """
    from fmnist_jax.sweeps.labelling import join

    progress = _with_kept(progress)
    found = []
    for number, (todo, on) in enumerate(zip(progress.plans, data, strict=True)):
        if not all(is_done(progress, number, g) for g in range(len(todo.groups))):
            lost = " ".join(progress.notices)
            raise UserError(f"Parts in {progress.folder} are lost. {lost}".rstrip())
        kept = progress.kept[number]
        found.append(join(todo, [p for g in sorted(kept) for p in kept[g].parts], on))
    return found


def run(
    progress: SweepProgress, number: int, data: "Data", is_stopped: Callable[[], bool]
) -> Iterator["Part"]:
    """Runs what is left of this process's groups of a sweep, and saves it.

    Args:
      progress: the sweeps.
      number: which.
      data: on what.
      is_stopped: whether to stop after the epoch that is under way.

    Yields:
      What is new, as ``run_groups`` does.

    Raises:
      KeyboardInterrupt: where it was stopped.
    """
    from fmnist_jax.sweeps.checkpoints import Kept
    from fmnist_jax.sweeps.engine import run_groups_resumably

    todo, kept = progress.plans[number], progress.kept[number]
    own = [
        g
        for n, g in own_groups(progress)
        if n == number and not is_done(progress, n, g)
    ]
    if not own:
        return
    skip = set(range(len(todo.groups))) - set(own)
    left = {group: each.left for group, each in kept.items() if each.left is not None}
    for group, steps in run_groups_resumably(todo, data, skip, left):
        so_far = list(kept[group].parts) if group in left else []
        path = path_of(progress, number, group)
        yield from _saving(progress, path, so_far, steps, is_stopped)
        _save(progress, path, Kept(so_far))
        if is_stopped():
            raise KeyboardInterrupt


def _saving(
    progress: SweepProgress,
    path: Path,
    so_far: list["Part"],
    steps: "Steps",
    is_stopped: Callable[[], bool],
) -> Iterator["Part"]:
    """Passes on the parts of a group, adds them to ``so_far``, and saves at epochs."""
    from fmnist_jax.sweeps.checkpoints import Kept
    from fmnist_jax.sweeps.run_batch import halfway

    saved, pause = time.monotonic(), SECONDS_BETWEEN_SAVES
    for part, seats in steps:
        yield part
        so_far.append(part)
        start = time.monotonic()
        if seats is None or not (start - saved > pause or is_stopped()):
            continue
        _save(progress, path, Kept(so_far, halfway(part, seats)))
        if is_stopped():
            raise KeyboardInterrupt
        saved = time.monotonic()
        pause = max(SECONDS_BETWEEN_SAVES, (saved - start) / SHARE_OF_SAVING)


def _save(progress: SweepProgress, path: Path, kept: "Kept") -> None:
    from fmnist_jax.sweeps import checkpoints

    with explaining_write_errors(progress.folder.parent):
        checkpoints.write(path, kept, progress.digest)
