"""Fashion-MNIST and MNIST in any container and any order of their examples.

Examples are sorted by a 64-bit hash of pixels and label. A table in the package has the
position of each official example in this order, which restores the official one; the
sha256 of the official files then proves that nothing else differs.
"""

import contextlib
import functools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_jax.data import idx, official
from fmnist_jax.data.labels import encode
from fmnist_jax.data.official import NUM_EXAMPLES, OFFICIAL
from fmnist_jax.errors import UserError

_TABLE = Path(__file__).with_name("official_order.npz")
_SHAPES = ((28, 28), (784,), (28, 28, 1), (1, 28, 28))


class Recognised(NamedTuple):
    """A split of an official data set, in the official order."""

    name: str
    split: str  # of the official data set
    images: np.ndarray  # uint8 [N, 28, 28]
    labels: np.ndarray  # uint8 [N]


def ranks(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the position of each example in the order of their hashes, ``[N]``.

    Args:
      images: uint8 ``[N, 28, 28]``.
      labels: integers ``[N]``.
    """
    return np.argsort(_order(images, labels), kind="stable")


def _order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    pixels = np.ascontiguousarray(images).reshape(len(images), -1).view("<u8")
    # Odd factors; the raw stream of a bit generator is the same in all versions.
    factors = np.random.PCG64(0).random_raw(pixels.shape[1] + 1) | np.uint64(1)
    hashes = pixels @ factors[1:] + labels.astype(np.uint64) * factors[0]
    return np.argsort(hashes, kind="stable")


@functools.cache
def official_ranks() -> dict[str, np.ndarray]:
    """Returns the ``ranks`` of each official split, by 'NAME_SPLIT'."""
    with np.load(_TABLE) as table:
        return dict(table)


def recognise(images: np.ndarray, labels: np.ndarray) -> Recognised | None:
    """Returns a split in the official order; None if it is of no official data set.

    Args:
      images: numbers of any type, ``[N, 28, 28]`` or flat or with a channel.
      labels: ``[N]``; numbers, or names of the official classes.
    """
    split = {count: name for name, count in NUM_EXAMPLES.items()}.get(len(images))
    is_like = images.shape[1:] in _SHAPES and images.dtype.kind in "uif"
    if split is None or not is_like or not ((images >= 0) & (images <= 255)).all():
        return None
    pixels = images.reshape(-1, 28, 28).astype(np.uint8)
    if (pixels.reshape(images.shape) != images).any():
        return None
    for name in OFFICIAL:
        codes = _codes(labels, OFFICIAL[name].class_names)
        rank = official_ranks()[f"{name}_{split}"]
        if codes is None or len(codes) != len(rank):
            continue
        position = _order(pixels, codes)[rank]
        arrays = {
            f"{split}_images": pixels[position],
            f"{split}_labels": codes[position],
        }
        if set(official.match_official(arrays).values()) == {name}:
            return Recognised(name, split, *arrays.values())
    return None


def _codes(labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray | None:
    """Returns labels as uint8 positions of official classes; None if they are others.

    Names are compared without signs, which names of folders may lack.
    """
    if labels.dtype.kind == "U":
        different, inverse = np.unique(labels, return_inverse=True)
        labels = np.array([_letters(name) for name in different.tolist()])[inverse]
    digits = [str(position) for position in range(len(class_names))]
    for names in (digits, [_letters(name) for name in class_names]):
        with contextlib.suppress(UserError):
            codes = encode({"all": labels}, tuple(names)).labels["all"]
            return codes.astype(np.uint8)
    return None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def in_official_order(arrays: idx.Arrays) -> idx.Arrays:
    """Returns the arrays of both splits in the official order, if they are official."""
    restored = dict(arrays)
    for split in NUM_EXAMPLES:
        images, labels = f"{split}_images", f"{split}_labels"
        if match := recognise(arrays[images], arrays[labels]):
            restored |= {images: match.images, labels: match.labels}
    return restored
