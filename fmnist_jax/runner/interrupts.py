"""The command that resumes an interrupted sweep."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fmnist_jax.errors import UserError, reason


@contextlib.contextmanager
def adding_resume_command(command: str, folder: Path) -> Iterator[None]:
    """Adds a note with the resume command to any exception that ends a sweep.

    A user's mistake gets the note only if there are checkpoints. An error of a device
    becomes a UserError. ``folder`` is that of the checkpoints.
    """
    from jax.errors import JaxRuntimeError

    try:
        yield
    except BaseException as error:
        final: BaseException = error
        if isinstance(error, JaxRuntimeError):
            final = UserError(f"the device failed: {reason(error)}.")
        if any(folder.glob("*.part")) or not isinstance(final, UserError):
            final.add_note(f"To resume: {command}")
        if final is error:
            raise
        raise final from error
