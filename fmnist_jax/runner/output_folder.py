"""Where results go: folders that are free, writable, and made only where needed."""

import contextlib
import datetime
import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.analysis.results import RESULTS_FILE, SETTINGS_FILE, SUMMARY_FILE
from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import explaining_write_errors, remove_temporary
from fmnist_jax.sweeps.plan_file import LOCK, PARTS, PLAN
from fmnist_jax.sweeps.sweep_progress import ALONE, Share

INDEX = "index.html"  # of the folder that holds several experiments


def choose(names: Sequence[str], options: Mapping[str, Any]) -> Path:
    """Returns the folder for the results of experiments, which need not exist.

    That is ``--out_dir``, or one below ``runs`` that is named by the time in UTC; where
    there are several experiments, it is for the folders of each.

    Raises:
      UserError: where results stand in it, or where it cannot be made or written.
    """
    several = len(names) > 1
    if options["out_dir"] is not None:
        root = Path(os.path.expanduser(options["out_dir"]))  # never raises
    else:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S")
        root = Path("runs") / now if several else Path("runs") / names[0] / now
    is_new = options["out_dir"] is None  # whatever stands there, see made()
    goes_on = several and is_under_way(root)  # some of them may be done
    for folder in [*each(root, names), root]:
        if not (options["overwrite"] or goes_on or is_new):
            check_free(folder)
        check_writable(folder)
    return root


def each(root: Path, names: Sequence[str]) -> list[Path]:
    """Returns the folder of each experiment: of several one below ``root``."""
    return [root / name for name in names] if len(names) > 1 else [root]


def is_under_way(folder: Path) -> bool:
    """Whether a folder holds a plan, and so what is not finished."""
    return os.path.exists(folder / PARTS / PLAN)  # of which pathlib's raises


def check_free(folder: Path) -> None:
    """Refuses a folder with results in it, unless they are about to be written."""
    if is_under_way(folder):
        return
    found = [folder / name for name in (RESULTS_FILE, SETTINGS_FILE, INDEX)]
    path = next((path for path in found if os.path.exists(path)), None)
    if path is None:
        return
    is_netcdf = path.name == RESULTS_FILE
    how = f"them with xarray.open_dataset({str(path)!r})" if is_netcdf else path
    raise UserError(
        f"--out_dir={folder} holds results already: open {how}, name another folder, "
        "or pass --overwrite."
    )


def check_writable(folder: Path, flag: str = "out_dir") -> None:
    """Refuses a flag's folder that cannot be made or written, without making it."""
    try:
        str(folder).encode()
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeEncodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "its name is not UTF-8"
        raise UserError(f"--{flag}={folder} cannot be used: {why}.") from error
    above = folder
    while not os.path.exists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UserError(f"--{flag}={folder} cannot be used: {above} is no folder.")
    try:
        with tempfile.NamedTemporaryFile(dir=above):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={folder} cannot be written: {error.strerror} ({above})."
        ) from error


@contextlib.contextmanager
def made(folder: Path, anew: bool = False) -> Iterator[Path]:
    """Makes the folder for the results; takes it away again where none came.

    Args:
      folder: which.
      anew: whether it is to be this process's alone: where there is one already, even
        one that has just been made, the name is counted on.
    """
    new = anew or not os.path.exists(folder)
    try:
        folder = _made_anew(folder) if anew else folder
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out_dir={folder} cannot be made: {reason(error)}."
        ) from error
    try:
        yield folder
    finally:
        if new:
            with contextlib.suppress(OSError):  # it is not empty, or gone
                folder.rmdir()


def _made_anew(folder: Path) -> Path:
    """Makes a folder that nobody else has made, of this name or one counted on."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = folder.with_name(f"{folder.name}_{number}") if number > 1 else folder
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    return path


@contextlib.contextmanager
def locked(
    out_dir: Path, share: Share = ALONE, worth: str = "*.part"
) -> Iterator[Path]:
    """Gives the folder for parts, which no other process uses meanwhile.

    It goes away again, unless there is something worth keeping, or was a plan before.
    Shares of one sweep may be in it at once. The locks are the system's: none outlives
    its process. What a process left that was killed while it wrote a file is removed.

    Args:
      out_dir: of the results.
      share: which groups are this process's.
      worth: pattern of the files that are worth keeping.

    Raises:
      UserError: where another process uses it, or where it cannot be made.
    """
    folder = out_dir / PARTS
    wanted = {LOCK: fcntl.LOCK_EX}
    if share.total > 1:
        own = f"{LOCK}-{share.number}-of-{share.total}"
        wanted = {LOCK: fcntl.LOCK_SH, own: fcntl.LOCK_EX}
    with contextlib.ExitStack() as files:
        with explaining_write_errors(out_dir):
            folder.mkdir(parents=True, exist_ok=True)
            locks = [files.enter_context(open(folder / name, "ab")) for name in wanted]
        for lock, kind in zip(locks, wanted.values(), strict=True):
            if not (_locked(lock.fileno(), kind) and _is_there(lock)):
                raise UserError(
                    f"--out_dir={out_dir} is in use: another process writes there; "
                    "wait until it ends, or name another folder."
                )
        was_there = is_under_way(out_dir)
        with explaining_write_errors(out_dir):
            _drop_unfinished(out_dir, share)
        try:
            yield folder
        finally:
            is_left = was_there or any(folder.glob(worth))
            if share.total == 1 and not is_left and _is_there(locks[0]):
                discard(folder)


def _drop_unfinished(out_dir: Path, share: Share) -> None:
    """Removes what is left of files that nobody else writes now."""
    for name in (
        (RESULTS_FILE, SUMMARY_FILE, SETTINGS_FILE, INDEX) if share.number == 0 else ()
    ):
        remove_temporary(out_dir, name)
    for name in (PLAN, "*.part") if share.total == 1 else ():
        remove_temporary(out_dir / PARTS, name)


def discard(folder: Path) -> None:
    """Takes a folder for parts away, unless there is something else in it.

    The plan goes first and the locks last: without them it may be another process's.
    """
    (folder / PLAN).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for pattern in ("*.part", f"{LOCK}*"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
        folder.rmdir()


def _locked(file: int, kind: int) -> bool:
    """Locks a file for this process; returns whether no other has it locked."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_there(file: Any) -> bool:
    """Whether an open file has its name still: who held it may have taken it away."""
    try:
        return os.path.samestat(os.stat(file.name), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
