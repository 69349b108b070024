"""Processes that share the runs of a sweep, on JAX's distributed runtime."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import resuming, unfinished
from experiments.resuming import Begun
from experiments.shares import Share
from fmnist_jax.idx import reason
from fmnist_jax.kinds import UserError

# How long a process waits for the others to appear, and how soon one that died is
# noticed: the rest then end, and what they have finished is kept.
SECONDS_TO_START, SECONDS_TO_NOTICE = 120, 20


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
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--distributed: {reason(error)}.") from error
    return Share(jax.process_index(), jax.process_count())


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
        resuming.own_files(
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
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("finished")


def _from_all(array: np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, ``[processes, …]``; all of them call it."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array))
