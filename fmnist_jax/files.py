"""Atomic writes of files, and write errors as one-line messages."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from fmnist_jax.errors import UserError, reason


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, renamed to it if no error is raised."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # unsupported by some file systems
            os.fsync(folder)
        os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path, name: str) -> None:
    """Removes the temporary files of ``atomic_write`` that killed processes left.

    Args:
      folder: a folder that no other process writes to.
      name: the name of the file; a glob pattern.
    """
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}"):
        path.unlink(missing_ok=True)


def local_folder(folder: object) -> Path:
    """Returns the path of a folder, with ``~`` replaced by the home directory.

    Raises:
      UserError: for what cannot be a path.
    """
    if not isinstance(folder, str | Path) or not str(folder) or "\0" in str(folder):
        raise UserError(f"folder is {folder!r:.80}; expected the path of a folder.")
    return Path(os.path.expanduser(folder))


@contextlib.contextmanager
def explaining_write_errors(path: Path) -> Iterator[None]:
    """Raises UserError with the cause if ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}.") from error
