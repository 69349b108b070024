"""Files written whole or not at all, and write errors in one line."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from fmnist_jax.errors import UserError, reason


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a new file beside ``path``, and puts it in its place when all went well."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield new
        with open(new, "rb") as written:
            os.fsync(written.fileno())
        os.replace(new, path)
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(folder)
        os.close(folder)
    finally:
        new.unlink(missing_ok=True)


def remove_temporary(folder: Path, name: str) -> None:
    """Removes what ``replaced`` left of a file whose writer was killed.

    Args:
      folder: that nobody else writes to.
      name: of the file; a pattern.
    """
    for path in folder.glob(f".{name}.{'[0-9a-f]' * 8}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def explaining_write_errors(out_dir: Path) -> Iterator[None]:
    """Says of what cannot be written why, in a line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{out_dir} cannot be written: {reason(error)}.") from error
