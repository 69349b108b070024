"""Data sets of the user's: what a file or folder contains, as ``Data``."""

import re
from collections.abc import Collection
from pathlib import Path

from fmnist_jax.data import containers
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.labels import encode
from fmnist_jax.data.npy import Pairs
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.data.recognition import recognise
from fmnist_jax.data.splits import without_split
from fmnist_jax.data.subsets import stratified_mask
from fmnist_jax.errors import UserError

TEST_SHARE = 6  # one in so many examples is in a test set that is split off
SEED = 0  # of the choice of these examples


def load(path: Path, reserved: Collection[str] = ()) -> Data:
    """Loads the data set in a file or folder.

    Fashion-MNIST and MNIST are recognised, and get their name, class names and order.
    If there is no test set, a stratified sixth of the examples is the test set.

    Args:
      path: of the file or folder, which exists.
      reserved: names that only other data sets may have.

    Raises:
      UserError: if the path contains no data set, or the data are damaged or not fit
        for training.
    """
    contents = containers.read(path)
    try:
        pairs = _checked(contents.pairs)
        name, pairs, note = _recognised(pairs)
        if name:
            class_names = OFFICIAL[name].class_names
        else:
            labels = {split: labels for split, (_, labels) in pairs.items()}
            encoded = encode(labels, contents.class_names)
            class_names = encoded.class_names
            pairs = {s: (pairs[s][0], encoded.labels[s]) for s in pairs}
            note = ", ".join(filter(None, (encoded.note, note)))
        pairs, notice = _with_test(pairs)
        parts = {split: Dataset(*pair) for split, pair in pairs.items()}
        return Data(
            parts["train"],
            parts["test"],
            validation=parts.get("validation"),
            name=name or _name(path, reserved),
            class_names=class_names,
            source=", ".join(filter(None, (contents.source, note))),
            notice=" ".join(filter(None, (contents.notice, notice))),
        )
    except UserError as error:
        raise UserError(f"{contents.source}: {error}") from error


def _checked(pairs: Pairs) -> Pairs:
    """Returns the splits; one that is alone is 'all'."""
    for split, (images, labels) in pairs.items():
        lengths = [len(array) if array.ndim else 0 for array in (images, labels)]
        if not lengths[0] or len({*lengths}) > 1:
            start = "there are" if split == "all" else f"{split} has"
            raise UserError(
                f"{start} {lengths[0]:,} images or rows, and {lengths[1]:,} labels."
            )
    if len(pairs) == 1:
        return {"all": next(iter(pairs.values()))}
    if "train" not in pairs:
        raise UserError("there is no training set, only a test and a validation set.")
    return pairs


def _recognised(pairs: Pairs) -> tuple[str, Pairs, str]:
    """Returns the official name, or "", the splits in its order, and a note on both."""
    matches = {split: recognise(*pair) for split, pair in pairs.items()}
    known = {split: match for split, match in matches.items() if match}
    names = {match.name for match in known.values()}
    whole = {split: match.split for split, match in known.items()}
    is_whole = whole == {"train": "train", "test": "test"} and len(pairs) == 2
    if len(names) == 1 and (is_whole or "all" in known):
        name = names.pop()
        part = "" if is_whole else f"the {whole['all']} set of "
        restored = {
            split: (match.images, match.labels) for split, match in known.items()
        }
        return name, restored, f"recognised as {part}{OFFICIAL[name].title}"
    notes = [
        f"its {split} set recognised as that of {OFFICIAL[match.name].title}"
        for split, match in known.items()
    ]
    return "", pairs, ", ".join(notes)


def _with_test(pairs: Pairs) -> tuple[Pairs, str]:
    """Returns the splits with a test set, and a notice if there was none."""
    if "all" not in pairs:
        if "test" in pairs:
            return pairs, ""
        text = "There is no test set: the validation set is the test set."
        return {"train": pairs["train"], "test": pairs["validation"]}, text
    images, labels = pairs["all"]
    count = len(labels)
    if count < 2:
        raise UserError("one example is too few for a training and a test set.")
    test = max(1, count // TEST_SHARE)
    is_test = stratified_mask(labels, test, SEED)
    text = (
        f"There is no test set: {test:,} of the {count:,} examples, a sixth of each "
        "class, are the test set, whatever the seeds of the runs."
    )
    split = {"train": ~is_test, "test": is_test}
    return {s: (images[chosen], labels[chosen]) for s, chosen in split.items()}, text


def _name(path: Path, reserved: Collection[str]) -> str:
    """Returns a name for files and tables from that of a file or folder."""
    path = path.absolute()
    stem = path.stem if path.is_file() else path.name
    words = re.sub(r"[^\w.-]+", "_", without_split(stem)).strip("_.-") or "custom"
    return f"custom_{words}" if words in reserved else words
