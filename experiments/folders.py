"""Where results go: folders that are free, writable, and made only where needed."""

import contextlib
import datetime
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.shares import ALONE, Share
from fmnist_jax.idx import reason
from fmnist_jax.kinds import UserError
from fmnist_jax.results import RESULTS, SETTINGS

INDEX = "index.html"  # of the folder that holds several experiments
PARTS, PLAN, LOCK = (
    "parts",
    "plan.json",
    "lock",
)  # in it: what a sweep is that is not finished


def choose(names: Sequence[str], options: Mapping[str, Any]) -> list[Path]:
    """Returns a folder for each experiment's results, which need not exist.

    That is ``--out_dir``, or a new folder below ``runs``; where there are several
    experiments, a folder in it for each.

    Raises:
      UserError: where results stand in one, or where it cannot be made or written.
    """
    several = len(names) > 1
    if options["out_dir"] is not None:
        root = Path(os.path.expanduser(options["out_dir"]))  # never raises
    else:
        root = _new(Path("runs") if several else Path("runs") / names[0])
    chosen = [root / name for name in names] if several else [root]
    goes_on = several and (root / PARTS / PLAN).exists()  # some of them are done
    for folder in [*chosen, root]:
        if not options["overwrite"] and not goes_on:
            check_free(folder)
        check_writable(folder)
    return chosen


def _new(parent: Path) -> Path:
    """Returns a folder that does not exist, named by the time in UTC."""
    now = datetime.datetime.now(datetime.UTC)
    folder = parent / now.strftime("%Y-%m-%dT%H-%M-%S")
    count = 2
    while folder.exists():
        folder = folder.with_name(f"{folder.name.split('_')[0]}_{count}")
        count += 1
    return folder


def check_free(folder: Path) -> None:
    """Refuses a folder with results in it, unless they are about to be written."""
    if (folder / PARTS / PLAN).exists():
        return
    found = [folder / name for name in (RESULTS, SETTINGS, INDEX)]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        return
    is_netcdf = path.name == RESULTS
    how = f"them with xarray.open_dataset({str(path)!r})" if is_netcdf else path
    raise UserError(
        f"--out_dir={folder} holds results already: open {how}, name another folder, "
        "or say --overwrite."
    )


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written, without making it."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UserError(f"--out_dir={folder} cannot be used: {above} is no folder.")
    try:
        with tempfile.NamedTemporaryFile(dir=above):
            pass
    except OSError as error:
        raise UserError(
            f"--out_dir={folder} cannot be written: {error.strerror} ({above})."
        ) from error


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Makes the folder for the results; takes it away again where none came."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out_dir={folder} cannot be made: {error}.") from error
    try:
        yield
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


@contextlib.contextmanager
def writing(out_dir: Path) -> Iterator[None]:
    """Says of what cannot be written why, in a line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{out_dir} cannot be written: {reason(error)}.") from error


@contextlib.contextmanager
def held(out_dir: Path, share: Share = ALONE) -> Iterator[Path]:
    """Gives the folder for parts, which no other process uses meanwhile.

    Without parts it goes away again, unless a plan was there before. Shares of one
    sweep may be in it at once. The locks are the system's: none outlives its process.

    Raises:
      UserError: where another process uses it, or where it cannot be made.
    """
    folder = out_dir / PARTS
    was_there = (folder / PLAN).exists()
    wanted = {LOCK: fcntl.LOCK_EX}
    if share.total > 1:
        own = f"{LOCK}-{share.number}-of-{share.total}"
        wanted = {LOCK: fcntl.LOCK_SH, own: fcntl.LOCK_EX}
    with contextlib.ExitStack() as files:
        with writing(out_dir):
            folder.mkdir(parents=True, exist_ok=True)
            locks = [files.enter_context(open(folder / name, "ab")) for name in wanted]
        for lock, kind in zip(locks, wanted.values(), strict=True):
            if not (_locked(lock.fileno(), kind) and _is_there(Path(lock.name), lock)):
                raise UserError(
                    f"--out_dir={out_dir} is in use: another process writes there; "
                    "wait until it ends, or name another folder."
                )
        try:
            yield folder
        finally:
            is_left = was_there or any(folder.glob("*.part"))
            if share.total == 1 and not is_left:
                shutil.rmtree(folder, ignore_errors=True)


def _locked(file: int, kind: int) -> bool:
    """Locks a file for this process; returns whether no other has it locked."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_there(path: Path, file: Any) -> bool:
    """Whether an open file has its name still: who held it may have taken it away."""
    return path.exists() and os.path.samestat(os.stat(path), os.fstat(file.fileno()))
