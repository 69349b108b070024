"""What the sources published, as data: every row of numbers and every claim in words.

``references.json`` beside this file holds it. Accuracies are fractions. The reading
error of a number read from a plot is the one known for that plot (a pixel); where none
is known, half the last digit of the metric's coarsest numbers. Printed numbers have 0.
Every source ran one unseeded run, so that the spread over seeds is in none of them.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("references.json")


@dataclasses.dataclass(frozen=True)
class Row:
    """One experiment of the sources; all arrays are [E], by epoch from 1 on.

    Attributes:
      source: the text that published it.
      config: the configuration in words.
      num_epochs: E, how long it trained.
      published: metric to values, NaN where none is published. Metrics bear the names
        of ours; ``train_loss_and_penalty`` is the sum of the two, and what ends in
        ``_with_dropout`` was measured with dropout on.
      reading_error: metric to the errors of its values, NaN where there is no value.
      also_compared_with: metric to the other one of ours that it may mean.
      learning_rate: the rate during each epoch, where a source says more than one.
      parameters: layer to smallest and largest value after training.
      hidden_values: min, max, and the ``share_below`` a ``threshold``, after training.
      note: what else is known or asked.
    """

    source: str
    config: str
    num_epochs: int
    published: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    reading_error: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    also_compared_with: Mapping[str, str] = dataclasses.field(default_factory=dict)
    learning_rate: np.ndarray | None = None
    parameters: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    hidden_values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim in words, and what the published figures or arithmetic suggest of it."""

    claim: str
    source: str
    suggested: str


@dataclasses.dataclass(frozen=True)
class References:
    """Rows and claims by name, and which rows repeat one configuration.

    Attributes:
      replicates: groups of rows, each with how many of its epochs it shares.
    """

    rows: Mapping[str, Row]
    claims: Mapping[str, Claim]
    replicates: Sequence[Mapping[str, int]]


def load(path: Path = PATH) -> References:
    """Reads the references.

    Raises:
      ValueError: where the file says what cannot be; it names the row.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: _row(name, entry) for name, entry in found["rows"].items()}
    for name in {name for group in found["replicates"] for name in group} - rows.keys():
        raise ValueError(f"replicates: there is no row {name!r}.")
    claims = {name: Claim(**entry) for name, entry in found["claims"].items()}
    return References(rows, claims, found["replicates"])


def other_reading(row: Row) -> Row:
    """Returns the row with its numbers under the other names that they may mean."""
    names = row.also_compared_with
    return dataclasses.replace(
        row,
        published={names.get(n, n): v for n, v in row.published.items()},
        reading_error={names.get(n, n): v for n, v in row.reading_error.items()},
        also_compared_with={},
    )


def replicated(references: References, group: Mapping[str, int], metric: str) -> Any:
    """Returns what the rows of a group published of a metric, [rows, E].

    NaN stands where a row published nothing, or no longer shares the configuration.
    """
    values = np.full((len(group), max(group.values())), np.nan)
    for at, (name, shared) in enumerate(group.items()):
        published = references.rows[name].published.get(metric)
        if published is not None:
            values[at, :shared] = published[:shared]
    return values


def _row(name: str, entry: Mapping[str, Any]) -> Row:
    """Returns a row from its entry in the file, every number checked."""
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
        if not np.all(np.isnan(values) | ((values >= 0) & (values <= top))):
            raise ValueError(f"{name}: {metric} is outside 0…{top:g}.")
    computed: dict[str, Any] = {"published": published, "reading_error": reading_error}
    if "learning_rate" in entry:
        rates = _by_epoch(f"{name}, learning_rate", entry["learning_rate"], length)
        computed["learning_rate"] = _held(rates)
    return Row(**{**entry, **computed})


def _by_epoch(what: str, values: Any, length: int) -> np.ndarray:
    """Returns [E] from a list of all epochs, or a mapping of epochs to values."""
    if isinstance(values, list):
        values = dict(enumerate(values, start=1))
        if len(values) != length:
            raise ValueError(f"{what}: {len(values)} values for {length} epochs.")
    found = np.full(length, np.nan)
    for epoch, value in values.items():
        if not 1 <= int(epoch) <= length:
            raise ValueError(f"{what}: epoch {epoch} of {length}.")
        found[int(epoch) - 1] = value
    return found


def _errors(what: str, given: Any, values: np.ndarray) -> np.ndarray:
    """Returns an error for each value, from one for all or by epoch."""
    if isinstance(given, int | float):
        errors = np.where(np.isnan(values), np.nan, given)
    else:
        errors = _by_epoch(what, given, len(values))
    if np.any(np.isnan(errors) != np.isnan(values)) or np.any(errors < 0):
        raise ValueError(f"{what}: each value needs one, not below 0, and no other.")
    return errors


def _held(values: np.ndarray) -> np.ndarray:
    """Returns each epoch's value, or the last one before it."""
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return values[last]
