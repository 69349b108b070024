"""Tables with a label column: CSV files, and what they share with Parquet files."""

import csv
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.arrays import check_float32
from fmnist_jax.data.splits import Contents, Pairs
from fmnist_jax.errors import UserError, reason

LABELS = ("label", "class", "target", "y")  # names of the label column, in any case
MIN_COUNTED = 20  # rows, so that a column that numbers them is noticed
_MAX_HEADER = 2**20
_PIXEL = re.compile(r"pixel_?(\d+)|(\d+)x(\d+)", re.IGNORECASE)


class Columns(NamedTuple):
    """Which columns a table has; the first table of a data set decides for all."""

    path: Path
    label: str
    features: list[str]  # in the order of the arrays
    image_shape: tuple[int, ...] = ()  # empty if the features are not pixels


class Table(NamedTuple):
    """A file with a table."""

    path: Path
    names: list[str]  # of its columns
    read: Callable[[Columns], Any]  # to a table of pyarrow
    first_row: int = 1  # its number in messages
    is_named: bool = True  # whether the file names its columns


def read(
    paths: Mapping[str, Sequence[Path]], open_table: Callable[[Path], Table]
) -> Contents:
    """Reads the tables of each split.

    Features are float32 ``[N, D]``; or uint8 ``[N, H, H]`` if all columns are named
    like pixels and have whole values from 0 to 255.

    Raises:
      UserError: if a table lacks a header, a column of another one or a value, has a
        feature that is not a number, or is damaged.
    """
    tables = {split: [open_table(path) for path in paths[split]] for split in paths}
    first = next(iter(tables.values()))[0]
    columns, pairs = _choose(first), {}
    for split, parts in tables.items():
        arrays = [_arrays(table, columns) for table in parts]
        pairs[split] = arrays[0]  # without a copy, if it is the only one
        if len(arrays) > 1:
            images, labels = zip(*arrays, strict=True)
            pairs[split] = np.concatenate(images), np.concatenate(labels)
    notices = [label_notice(columns.label, first.names)] if first.is_named else []
    if not columns.image_shape:
        notices.append(_counter_notice(columns.features, pairs))
    notice = " ".join(filter(None, notices))
    return Contents(pairs, f"labels from column {columns.label!r}", (), notice)


def _counter_notice(features: Sequence[str], pairs: Pairs) -> str:
    """Returns a notice if a column numbers the rows, in any order, or ""."""
    for position, name in enumerate(features):
        values = np.sort(
            np.concatenate([rows[:, position] for rows, _ in pairs.values()])
        )
        if len(values) >= MIN_COUNTED and (np.diff(values) == 1).all():
            return (
                f"Column {name!r} has every whole number from {values[0]:.0f} to "
                f"{values[-1]:.0f} once, as if it numbered the rows, and is an input "
                "of the network. Where a file is sorted, such a column gives the class "
                "away. To leave it out, delete it from the file."
            )
    return ""


def open_csv(path: Path) -> Table:
    """Returns the table in a CSV file, of which only the first row has been read."""
    limits.check(path, 6 * path.stat().st_size)  # float64 and float32 of "0,"
    names, delimiter, has_header = _header(path)

    def read(columns: Columns) -> Any:
        from pyarrow import ArrowException, float32, float64
        from pyarrow import csv as reader

        number = float32() if columns.image_shape else float64()
        types = dict.fromkeys(columns.features, number)
        # Without threads, errors name the row.
        options = reader.ReadOptions(
            use_threads=False, column_names=names, skip_rows=has_header
        )
        try:
            with open(path, "rb") as file:
                return reader.read_csv(
                    file,
                    options,
                    reader.ParseOptions(delimiter=delimiter),
                    reader.ConvertOptions(column_types=types),
                )
        except (ArrowException, OSError, ValueError) as error:
            raise _damage(path, names, reason(error)) from error

    return Table(path, names, read, 1 + has_header, has_header)


def label_notice(label: str, names: Sequence[str]) -> str:
    """Returns a notice if another column than ``label`` may have the labels, or ""."""
    plain = {name.strip().lower() for name in names}
    if not plain & {*LABELS}:
        return (
            f"No column is called {', '.join(LABELS[:-1])} or {LABELS[-1]}: the first, "
            f"{label!r}, was taken for the labels. To use another, rename it to label."
        )
    if label.strip().lower() == "y" and "x" in plain and len(names) > 2:
        return (
            f"{label!r} was taken for the labels. If it is a coordinate, as 'x' may "
            "be, rename the column of the labels to label."
        )
    return ""


def _header(path: Path) -> tuple[list[str], str, bool]:
    """Returns the names of the columns, the delimiter, and if there is a header."""
    with limits.explaining(path), open(path, "rb") as file:
        text = file.readline(_MAX_HEADER).decode("utf-8-sig")
    delimiter = max(",;\t", key=text.count)
    names = next(csv.reader([text], delimiter=delimiter), [])
    numbers = [_is_number(name) for name in names]
    if all(numbers) and names != [*map(str, range(len(names)))]:
        return [*map(str, range(1, 1 + len(names)))], delimiter, False
    if any(numbers) and not all(numbers) and not named_label(names):
        raise UserError(
            f"{path} has names and numbers in its first row ({', '.join(names[:4])}, "
            f"…); add a header, with one of {', '.join(LABELS)} for the labels."
        )
    if "" in names or len({*names}) < len(names):
        name = next(n for n in names if not n or names.count(n) > 1)
        problem = f"two columns named {name!r}" if name else "a column without a name"
        raise UserError(
            f"{path} has {problem}; name each column once (an index that pandas wrote "
            "is left out by to_csv(…, index=False))."
        )
    return names, delimiter, True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def named_label(names: Sequence[str]) -> str | None:
    """Returns the column that is named like labels, or None.

    Several are refused, because the others would be features.
    """
    matches = [name for name in names if name.strip().lower() in LABELS[:-1]]
    matches = matches or [name for name in names if name.strip().lower() == LABELS[-1]]
    if len(matches) > 1:
        raise UserError(
            f"The columns {' and '.join(map(repr, matches))} are both named like "
            "labels; rename or leave out the one that is not."
        )
    return matches[0] if matches else None


def _choose(table: Table) -> Columns:
    """Returns the label column of a table and its features, pixels in their order."""
    label = named_label(table.names) or table.names[0]
    features = [name for name in table.names if name != label]
    if not features:
        raise UserError(f"{table.path} has no columns beside the labels, {label!r}.")
    matches = [_PIXEL.fullmatch(name.strip()) for name in features]
    keys = [tuple(int(g) for g in m.groups() if g) if m else () for m in matches]
    if any(keys) and not all(keys) and sum(map(bool, keys)) > 1:
        others = [name for name, key in zip(features, keys, strict=True) if not key]
        raise UserError(
            f"{table.path} has pixel columns, and beside them {', '.join(others[:3])}; "
            "leave these columns out."
        )
    side = math.isqrt(len(features))
    grids = [
        *(list(itertools.product(range(s, s + side), repeat=2)) for s in (0, 1)),
        *([(s + i,) for i in range(side**2)] for s in (0, 1)),
    ]
    if sorted(keys) not in grids:
        return Columns(table.path, label, features)
    ordered = [name for _, name in sorted(zip(keys, features, strict=True))]
    return Columns(table.path, label, ordered, (side, side))


def _compare(table: Table, columns: Columns) -> None:
    """Raises UserError unless a table has the columns of the first one."""
    for name in sorted({*table.names} ^ {columns.label, *columns.features}):
        owner, other = columns.path, table.path
        if name in table.names:
            owner, other = other, owner
        raise UserError(
            f"{owner} has a column {name!r}, but {other} has none; all tables of a "
            "data set must have the same columns."
        )


def _damage(path: Path, names: Sequence[str], text: str) -> UserError:
    if match := re.search(r"column #(\d+): (.*) CSV conversion.* value (.*)", text):
        row = match[2].rstrip(":").replace("Row #", "row ")
        return UserError(
            f"{path} has {match[3]} in {row}, column {names[int(match[1])]!r}; all "
            f"columns but the labels ({named_label(names) or names[0]!r}) must be "
            "numbers. If this column holds the labels, rename the column to label."
        )
    return UserError(f"{path} cannot be read as CSV: {text}.")


def _arrays(table: Table, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Returns features and labels."""
    _compare(table, columns)
    with limits.explaining(table.path):
        content = table.read(columns)
    features = np.empty((content.num_rows, len(columns.features)), np.float32)
    for position, name in enumerate(columns.features):
        column = content[name]
        if not _is_number_type(column.type):
            raise UserError(
                f"{table.path} has the type {column.type} in column {name!r}; all "
                "columns but the labels must be numbers."
            )
        refuse_missing(table, column, name)
        values = column.to_numpy()
        check_float32(values, f"{table.path} has", name)
        with np.errstate(over="ignore"):  # infinity is refused later
            features[:, position] = values
    labels = label_values(table, content[columns.label], columns.label)
    del content  # a second copy of all values
    if not columns.image_shape:
        return features, labels
    with np.errstate(invalid="ignore"):  # values that are not pixels
        pixels = features.astype(np.uint8)
    images = pixels if (pixels == features).all() else features
    return images.reshape(-1, *columns.image_shape), labels


def _is_number_type(column_type: Any) -> bool:
    from pyarrow import types

    checks = types.is_integer, types.is_floating, types.is_boolean
    return any(check(column_type) for check in checks)


def refuse_missing(table: Table, column: Any, name: str) -> None:
    """Raises UserError if a column of pyarrow has missing values."""
    if column.null_count:
        row = table.first_row + column.is_null().index(True).as_py()
        raise UserError(
            f"{table.path} has missing values in column {name!r}, the first in row "
            f"{row}; fill them, or leave these rows out."
        )


def label_values(table: Table, column: Any, name: str) -> np.ndarray:
    """Returns a column of pyarrow as an array of numbers or text."""
    import pyarrow as pa

    refuse_missing(table, column, name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_number_type(column.type):
        return column.to_numpy()
    return np.array(column.cast(pa.string()).to_pylist())
