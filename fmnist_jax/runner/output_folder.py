"""Output folders: chosen, checked, created, locked and cleaned up."""

import contextlib
import datetime
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.analysis.results import FILES_OF_RUNS, RESULTS_FILE, SETTINGS_FILE
from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import explaining_write_errors, local_folder, remove_temporary
from fmnist_jax.sweeps import folder_lock
from fmnist_jax.sweeps.plan_file import SINGLE, Shard, is_unfinished

INDEX = "index.html"  # the page of several experiments
REPORT = "report.html"  # the page of one experiment
STATES = "states/states.json"  # of an experiment that compares no data sets


def choose_folder(names: Sequence[str], options: Mapping[str, Any]) -> Path:
    """Returns the output folder of one or several experiments, without creating it.

    The default is a folder below ``runs`` whose name is the time in UTC. The folder of
    one experiment must not contain results.
    """
    several = len(names) > 1
    is_default = options["out_dir"] is None
    if is_default:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S")
        root = Path("runs") / now if several else Path("runs") / names[0] / now
    else:
        root = local_folder(options["out_dir"], "--out_dir")
    # ensure_dir changes a default name that is taken; of several experiments, finished
    # ones are skipped.
    if not (options["overwrite"] or options["extend"] or is_default or several):
        check_free(root)
    for folder in [*experiment_folders(root, names), root]:
        check_writable(folder)
    return root


def experiment_folders(root: Path, names: Sequence[str]) -> list[Path]:
    """Returns a folder below ``root`` for each experiment, or ``root`` for only one."""
    return [root / name for name in names] if len(names) > 1 else [root]


def check_free(folder: Path) -> None:
    """Raises UserError if a folder contains results and no unfinished sweep."""
    paths = [folder / name for name in (RESULTS_FILE, SETTINGS_FILE, INDEX, STATES)]
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

    With ``unique``, an existing folder is left alone: another one is created, with a
    number appended to the name, which no other process uses.
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
    """Locks the checkpoint folder of an output folder, as ``folder_lock.locked``.

    It also removes the temporary files of results that a killed process left.
    """
    with folder_lock.locked(out_dir, shard) as folder:
        with explaining_write_errors(out_dir):
            for name in (*FILES_OF_RUNS, SETTINGS_FILE, INDEX, REPORT):
                if shard.number == 0:
                    remove_temporary(out_dir, name)
        yield folder
