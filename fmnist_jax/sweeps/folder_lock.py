"""The lock of a folder in which a sweep saves its checkpoints. Imports no jax."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors, remove_temporary
from fmnist_jax.sweeps.plan_file import LOCK, PARTS, PLAN, SINGLE, Shard, is_unfinished


@contextlib.contextmanager
def locked(out_dir: Path, shard: Shard = SINGLE) -> Iterator[Path]:
    """Locks the checkpoint folder of an output folder, and yields its path.

    Different shards of one sweep may lock the folder at the same time. The operating
    system releases the locks of a process that is killed; the next process removes
    its temporary files. At the end the checkpoint folder is removed, unless it
    contained a plan at the start or contains checkpoints.

    Args:
      out_dir: the output folder.
      shard: which groups this process runs.

    Raises:
      UserError: if another process has locked the folder, or if it cannot be created.
    """
    folder = out_dir / PARTS
    is_shared = {LOCK: shard.total > 1}
    if shard.total > 1:
        shard_lock = f"{LOCK}-{shard.number}-of-{shard.total}"
        is_shared[shard_lock] = False
    with contextlib.ExitStack() as files:
        with explaining_write_errors(out_dir):
            folder.mkdir(parents=True, exist_ok=True)
            locks = [
                files.enter_context(open(folder / name, "ab")) for name in is_shared
            ]
        if not all(map(_lock, locks, is_shared.values())):
            raise UserError(
                f"{out_dir} is in use by another process; wait until it ends, or name "
                "another folder."
            )
        was_unfinished = is_unfinished(out_dir)
        with explaining_write_errors(out_dir):
            for name in (PLAN, "*.part") if shard.total == 1 else ():
                remove_temporary(folder, name)
        try:
            yield folder
        finally:
            is_needed = was_unfinished or any(folder.glob("*.part"))
            if shard.total == 1 and not is_needed and _exists(locks[0]):
                discard(folder)


def discard(folder: Path) -> None:
    """Removes the plan, checkpoints and locks in a checkpoint folder, and the folder.

    The plan is removed first and the locks last: without locks, another process may
    start to use the folder. A folder with other files stays.
    """
    (folder / PLAN).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for pattern in ("*.part", f"{LOCK}*"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        folder.rmdir()


def _lock(file: IO[bytes], is_shared: bool) -> bool:
    """Locks a file; returns whether this process has the lock on the existing file."""
    import fcntl  # only where a folder is locked: Windows has none

    try:
        mode = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return _exists(file)


def _exists(file: IO[bytes]) -> bool:
    """Returns whether an open lock file still exists: its last owner removes it."""
    try:
        return os.path.samestat(os.stat(file.name), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
