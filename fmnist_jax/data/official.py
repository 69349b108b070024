"""Fashion-MNIST and MNIST: names, addresses, and how they are recognised.

Fashion-MNIST: https://github.com/zalandoresearch/fashion-mnist (arXiv 1708.07747).
MNIST: http://yann.lecun.com/exdb/mnist. The files of both have the same names and
sizes, so only their checksums distinguish them.

They are recognised in any container, with their examples in any order. The examples are
sorted by a 64-bit hash of pixels and label. A table in the package has the position of
each official example in this sorted order, which restores the official order. The
sha256 of the official files then proves that nothing else differs.
"""

import contextlib
import functools
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_jax.data import idx
from fmnist_jax.data.labels import encode
from fmnist_jax.data.splits import Pairs
from fmnist_jax.errors import UserError


class Official(NamedTuple):
    """One official data set. Checksums are by the keys of ``idx.FILES``."""

    title: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]  # searched below a folder of the user's, in order
    sha256: dict[str, str]  # of the uncompressed IDX files
    url: str  # of the folder with the .gz files


def _by_role(*values: str) -> dict[str, str]:
    return dict(zip(idx.FILES, values, strict=True))


OFFICIAL = {
    "fashion_mnist": Official(
        title="Fashion-MNIST",
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "raw", "."),
        sha256=_by_role(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    "mnist": Official(
        title="MNIST",
        class_names=tuple("0123456789"),
        folders=("mnist", "MNIST/raw", "raw", "."),
        sha256=_by_role(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
}
NUM_EXAMPLES = {"train": 60_000, "test": 10_000}
_ORDERS = Path(__file__).with_name("official_order.npz")
_SHAPES = ((28, 28), (784,), (28, 28, 1), (1, 28, 28))


def match_official(pairs: Pairs) -> dict[str, str | None]:
    """Returns the official data set of each array, or None, by the keys of FILES."""
    names: dict[str, str | None] = {}
    for split, (images, labels) in pairs.items():
        for role, array in ((f"{split}_images", images), (f"{split}_labels", labels)):
            names[role] = None
            if array.dtype == np.uint8:
                digest = hashlib.sha256(idx.header(array))
                digest.update(np.ascontiguousarray(array).data)
                by_sha256 = {sums.sha256[role]: name for name, sums in OFFICIAL.items()}
                names[role] = by_sha256.get(digest.hexdigest())
    return names


def check(name: str, pairs: Pairs, location: Path) -> None:
    """Raises UserError unless all arrays are an official data set's, bit for bit."""
    title, matches = OFFICIAL[name].title, match_official(pairs)
    foreign = {role: other for role, other in matches.items() if other != name}
    if not foreign:
        return
    if len(foreign) == len(matches) and len(set(foreign.values())) == 1:
        other = foreign["train_images"]
        contents = OFFICIAL[other].title if other else "another data set"
        raise UserError(
            f"{location} contains {contents}, not {title} ({_difference(pairs)}): use "
            f"--dataset={other or 'idx'}, or pass a folder that contains {title}."
        )
    files = [
        f"{idx.FILES[role]} (of {OFFICIAL[other].title})" if other else idx.FILES[role]
        for role, other in foreign.items()
    ]
    raise UserError(
        f"{location} contains only a part of {title} ({_difference(pairs)}); files of "
        f"another data set: {', '.join(files)}; replace them with the files of {title}."
    )


def _difference(pairs: Pairs) -> str:
    for split, expected in NUM_EXAMPLES.items():
        labels = pairs[split][1]
        if len(labels) != expected:
            return f"{len(labels):,} {split} examples instead of {expected:,}"
        if labels.dtype == np.uint8 and labels.max() > 9:
            return f"{split} labels up to {labels.max()} instead of 9"
    return "the sha256 of its files differ"


class Recognised(NamedTuple):
    """A split of an official data set, in the official order."""

    name: str
    split: str  # of the official data set
    pair: tuple[np.ndarray, np.ndarray]  # images uint8 [N, 28, 28], labels uint8 [N]


def sorted_order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the order that sorts examples, uint8 ``[N, 28, 28]``, by their hashes."""
    pixels = np.ascontiguousarray(images).reshape(len(images), -1).view("<u8")
    # Odd factors; the raw stream of a bit generator is the same in all versions.
    factors = np.random.PCG64(0).random_raw(pixels.shape[1] + 1) | np.uint64(1)
    hashes = pixels @ factors[1:] + labels.astype(np.uint64) * factors[0]
    return np.argsort(hashes, kind="stable")


@functools.cache
def official_ranks() -> dict[str, np.ndarray]:
    """Returns the position of each official example in ``sorted_order``.

    The keys are 'NAME_SPLIT'.
    """
    with np.load(_ORDERS) as table:
        return dict(table)


def recognise(images: np.ndarray, labels: np.ndarray) -> Recognised | None:
    """Returns a split in the official order; None if it is of no official data set.

    Images may be flat or have a channel; labels may be names of the classes.
    """
    sizes = {(count,): name for name, count in NUM_EXAMPLES.items()}
    split = sizes.get(images.shape[:1])
    is_like = images.shape[1:] in _SHAPES and images.dtype.kind in "uif"
    if split is None or not is_like or images.shape[:1] != labels.shape[:1]:
        return None
    if not ((images >= 0) & (images <= 255)).all():
        return None
    pixels = images.reshape(-1, 28, 28).astype(np.uint8)
    if (pixels.reshape(images.shape) != images).any():
        return None
    for name in OFFICIAL:
        codes = _codes(labels, OFFICIAL[name].class_names)
        rank = official_ranks()[f"{name}_{split}"]
        if codes is None or len(codes) != len(rank):
            continue
        position = sorted_order(pixels, codes)[rank]
        pair = pixels[position], codes[position]
        if set(match_official({split: pair}).values()) == {name}:
            return Recognised(name, split, pair)
    return None


def _codes(labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray | None:
    """Returns labels as uint8 positions of official classes; None if they are others.

    Names are compared without punctuation, which folder names may lack.
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
