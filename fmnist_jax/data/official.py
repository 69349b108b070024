"""Fashion-MNIST and MNIST: names, checksums and download addresses.

Fashion-MNIST: https://github.com/zalandoresearch/fashion-mnist (arXiv 1708.07747).
MNIST: http://yann.lecun.com/exdb/mnist. The files of both have the same names and
sizes, so only their checksums distinguish them.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist_jax.data import idx
from fmnist_jax.errors import UserError


class Official(NamedTuple):
    """One official data set. Checksums are by the keys of ``idx.FILES``."""

    title: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]  # searched below a folder of the user's, in order
    sha256: dict[str, str]  # of the uncompressed IDX files
    url: str  # of the folder with the .gz files
    gz_sha256: dict[str, str]  # of the .gz files


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
        gz_sha256=_by_role(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
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
        gz_sha256=_by_role(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}
NUM_EXAMPLES = {"train": 60_000, "test": 10_000}


def match_official(arrays: idx.Arrays) -> dict[str, str | None]:
    """Returns the official data set that each array belongs to, or None."""
    names: dict[str, str | None] = dict.fromkeys(arrays)
    for role, array in arrays.items():
        if array.dtype != np.uint8:
            continue
        digest = hashlib.sha256(idx.header(array))
        digest.update(np.ascontiguousarray(array).data)
        by_sha256 = {sums.sha256[role]: name for name, sums in OFFICIAL.items()}
        names[role] = by_sha256.get(digest.hexdigest())
    return names


def check(name: str, arrays: idx.Arrays, location: Path) -> None:
    """Raises UserError unless four arrays are an official data set, bit for bit."""
    title = OFFICIAL[name].title
    foreign = {r: other for r, other in match_official(arrays).items() if other != name}
    if not foreign:
        return
    if len(foreign) == len(arrays) and len(set(foreign.values())) == 1:
        other = foreign["train_images"]
        contents = OFFICIAL[other].title if other else "another data set"
        raise UserError(
            f"{location} contains {contents}, not {title} ({_difference(arrays)}): use "
            f"--dataset={other or 'idx'}, or pass a folder that contains {title}."
        )
    files = [
        f"{idx.FILES[role]} (of {OFFICIAL[other].title})" if other else idx.FILES[role]
        for role, other in foreign.items()
    ]
    raise UserError(
        f"{location} contains only a part of {title} ({_difference(arrays)}); files of "
        f"another data set: {', '.join(files)}; replace them with the files of {title}."
    )


def _difference(arrays: idx.Arrays) -> str:
    for split, expected in NUM_EXAMPLES.items():
        labels = arrays[f"{split}_labels"]
        if len(labels) != expected:
            return f"{len(labels):,} {split} examples instead of {expected:,}"
        if labels.dtype == np.uint8 and labels.max() > 9:
            return f"{split} labels up to {labels.max()} instead of 9"
    return "the sha256 of its files differ"
