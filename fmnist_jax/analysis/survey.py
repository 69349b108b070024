"""Is a data set shuffled, split, scaled, balanced? Tables and sentences. No jax."""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from fmnist_jax.data.dataset import Data, Dataset

# Number of sequences of equal labels in a random order: at most this many standard
# deviations from the mean. Chance alone exceeds this once in 16,000 times.
MAX_DEVIATIONS = 4
BALANCED = 1.5  # maximum ratio of the largest class to the smallest
CHUNK = 1000  # images at a time, in float64

Tables = Mapping[str, pd.DataFrame]


def _splits(data: Data) -> Iterator[tuple[str, Dataset]]:
    yield from (("train", data.train), ("test", data.test))


def class_names(data: Data) -> list[str]:
    """Returns the name of each class, or its number if the classes have no names."""
    return list(data.class_names) or [str(c) for c in range(data.num_classes)]


def classes(data: Data) -> pd.DataFrame:
    """Returns a row per class: its number of examples and its share of each split."""
    table = pd.DataFrame({"class": class_names(data)})
    for split, (_, labels) in _splits(data):
        counts = np.bincount(labels, minlength=data.num_classes)
        table[split] = counts
        table[f"{split}_percent"] = 100 * counts / len(labels)
    return table


def pixels(data: Data) -> pd.DataFrame:
    """Returns a row per split: minimum, maximum, mean and deviation of the pixels.

    The last two columns are mean and deviation after division by 255.
    """
    table = pd.DataFrame(
        {
            "split": split,
            "images": len(images),
            "shape": "x".join(map(str, data.image_shape)),
            "type": images.dtype.name,
            "min": images.min(),
            "max": images.max(),
            **dict(zip(("mean", "std"), _moments(images), strict=True)),
        }
        for split, (images, _) in _splits(data)
    )
    table[["mean_per_255", "std_per_255"]] = table[["mean", "std"]] / 255
    return table


def _moments(images: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation, in float64 without a full copy."""
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks) / images.size
    squares = sum(float(np.square(chunk - np.float64(mean)).sum()) for chunk in chunks)
    return mean, (squares / images.size) ** 0.5


def copies(data: Data) -> pd.DataFrame:
    """Returns how many images are exact copies of another, within and across splits.

    Rows: training images equal to an earlier training image; test images likewise; test
    images equal to a training image. ``other_label``: how many of these copies have a
    label that no image they are equal to has.
    """
    train, test = (_keys(part) for _, part in _splits(data))
    copied = {
        ("train", "train"): train.apply(pd.Series.duplicated),
        ("test", "test"): test.apply(pd.Series.duplicated),
        ("test", "train"): test.apply(lambda column: column.isin(train[column.name])),
    }
    return pd.DataFrame(
        {
            "of": of,
            "among": among,
            "copies": copy.image.sum(),
            "percent": 100 * copy.image.sum() / len(copy),
            "other_label": (copy.image & ~copy.example).sum(),
        }
        for (of, among), copy in copied.items()
    )


def _keys(part: Dataset) -> pd.DataFrame:
    """Returns a row per example: a digest of its image, and digest and label."""
    images = [hashlib.sha256(image.tobytes()).digest() for image in part.images]
    examples = [*zip(images, part.labels.tolist(), strict=True)]
    return pd.DataFrame({"image": images, "example": examples})


def order(data: Data) -> pd.DataFrame:
    """Returns a row per split: how far the order of its labels is from a random one.

    ``runs``: sequences of equal labels; ``expected`` and ``deviation``: mean and
    standard deviation of their number over all orders of the same labels (Barton and
    David 1957); ``deviations_above``: (runs − expected) / deviation; ``longest_run``.
    """
    rows = []
    for split, (_, labels) in _splits(data):
        starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        lengths = np.diff(starts, append=len(labels))
        expected, deviation = runs_at_random(np.bincount(labels).tolist())
        above = (len(lengths) - expected) / deviation if deviation else np.nan
        rows.append((split, len(lengths), expected, deviation, above, lengths.max()))
    columns = ["split", "runs", "expected", "deviation"]
    return pd.DataFrame(rows, columns=[*columns, "deviations_above", "longest_run"])


def runs_at_random(counts: list[int]) -> tuple[float, float]:
    """Returns mean and deviation of the number of runs, by the count of each label."""
    n = sum(counts)
    squares, cubes = sum(c**2 for c in counts), sum(c**3 for c in counts)
    mean = n + 1 - squares / n
    if n < 2:
        return mean, 0.0
    above = squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3
    return mean, (above / (n**2 * (n - 1))) ** 0.5


def tables(data: Data) -> Tables:
    """Returns all tables of a data set, by name."""
    return {table.__name__: table(data) for table in (classes, pixels, copies, order)}


def sentences(tables: Tables) -> list[str]:
    """Returns the answers that the tables give."""
    return [
        "Shuffled? " + _shuffled(tables["order"]),
        "Split? " + _split(tables["pixels"], tables["copies"]),
        "Scaled? " + _scaled(tables["pixels"]),
        "Balanced? " + _balanced(tables["classes"]),
        _majority(tables["classes"]),
    ]


def _shuffled(table: pd.DataFrame) -> str:
    answers = []
    for title, row in zip(("Training", "Test"), table.itertuples(), strict=True):
        counts = (
            f"{row.runs:,} sequences of equal labels (longest: {row.longest_run}); "
            f"random orders have {row.expected:,.0f} ± {row.deviation:.0f}"
        )
        if not np.isfinite(row.deviations_above):
            verdict = "one class or one example only, which has no order"
        elif row.deviations_above < -MAX_DEVIATIONS:
            verdict = f"no, equal labels are adjacent ({counts})"
        elif row.deviations_above > MAX_DEVIATIONS:
            verdict = f"yes, mixed more evenly than by chance ({counts})"
        else:
            verdict = f"yes, consistent with a random order ({counts})"
        answers.append(f"{title} set: {verdict}.")
    answers.append("By default, training shuffles the examples in every epoch.")
    return " ".join(answers)


def _split(images: pd.DataFrame, copied: pd.DataFrame) -> str:
    train, test = images["images"]
    within, _, across = copied["copies"]
    return (
        f"Yes: {train:,} training and {test:,} test images "
        f"({100 * test / (train + test):.1f} %). Test images that are also in the "
        f"training set, byte for byte: {across:,} "
        f"({copied['other_label'].iloc[2]:,} of them with another label); training "
        f"images that are copies of another: {within:,}."
    )


def _scaled(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    scaled = row["min"] >= -1 and row["max"] <= 1
    return (
        f"{'Yes' if scaled else 'No'}: the training pixels are {row['type']} from "
        f"{row['min']:g} to {row['max']:g}, with mean {row['mean']:.4f} and standard "
        f"deviation {row['std']:.4f}; divided by 255: {row['mean_per_255']:.4f} and "
        f"{row['std_per_255']:.4f}."
    )


def _balanced(table: pd.DataFrame) -> str:
    ordered = table.sort_values("train", kind="stable")
    smallest, largest = ordered.iloc[0], ordered.iloc[-1]
    if smallest["train"] == largest["train"]:
        count = f"{largest['train']:,} training images"
        return f"Yes: {count} of each of {len(table)} classes."
    verdict = "Nearly" if largest["train"] <= BALANCED * smallest["train"] else "No"
    return (
        f"{verdict}: from {smallest['train_percent']:.3f} % of the training images "
        f"({smallest['class']}) to {largest['train_percent']:.3f} % "
        f"({largest['class']})."
    )


def _majority(table: pd.DataFrame) -> str:
    largest = table[table["train"] == table["train"].max()]
    first, count = largest.iloc[0], len(largest)
    which = f"the first of {count} equally" if count > 1 else "the most"
    return (
        f"Predicting {which} frequent training class{'es' if count > 1 else ''}, "
        f"{first['class']}, for every image is right for {first['train_percent']:.2f} "
        f"% of the training and {first['test_percent']:.2f} % of the test images: a "
        "network must do better."
    )
