"""Output folders: chosen, checked, created, locked and cleaned up."""

import contextlib
import datetime
import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fmnist_jax.analysis.results import FILES_OF_RUNS, RESULTS_FILE, SETTINGS_FILE
from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import explaining_write_errors, remove_temporary
from fmnist_jax.sweeps.plan_file import LOCK, PARTS, PLAN, SINGLE, Shard, is_unfinished

INDEX = "index.html"  # the page of several experiments


def choose_folder(names: Sequence[str], options: Mapping[str, Any]) -> Path:
    """Returns the output folder of one or several experiments, without creating it.

    The default is a folder below ``runs`` whose name is the time in UTC.

    Raises:
      UserError: if the folder of one experiment contains results, or if a folder
        cannot be created or written.
    """
    several = len(names) > 1
    is_default = options["out_dir"] is None
    if is_default:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S")
        root = Path("runs") / now if several else Path("runs") / names[0] / now
    else:
        root = Path(os.path.expanduser(options["out_dir"]))  # never raises
    # ensure_dir changes a default name that is taken; of several experiments, finished
    # ones are skipped.
    if not (options["overwrite"] or is_default or several):
        check_free(root)
    for folder in [*experiment_folders(root, names), root]:
        check_writable(folder)
    return root


def experiment_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Returns a folder below ``root`` for each experiment, or ``root`` for only one."""
    return [root / name for name in names] if len(names) > 1 else [root]


def check_free(folder: Path) -> None:
    """Raises UserError if a folder contains results and no unfinished sweep."""
    paths = [folder / name for name in (RESULTS_FILE, SETTINGS_FILE, INDEX)]
    path = next(filter(os.path.exists, paths), None)
    if path is None or is_unfinished(folder):
        return
    is_netcdf = path.name == RESULTS_FILE
    how = f"them with xarray.open_dataset({str(path)!r})" if is_netcdf else path
    raise UserError(
        f"--out_dir={folder} already contains results: open {how}, name another "
        "folder, or pass --overwrite."
    )


def check_writable(folder: Path, flag: str = "out_dir") -> None:
    """Raises UserError if a flag's folder cannot be created or written."""
    existing = filter(os.path.exists, (folder, *folder.parents))
    parent = next(existing, Path())
    try:
        str(folder).encode()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()  # raises if, for example, the name is too long
        with tempfile.NamedTemporaryFile(dir=parent):
            pass
    except UnicodeEncodeError as error:
        why = "its name is not UTF-8"
        raise UserError(f"--{flag}={folder} cannot be written: {why}.") from error
    except OSError as error:
        why = f"{reason(error)} ({parent})"
        raise UserError(f"--{flag}={folder} cannot be written: {why}.") from error


@contextlib.contextmanager
def ensure_dir(folder: Path, unique: bool = False) -> Iterator[Path]:
    """Creates an output folder, yields its path, and removes it if it stays empty.

    Args:
      folder: its path.
      unique: if the folder exists, create one with a number appended to the name,
        which no other process uses.

    Raises:
      UserError: if the folder cannot be created.
    """
    is_new = unique or not os.path.exists(folder)
    try:
        folder = _unique_dir(folder) if unique else folder
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out_dir={folder} cannot be created: {reason(error)}."
        ) from error
    try:
        yield folder
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty, or was removed
                folder.rmdir()


def _unique_dir(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder.with_name(f"{folder.name}_{number}") if number > 1 else folder
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    return path


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
    modes = {LOCK: fcntl.LOCK_EX}
    if shard.total > 1:
        shard_lock = f"{LOCK}-{shard.number}-of-{shard.total}"
        modes = {LOCK: fcntl.LOCK_SH, shard_lock: fcntl.LOCK_EX}
    with contextlib.ExitStack() as files:
        with explaining_write_errors(out_dir):
            folder.mkdir(parents=True, exist_ok=True)
            locks = [files.enter_context(open(folder / name, "ab")) for name in modes]
        if not all(map(_lock, locks, modes.values())):
            raise UserError(
                f"--out_dir={out_dir} is in use by another process; wait until it "
                "ends, or name another folder."
            )
        was_unfinished = is_unfinished(out_dir)
        with explaining_write_errors(out_dir):
            _remove_temporary_files(out_dir, shard)
        try:
            yield folder
        finally:
            is_needed = was_unfinished or any(folder.glob("*.part"))
            if shard.total == 1 and not is_needed and _exists(locks[0]):
                discard(folder)


def _remove_temporary_files(out_dir: Path, shard: Shard) -> None:
    """Removes temporary files that no running process can be writing."""
    if shard.number == 0:
        for name in (*FILES_OF_RUNS, SETTINGS_FILE, INDEX):
            remove_temporary(out_dir, name)
    if shard.total == 1:
        for name in (PLAN, "*.part"):
            remove_temporary(out_dir / PARTS, name)


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


def _lock(file: IO[bytes], mode: int) -> bool:
    """Locks a file; returns whether this process has the lock on the existing file."""
    try:
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
