"""What the sources published: every row of numbers and every claim in words.

Read from ``references.json`` in this folder. Accuracies are fractions. The reading
error of a number from a plot is the known error of that plot (a pixel), or else half
the last digit of the metric's coarsest numbers. The reading error of printed numbers is
0. Every source ran one unseeded run, so none publishes a spread over seeds.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PATH = Path(__file__).with_name("references.json")


@dataclasses.dataclass(frozen=True)
class Source:
    """A published text; the year is None, and the address empty, if unknown."""

    author: str
    title: str
    year: int | None
    address: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment of the sources; arrays are [E], by epoch from 1 on.

    Attributes:
      sources: keys of the texts that published it.
      config: the configuration in words.
      num_epochs: E, the number of epochs.
      published: values by metric, NaN for epochs without one. The metrics have our
        names; ``train_loss_and_penalty`` is the sum of the two, and metrics ending in
        ``_with_dropout`` were measured with dropout on.
      reading_error: errors of these values by metric, NaN for epochs without a value.
      also_compared_with: our metric that a published metric may mean instead.
      learning_rate: learning rate of each epoch, if a source gives more than one.
      parameters: minimum and maximum after training, by layer.
      hidden_values: min, max and the ``share_below`` a ``threshold``, after training.
      note: further facts or questions.
      reason: why our results differ, if known; written after the measurement.
    """

    sources: Sequence[str]
    config: str
    num_epochs: int
    published: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    reading_error: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    also_compared_with: Mapping[str, str] = dataclasses.field(default_factory=dict)
    learning_rate: np.ndarray | None = None
    parameters: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    hidden_values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim in words, and what the published figures or arithmetic suggest."""

    claim: str  # paraphrased
    sources: Sequence[str]  # keys of the texts that make it
    suggested: str
    words: str = ""  # a quotation; empty if only the paraphrase is at hand


@dataclasses.dataclass(frozen=True)
class References:
    """Sources, rows and claims by name, and groups of rows with one configuration."""

    rows: Mapping[str, Row]
    claims: Mapping[str, Claim]
    replicates: Sequence[Mapping[str, int]]  # number of shared epochs by row of a group
    sources: Mapping[str, Source]


def load(path: Path = PATH) -> References:
    """Reads the references; ValueError names an inconsistent row, claim or group."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: _row(name, entry) for name, entry in entries["rows"].items()}
    replicates = entries["replicates"]
    for name in {name for group in replicates for name in group} - rows.keys():
        raise ValueError(f"replicates: there is no row {name!r}.")
    claims = {name: Claim(**entry) for name, entry in entries["claims"].items()}
    sources = {key: Source(**entry) for key, entry in entries["sources"].items()}
    texts: dict[str, Row | Claim] = {**rows, **claims}
    for name, text in texts.items():
        if not text.sources or not sources.keys() >= set(text.sources):
            raise ValueError(f"{name}: there are no such sources: {text.sources}.")
    return References(rows, claims, replicates, sources)


def other_reading(row: Row) -> Row:
    """Returns the row with its numbers under the metrics that they may mean instead."""
    names = row.also_compared_with
    return dataclasses.replace(
        row,
        published={names.get(n, n): v for n, v in row.published.items()},
        reading_error={names.get(n, n): v for n, v in row.reading_error.items()},
        also_compared_with={},
    )


def replicated(references: References, group: Mapping[str, int], metric: str) -> Any:
    """Returns the published values of a metric for a group, ``[rows, E]``.

    A value is NaN if none is published, or after the epochs that the row shares.
    """
    values = np.full((len(group), max(group.values())), np.nan)
    for number, (name, shared) in enumerate(group.items()):
        published = references.rows[name].published.get(metric)
        if published is not None:
            values[number, :shared] = published[:shared]
    return values


def _row(name: str, entry: Mapping[str, Any]) -> Row:
    """Returns a row from its entry in the file, with every number checked."""
    length = entry["num_epochs"]
    published = {
        metric: _by_epoch(f"{name}, {metric}", values, length)
        for metric, values in entry.get("published", {}).items()
    }
    errors = entry.get("reading_error", {})
    if errors.keys() != published.keys():
        raise ValueError(f"{name}: each published metric needs its reading error.")
    reading_error = {
        metric: _errors(f"{name}, error of {metric}", errors[metric], values)
        for metric, values in published.items()
    }
    for metric, values in published.items():
        top = 1 if "accuracy" in metric else np.inf
        if np.any((values < 0) | (values > top)):
            raise ValueError(f"{name}: {metric} is outside 0…{top:g}.")
    computed: dict[str, Any] = {"published": published, "reading_error": reading_error}
    if "learning_rate" in entry:
        rates = _by_epoch(f"{name}, learning_rate", entry["learning_rate"], length)
        computed["learning_rate"] = pd.Series(rates).ffill().to_numpy()
    return Row(**{**entry, **computed})


def _by_epoch(name: str, values: Any, length: int) -> np.ndarray:
    """Returns [E] from a list of all epochs, or from values by epoch."""
    if isinstance(values, list):
        if len(values) != length:
            raise ValueError(f"{name}: {len(values)} values for {length} epochs.")
        return np.array(values, float)
    array = np.full(length, np.nan)
    for epoch, value in values.items():
        if not 1 <= int(epoch) <= length:
            raise ValueError(f"{name}: epoch {epoch} of {length}.")
        array[int(epoch) - 1] = value
    return array


def _errors(name: str, errors: Any, values: np.ndarray) -> np.ndarray:
    """Returns an error for each value, from one number or from errors by epoch."""
    if isinstance(errors, int | float):
        array = np.where(np.isnan(values), np.nan, errors)
    else:
        array = _by_epoch(name, errors, len(values))
    if np.any(np.isnan(array) != np.isnan(values)) or np.any(array < 0):
        raise ValueError(f"{name}: each value, and no other epoch, needs one ≥ 0.")
    return array
