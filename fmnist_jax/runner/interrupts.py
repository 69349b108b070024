"""How a sweep that is under way is stopped, and what it says then."""

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
    """Gives whether Ctrl-C was pressed, or the process told to end (SIGTERM).

    The first asks to stop soon, and is not lost, as a ``KeyboardInterrupt`` is that is
    raised in a callback of the garbage collector; a second does what it always does.
    """
    asked = threading.Event()
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_: Any) -> None:
        restore()
        asked.set()
        # What print() writes to may be in use where the signal comes. Who reads it, as
        # `tee` does, may have ended of the same Ctrl-C.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping after this epoch; Ctrl-C again stops at once.\n")

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield asked.is_set
    finally:
        restore()


@contextlib.contextmanager
def adding_resume_command(command: str, folder: Path) -> Iterator[None]:
    """Has whatever ends the training say how to go on, and devices fail in a line.

    Args:
      command: what goes on.
      folder: of the parts.
    """
    from jax.errors import JaxRuntimeError

    try:
        yield
    except BaseException as error:
        ends: BaseException = error
        if isinstance(error, JaxRuntimeError):
            ends = UserError(f"the device failed: {reason(error)}.")
        if any(folder.glob("*.part")) or not isinstance(ends, UserError):
            ends.add_note(f"To resume: {command}")
        if ends is error:
            raise
        raise ends from error
