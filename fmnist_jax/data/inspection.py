"""Checks of a data set before training: classes, copies, constant pixels, scale.

A data set that teaches nothing is refused. A possible mistake is a notice of one line.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data.statistics import moments
from fmnist_jax.data.subsets import MAX_CHANCE
from fmnist_jax.errors import UserError, listed

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
    """How many images of a split are the same, bit for bit, as a training image.

    Attributes:
      number: of these images.
      other_label: the number of these with a label that no such training image has.
    """

    number: int
    other_label: int


class Range(NamedTuple):
    """The values of a split's images.

    Attributes:
      low: the minimum.
      high: the maximum.
      size: 99th percentile of the absolute values other than 0; 0 if there is none.
      negative: share of the values below 0.
      number: how many values ``size`` and ``negative`` are computed from.
    """

    low: float
    high: float
    size: float
    negative: float
    number: int


class Findings(NamedTuple):
    """What is counted of a data set.

    Attributes:
      class_names: one per class.
      counts: name of each split to its number of examples by class, int ``[C]``.
      copies: name of each split but "train" to its copies of training images.
      num_pixels: values per image.
      constant_pixels: those that are the same in all training images.
      ranges: name of each split to the range of its images.
      deviations: the smallest and the largest standard deviation among the training
        columns of a table that are not constant; None for images.
    """

    class_names: Sequence[str]
    counts: Mapping[str, np.ndarray]
    copies: Mapping[str, Copies]
    num_pixels: int
    constant_pixels: int
    ranges: Mapping[str, Range]
    deviations: tuple[float, float] | None = None


def inspect(splits: Mapping[str, Any], class_names: Sequence[str]) -> Findings:
    """Looks at all images and labels.

    Args:
      splits: "train" and other splits to their checked (images, labels).
      class_names: one per class.
    """
    images, _ = splits["train"]
    others = {name: split for name, split in splits.items() if name != "train"}
    is_constant = images.min(0) == images.max(0)
    return Findings(
        class_names=class_names,
        counts={
            name: np.bincount(labels, minlength=len(class_names))
            for name, (_, labels) in splits.items()
        },
        copies={
            name: _copies(splits["train"], split) for name, split in others.items()
        },
        num_pixels=is_constant.size,
        constant_pixels=int(np.count_nonzero(is_constant)),
        ranges={name: _range(images) for name, (images, _) in splits.items()},
        deviations=_deviations(images) if images.ndim == 2 else None,
    )


def _deviations(rows: np.ndarray) -> tuple[float, float] | None:
    varying = moments(rows).variance[rows.min(0) != rows.max(0)] ** 0.5
    return (float(varying.min()), float(varying.max())) if varying.size else None


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
    """Refuses a training set that teaches nothing.

    Raises:
      UserError: if it has one class only, or if all of its images are the same.
    """
    present = findings.counts["train"] > 0
    if np.count_nonzero(present) == 1:
        raise UserError(
            f"The training set has only {_classes(findings, present)}: there is "
            "nothing to learn; give examples of at least two classes."
        )
    if findings.constant_pixels == findings.num_pixels:
        raise UserError(
            "All training images are the same: there is nothing to learn from them; "
            "check how they were read."
        )


def notices(findings: Findings, divisors: Iterable[float] = ()) -> list[str]:
    """Returns a line for everything that may be a mistake.

    Args:
      findings: of the data set.
      divisors: those of a sweep; the scale of the images is judged by them.
    """
    lines = [_never(findings), _rare(findings)]
    for split in findings.copies:
        lines += [_unseen(findings, split), _untested(findings, split)]
        lines += [_copied(findings, split), _shifted(findings, split)]
    divisors = list(divisors)
    lines += [_scale(findings, divisors), _columns(findings) if divisors else ""]
    return [line for line in lines if line]


def _classes(findings: Findings, which: np.ndarray) -> str:
    """Returns 'class a', or 'the 3 classes a, b, c', for the True in bool ``[C]``."""
    names = [findings.class_names[i] for i in np.flatnonzero(which).tolist()]
    noun = "class" if len(names) == 1 else f"the {len(names)} classes"
    return f"{noun} {listed(names)}"


def _never(findings: Findings) -> str:
    which = np.sum(list(findings.counts.values()), axis=0) == 0
    if not which.any():
        return ""
    return (
        f"No split has an example of {_classes(findings, which)}; the network has an "
        f"output for each of {len(which)} classes nevertheless."
    )


def _rare(findings: Findings) -> str:
    counts = findings.counts["train"]
    equal_share = counts.sum() / np.count_nonzero(counts)
    which = (counts > 0) & (counts < FEW) & (counts < RARE * equal_share)
    if not which.any():
        return ""
    return (
        f"The training set has fewer than {FEW} examples each of "
        f"{_classes(findings, which)}, of {counts.sum():,} in all."
    )


def _unseen(findings: Findings, split: str) -> str:
    counts = findings.counts[split]
    which = (findings.counts["train"] == 0) & (counts > 0)
    if not which.any():
        return ""
    return (
        f"The training set has no example of {_classes(findings, which)}, to which "
        f"{100 * counts[which].sum() / counts.sum():.3g} % of the {split} set belong: "
        "training cannot teach what they look like."
    )


def _untested(findings: Findings, split: str) -> str:
    train, counts = findings.counts["train"], findings.counts[split]
    chances = (1 - train / train.sum()) ** counts.sum()  # of a random split without it
    which = (counts == 0) & (chances < MAX_CHANCE)
    if not which.any():
        return ""
    return (
        f"The {split} set has no example of {_classes(findings, which)}, to which "
        f"{100 * train[which].sum() / train.sum():.3g} % of the training set belong: "
        "the two sets are not a random split."
    )


def _copied(findings: Findings, split: str) -> str:
    total, copies = int(findings.counts[split].sum()), findings.copies[split]
    if copies.number <= MAX_COPIES * total:
        return ""
    return (
        f"{copies.number:,} of {total:,} {split} images are also in the training set, "
        f"bit for bit ({copies.other_label:,} of them with another label): the {split} "
        "accuracy is in part a training accuracy."
    )


def _shifted(findings: Findings, split: str) -> str:
    """Compares ranges: of standardised images with those from 0 to 1, for instance."""
    ranges = findings.ranges["train"], findings.ranges[split]
    if min(values.number for values in ranges) < MIN_VALUES:
        return ""
    small, large = sorted(values.size for values in ranges)
    fewer, more = sorted(values.negative for values in ranges)
    if large <= MAX_SIZE_RATIO * small and not (fewer == 0 and more > MIN_NEGATIVE):
        return ""
    train, other = (
        f"from {_short(values.low)} to {_short(values.high)}" for values in ranges
    )
    return (
        f"The training images are {train}, but the {split} images are {other}: both "
        "have to be scaled alike, by the statistics of the training images."
    )


def _scale(findings: Findings, divisors: list[float]) -> str:
    """Judges the inputs by the divisors of a sweep, and by the default.

    A divisor that makes the inputs of usual images unusual is chosen on purpose.
    """
    train = findings.ranges["train"]
    sizes = [train.size / divisor for divisor in (*divisors, DIVISOR)]
    smallest, largest = USUAL_SIZES
    is_small, is_large = max(sizes) < smallest, min(sizes) > largest
    if not (divisors and train.size and (is_small or is_large)):
        return ""
    divisor = min(divisors) if is_small else max(divisors)
    better = _short(train.size if train.size > largest else 1)
    low, high = _short(train.low), _short(train.high)
    return (
        f"The training images are from {low} to {high}: divided by {_short(divisor)}, "
        "the values other than 0 have a 99th percentile of "
        f"{_short(train.size / divisor)}, but networks are usually trained on "
        f"values of about 1. To divide by {better}, pass --divisors={better} (in the "
        f"library: divisor={better})."
    )


def _columns(findings: Findings) -> str:
    """Compares the columns of a table, which one divisor scales alike."""
    smallest, largest = findings.deviations or (1.0, 1.0)
    if largest <= MAX_COLUMN_RATIO * smallest:
        return ""
    return (
        f"The columns have standard deviations from {_short(smallest)} to "
        f"{_short(largest)}, and one divisor cannot scale them all. To divide each by "
        "its own, pass --normalizations=per_feature (in the library: "
        "normalization='per_feature')."
    )


def _short(number: float) -> str:
    """Returns a number with three significant digits."""
    return f"{float(f'{number:.3g}'):g}"
