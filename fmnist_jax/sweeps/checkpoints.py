"""Plans and what their groups gave, as files that prove that they are whole.

A plan is JSON. A part file holds a line of JSON, the bytes of the arrays that the line
lists, and the sha256 of all before it. Nothing in either is believed before the sha256
is found right; no more than a plan, or a line, is in memory until then.
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
from fmnist_jax.files import atomic_write
from fmnist_jax.sweeps.labelling import Part
from fmnist_jax.sweeps.run_batch import Halfway

MOST_BYTES = 2**30  # of a plan, or of the line of a part file
_CHUNK, _DIGEST_BYTES = 2**20, hashlib.sha256().digest_size
_MALFORMED = (ValueError, LookupError, TypeError, RecursionError, StopIteration)


class Kept(NamedTuple):
    """What a group gave so far.

    Attributes:
      parts: in the order in which they came.
      left: where it is to go on; None where it is done.
    """

    parts: Sequence[Part]
    left: Halfway | None = None


def digest(content: Any) -> str:
    """Returns the sha256 of what JSON can write."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_plan(path: Path, content: Any) -> None:
    """Writes what JSON knows, with its sha256."""
    sealed = {"sha256": digest(content), "plan": content}
    with atomic_write(path) as new:
        new.write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    """Gives a file to read; says in a line why that fails."""
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
        raise UserError(f"{path} is damaged, or of another version.") from error


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def read_plan(path: Path) -> Any:
    """Returns what ``write_plan`` has written; None where there is no file.

    Raises:
      UserError: where it cannot be read, or is not what was written.
    """
    try:
        with _reading(path) as file:
            if _size(file) > MOST_BYTES:
                raise ValueError
            sealed = json.loads(file.read())
            if digest(sealed["plan"]) != sealed["sha256"]:
                raise ValueError
            return sealed["plan"]
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def write(path: Path, kept: Kept, plan_digest: str) -> None:
    """Writes what a group gave so far: all of it, or nothing."""
    arrays = [array for part in kept.parts for array in part.values.values()]
    head: dict[str, Any] = {
        "plan": plan_digest,
        "name": path.name,
        "parts": [[p.group, p.runs, p.epoch, list(p.values)] for p in kept.parts],
        "left": None,
    }
    if kept.left is not None:
        head["left"] = [kept.left.epoch, list(kept.left.values), len(kept.left.leaves)]
        arrays += [*kept.left.values.values(), kept.left.positions, *kept.left.leaves]
    arrays = [np.ascontiguousarray(array) for array in arrays]
    head["arrays"] = [[array.dtype.name, array.shape] for array in arrays]
    with atomic_write(path) as new, open(new, "wb") as file:
        total = hashlib.sha256()
        pieces: list[Any] = [json.dumps(head).encode() + b"\n", *arrays]
        for piece in pieces:
            total.update(piece)
            file.write(piece)
        file.write(total.digest())


def read(path: Path, plan_digest: str) -> Kept:
    """Returns what ``write`` has written.

    Raises:
      UserError: where it cannot be read, is not what was written, or belongs to another
        plan.
    """
    with _reading(path) as file:
        line = file.readline(MOST_BYTES)
        head = json.loads(line)
        arrays = [_checked(*each) for each in head["arrays"]]
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in arrays]
        _check_sum(file, len(line) + sum(sizes))
        if (head["plan"], head["name"]) != (plan_digest, path.name):
            raise UserError(f"{path} holds something else.")
        file.seek(len(line))
        found = [
            np.frombuffer(file.read(size), dtype).reshape(shape)
            for size, (dtype, shape) in zip(sizes, arrays, strict=True)
        ]
        return _unpacked(head, found)


def _checked(name: str, shape: Sequence[int]) -> tuple[np.dtype, Sequence[int]]:
    """Returns type and shape of an array as they are listed, if it is of numbers."""
    if not re.fullmatch(r"(bool|u?int|b?float|complex)\w*", name):
        raise ValueError(name)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(shape)
    return np.dtype(name), shape


def _check_sum(file: IO[bytes], size: int) -> None:
    """Raises ValueError unless a file is so many bytes and then their sha256."""
    if _size(file) != size + _DIGEST_BYTES:
        raise ValueError(size)
    file.seek(0)
    total = hashlib.sha256()
    for start in range(0, size, _CHUNK):
        total.update(file.read(min(_CHUNK, size - start)))
    if file.read(_DIGEST_BYTES) != total.digest():
        raise ValueError(total)


def _unpacked(head: Mapping[str, Any], arrays: list[np.ndarray]) -> Kept:
    each = iter(arrays)
    parts = [
        Part(group, tuple(runs), epoch, {name: next(each) for name in names})
        for group, runs, epoch, names in head["parts"]
    ]
    if head["left"] is None:
        return Kept(parts)
    epoch, names, num_leaves = head["left"]
    values = {name: next(each) for name in names}
    positions, leaves = next(each), [next(each) for _ in range(num_leaves)]
    return Kept(parts, Halfway(epoch, values, positions, leaves))
