"""The lock of a folder in which a sweep saves its checkpoints. Imports no jax."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors, remove_temporary
from fmnist_jax.sweeps.plan_file import LOCK, PARTS, PLAN, SINGLE, Shard, is_unfinished

SECONDS_TO_START = 2.0  # more than the shards of a sweep need to lock one by one


@contextlib.contextmanager
def locked(out_dir: Path, shard: Shard = SINGLE) -> Iterator[Path]:
    """Locks the checkpoint folder of an output folder, and yields its path.

    Different shards of one sweep may lock the folder at the same time. The operating
    system releases the locks of a process that is killed; the next process removes
    its temporary files. At the end the checkpoint folder is removed, unless it
    contained a plan at the start or contains checkpoints.
    """
    folder, is_single = out_dir / PARTS, shard.total == 1
    with contextlib.ExitStack() as locks:
        try:
            with explaining_write_errors(out_dir):
                folder.mkdir(parents=True, exist_ok=True)
                _lock_shard(folder, shard, locks)
                stat = os.stat(folder / LOCK)
        except UserError as error:
            if not isinstance(error.__cause__, Timeout):
                raise
            raise UserError(
                f"{out_dir} is in use by another process; wait until it ends, or name "
                "another folder."
            ) from error
        was_unfinished = is_unfinished(out_dir)
        with explaining_write_errors(out_dir):
            for name in (PLAN, "*.part") if is_single else ():
                remove_temporary(folder, name)
        try:
            yield folder
        finally:
            is_needed = was_unfinished or any(folder.glob("*.part"))
            if is_single and not is_needed and _is_same(stat, folder / LOCK):
                discard(folder)
    if sys.platform == "win32":  # locked files can be removed only now
        with contextlib.suppress(OSError):
            folder.rmdir()


def discard(folder: Path) -> None:
    """Removes the plan, checkpoints and locks in a checkpoint folder, and the folder.

    The plan is removed first and the locks last: without locks, another process may
    start to use the folder. A folder with other files stays.
    """
    (folder / PLAN).unlink(missing_ok=True)
    for pattern in ("*.part", f"{LOCK}*"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _lock_shard(folder: Path, shard: Shard, locks: contextlib.ExitStack) -> None:
    """Locks the folder for a shard, until ``locks`` is closed.

    A process without shards keeps the lock of the folder, and no shard may have its
    own lock. A shard keeps only its own lock: the lock of the folder, which it needs to
    start, may be locked by other shards that start. Raises Timeout if another process
    has locked or removed a lock file.
    """
    is_single = shard.total == 1
    start = _lock(folder / LOCK, locks, 0 if is_single else SECONDS_TO_START)
    if is_single:
        for path in folder.glob(f"{LOCK}-*"):
            _lock(path, locks).release()
    else:
        _lock(folder / f"{LOCK}-{shard.number}-of-{shard.total}", locks)
        start.release()


def _lock(path: Path, locks: contextlib.ExitStack, seconds: float = 0) -> FileLock:
    with open(path, "ab"):  # an error here is not one of locking
        lock = FileLock(path, fallback_to_soft=False)
    locks.callback(lock.release)
    try:
        lock.acquire(seconds, poll_interval=0.01)
    except Timeout:
        raise
    except OSError:  # a file system without locks
        pass
    if not path.exists():  # its last owner has removed it
        raise Timeout(str(path))
    return lock


def _is_same(stat: os.stat_result, path: Path) -> bool:
    """Returns whether a lock file still exists: its last owner removes it."""
    try:
        return os.path.samestat(stat, os.stat(path))
    except FileNotFoundError:
        return False
