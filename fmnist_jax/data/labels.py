"""Labels of any type as classes 0 to C-1, and targets as given."""

import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fmnist_jax.data.arrays import is_float
from fmnist_jax.errors import UserError, listed

FEW_CLASSES = 20  # so many are always plausible; more, up to half of the examples
_INTEGER = re.compile("0|-?[1-9][0-9]{0,14}")  # as Python writes them
_SHOWN = 10  # gaps between the labels that are listed


class Encoded(NamedTuple):
    """Labels as classes."""

    labels: dict[str, np.ndarray]  # int32 [N] of each split, from 0
    class_names: tuple[str, ...]  # empty if the labels were 0 to C-1 already
    note: str = ""  # the numbers that became the classes, and the gaps between them


def encode(labels: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Encoded:
    """Returns the labels of all splits as classes 0 to C-1.

    With class names, a label is a name or its position. Without, the classes are the
    labels that occur in any split, in sorted order: numbers (also as text) by value,
    other text by character. Integers that are 0 to C-1 already are not changed.

    Labels are integers, whole floats, booleans or text ``[N]`` or ``[N, 1]``, or
    one-hot ``[N, C]``.

    Raises:
      UserError: if a label is missing, unknown or no class, or if the splits have
        labels of different types.
    """
    parsed = {split: _parse(f"{split} labels", labels[split]) for split in labels}
    columns = {split: column for split, (column, _) in parsed.items()}
    types = {
        split: f"one-hot with {width} columns"
        if width
        else {"U": "text"}.get(column.dtype.kind, "numbers")
        for split, (column, width) in parsed.items()
    }
    if len({*types.values()}) > 1:
        texts = [f"{split} labels are {name}" for split, name in types.items()]
        raise UserError(f"{', but '.join(texts)}; use one type in all splits.")
    if width := next(iter(parsed.values()))[1]:
        class_names = class_names or tuple(map(str, range(width)))
        if width != len(class_names):
            count = len(class_names)
            raise UserError(
                f"There are {width} one-hot columns, but {count} class names."
            )
    if class_names:
        known = {s: _known(f"{s} labels", c, class_names) for s, c in columns.items()}
        return Encoded(known, class_names)
    is_bool = all(values.dtype == bool for values in labels.values())
    return _by_occurrence(columns, is_bool)


def _by_occurrence(columns: dict[str, np.ndarray], is_bool: bool) -> Encoded:
    """Returns labels as positions among those that occur, in sorted order."""
    classes = np.unique(np.concatenate([*columns.values()]))
    if classes.dtype.kind == "U" and all(map(_INTEGER.fullmatch, classes.tolist())):
        columns = {split: column.astype(int) for split, column in columns.items()}
        classes = np.sort(classes.astype(int))
    num_examples = sum(map(len, columns.values()))
    if len(classes) > max(FEW_CLASSES, num_examples / 2):
        raise UserError(
            f"The labels have {len(classes):,} different values in {num_examples:,} "
            "examples, which look like targets of a regression, not like classes; "
            "group them into classes."
        )
    values, note = classes.tolist(), ""
    if not is_bool and classes.dtype.kind != "U":
        if values == [*range(len(values))]:
            same = {s: c.astype(np.int32, copy=False) for s, c in columns.items()}
            return Encoded(same, ())
        gaps = (n for n in range(values[0], values[-1]) if n not in {*values})
        texts = [*map(str, itertools.islice(gaps, _SHOWN + 1))]
        texts[_SHOWN:] = ["…"] * (len(texts) > _SHOWN)
        note = f"labels {values[0]} to {values[-1]}"
        note += f" without {', '.join(texts)}" if texts else ""
    positions = {
        split: np.searchsorted(classes, column).astype(np.int32)
        for split, column in columns.items()
    }
    names = tuple(str(bool(value) if is_bool else value) for value in values)
    return Encoded(positions, names, note)


def _known(name: str, column: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Returns names, or positions that are checked, as positions."""
    if column.dtype.kind == "U":
        positions = {label: position for position, label in enumerate(class_names)}
        labels = column.tolist()
        if unknown := sorted({*labels} - {*positions}):
            raise UserError(
                f"{name} contain {listed([*map(repr, unknown)])}, which the "
                f"{len(class_names)} class names lack: {listed(class_names)}."
            )
        return np.array([positions[label] for label in labels], np.int32)
    largest = len(class_names) - 1
    if column.size and (column.min() < 0 or column.max() > largest):
        raise UserError(
            f"{name} must be 0 to {largest}, with {len(class_names)} class names, got "
            f"{column.min()} to {column.max()}."
        )
    return column.astype(np.int32, copy=False)


def _parse(name: str, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns labels as integers or text ``[N]``, and C if they are one-hot, else 0."""
    if labels.dtype == object:
        labels = _of_one_type(name, labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    is_text = labels.dtype.kind in "SU"
    labels = _text(name, labels) if is_text else _integers(name, labels)
    if labels.ndim == 1:
        return labels, 0
    if labels.ndim > 2 or is_text:
        raise UserError(f"{name} must be [N] or one-hot [N, C], got {labels.shape}.")
    if not (((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
        raise UserError(
            f"{name} of shape {labels.shape} must be one-hot: a single 1 in each row "
            "and zeros elsewhere."
        )
    return labels.argmax(1), labels.shape[1]


def _of_one_type(name: str, labels: np.ndarray) -> np.ndarray:
    """Returns Python objects as an array of text or numbers; never mixes types."""
    flat = labels.ravel().tolist()
    absent = ("NoneType", "NAType", "NaTType")  # the last two of pandas
    if missing := sum(type(v).__name__ in absent or v != v for v in flat):
        raise UserError(f"{name} are missing for {missing:,} examples.")
    for types in (str, bytes, bool, int, (int, float)):
        if all(isinstance(value, types) for value in flat):
            return np.array(flat).reshape(labels.shape)
    names = sorted({type(value).__name__ for value in flat})
    raise UserError(f"{name} must have one type, got {', '.join(names)}.")


def _text(name: str, labels: np.ndarray) -> np.ndarray:
    try:
        text = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} are bytes that are no text in UTF-8; decode them first."
        ) from error
    if len(empty := np.flatnonzero(text == "")):
        raise UserError(
            f"{name} are missing: {len(empty):,} are empty text, the first that of "
            f"example {empty[0] + 1:,}."
        )
    return text


def _integers(name: str, labels: np.ndarray) -> np.ndarray:
    """Returns integers, or booleans and whole floats as int64."""
    if np.can_cast(labels.dtype, np.int64) and labels.dtype != bool:
        return labels
    if labels.dtype.kind not in "bu" and not is_float(labels):
        raise UserError(f"{name} must be whole numbers or text, got {labels.dtype}.")
    values = labels.astype(float)
    is_whole = np.isfinite(values) & (values == np.round(values))
    is_whole &= np.abs(values) < 2**53  # larger ones are not exact
    if not is_whole.all():
        raise UserError(
            f"{name} must be whole numbers or text, got {values[~is_whole][0]:g}, "
            "which is no class (for targets of a regression in a training loop of your "
            "own code: Data(…, targets='as_given'))."
        )
    return values.astype(np.int64)


def as_given(
    targets: Mapping[str, np.ndarray], class_names: tuple[str, ...]
) -> Encoded:
    """Returns the targets of all splits as float32 or int32, otherwise unchanged.

    They must be finite numbers, of the same type and shape in all splits.
    """
    numbers = {s: _as_numbers(f"{s} targets", array) for s, array in targets.items()}
    types = {split: (str(x.dtype), x.shape[1:]) for split, x in numbers.items()}
    if len({*types.values()}) > 1:
        texts = [f"{dtype} {shape} in {s}" for s, (dtype, shape) in types.items()]
        raise UserError(
            f"Targets must have one type and shape, got {', '.join(texts)}."
        )
    return Encoded(numbers, class_names)


def _as_numbers(name: str, targets: np.ndarray) -> np.ndarray:
    dtype = np.float32 if is_float(targets) else np.int32
    if dtype == np.int32 and not np.issubdtype(targets.dtype, np.integer):
        raise UserError(f"{name} must be integers or floats, got {targets.dtype}.")
    with np.errstate(over="ignore"):
        converted = targets.astype(dtype, copy=False)
    if dtype == np.int32 and (converted != targets).any():
        raise UserError(f"{name} must fit into int32, got up to {targets.max()}.")
    if not np.isfinite(converted).all():
        raise UserError(f"{name} must be finite float32.")
    return converted
