"""Is a data set shuffled, split, scaled, balanced? Tables and sentences. No jax."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import Nouns, nouns, shortened

# Number of sequences of equal labels in a random order: at most this many standard
# deviations from the mean. Chance alone exceeds this once in 16,000 times.
MAX_DEVIATIONS = 4
BALANCED = 1.5  # maximum ratio of the largest class to the smallest
CHUNK = 1000  # examples at a time, in float64
USUAL_STD = (0.5, 2.0)  # of standardised values

TITLES = {"train": "training", "validation": "validation", "test": "test"}

Tables = Mapping[str, pd.DataFrame]


def splits(data: Data) -> dict[str, Dataset]:
    """Returns training, validation (if there is one) and test set by their names."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: part for name, part in parts.items() if part is not None}


def sizes(counts: Mapping[str, int], example: str) -> str:
    """Returns how many examples each split has, in words, such as "image"."""
    *first, last = (f"{count:,} {TITLES[split]}" for split, count in counts.items())
    return f"{', '.join(first)} and {last} {example}s"


def classes(data: Data) -> pd.DataFrame:
    """Returns a row per class: its number of examples and its share of each split."""
    table = pd.DataFrame({"class": data.findings.class_names})
    for split in splits(data):
        counts = data.findings.counts[split]
        table[split] = counts
        table[f"{split}_percent"] = 100 * counts / counts.sum()
    return table


def inputs(data: Data) -> pd.DataFrame:
    """Returns a row per split: minimum, maximum, mean and deviation of all values.

    ``constant``: how many pixels, or columns, are the same in all examples of the
    split. For images, the last two columns are mean and deviation after division by
    255; for tables, the smallest and the largest deviation of a column that varies.
    """
    rows, is_table = [], len(data.image_shape) == 1
    for split, (images, _) in splits(data).items():
        mean, std = _moments(images)
        is_constant = images.min(0) == images.max(0)
        row = {
            "split": split,
            "examples": len(images),
            "shape": "x".join(map(str, data.image_shape)),
            "type": images.dtype.name,
            "values": images[0].size,
            "min": images.min(),
            "max": images.max(),
            "mean": mean,
            "std": std,
            "constant": np.count_nonzero(is_constant),
        }
        if is_table:
            deviations = images[:, ~is_constant].std(0, dtype=np.float64)
            row["smallest_std"] = deviations.min() if deviations.size else 0.0
            row["largest_std"] = deviations.max(initial=0.0)
        else:
            row |= {"mean_per_255": mean / 255, "std_per_255": std / 255}
        rows.append(row)
    return pd.DataFrame(rows)


def _moments(images: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation, in float64 without a full copy."""
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks) / images.size
    squares = sum(float(np.square(chunk - np.float64(mean)).sum()) for chunk in chunks)
    return mean, (squares / images.size) ** 0.5


def copies(data: Data) -> pd.DataFrame:
    """Returns how many examples are exact copies, within and across splits.

    Rows: examples of each split equal to an earlier one of the split; examples of each
    other split equal to a training example. ``other_label``: how many of these copies
    have a label that no example they are equal to has.
    """
    rows = []
    for split, part in splits(data).items():
        rows.append((split, split, len(part.labels), *_copies_within(part)))
    for split, copies in data.findings.copies.items():
        rows.append((split, "train", data.findings.counts[split].sum(), *copies))
    table = pd.DataFrame(rows, columns=["of", "among", "all", "copies", "other_label"])
    table.insert(4, "percent", 100 * table.copies / table.pop("all"))
    return table


def _copies_within(part: Dataset) -> tuple[int, int]:
    """Returns how many examples equal an earlier one; and those with another label."""
    images = [hashlib.sha256(image.tobytes()).digest() for image in part.images]
    examples = pd.Series([*zip(images, part.labels.tolist(), strict=True)])
    is_copy = pd.Series(images).duplicated()
    return int(is_copy.sum()), int((is_copy & ~examples.duplicated()).sum())


def notices(data: Data) -> list[str]:
    """Returns what may be a mistake, if the inputs are divided by 255."""
    return [line for line in data.notices([255.0]) if line != data.notice]


def order(data: Data) -> pd.DataFrame:
    """Returns a row per split: how far the order of its labels is from a random one.

    ``runs``: sequences of equal labels; ``expected`` and ``deviation``: mean and
    standard deviation of their number over all orders of the same labels (Barton and
    David 1957); ``deviations_above``: (runs − expected) / deviation; ``longest_run``.
    """
    rows = []
    for split, (_, labels) in splits(data).items():
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
    return {table.__name__: table(data) for table in (classes, inputs, copies, order)}


def sentences(tables: Tables, notices: Iterable[str] = ()) -> list[str]:
    """Returns the answers that the tables give, and the notices of the data set."""
    names = nouns(tables["inputs"]["shape"][0].split("x"))
    return [
        "Shuffled? " + _shuffled(tables["order"]),
        "Split? " + _split(tables["inputs"], tables["copies"], names),
        "Scaled? " + _scaled(tables["inputs"].iloc[0], names),
        "Balanced? " + _balanced(tables["classes"], names),
        _majority(tables["classes"], names),
        *(f"Note: {line}" for line in notices),
    ]


def _shuffled(table: pd.DataFrame) -> str:
    answers = []
    for row in table.itertuples():
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
        answers.append(f"{TITLES[row.split].capitalize()} set: {verdict}.")
    answers.append("By default, training shuffles the examples in every epoch.")
    return " ".join(answers)


def _split(inputs: pd.DataFrame, copied: pd.DataFrame, names: Nouns) -> str:
    counts = dict(zip(inputs["split"], inputs["examples"], strict=True))
    share = 100 * counts["test"] / sum(counts.values())
    texts = [
        f"{TITLES[row.of]} {names.example}s that are also in the training set, byte "
        f"for byte: {row.copies:,} ({row.other_label:,} of them with another label)"
        for row in copied.itertuples()
        if row.of != row.among
    ]
    within = f"training {names.example}s that are copies of another"
    texts.append(f"{within}: {copied.copies[0]:,}.")
    text = "; ".join(texts)
    return (
        f"Yes: {sizes(counts, names.example)} ({share:.1f} % for testing). "
        f"{text[0].upper()}{text[1:]}"
    )


def _scaled(row: pd.Series, names: Nouns) -> str:
    is_table = "smallest_std" in row
    deviations = ("smallest_std", "largest_std") if is_table else ("std", "std")
    low, high = (row[name] for name in deviations)
    smallest, largest = USUAL_STD
    is_standard = abs(row["mean"]) < 0.5 and smallest < low and high < largest
    is_scaled = is_standard or (row["min"] >= -1 and row["max"] <= 1)
    middle = f"mean {row['mean']:.4f} and standard deviation {row['std']:.4f}"
    if is_table:
        middle = f"standard deviations from {low:.3g} to {high:.3g}"
    elif not is_scaled:
        middle += (
            f"; divided by 255: {row['mean_per_255']:.4f} and {row['std_per_255']:.4f}"
        )
    return (
        f"{'Yes' if is_scaled else 'No'}: the training {names.value}s are {row['type']}"
        f" from {row['min']:g} to {row['max']:g}, with {middle}. The same in all "
        f"training {names.example}s: {row['constant']:,} of {row['values']:,} "
        f"{names.value}s."
    )


def _balanced(table: pd.DataFrame, names: Nouns) -> str:
    ordered = table.sort_values("train", kind="stable")
    smallest, largest = ordered.iloc[0], ordered.iloc[-1]
    if smallest["train"] == largest["train"]:
        count = f"{largest['train']:,} training {names.example}s"
        return f"Yes: {count} of each of {len(table)} classes."
    verdict = "Nearly" if largest["train"] <= BALANCED * smallest["train"] else "No"
    return (
        f"{verdict}: from {smallest['train_percent']:.3f} % of the training "
        f"{names.example}s ({shortened(smallest['class'])}) to "
        f"{largest['train_percent']:.3f} % ({shortened(largest['class'])})."
    )


def _majority(table: pd.DataFrame, names: Nouns) -> str:
    largest = table[table["train"] == table["train"].max()]
    first, count = largest.iloc[0], len(largest)
    which = f"the first of {count} equally" if count > 1 else "the most"
    name = shortened(first["class"])
    return (
        f"Predicting {which} frequent training class{'es' if count > 1 else ''}, "
        f"{name}, for every {names.example} is right for {first['train_percent']:.2f} "
        f"% of the training and {first['test_percent']:.2f} % of the test "
        f"{names.example}s: a network must do better."
    )
