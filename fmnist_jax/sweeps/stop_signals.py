"""Signals that stop a sweep after an epoch, so that it can be resumed."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

# A terminal that is closed, and the warnings of schedulers before a job's time ends
# (Slurm: --signal). Windows has none of these but SIGTERM.
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


def never_stopped() -> bool:
    """Returns False, as the function of ``stop_signals`` without a signal."""
    return False


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C or a stop signal has arrived.

    The first signal sets a flag: a ``KeyboardInterrupt`` that is raised in a callback
    of the garbage collector would be lost. A second signal has its usual effect. What
    a program does on SIGHUP, SIGUSR1 or SIGUSR2 stays, if it does anything.
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
        usual = signal.SIG_DFL, signal.default_int_handler
        for number in (signal.SIGINT, *STOP_SIGNALS):
            handler = signal.getsignal(number)
            is_ours = number in (signal.SIGINT, signal.SIGTERM) or handler in usual
            if is_ours and handler != signal.SIG_IGN:
                handlers[number] = signal.signal(number, stop)
    try:
        yield stopped.is_set
    finally:
        restore()
