"""Atomic writes of files, and write errors as one-line messages."""

import contextlib
import os
import re
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
        with open(temporary, "rb+") as file:  # Windows syncs no file that is read-only
            os.fsync(file.fileno())
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # Windows and some file systems cannot
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary(folder: Path, name: str) -> None:
    """Removes the temporary files of ``atomic_write`` that killed processes left.

    No other process writes to the folder. The name of the file may be a glob pattern.
    """
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}"):
        path.unlink(missing_ok=True)


def local_folder(folder: object, name: str = "folder") -> Path:
    """Returns the path of a folder, with ``~`` replaced by the home directory.

    What cannot be a path of this machine is refused: a URL, and ``~`` without a home
    directory. The error names the argument or flag by ``name``.
    """
    text = str(folder) if isinstance(folder, str | Path) else ""
    if not text or "\0" in text:
        raise UserError(f"{name} is {folder!r:.80}; expected the path of a folder.")
    if is_url(text):
        raise UserError(
            f"{name} is {text!r:.80}, a URL; expected the path of a folder of this "
            "machine."
        )
    path = with_home(text)
    if path is None:
        raise UserError(
            f"{name} is {text!r:.80}, but {Path(text).parts[0]} is no home directory "
            "here; pass a full path."
        )
    return path


def is_url(text: str) -> bool:
    """Whether a text is a URL such as ``gs://bucket``, also after ``Path(text)``."""
    return re.match(r"[A-Za-z][\w+.-]+:/", text) is not None


def with_home(text: str) -> Path | None:
    """Returns a path with ``~`` replaced; None if there is no such home directory."""
    path = Path(text)
    if not text.startswith("~"):
        return path
    name, *rest = path.parts
    home = os.path.expanduser(name)
    # An empty HOME would be expanded to the root folder.
    is_empty = name == "~" and os.environ.get("HOME") == ""
    if is_empty or not os.path.isabs(home) or not os.path.isdir(home):
        return None
    return Path(home, *rest)


def cache_folder() -> Path | None:
    """Returns the folder of caches, ``$XDG_CACHE_HOME`` or ``~/.cache``.

    As its specification demands, a value that is no absolute path counts as missing.
    None: there is no home directory.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache) if os.path.isabs(cache) else with_home("~/.cache")


@contextlib.contextmanager
def explaining_write_errors(path: Path) -> Iterator[None]:
    """Raises UserError with the cause if ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}.") from error
