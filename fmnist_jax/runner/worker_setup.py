"""What a worker process that ``--workers`` starts does first; Dask imports it."""

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignores Ctrl-C, which the terminal sends to all processes of the command.

    The command stops the workers after their epochs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
