"""Processes that share the runs of a sweep, on JAX's distributed runtime."""

import atexit
import contextlib
import dataclasses
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fmnist_jax.errors import UserError, reason
from fmnist_jax.runner import output_folder
from fmnist_jax.sweeps import resuming, sweep_progress
from fmnist_jax.sweeps.sweep_progress import Share, SweepProgress

# How long a process waits for the others to appear, and how soon one that died is
# noticed: the rest then end, and what they have finished is kept.
SECONDS_TO_START, SECONDS_TO_NOTICE = 120, 20
# The end of process 0 aborts the rest: how much later it leaves where all of them have
# an error, and where they are interrupted, each at the end of its epoch. (JAX ends it
# itself 13 s after another has left.)
SECONDS_TO_LEAVE, SECONDS_TO_SAVE = 2, 10


@contextlib.contextmanager
def joined(options: Mapping[str, Any], command: str) -> Iterator[Share]:
    """Joins the other processes, and gives this one's share.

    Where process 0 has died, or another is silent for SECONDS_TO_NOTICE, JAX aborts the
    rest below Python. So a shell waits for a word that all is well, or the end of the
    pipe on which it would come, and then says what happened and how to go on.

    Args:
      options: of the command line.
      command: what goes on.

    Raises:
      UserError: where the others cannot be found.
    """
    said = (
        "Error: --distributed: this process was ended, by JAX where another has died, "
        f"or from outside; completed work is saved.\nTo resume: {command}"
    )
    script = 'read -r word || printf "%s\\n" "$1" >&2'
    shell = subprocess.Popen(
        ["sh", "-c", script, "sh", said],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    share = None
    try:
        share = _join(options)
        yield share
    except (UserError, KeyboardInterrupt) as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        pause = SECONDS_TO_SAVE if is_stopped else SECONDS_TO_LEAVE
        is_last = share is not None and share.number == 0
        atexit.register(_leave, shell, 130 if is_stopped else 2, pause * is_last)
        raise
    except BaseException:
        shell.communicate(b"well\n")
        raise
    shell.communicate(b"well\n")


def _join(options: Mapping[str, Any]) -> Share:
    """Joins the other processes; returns this one's share.

    Raises:
      UserError: where they cannot be found.
    """
    import jax

    address = options["coordinator"]
    if address:
        _check_address(address, is_first=int(options["process_id"]) == 0)
    print(f"Waiting for all processes, {SECONDS_TO_START} s at most.", flush=True)
    # In a thread: JAX's own wait ignores Ctrl-C, and aborts where it has been too long.
    answers = queue.SimpleQueue[Exception | None]()
    threading.Thread(target=_initialize, args=(options, answers), daemon=True).start()
    try:
        error = answers.get(timeout=SECONDS_TO_START)
    except queue.Empty:
        raise UserError(
            f"--distributed: not all processes came within {SECONDS_TO_START} s; start "
            "them all within that time, with the same flags but for --process_id and "
            "--coordinator the address of process 0."
        ) from None
    if error is not None:
        raise _explained(error, address) from error
    return Share(jax.process_index(), jax.process_count())


def _explained(error: Exception, address: str | None) -> Exception:
    """Returns what a user is told of an error in joining; a bug's stays what it is."""
    if not isinstance(error, RuntimeError | ValueError):
        return error
    why = reason(error).rstrip(".")
    if address:
        return UserError(
            f"--distributed: {why}; has another process ended, or is {address} no "
            "address of process 0's, or not free?"
        )
    return UserError(
        "--distributed: no cluster (Slurm, Open MPI, GKE) can be joined here; give "
        f"--coordinator=HOST:PORT --num_processes=4 --process_id=2 too ({why})."
    )


def _check_address(address: str, is_first: bool) -> None:
    """Refuses a host that is not known and, on process 0, a port that is not free."""
    host, _, port = address.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--coordinator={address}: {host!r} cannot be found ({reason(error)}); "
            "expected the host of process 0, by its name or number."
        ) from error
    try:
        if is_first:
            socket.create_server(("", int(port))).close()
    except OSError as error:
        raise UserError(
            f"--coordinator={address}: process 0 cannot have port {port} "
            f"({reason(error)}); choose another, for all processes."
        ) from error


def _initialize(
    options: Mapping[str, Any], answers: "queue.SimpleQueue[Exception | None]"
) -> None:
    """Starts JAX's distributed runtime; answers with None, or what went wrong."""
    import jax

    number = options["process_id"]
    try:
        jax.distributed.initialize(
            options["coordinator"],
            options["num_processes"],
            None if number is None else int(number),
            initialization_timeout=2 * SECONDS_TO_START,  # it is given up before
            heartbeat_timeout_seconds=SECONDS_TO_NOTICE,
            shutdown_timeout_seconds=SECONDS_TO_NOTICE,  # they end together, or fail
        )
        jax.devices()  # for which they have to reach each other, too
    except Exception as error:
        answers.put(error)
    else:
        answers.put(None)


def check_same(progress: SweepProgress) -> None:
    """Refuses plans that are not the same on all hosts; all of them call it."""
    own = np.frombuffer(bytes.fromhex(progress.digest), np.uint8)
    if (_from_all(own) != own).any():
        if not any(progress.folder.glob("*.part")):
            output_folder.discard(progress.folder)  # or the next try would take it up
        raise UserError(
            "--distributed: the processes plan other runs; give all of them the same "
            "flags, data, versions and number of devices."
        )


def assemble(progress: SweepProgress) -> None:
    """Keeps the parts of all processes on process 0, too; all of them call it."""
    files = [
        sweep_progress.own_files(
            dataclasses.replace(progress, share=Share(number, progress.share.total))
        )
        for number in range(progress.share.total)
    ]
    own = [path.read_bytes() for path in files[progress.share.number]]
    sizes = np.zeros(max(map(len, files)), np.int32)
    sizes[: len(own)] = [len(content) for content in own]
    all_sizes = _from_all(sizes)
    longest = int(all_sizes.sum(axis=1).max())
    contents = _from_all(np.frombuffer(b"".join(own).ljust(longest, b"\0"), np.uint8))
    if progress.share.number > 0:
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
        raise UserError(
            "--distributed: another process has ended, or cannot be reached "
            f"({reason(error)}); completed work is saved."
        ) from error


def _leave(shell: subprocess.Popen[bytes], status: int, pause: float) -> None:
    """Exits at once: JAX would wait for the others, and abort as they do not come."""
    if pause and status == 130:
        print(f"Leaving in {pause} s, after the others.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(KeyboardInterrupt):  # or at once
        time.sleep(pause)
    shell.communicate(b"well\n")
    os._exit(status)
