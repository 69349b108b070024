"""Tables with a label column: CSV, and what CSV and Parquet share. By pyarrow."""

import csv
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.arrays import is_lost_in_float32
from fmnist_jax.data.npy import Pairs
from fmnist_jax.errors import UserError, reason

LABELS = ("label", "class", "target", "y")  # names of the label column, in any case
_MAX_HEADER = 2**20
_MAX_LABEL = 200  # characters
_PIXEL = re.compile(r"pixel_?(\d+)|(\d+)x(\d+)", re.IGNORECASE)


class Tables(NamedTuple):
    """The content of the tables of a data set."""

    pairs: Pairs
    label: str  # name of the label column
    class_names: tuple[str, ...] = ()
    notice: str = ""


class Columns(NamedTuple):
    """Which columns a table has; the first table of a data set decides for all."""

    path: Path
    label: str
    features: list[str]  # in the order of the arrays
    image_shape: tuple[int, ...]  # empty: the features are no pixels


def read_csv(paths: Mapping[str, Path]) -> Tables:
    """Reads a CSV file for each split.

    Features are float32 ``[N, D]``; or uint8 ``[N, H, H]`` if all columns are named
    like pixels and have whole values from 0 to 255.

    Raises:
      UserError: if a table lacks a header, a column of another one or a value, has a
        feature that is not a number, or is damaged.
    """
    from pyarrow import ArrowException, float32, float64
    from pyarrow import csv as reader

    columns, pairs = None, {}
    for split, path in paths.items():
        limits.check(path, 6 * path.stat().st_size)  # float64 and float32 of "0,"
        names, delimiter, has_header = _header(path)
        columns = columns or choose(names, path)
        compare(names, columns, path)
        number = float32() if columns.image_shape else float64()
        try:
            with open(path, "rb") as file:
                table = reader.read_csv(
                    file,
                    # Without threads, errors name the row.
                    reader.ReadOptions(
                        use_threads=False, column_names=names, skip_rows=has_header
                    ),
                    reader.ParseOptions(delimiter=delimiter),
                    reader.ConvertOptions(
                        column_types=dict.fromkeys(columns.features, number)
                    ),
                )
        except (ArrowException, OSError, ValueError) as error:
            raise _damage(path, names, reason(error)) from error
        pairs[split] = arrays(table, columns, path, 1 + has_header)
    label = columns.label if columns else ""
    return Tables(pairs, label, (), label_notice(label, names) if has_header else "")


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
    with open(path, "rb") as file:
        line = file.readline(_MAX_HEADER)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: {reason(error)}.") from error
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

    Raises:
      UserError: if there are several, of which the others would be features.
    """
    matches = [name for name in names if name.strip().lower() in LABELS[:-1]]
    matches = matches or [name for name in names if name.strip().lower() == LABELS[-1]]
    if len(matches) > 1:
        raise UserError(
            f"The columns {' and '.join(map(repr, matches))} are both named like "
            "labels; rename or leave out the one that is not."
        )
    return matches[0] if matches else None


def choose(names: Sequence[str], path: Path) -> Columns:
    """Returns the label column of a table and its features, pixels in their order."""
    label = named_label(names) or names[0]
    # pandas writes the index of a data frame under such names.
    features = [n for n in names if n != label and not n.startswith("__index_level_")]
    if not features:
        raise UserError(f"{path} has no columns beside the labels, {label!r}.")
    matches = [_PIXEL.fullmatch(name.strip()) for name in features]
    keys = [tuple(int(g) for g in m.groups() if g) if m else () for m in matches]
    side = math.isqrt(len(features))
    grids = [
        *(list(itertools.product(range(s, s + side), repeat=2)) for s in (0, 1)),
        *([(s + i,) for i in range(side**2)] for s in (0, 1)),
    ]
    pixels = sorted(filter(None, keys))
    if pixels != sorted(keys) and len(pixels) > 1:
        others = [name for name, key in zip(features, keys, strict=True) if not key]
        raise UserError(
            f"{path} has pixel columns, and beside them {', '.join(others[:3])}; leave "
            "these columns out."
        )
    if sorted(keys) not in grids:
        return Columns(path, label, features, ())
    ordered = [name for _, name in sorted(zip(keys, features, strict=True))]
    return Columns(path, label, ordered, (side, side))


def compare(names: Sequence[str], columns: Columns, path: Path) -> None:
    """Raises UserError unless a table has the columns of the first one."""
    expected = {columns.label, *columns.features}
    present = {name for name in names if not name.startswith("__index_level_")}
    for name in sorted(expected ^ present):
        owner, other = columns.path, path
        if name in present:
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
            "numbers. If it holds the labels, rename it to label."
        )
    return UserError(f"{path} cannot be read as CSV: {text}.")


def arrays(
    table: Any, columns: Columns, path: Path, first_row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features and labels of a table of pyarrow.

    Args:
      table: its features are numbers.
      columns: which ones to read.
      path: of the table, for messages.
      first_row: the number of its first row, for messages.
    """
    by_feature = np.empty((len(columns.features), table.num_rows), np.float32)
    for position, name in enumerate(columns.features):
        refuse_missing(table[name], name, path, first_row)
        values = table[name].to_numpy()
        if is_lost_in_float32(values):
            raise UserError(
                f"{path} has values from {values.min():g} to {values.max():g} in "
                f"column {name!r}, which float32 cannot tell apart; subtract an offset "
                "from them, or leave the column out."
            )
        with np.errstate(over="ignore"):  # infinity is refused later
            by_feature[position] = values
    labels = label_values(table[columns.label], columns.label, path, first_row)
    if columns.image_shape and _is_uint8(by_feature):
        pixels = by_feature.T.astype(np.uint8, order="C")
        return pixels.reshape(-1, *columns.image_shape), labels
    features = np.ascontiguousarray(by_feature.T)
    return features.reshape(-1, *columns.image_shape or features.shape[1:]), labels


def _is_uint8(values: np.ndarray) -> bool:
    return all(((r >= 0) & (r <= 255) & (r == np.floor(r))).all() for r in values)


def refuse_missing(column: Any, name: str, path: Path, first_row: int) -> None:
    """Raises UserError if a column of pyarrow has missing values."""
    if column.null_count:
        row = first_row + column.is_null().index(True).as_py()
        raise UserError(
            f"{path} has missing values in column {name!r}, the first in row {row}; "
            "fill them, or leave these rows out."
        )


def label_values(column: Any, name: str, path: Path, first_row: int) -> np.ndarray:
    """Returns a column of pyarrow as an array of numbers or text."""
    import pyarrow as pa

    refuse_missing(column, name, path, first_row)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_number = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    if any(check(column.type) for check in is_number):
        return column.to_numpy()
    values = column.cast(pa.string()).to_pylist()
    if longest := max((v for v in values if len(v) > _MAX_LABEL), default="", key=len):
        raise UserError(
            f"{path} has a text of {len(longest):,} characters in the label column "
            f"{name!r}; name the column with the labels one of {', '.join(LABELS)}."
        )
    return np.array(values)
