"""Processes that share the runs of a sweep, on JAX's distributed runtime."""

import atexit
import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments import resuming, underway, unfinished
from experiments.shares import Share
from experiments.underway import Begun
from fmnist_jax.idx import reason
from fmnist_jax.kinds import UserError

# How long a process waits for the others to appear, and how soon one that died is
# noticed: the rest then end, and what they have finished is kept.
SECONDS_TO_START, SECONDS_TO_NOTICE = 120, 20


class _GoneError(UserError):
    """Another process has ended."""


def join(options: Mapping[str, Any]) -> Share:
    """Joins the other processes; returns this one's share.

    Raises:
      UserError: where they cannot be found.
    """
    import jax

    number = options["process_id"]
    try:
        jax.distributed.initialize(
            options["coordinator"],
            options["num_processes"],
            None if number is None else int(number),
            initialization_timeout=SECONDS_TO_START,
            heartbeat_timeout_seconds=SECONDS_TO_NOTICE,
            shutdown_timeout_seconds=SECONDS_TO_NOTICE,  # they end together, or fail
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--distributed: {reason(error)}.") from error
    return Share(jax.process_index(), jax.process_count())


@contextlib.contextmanager
def watched(command: str) -> Iterator[None]:
    """Has it said in a line, and how to go on, where this process is ended.

    Where process 0 has died, or another is silent for SECONDS_TO_NOTICE, JAX aborts
    the rest below Python. So a shell waits for a word that all is well, or the end of
    the pipe on which it would come.

    Args:
      command: what goes on.
    """
    said = (
        "Error: --distributed: this process was ended, by JAX where another has died, "
        f"or from outside; what is finished is kept.\nTo go on: {command}"
    )
    script = 'read -r word || printf "%s\\n" "$1" >&2'
    shell = subprocess.Popen(
        ["sh", "-c", script, "sh", said],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        yield
    except _GoneError:  # JAX may still abort this process before that is said
        atexit.register(_leave, shell)
        raise
    except BaseException:
        shell.communicate(b"well\n")
        raise
    shell.communicate(b"well\n")


def check_same(begun: Begun) -> None:
    """Refuses plans that are not the same on all hosts; all of them call it."""
    own = np.frombuffer(bytes.fromhex(begun.digest), np.uint8)
    if (_from_all(own) != own).any():
        if not any(begun.folder.glob("*.part")):
            unfinished.discard(begun.folder)  # or the next try would take it up
        raise UserError(
            "--distributed: the processes plan other runs; give all of them the same "
            "flags, data, versions and number of devices."
        )


def assemble(begun: Begun) -> None:
    """Keeps the parts of all processes on process 0, too; all of them call it."""
    files = [
        underway.own_files(
            dataclasses.replace(begun, share=Share(number, begun.share.total))
        )
        for number in range(begun.share.total)
    ]
    own = [path.read_bytes() for path in files[begun.share.number]]
    sizes = np.zeros(max(map(len, files)), np.int32)
    sizes[: len(own)] = [len(content) for content in own]
    all_sizes = _from_all(sizes)
    longest = int(all_sizes.sum(axis=1).max())
    contents = _from_all(np.frombuffer(b"".join(own).ljust(longest, b"\0"), np.uint8))
    if begun.share.number > 0:
        return
    for paths, content, ends in zip(
        files, contents, all_sizes.cumsum(axis=1), strict=True
    ):
        pieces = np.split(content, ends)
        for path, piece in zip(paths, pieces, strict=False):
            resuming.store(path, piece.tobytes())


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    _from_all(np.zeros(1, np.int32))


def _from_all(array: np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, ``[processes, …]``; all of them call it.

    Raises:
      UserError: where one of them has ended.
    """
    from jax.errors import JaxRuntimeError
    from jax.experimental import multihost_utils

    try:
        return np.asarray(multihost_utils.process_allgather(array))
    except JaxRuntimeError as error:
        raise _GoneError(
            "--distributed: another process has ended, or cannot be reached "
            f"({reason(error)}); what is finished is kept."
        ) from error


def _leave(shell: subprocess.Popen[bytes]) -> None:
    """Exits at once: JAX would wait for the others, and abort as they do not come."""
    sys.stdout.flush()
    sys.stderr.flush()
    shell.communicate(b"well\n")
    os._exit(2)
