"""Reads arrays in .npy files and .npz archives by name, and never unpickles."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.splits import SPLITS, Pairs, split_of
from fmnist_jax.errors import UserError

_ROLES = {"x": "images", "images": "images", "y": "labels", "labels": "labels"}
NAMES = (
    "x_train, y_train, x_test, y_test (or train_images, …), x, y (or images, labels)"
)


def read_all(paths: Iterable[Path]) -> Pairs:
    """Reads the images and labels in .npy files and .npz archives, by their names.

    The files are in one folder. Arrays of other names are not read. The split is 'all'
    if the names have none.
    """
    arrays: dict[tuple[str, str], np.ndarray] = {}
    names: dict[tuple[str, str], str] = {}
    size = 0
    for path in paths:
        with limits.explaining(path):
            size += _unpacked_size(path)
            limits.check(path, size)
            for key, role, array in _read(path):
                if role in names:
                    raise ValueError(f"{names[role]} and {key} mean the same")
                names[role], arrays[role] = key, array
    splits = [s for s in ("all", *SPLITS) if {(s, "images"), (s, "labels")} & {*arrays}]
    is_mixed = "all" in splits and len(splits) > 1
    if not splits or is_mixed or len(arrays) != 2 * len(splits):
        present = ", ".join(names.values()) or "no known arrays"
        raise UserError(f"{path} has {present}; expected images and labels: {NAMES}.")
    return {s: (arrays[s, "images"], arrays[s, "labels"]) for s in splits}


def _read(path: Path) -> Iterator[tuple[str, tuple[str, str], np.ndarray]]:
    """Yields name, split and role, and values of images and labels."""
    with open(path, "rb") as file:
        try:
            content: Any = np.load(file, allow_pickle=False)
            members = content if isinstance(content, Mapping) else {path.stem: content}
            for key in members:
                if role := _role(key):
                    array = members[key]
                    array.flags.writeable = False  # then it is never copied
                    yield key, role, array
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise ValueError(
                "it is damaged, or has Python objects, which are never read (save text "
                "with astype(str))"
            ) from error


def _unpacked_size(path: Path) -> int:
    """Returns the size of a file, or of all files in an archive."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _role(key: str) -> tuple[str, str] | None:
    """Returns split and role of an array's name: ('train', 'images') of x_train."""
    words = re.split(r"[^a-z0-9]+", key.lower())
    roles = [_ROLES[word] for word in words if word in _ROLES]
    split = split_of(key)
    if len(roles) != 1 or len(words) != 1 + bool(split):
        return None
    return split or "all", roles[0]
