"""Checksummed plan and checkpoint files, verified before use.

A plan file is JSON. A checkpoint file is a line of JSON, the bytes of the arrays that
the line lists, and the sha256 of everything before it. Until the sha256 is verified, no
more than the JSON is read into memory.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import atomic_write, explaining_write_errors

MAX_JSON_BYTES = 2**30
_CHUNK, _DIGEST_BYTES = 2**20, hashlib.sha256().digest_size
_MALFORMED = (ValueError, LookupError, TypeError, RecursionError, StopIteration)


class Part(NamedTuple):
    """Results of some runs after an epoch, or before or after training.

    Attributes:
      group: position of their group in the plan.
      runs: their positions in the flattened grid; fewer than the group's if the group
        exceeded the memory of a device and was halved.
      epoch: from 1; None for the outputs of probes at "init" or "end".
      values: name to array ``[runs, …]``.
    """

    group: int
    runs: tuple[int, ...]
    epoch: int | None
    values: dict[str, np.ndarray]


class Checkpoint(NamedTuple):
    """The results of a group of runs so far, and what resumes it."""

    parts: Sequence[Part]  # in order; the group resumes after the epoch of the last
    # Position in the group of each slot's run, ``[slots]``; None if it is finished.
    positions: np.ndarray | None = None
    leaves: Sequence[np.ndarray] = ()  # of the state, ``[slots, …]`` each

    @property
    def is_finished(self) -> bool:
        """Whether the group has no epochs left to train."""
        return self.positions is None


def digest(content: Any) -> str:
    """Returns the sha256 of content that JSON can represent."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes content that JSON can represent, with its sha256."""
    sealed = {"sha256": digest(content), "plan": content}
    with atomic_write(path) as new:
        new.write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for reading; turns read errors into a UserError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path} is not a file.")
        with open(path, "rb") as file:
            yield file
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    except _MALFORMED as error:
        raise UserError(
            f"{path} is damaged or was written by another version."
        ) from error


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def read_json(path: Path) -> Any:
    """Returns what ``write_json`` wrote; None if there is no such file.

    A file with a wrong sha256 is refused.
    """
    try:
        with _open(path) as file:
            if _size(file) > MAX_JSON_BYTES:
                raise ValueError
            sealed = json.loads(file.read())
            if digest(sealed["plan"]) != sealed["sha256"]:
                raise ValueError
            return sealed["plan"]
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def write(path: Path, checkpoint: Checkpoint, plan_digest: str) -> None:
    """Writes a checkpoint: all of it, or nothing.

    ``plan_digest`` is the ``digest`` of the plan that the group belongs to.
    """
    arrays = [array for part in checkpoint.parts for array in part.values.values()]
    if checkpoint.positions is not None:
        arrays += [checkpoint.positions, *checkpoint.leaves]
    arrays = [np.ascontiguousarray(array) for array in arrays]
    head = {
        "plan": plan_digest,
        "name": path.name,
        "parts": [[p.group, p.runs, p.epoch, [*p.values]] for p in checkpoint.parts],
        "finished": checkpoint.is_finished,
        "arrays": [[array.dtype.name, array.shape] for array in arrays],
    }
    with atomic_write(path) as new, open(new, "wb") as file:
        total = hashlib.sha256()
        pieces: list[Any] = [json.dumps(head).encode() + b"\n", *arrays]
        for piece in pieces:
            total.update(piece)
            file.write(piece)
        file.write(total.digest())


def store(path: Path, content: bytes) -> None:
    """Writes the bytes of a checkpoint file that another process has written."""
    with explaining_write_errors(path.parent.parent), atomic_write(path) as new:
        new.write_bytes(content)


def read(path: Path, plan_digest: str) -> Checkpoint:
    """Returns the checkpoint of a file that ``write`` has written.

    A file with a wrong sha256, or of another plan, is refused.
    """
    with _open(path) as file:
        line = file.readline(MAX_JSON_BYTES)
        head = json.loads(line)
        layout = [_array_layout(*entry) for entry in head["arrays"]]
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in layout]
        _check_sum(file, len(line) + sum(sizes))
        if (head["plan"], head["name"]) != (plan_digest, path.name):
            raise UserError(f"{path} belongs to another sweep.")
        file.seek(len(line))
        arrays = [
            np.frombuffer(file.read(size), dtype).reshape(shape)
            for size, (dtype, shape) in zip(sizes, layout, strict=True)
        ]
        return _unpack(head, arrays)


def _array_layout(name: str, shape: Sequence[int]) -> tuple[np.dtype, Sequence[int]]:
    """Returns type and shape of a listed array; ValueError unless it is numeric."""
    if not re.fullmatch(r"(bool|u?int|b?float|complex)\w*", name):
        raise ValueError(name)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(shape)
    return np.dtype(name), shape


def _check_sum(file: IO[bytes], size: int) -> None:
    """Raises ValueError unless a file has ``size`` bytes and then their sha256."""
    if _size(file) != size + _DIGEST_BYTES:
        raise ValueError(size)
    file.seek(0)
    total = hashlib.sha256()
    for start in range(0, size, _CHUNK):
        total.update(file.read(min(_CHUNK, size - start)))
    if file.read(_DIGEST_BYTES) != total.digest():
        raise ValueError(total)


def _unpack(head: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> Checkpoint:
    remaining = iter(arrays)
    parts = [
        Part(group, tuple(runs), epoch, {name: next(remaining) for name in names})
        for group, runs, epoch, names in head["parts"]
    ]
    if head["finished"]:
        return Checkpoint(parts)
    return Checkpoint(parts, next(remaining), list(remaining))
