"""What a data set is like: shuffled, split, scaled, balanced? Tables and sentences.

Only NumPy and pandas are needed, no jax.
"""

import collections
import hashlib
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from fmnist_jax.data.dataset import Data, Dataset

# How many standard deviations the number of runs of equal labels may lie from that of
# a random order: chance alone goes further once in 16,000 times.
MOST_DEVIATIONS = 4
BALANCED = 1.5  # the largest class is at most so many times the smallest
# The data tutorial's example of a majority, and what it says guessing it scores.
TUTORIAL, TUTORIAL_CLAIM = {"dogs": 7200, "cats": 1800}, 72
CHUNK = 1000  # images at a time, in float64

Tables = Mapping[str, pd.DataFrame]


def _splits(data: Data) -> Iterator[tuple[str, Dataset]]:
    yield from (("train", data.train), ("test", data.test))


def class_names(data: Data) -> list[str]:
    """Returns a name for each class: its own, or its number."""
    return list(data.class_names) or [str(c) for c in range(data.num_classes)]


def classes(data: Data) -> pd.DataFrame:
    """Returns a row per class: how many examples, and what share of each split."""
    table = pd.DataFrame({"class": class_names(data)})
    for split, (_, labels) in _splits(data):
        counts = np.bincount(labels, minlength=data.num_classes)
        table[split] = counts
        table[f"{split}_percent"] = 100 * counts / len(labels)
    return table


def pixels(data: Data) -> pd.DataFrame:
    """Returns a row per split: range, mean and standard deviation of the pixels.

    The last two also per 255, as they are after a division by it.
    """
    rows = []
    for split, (images, _) in _splits(data):
        mean, std = _moments(images)
        rows.append(
            {
                "split": split,
                "images": len(images),
                "shape": "x".join(map(str, data.image_shape)),
                "type": images.dtype.name,
                "min": images.min(),
                "max": images.max(),
                "mean": mean,
                "std": std,
                "mean_per_255": mean / 255,
                "std_per_255": std / 255,
            }
        )
    return pd.DataFrame(rows)


def _moments(images: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation, in float64 without a copy of it all."""
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks) / images.size
    squares = sum(float(np.square(chunk - np.float64(mean)).sum()) for chunk in chunks)
    return mean, (squares / images.size) ** 0.5


def copies(data: Data) -> pd.DataFrame:
    """Returns how many images are exact copies of another, within and across splits.

    Rows: of the training images, those that are like an earlier one; of the test
    images likewise; of the test images, those that stand in the training set.
    ``other_label``: so many of them have a label that none of their like has.
    """
    digests = {
        split: [hashlib.sha256(image.tobytes()).digest() for image in images]
        for split, (images, _) in _splits(data)
    }
    labels = {split: y.tolist() for split, (_, y) in _splits(data)}
    rows = []
    for of, among in (("train", "train"), ("test", "test"), ("test", "train")):
        seen: dict[bytes, set[int]] = collections.defaultdict(set)
        if of != among:
            for digest, label in zip(digests[among], labels[among], strict=True):
                seen[digest].add(label)
        count = other = 0
        for digest, label in zip(digests[of], labels[of], strict=True):
            if digest in seen:
                count += 1
                other += label not in seen[digest]
            if of == among:
                seen[digest].add(label)
        percent = 100 * count / len(labels[of])
        rows.append((of, among, count, percent, other))
    columns = ["of", "among", "copies", "percent", "other_label"]
    return pd.DataFrame(rows, columns=columns)


def order(data: Data) -> pd.DataFrame:
    """Returns a row per split: how far the order of its labels is from a random one.

    ``runs``: stretches of equal labels; ``expected`` and ``deviation``: mean and
    standard deviation of their number over all orders of the same labels (Barton and
    David 1957); ``deviations_above``: how many of these the runs are above that mean;
    ``longest_run``.
    """
    rows = []
    for split, (_, labels) in _splits(data):
        lengths = [len(list(group)) for _, group in itertools.groupby(labels.tolist())]
        expected, deviation = runs_at_random(np.bincount(labels).tolist())
        above = (len(lengths) - expected) / deviation if deviation else np.nan
        rows.append((split, len(lengths), expected, deviation, above, max(lengths)))
    columns = ["split", "runs", "expected", "deviation"]
    columns += ["deviations_above", "longest_run"]
    return pd.DataFrame(rows, columns=columns)


def runs_at_random(counts: list[int]) -> tuple[float, float]:
    """Returns mean and standard deviation of the number of runs in a random order.

    Args:
      counts: how often each label occurs.
    """
    n = sum(counts)
    squares, cubes = sum(c**2 for c in counts), sum(c**3 for c in counts)
    mean = n + 1 - squares / n
    if n < 2:
        return mean, 0.0
    above = squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3
    return mean, (above / (n**2 * (n - 1))) ** 0.5


def majority_share(counts: Mapping[str, int]) -> tuple[str, float]:
    """Returns the most frequent class, and how often guessing it is right."""
    name = max(counts, key=lambda each: counts[each])
    return name, counts[name] / sum(counts.values())


def tables(data: Data) -> Tables:
    """Returns all that is known of a data set, by name."""
    return {
        "classes": classes(data),
        "pixels": pixels(data),
        "copies": copies(data),
        "order": order(data),
    }


def sentences(found: Tables) -> list[str]:
    """Returns the answers that the tables give."""
    return [
        "Shuffled? " + _shuffled(found["order"]),
        "Split? " + _split(found["pixels"], found["copies"]),
        "Scaled? " + _scaled(found["pixels"]),
        "Balanced? " + _balanced(found["classes"]),
        _majority(found["classes"]),
    ]


def _shuffled(table: pd.DataFrame) -> str:
    said = []
    for row in table.itertuples():
        counted = (
            f"{row.runs:,} runs of equal labels, the longest {row.longest_run}; random "
            f"orders have {row.expected:,.0f} ± {row.deviation:.0f}"
        )
        if not np.isfinite(row.deviations_above):
            verdict = "one class or one example only, which has no order"
        elif row.deviations_above < -MOST_DEVIATIONS:
            verdict = f"no, equal labels stand together ({counted})"
        elif row.deviations_above > MOST_DEVIATIONS:
            verdict = f"yes, mixed more evenly than by chance ({counted})"
        else:
            verdict = f"yes, like a random order ({counted})"
        said.append(f"The {row.split} file: {verdict}.")
    return " ".join(said) + " Training draws a new order every epoch in any case."


def _split(images: pd.DataFrame, same: pd.DataFrame) -> str:
    train, test = images["images"]
    within, _, across = same["copies"]
    return (
        f"Yes: {train:,} images to train on and {test:,} to test with "
        f"({100 * test / (train + test):.1f} %). Test images that stand in the "
        f"training set too, byte for byte: {across:,} "
        f"({same['other_label'].iloc[2]:,} of them with another label); training "
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
    least, most = ordered.iloc[0], ordered.iloc[-1]
    if least["train"] == most["train"]:
        return (
            f"Yes: {most['train']:,} training images of each of {len(table)} classes."
        )
    verdict = "Nearly" if most["train"] <= BALANCED * least["train"] else "No"
    return (
        f"{verdict}: from {least['train_percent']:.3f} % of the training images "
        f"({least['class']}) to {most['train_percent']:.3f} % ({most['class']})."
    )


def _majority(table: pd.DataFrame) -> str:
    counts = dict(zip(table["class"], table["train"], strict=True))
    name, share = majority_share(counts)
    tested = table.loc[table["class"] == name, "test_percent"].iloc[0]
    level = list(counts.values()).count(counts[name])
    which = f"the first of {level} equally" if level > 1 else "the most"
    dogs, share_of_dogs = majority_share(TUTORIAL)
    return (
        f"Guessing {which} frequent training class{'es' if level > 1 else ''}, {name}, "
        "is right for "
        f"{100 * share:.2f} % of the training and {tested:.2f} % of the test images: "
        f"what a network must beat. (Likewise {dogs} among {_listed(TUTORIAL)}: "
        f"{100 * share_of_dogs:.0f} %, not the {TUTORIAL_CLAIM} % that the tutorial "
        "says.)"
    )


def _listed(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count:,} {name}" for name, count in counts.items())
