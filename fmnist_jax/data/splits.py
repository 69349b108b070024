"""The splits of a data set: their arrays, and the names that they have in files."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Images [N, ...] and labels of each split; of 'all' if there is one.
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "t10k"),
    "validation": ("validation", "valid", "val"),
}
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?=\.)")


class Contents(NamedTuple):
    """What a file or folder contains."""

    pairs: Pairs
    source: str  # the container and its path
    class_names: tuple[str, ...] = ()  # of all classes, if the container lists them
    notice: str = ""  # a line for the user


def split_of(name: str) -> str | None:
    """Returns 'train', 'test' or 'validation' if a word of the name is one of them."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((split for split in SPLITS if {*SPLITS[split]} & {*words}), None)


def without_split(name: str) -> str:
    """Returns a name with * for the word of its split, and without a shard's number.

    Names that differ in nothing else belong to one data set.
    """
    words = [word for words in SPLITS.values() for word in words]
    pattern = rf"(?<![a-z0-9])({'|'.join(words)})(?![a-z0-9])"
    return re.sub(pattern, "*", _SHARD.sub("", name), flags=re.IGNORECASE)


def num_shards(path: Path) -> int:
    """Returns of how many files a split consists, by the name of one of them."""
    match = _SHARD.search(path.name)
    return int(match[1]) if match else 1
