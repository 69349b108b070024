"""The .npy format of NumPy, in files and in .npz archives; never a pickle.

The size in a header is checked against a limit before any value is read, and memory is
allocated as bytes arrive, so headers that lie and archives that unpack to gigabytes get
one line.
"""

import math
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from fmnist_jax.data import idx, limits
from fmnist_jax.data.splits import SPLITS, split_of
from fmnist_jax.errors import UserError, reason

_ROLES = {"x": "images", "images": "images", "y": "labels", "labels": "labels"}
NAMES = (
    "x_train, y_train, x_test, y_test (or train_images, …), x, y (or images, labels)"
)
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]  # images and labels of each split


def read(file: IO[bytes], name: str, max_bytes: int) -> np.ndarray:
    """Reads one array, read-only.

    Args:
      file: at the start of the .npy format.
      name: of the array, for messages.
      max_bytes: limit on the array.

    Raises:
      ValueError: if the array is damaged, too large or of Python objects.
    """
    # A header of a later version may itself claim 4 GiB.
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{name} has npy version {version}, not (1, 0)")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biufSU":
        raise ValueError(
            f"{name} has the type {dtype}; only numbers, booleans and text are read, "
            "never Python objects (save text with astype(str))"
        )
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > max_bytes:
        raise ValueError(
            f"{name} is too large: its header specifies {dtype} {shape}, {size:,} "
            f"bytes; the limit is {max_bytes:,}"
        )
    body = idx.read_bytes(file, size + 1)
    if len(body) != size:
        raise ValueError(f"{name} does not have the {size:,} bytes of its header")
    array = np.frombuffer(body, dtype).reshape(shape, order="F" if is_fortran else "C")
    array.flags.writeable = False
    return array


def read_all(paths: Iterable[Path], max_bytes: int | None = None) -> Pairs:
    """Reads the images and labels in .npy files and .npz archives, by their names.

    Arrays of other names are not read.

    Args:
      paths: of the files, which are in one folder.
      max_bytes: limit on all arrays; None for that of ``limits``.

    Returns:
      Images and labels of each split; 'all' if the names have no split.

    Raises:
      UserError: if a file is damaged, if the arrays are over the limit, or if images or
        labels are absent or there twice.
    """
    remaining = limits.max_bytes() if max_bytes is None else max_bytes
    arrays: dict[tuple[str, str], np.ndarray] = {}
    names: dict[tuple[str, str], str] = {}
    for path in paths:
        try:
            if path.stat().st_size > remaining:
                raise ValueError(f"it has more than {remaining:,} bytes")
            for key, role, file in _members(path):
                if role in names:
                    raise ValueError(f"{names[role]} and {key} mean the same")
                names[role] = key
                arrays[role] = read(file, f"{key}.npy", remaining)
                remaining -= arrays[role].nbytes
        except Exception as error:  # zipfile and NumPy raise many types
            raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    splits = [s for s in ("all", *SPLITS) if {(s, "images"), (s, "labels")} & {*arrays}]
    if (
        len(arrays) != 2 * len(splits)
        or (splits[1:] and splits[0] == "all")
        or not splits
    ):
        present = ", ".join(names.values()) or "no known arrays"
        raise UserError(f"{path} has {present}; expected images and labels: {NAMES}.")
    return {s: (arrays[s, "images"], arrays[s, "labels"]) for s in splits}


def _members(path: Path) -> Iterator[tuple[str, tuple[str, str], IO[bytes]]]:
    """Yields name, split and role, and the open file of images and labels."""
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            if role := _role(path.stem):
                yield path.stem, role, file
            return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            role = _role(key)
            if role is None:
                continue
            # zipfile unpacks other compressions without a limit: a few bytes to a
            # gigabyte.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{key}.npy is neither stored nor deflated")
            with archive.open(member) as file:
                yield key, role, file


def _role(key: str) -> tuple[str, str] | None:
    """Returns split and role of an array's name: ('train', 'images') of x_train."""
    words = re.split(r"[^a-z0-9]+", key.lower())
    roles = [_ROLES[word] for word in words if word in _ROLES]
    split = split_of(key)
    if len(roles) != 1 or len(words) != 1 + bool(split):
        return None
    return split or "all", roles[0]
