"""Checks of a data set before training: classes, copies, constant pixels, scale.

A data set that teaches nothing is refused. A possible mistake is a notice of one line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data.statistics import moments
from fmnist_jax.data.subsets import MAX_CHANCE
from fmnist_jax.errors import Nouns, UserError, listed, nouns

MAX_COPIES = 0.01  # share of a split that may be copies of training images
FEW = 10  # training examples: a class with fewer, and ...
RARE = 0.1  # ... less than this part of an equal share, has very few
DIVISOR = 255.0  # the default
USUAL_SIZES = (0.1, 10.0)  # of the largest inputs, after division
SAMPLE = 1000  # images, of which the size is taken
MIN_VALUES = 1000  # of a sample whose range is compared
MAX_SIZE_RATIO = 1.5  # between the sizes of two splits
MAX_COLUMN_RATIO = 30.0  # between the deviations of a table's columns
MIN_NEGATIVE = 0.05  # share of values below 0, if the other split has none


class Copies(NamedTuple):
    """Numbers of images of a split that equal a training image, bit for bit."""

    number: int
    other_label: int  # those with a label that no such training image has


class Range(NamedTuple):
    """The minimum, the maximum and a sample of the values of a split's images."""

    low: float
    high: float
    size: float  # 99th percentile of the absolute values other than 0, or 0
    negative: float  # share of the values below 0
    number: int  # of values in the sample; size and negative are computed from them


class Findings(NamedTuple):
    """Counts and statistics of a data set, by the names of its splits."""

    nouns: Nouns  # for an example and a value
    class_names: Sequence[str]
    counts: Mapping[str, np.ndarray]  # of examples by class, int [C]
    copies: Mapping[str, Copies]  # of training images, in all splits but "train"
    num_pixels: int  # values per example
    constant_pixels: int  # those that are the same in all training examples
    ranges: Mapping[str, Range]
    # The smallest and the largest standard deviation among the training columns of a
    # table that are not constant; None for images.
    deviations: tuple[float, float] | None = None


def inspect(splits: Mapping[str, Any], class_names: Sequence[str]) -> Findings:
    """Inspects all images and labels; ``splits`` has "train" and others."""
    images, _ = splits["train"]
    is_constant = images.min(0) == images.max(0)
    deviations = None
    if images.ndim == 2 and not is_constant.all():
        varying = moments(images).variance[~is_constant] ** 0.5
        deviations = float(varying.min()), float(varying.max())
    return Findings(
        nouns=nouns(images.shape[1:]),
        class_names=class_names,
        counts={
            name: np.bincount(labels, minlength=len(class_names))
            for name, (_, labels) in splits.items()
        },
        copies={
            name: _copies(splits["train"], split)
            for name, split in splits.items()
            if name != "train"
        },
        num_pixels=is_constant.size,
        constant_pixels=int(np.count_nonzero(is_constant)),
        ranges={name: _range(images) for name, (images, _) in splits.items()},
        deviations=deviations,
    )


def _range(images: np.ndarray) -> Range:
    sample = images[:: max(1, len(images) // SAMPLE)]
    sizes = np.abs(sample[sample != 0].astype(float))
    return Range(
        low=float(images.min()),
        high=float(images.max()),
        size=float(np.quantile(sizes, 0.99)) if sizes.size else 0.0,
        negative=float(np.mean(sample < 0)),
        number=sample.size,
    )


def _copies(train: Any, other: Any) -> Copies:
    (train_images, train_labels), (images, labels) = train, other
    dtype = np.result_type(train_images, images)

    def keys(images: np.ndarray) -> Iterable[bytes]:
        return (image.astype(dtype, copy=False).tobytes() for image in images)

    labels_by_image: dict[bytes, set[int]] = {key: set() for key in keys(images)}
    for key, label in zip(keys(train_images), train_labels.tolist(), strict=True):
        if key in labels_by_image:
            labels_by_image[key].add(label)
    pairs = zip(keys(images), labels.tolist(), strict=True)
    copies = [(labels_by_image[k], label) for k, label in pairs if labels_by_image[k]]
    return Copies(len(copies), sum(label not in seen for seen, label in copies))


def check_learnable(findings: Findings) -> None:
    """Refuses a training set with one class, or with images that are all the same."""
    present = findings.counts["train"] > 0
    if np.count_nonzero(present) == 1:
        raise UserError(
            f"The training set has only {_classes(findings, present)}: there is "
            "nothing to learn; give examples of at least two classes."
        )
    if findings.constant_pixels == findings.num_pixels:
        raise UserError(
            f"All training {findings.nouns.example}s are the same: there is nothing to "
            "learn from them; check how they were read."
        )


def notices(findings: Findings, divisors: Iterable[float] = ()) -> list[str]:
    """Returns a line for everything that may be a mistake, as ``Data.notices``."""
    lines = [*_of_training_set(findings)]
    for split in findings.copies:
        lines += [*_of_classes(findings, split), *_of_examples(findings, split)]
    divisors = list(divisors)
    return [*lines, *_of_scale(findings, divisors)] if divisors else lines


def _classes(findings: Findings, which: np.ndarray) -> str:
    """Returns 'class a', or 'the 3 classes a, b, c', for the True in bool ``[C]``."""
    names = [findings.class_names[i] for i in np.flatnonzero(which).tolist()]
    noun = "class" if len(names) == 1 else f"the {len(names)} classes"
    return f"{noun} {listed(names)}"


def _of_training_set(findings: Findings) -> Iterator[str]:
    is_absent = np.sum(list(findings.counts.values()), axis=0) == 0
    if is_absent.any():
        yield (
            f"No split has an example of {_classes(findings, is_absent)}; the network "
            f"has an output for each of {len(is_absent)} classes nevertheless."
        )
    counts = findings.counts["train"]
    equal_share = counts.sum() / np.count_nonzero(counts)
    is_rare = (counts > 0) & (counts < FEW) & (counts < RARE * equal_share)
    if is_rare.any():
        yield (
            f"The training set has fewer than {FEW} examples each of "
            f"{_classes(findings, is_rare)}, of {counts.sum():,} in all."
        )


def _of_classes(findings: Findings, split: str) -> Iterator[str]:
    train, counts = findings.counts["train"], findings.counts[split]
    is_new = (train == 0) & (counts > 0)
    if is_new.any():
        yield (
            f"The training set has no example of {_classes(findings, is_new)}, to "
            f"which {100 * counts[is_new].sum() / counts.sum():.3g} % of the {split} "
            "set belong: training cannot teach what they look like."
        )
    chances = (1 - train / train.sum()) ** counts.sum()  # of a random split without it
    is_lost = (counts == 0) & (chances < MAX_CHANCE)
    if is_lost.any():
        yield (
            f"The {split} set has no example of {_classes(findings, is_lost)}, to "
            f"which {100 * train[is_lost].sum() / train.sum():.3g} % of the training "
            "set belong: the two sets are not a random split."
        )


def _of_examples(findings: Findings, split: str) -> Iterator[str]:
    total, copies = int(findings.counts[split].sum()), findings.copies[split]
    examples = f"{findings.nouns.example}s"
    if copies.number > MAX_COPIES * total:
        yield (
            f"{copies.number:,} of {total:,} {split} {examples} are also in the "
            f"training set, bit for bit ({copies.other_label:,} of them with another "
            f"label): the {split} accuracy is in part a training accuracy."
        )
    ranges = findings.ranges["train"], findings.ranges[split]
    small, large = sorted(values.size for values in ranges)
    fewer, more = sorted(values.negative for values in ranges)
    # As standardised images beside those from 0 to 1.
    is_shifted = large > MAX_SIZE_RATIO * small or (fewer == 0 and more > MIN_NEGATIVE)
    if is_shifted and min(values.number for values in ranges) >= MIN_VALUES:
        train, other = (f"from {_short(v.low)} to {_short(v.high)}" for v in ranges)
        yield (
            f"The training {examples} are {train}, but the {split} {examples} are "
            f"{other}: both have to be scaled alike, by the statistics of the training "
            f"{examples}."
        )


def _of_scale(findings: Findings, divisors: list[float]) -> Iterator[str]:
    """Judges the inputs by the divisors of a sweep, and by the default.

    A divisor that makes the inputs of usual images unusual is chosen on purpose.
    """
    smallest, largest = findings.deviations or (1.0, 1.0)
    if largest > MAX_COLUMN_RATIO * smallest:
        yield (
            f"The columns have standard deviations from {_short(smallest)} to "
            f"{_short(largest)}, and one divisor cannot scale them all. To divide each "
            "by its own, pass --normalizations=per_feature (in the library: "
            "normalization='per_feature')."
        )
        return
    train = findings.ranges["train"]
    sizes = [train.size / divisor for divisor in (*divisors, DIVISOR)]
    smallest, largest = USUAL_SIZES
    is_small = max(sizes) < smallest
    if train.size and (is_small or min(sizes) > largest):
        divisor = min(divisors) if is_small else max(divisors)
        better = _short(train.size if train.size > largest else 1)
        yield (
            f"The training {findings.nouns.example}s are from {_short(train.low)} to "
            f"{_short(train.high)}: divided by {_short(divisor)}, the values other "
            f"than 0 have a 99th percentile of {_short(train.size / divisor)}, but "
            "networks are usually trained on values of about 1. To divide by "
            f"{better}, pass --divisors={better} (in the library: divisor={better})."
        )


def _short(number: float) -> str:
    """Returns a number with three significant digits."""
    return f"{float(f'{number:.3g}'):g}"
