"""Sweeps that go on where they were stopped: plan and parts beside the results."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import unfinished
from experiments.folders import PARTS, writing
from experiments.shares import ALONE, Share
from experiments.underway import Begun, is_done, own_groups, path_of
from fmnist_jax.kinds import UserError
from fmnist_jax.results import replaced

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data import Data
    from fmnist_jax.joining import Part
    from fmnist_jax.parts import Kept
    from fmnist_jax.planning import Plan
    from fmnist_jax.sweeping import Steps

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
) -> Begun:
    """Saves plans before their first run, or takes up those that were begun.

    Args:
      out_dir: for the results; the caller holds its folder for parts.
      plans: what is to run.
      data: on what, for each.
      command: what makes the plans: "experiment" and "arguments".
      overwrite: whether what was begun with other settings may be dropped.
      share: which groups are this process's.

    Raises:
      UserError: where something else was begun.
    """
    from fmnist_jax.descriptions import described

    here = unfinished.environment()
    sweeps = [described(*pair, here) for pair in zip(plans, data, strict=True)]
    saved, problem = unfinished.saved_in(out_dir, "sweeps")
    if saved is not None and (
        differs := unfinished.difference(saved["sweeps"], sweeps)
    ):
        problem = f"a sweep that is not finished: {differs}"
    unfinished.refuse(out_dir, problem, overwrite)
    if problem or saved is None:
        saved = {**command, "sweeps": sweeps, "shares": share.total}
        unfinished.write_plan(out_dir, saved, alone=bool(problem) or share == ALONE)
    return _taken_up(out_dir, plans, saved, share)


def finished(out_dir: Path, plans: Sequence["Plan"], data: Sequence["Data"]) -> Begun:
    """Takes up sweeps of which all groups are done, wherever they were trained.

    Raises:
      UserError: where they are of other plans or data, or where groups are not done.
    """
    from fmnist_jax.descriptions import described

    saved, problem = unfinished.saved_in(out_dir, "sweeps")
    there = saved["sweeps"] if saved is not None else []
    pairs = zip(plans, data, there, strict=False)
    sweeps = [described(todo, on, s["environment"]) for todo, on, s in pairs]
    if problem := problem or unfinished.difference(there, sweeps):
        raise UserError(
            f"The shards in {out_dir} are not what their own command gives here: "
            f"{problem}."
        )
    begun = _taken_up(out_dir, plans, saved, ALONE)
    if left := [pair for pair in own_groups(begun) if not is_done(begun, *pair)]:
        path = path_of(begun, *left[0])
        raise UserError(f"{path} is not done: run its shard again, then merge.")
    return begun


def _taken_up(
    out_dir: Path, plans: Sequence["Plan"], saved: Mapping[str, Any], share: Share
) -> Begun:
    """Returns sweeps as they are saved, with what there is of them."""
    from fmnist_jax.descriptions import as_described
    from fmnist_jax.parts import digest

    sweeps = saved["sweeps"]
    plans = [as_described(*pair) for pair in zip(plans, sweeps, strict=True)]
    return _with_kept(Begun(out_dir / PARTS, digest(sweeps), plans, (), share))


def _with_kept(begun: Begun) -> Begun:
    """Returns sweeps with what there is of them; what is damaged is done again."""
    from fmnist_jax import parts

    kept: list[dict[int, Kept]] = []
    notices = []
    for number, todo in enumerate(begun.plans):
        kept.append({})
        for group in range(len(todo.groups)):
            path = path_of(begun, number, group)
            try:
                if path.exists():
                    kept[-1][group] = parts.read(path, begun.digest)
            except UserError as error:
                notices.append(f"Note: {error} Its runs are done again.")
    return dataclasses.replace(begun, kept=kept, notices=notices)


def gather(out_dir: Path, saved: Mapping[str, Any], found: Mapping[str, bytes]) -> None:
    """Writes a plan, and part files by their names, to a folder that is held."""
    unfinished.write_plan(out_dir, saved, alone=False)
    for name, content in found.items():
        store(out_dir / PARTS / name, content)


def store(path: Path, content: bytes) -> None:
    """Writes a part file that another process made."""
    with writing(path.parent.parent), replaced(path) as new:
        new.write_bytes(content)


def joined(begun: Begun, data: Sequence["Data"]) -> list["xr.Dataset"]:
    """Returns the results of sweeps of which all groups are done.

    Raises:
      UserError: where a part was lost meanwhile.
    """
    from fmnist_jax.joining import join

    begun = _with_kept(begun)
    found = []
    for number, (todo, on) in enumerate(zip(begun.plans, data, strict=True)):
        if not all(is_done(begun, number, g) for g in range(len(todo.groups))):
            lost = " ".join(begun.notices)
            raise UserError(f"Parts in {begun.folder} are lost. {lost}".rstrip())
        kept = begun.kept[number]
        found.append(join(todo, [p for g in sorted(kept) for p in kept[g].parts], on))
    return found


def run(
    begun: Begun, number: int, data: "Data", is_stopped: Callable[[], bool]
) -> Iterator["Part"]:
    """Runs what is left of this process's groups of a sweep, and saves it.

    Args:
      begun: the sweeps.
      number: which.
      data: on what.
      is_stopped: whether to stop after the epoch that is under way.

    Yields:
      What is new, as ``run_groups`` does.

    Raises:
      KeyboardInterrupt: where it was stopped.
    """
    from fmnist_jax.parts import Kept
    from fmnist_jax.sweeping import run_stepwise

    todo, kept = begun.plans[number], begun.kept[number]
    own = [g for n, g in own_groups(begun) if n == number and not is_done(begun, n, g)]
    if not own:
        return
    skip = set(range(len(todo.groups))) - set(own)
    left = {group: each.left for group, each in kept.items() if each.left is not None}
    for group, steps in run_stepwise(todo, data, skip, left):
        so_far = list(kept[group].parts) if group in left else []
        path = path_of(begun, number, group)
        yield from _saving(begun, path, so_far, steps, is_stopped)
        _save(begun, path, Kept(so_far))
        if is_stopped():
            raise KeyboardInterrupt


def _saving(
    begun: Begun,
    path: Path,
    so_far: list["Part"],
    steps: "Steps",
    is_stopped: Callable[[], bool],
) -> Iterator["Part"]:
    """Passes on the parts of a group, adds them to ``so_far``, and saves at epochs."""
    from fmnist_jax.parts import Kept
    from fmnist_jax.seats import halfway

    saved, pause = time.monotonic(), SECONDS_BETWEEN_SAVES
    for part, seats in steps:
        yield part
        so_far.append(part)
        start = time.monotonic()
        if seats is None or not (start - saved > pause or is_stopped()):
            continue
        _save(begun, path, Kept(so_far, halfway(part, seats)))
        if is_stopped():
            raise KeyboardInterrupt
        saved = time.monotonic()
        pause = max(SECONDS_BETWEEN_SAVES, (saved - start) / SHARE_OF_SAVING)


def _save(begun: Begun, path: Path, kept: "Kept") -> None:
    from fmnist_jax import parts

    with writing(begun.folder.parent):
        parts.write(path, kept, begun.digest)
