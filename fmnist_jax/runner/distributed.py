"""Processes that divide the runs of a sweep through JAX's distributed runtime."""

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
from typing import TYPE_CHECKING, Any

import numpy as np

from fmnist_jax.errors import UserError, reason
from fmnist_jax.sweeps import checkpoints, folder_lock
from fmnist_jax.sweeps.plan_file import Shard

if TYPE_CHECKING:
    from fmnist_jax.sweeps.progress import SweepProgress

# How long a process waits for the others to start, and how long until the death of a
# process is noticed. The others then exit; their completed work is saved.
SECONDS_TO_START, SECONDS_TO_NOTICE = 120, 20
# The exit of process 0 aborts the others. Its delay if all processes have an error, and
# if they are interrupted, each at the end of its epoch. (JAX aborts process 0 itself
# 13 s after another process has exited.)
SECONDS_TO_LEAVE, SECONDS_TO_SAVE = 2, 10


@contextlib.contextmanager
def connected(options: Mapping[str, Any], command: str) -> Iterator[Shard]:
    """Connects to the other processes, and yields the shard of this one.

    If process 0 dies, or another is silent for ``SECONDS_TO_NOTICE``, JAX aborts the
    others without a Python exception. A watchdog shell prints a message with the
    resume command if its pipe closes before it receives a word.

    Args:
      options: parsed flags.
      command: the command that resumes the sweep.

    Raises:
      UserError: if the other processes cannot be reached.
    """
    message = (
        "Error: --distributed: this process was killed, either externally or by JAX "
        f"because another process died; completed work is saved.\nTo resume: {command}"
    )
    script = 'read -r word || printf "%s\\n" "$1" >&2'
    watchdog = subprocess.Popen(
        ["sh", "-c", script, "sh", message],
        stdin=subprocess.PIPE,
        start_new_session=True,  # not to receive Ctrl-C
    )
    shard = None
    try:
        shard = _connect(options)
        yield shard
    except (UserError, KeyboardInterrupt) as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        delay = SECONDS_TO_SAVE if is_stopped else SECONDS_TO_LEAVE
        is_last = shard is not None and shard.number == 0
        atexit.register(_exit, watchdog, 130 if is_stopped else 2, delay * is_last)
        raise
    except BaseException:
        watchdog.communicate(b"well\n")
        raise
    watchdog.communicate(b"well\n")


def _connect(options: Mapping[str, Any]) -> Shard:
    """Connects to the other processes; returns the shard of this one.

    Raises:
      UserError: if the other processes cannot be reached.
    """
    import jax

    address = options["coordinator"]
    if address:
        _check_address(address, is_first=int(options["process_id"]) == 0)
    print(f"Waiting for all processes, {SECONDS_TO_START} s at most.", flush=True)
    # In a thread: JAX's wait ignores Ctrl-C, and aborts the process when it times out.
    answers = queue.SimpleQueue[Exception | None]()
    threading.Thread(target=_initialize, args=(options, answers), daemon=True).start()
    try:
        error = answers.get(timeout=SECONDS_TO_START)
    except queue.Empty:
        raise UserError(
            f"--distributed: not all processes started within {SECONDS_TO_START} s; "
            "start all within that time, with the same flags except --process_id, and "
            "with the address of process 0 as --coordinator."
        ) from None
    if error is not None:
        raise _explained(error, address) from error
    return Shard(jax.process_index(), jax.process_count())


def _explained(error: Exception, address: str | None) -> Exception:
    """Returns a UserError for a failure to connect; other errors are bugs."""
    if not isinstance(error, RuntimeError | ValueError):
        return error
    why = reason(error).rstrip(".")
    if address:
        return UserError(
            f"--distributed: {why}. Has another process ended? Is {address} a free "
            "address of process 0?"
        )
    return UserError(
        f"--distributed: JAX detects no cluster (Slurm, Open MPI, GKE) here ({why}); "
        "add --coordinator=HOST:PORT --num_processes=4 --process_id=2."
    )


def _check_address(address: str, is_first: bool) -> None:
    """Raises UserError for an unknown host or, on process 0, a port in use."""
    host, _, port = address.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--coordinator={address}: {host!r} cannot be resolved ({reason(error)}); "
            "expected the name or IP address of the host of process 0."
        ) from error
    try:
        if is_first:
            socket.create_server(("", int(port))).close()
    except OSError as error:
        raise UserError(
            f"--coordinator={address}: process 0 cannot use port {port} "
            f"({reason(error)}); choose another port for all processes."
        ) from error


def _initialize(
    options: Mapping[str, Any], answers: "queue.SimpleQueue[Exception | None]"
) -> None:
    """Starts JAX's distributed runtime; puts None or the error into the queue."""
    import jax

    number = options["process_id"]
    try:
        jax.distributed.initialize(
            options["coordinator"],
            options["num_processes"],
            None if number is None else int(number),
            initialization_timeout=2 * SECONDS_TO_START,  # _connect gives up earlier
            heartbeat_timeout_seconds=SECONDS_TO_NOTICE,
            shutdown_timeout_seconds=SECONDS_TO_NOTICE,
        )
        jax.devices()  # this needs a connection to the other processes, too
    except Exception as error:
        answers.put(error)
    else:
        answers.put(None)


def check_same(progress: "SweepProgress") -> None:
    """Raises UserError if the processes have different plans. All processes call it."""
    digest = np.frombuffer(bytes.fromhex(progress.digest), np.uint8)
    if (_all_gather(digest) != digest).any():
        if not any(progress.folder.glob("*.part")):
            folder_lock.discard(progress.folder)  # or the next start would resume it
        raise UserError(
            "--distributed: the processes have different plans; give all of them the "
            "same flags, data, versions and number of devices."
        )


def assemble(progress: "SweepProgress") -> None:
    """Copies the checkpoints of all processes to process 0. All processes call it."""
    from fmnist_jax.sweeps.progress import checkpoint_path, shard_groups

    total = progress.shard.total
    shards = [
        dataclasses.replace(progress, shard=Shard(number, total))
        for number in range(total)
    ]
    files = [
        [checkpoint_path(shard, *pair) for pair in shard_groups(shard)]
        for shard in shards
    ]
    contents = [path.read_bytes() for path in files[progress.shard.number]]
    sizes = np.zeros(max(map(len, files)), np.int32)
    sizes[: len(contents)] = [len(content) for content in contents]
    all_sizes = _all_gather(sizes)
    longest = int(all_sizes.sum(axis=1).max())
    padded = b"".join(contents).ljust(longest, b"\0")
    all_contents = _all_gather(np.frombuffer(padded, np.uint8))
    if progress.shard.number > 0:
        return
    ends = all_sizes.cumsum(axis=1)
    for paths, content, split in zip(files, all_contents, ends, strict=True):
        for path, piece in zip(paths, np.split(content, split), strict=False):
            checkpoints.store(path, piece.tobytes())


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    _all_gather(np.zeros(1, np.int32))


def _all_gather(array: np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, ``[processes, …]``. All processes call it.

    Raises:
      UserError: if another process has ended.
    """
    from jax.errors import JaxRuntimeError
    from jax.experimental import multihost_utils

    try:
        return np.asarray(multihost_utils.process_allgather(array))
    except JaxRuntimeError as error:
        raise UserError(
            "--distributed: another process has ended or cannot be reached "
            f"({reason(error)}); completed work is saved."
        ) from error


def _exit(watchdog: subprocess.Popen[bytes], status: int, delay: float) -> None:
    """Exits without JAX's shutdown, which would wait for the others, and abort."""
    if delay and status == 130:
        print(f"Exiting in {delay} s, after the others.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the delay
        time.sleep(delay)
    watchdog.communicate(b"well\n")
    os._exit(status)
