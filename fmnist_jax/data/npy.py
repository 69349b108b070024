"""The .npy format of NumPy, in files and in .npz archives; never a pickle.

The size in a header is checked against a limit before any value is read, and memory is
allocated as bytes arrive, so headers that lie and archives that unpack to gigabytes get
one line.
"""

import math
import re
import zipfile
from collections.abc import Iterable, Mapping
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
    if dtype.hasobject or dtype.kind not in "biufSU":
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


def read_archive(path: Path, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Reads the images and labels in an .npz archive, by their names.

    Arrays of other names are not read.

    Raises:
      UserError: if the archive is damaged or over ``max_bytes``.
    """
    remaining = limits.max_bytes() if max_bytes is None else max_bytes
    try:
        if not path.is_file() or path.stat().st_size > remaining:
            raise ValueError(f"it is not a file of at most {remaining:,} bytes")
        arrays = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                key = member.filename.removesuffix(".npy")
                if _role(key) is None:
                    continue
                # zipfile unpacks other compressions without a limit: a few bytes to
                # a gigabyte.
                if member.compress_type not in (0, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{key}.npy is neither stored nor deflated")
                with archive.open(member) as file:
                    arrays[key] = read(file, f"{key}.npy", remaining)
                remaining -= arrays[key].nbytes
    except Exception as error:  # zipfile and NumPy raise many types for damaged files
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    return arrays


def read_files(paths: Iterable[Path]) -> dict[str, np.ndarray]:
    """Reads the images and labels in .npy files, by the names of the files."""
    remaining, arrays = limits.max_bytes(), {}
    for path in paths:
        if _role(path.stem) is None:
            continue
        try:
            with open(path, "rb") as file:
                arrays[path.stem] = read(file, path.name, remaining)
        except Exception as error:
            raise UserError(f"{path} cannot be read: {reason(error)}.") from error
        remaining -= arrays[path.stem].nbytes
    return arrays


def _role(key: str) -> tuple[str, str] | None:
    """Returns split and role of an array's name: ('train', 'images') of x_train."""
    words = re.split(r"[^a-z0-9]+", key.lower())
    roles = [_ROLES[word] for word in words if word in _ROLES]
    split = split_of(key)
    if len(roles) != 1 or len(words) != 1 + bool(split):
        return None
    return split or "all", roles[0]


def pairs(arrays: Mapping[str, np.ndarray], location: Path) -> Pairs:
    """Returns images and labels of each split; 'all' if the names have no split.

    Raises:
      UserError: if images or labels are absent or there twice.
    """
    by_role: dict[tuple[str, str], str] = {}
    for key in arrays:
        role = _role(key) or ("", "")
        if role in by_role:
            raise UserError(
                f"{location} has {by_role[role]} and {key}, which mean the same; keep "
                "one of them."
            )
        by_role[role] = key
    splits = dict.fromkeys(split for split, _ in by_role)
    if not splits or ("all" in splits and len(splits) > 1):
        raise UserError(
            f"{location} has {', '.join(arrays) or 'no arrays that are known'}; "
            f"expected {NAMES}."
        )
    result = {}
    for split in sorted(splits, key=("all", *SPLITS).index):
        for wanted, other in (("images", "labels"), ("labels", "images")):
            if (split, wanted) not in by_role:
                raise UserError(
                    f"{location} has {by_role[split, other]}, but no {wanted} for it; "
                    f"expected {NAMES}."
                )
        images, labels = (arrays[by_role[split, r]] for r in ("images", "labels"))
        result[split] = images, labels
    return result
