"""Interrupting a sweep, and the command that resumes it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fmnist_jax.errors import UserError, reason


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether SIGINT (Ctrl-C) or SIGTERM has arrived.

    The first signal sets a flag: a ``KeyboardInterrupt`` that is raised in a callback
    of the garbage collector would be lost. A second signal has its usual effect.
    """
    stopped = threading.Event()
    handlers: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def stop(*_: Any) -> None:
        restore()
        stopped.set()
        # Not print(): the signal may have interrupted a write to the same stream. The
        # pipe is closed if the same Ctrl-C has ended its reader, such as `tee`.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this epoch; Ctrl-C again stops at once.\n")

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                handlers[number] = signal.signal(number, stop)
    try:
        yield stopped.is_set
    finally:
        restore()


@contextlib.contextmanager
def adding_resume_command(command: str, folder: Path) -> Iterator[None]:
    """Adds a note with the resume command to any exception that ends a sweep.

    A user's mistake gets the note only if there are checkpoints. An error of a device
    becomes a UserError.

    Args:
      command: the command that resumes the sweep.
      folder: of the checkpoints.
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
