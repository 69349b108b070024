"""The IDX format of MNIST and its kin: arrays of unsigned bytes, raw or gzip.

A file is `00 00 08 DIMS`, then DIMS sizes as big-endian uint32, then the bytes.
Nothing in a file is believed before it is checked: the size that its header claims
is bounded first, and no more than that is ever unpacked.
"""

import gzip
import math
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from fmnist_jax.errors import UserError, reason

MAX_BYTES = 2**31
_CHUNK = 2**20

# The four files of a data set; the digit is the number of dimensions.
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

Arrays = dict[str, np.ndarray]  # one uint8 array for each key of FILES


def dims(role: str) -> int:
    """How many dimensions an array has, by its key in `FILES`."""
    return 3 if role.endswith("images") else 1


def header(array: np.ndarray) -> bytes:
    """The IDX header of a uint8 array; with the array's bytes it makes the file."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)


def read(path: Path, ndim: int) -> np.ndarray:
    """Reads one IDX file, raw or gzip (told by its first bytes, not by its name).

    Args:
        path: the file.
        ndim: how many dimensions it must have: 3 for images, 1 for labels.

    Returns:
        A uint8 array of that many dimensions, at least one byte large.

    Raises:
        UserError: the file cannot be read, is damaged or is something else.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path} is not a file; an IDX file is expected there.")
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _parse(file, path, ndim)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(unpacked, path, ndim)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, ndim: int) -> np.ndarray:
    magic = _take(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(f"{path} is not an IDX file: it begins with {magic.hex()!r}.")
    if magic[2] != 8:
        raise UserError(
            f"{path} holds IDX type 0x{magic[2]:02x}; only unsigned bytes (0x08) do."
        )
    if magic[3] != ndim:
        raise UserError(f"{path} has {magic[3]} dimensions; expected {ndim}.")
    sizes = _take(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise UserError(f"{path} is truncated: it ends within its header.")
    shape = struct.unpack(f">{ndim}I", sizes)
    size = math.prod(shape)
    claim = " x ".join(f"{length:,}" for length in shape)
    if size > MAX_BYTES:
        raise UserError(f"{path} claims {claim} bytes; at most {MAX_BYTES:,} are read.")
    if size == 0:
        raise UserError(f"{path} is empty: its header says {claim}.")
    body = _take(stream, size + 1)  # one more, to notice trailing bytes
    if len(body) < size:
        raise UserError(
            f"{path} is truncated: its header says {claim} bytes, {len(body):,} follow."
        )
    if len(body) > size:
        raise UserError(f"{path} goes on after the {claim} bytes its header says.")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _take(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    # In chunks, so that memory follows what is there and not what a header claims.
    taken = bytearray()
    while len(taken) < size:
        chunk = stream.read(min(_CHUNK, size - len(taken)))
        if not chunk:
            break
        taken += chunk
    return taken


def find_files(folder: Path) -> dict[str, Path]:
    """The IDX files among `FILES` that a folder has, under any of their usual names.

    Raises:
        UserError: there is such a folder, but it cannot be read.
    """
    try:
        present = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {reason(error)}.") from error
    found = {}
    for role, name in FILES.items():
        dotted = name.replace("-idx", ".idx")
        variants = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        if path := next((each for each in variants if each in present), None):
            found[role] = folder / path
    return found


def read_folder(folder: Path) -> Arrays | None:
    """Reads the four IDX files of a folder.

    Returns:
        The uint8 arrays by the keys of `FILES`: images [N, H, W], labels [N]; None
        where the folder has none of the files.

    Raises:
        UserError: a file is missing or damaged, or there are not as many labels as
            images.
    """
    found = find_files(folder)
    if not found:
        return None
    if missing := [name for role, name in FILES.items() if role not in found]:
        raise UserError(
            f"{folder} has {len(found)} of the 4 IDX files; missing: "
            f"{', '.join(missing)} (each may end in .gz)."
        )
    arrays = {role: read(found[role], dims(role)) for role in FILES}
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if len(images) != len(labels):
            raise UserError(
                f"{found[f'{split}_images']} holds {len(images):,} images, but "
                f"{found[f'{split}_labels'].name} {len(labels):,} labels."
            )
    return arrays
