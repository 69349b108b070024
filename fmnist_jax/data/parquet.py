"""Parquet files: numeric columns, or encoded images as Hugging Face stores them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import limits, tables
from fmnist_jax.data.images import decode, stack
from fmnist_jax.data.splits import Contents
from fmnist_jax.data.tables import Columns, Table
from fmnist_jax.errors import UserError


def read(paths: Mapping[str, Sequence[Path]]) -> Contents:
    """Reads the Parquet files of each split.

    Numeric columns are read as those of CSV files. A column of image bytes, or of
    structs with a field ``bytes``, gives uint8 images; columns beside it and the labels
    are left out.
    """
    schema = _open(next(iter(paths.values()))[0]).schema_arrow
    image = next((field.name for field in schema if _is_image(field.type)), None)
    if image is None:
        return tables.read(paths, _table)
    others = [name for name in schema.names if name != image]
    label = tables.named_label(others) or (others or [""])[0]
    return Contents(
        {split: _images(files, image, label) for split, files in paths.items()},
        f"labels from column {label!r}",
        _class_names(schema, label),
        tables.label_notice(label, schema.names),
    )


def _open(path: Path) -> Any:
    from pyarrow import parquet

    with limits.explaining(path):
        file = parquet.ParquetFile(path)
    metadata = file.metadata
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    unpacked = sum(group.total_byte_size for group in groups)
    limits.check(path, max(unpacked, 8 * metadata.num_rows * metadata.num_columns))
    return file


def _is_image(column_type: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(column_type):
        return column_type.get_field_index("bytes") >= 0
    return pa.types.is_binary(column_type) or pa.types.is_large_binary(column_type)


def _table(path: Path) -> Table:
    file = _open(path)

    def read(columns: Columns) -> Any:
        return file.read([columns.label, *columns.features])

    # pandas writes the index of a data frame under such names.
    names = [n for n in file.schema_arrow.names if not n.startswith("__index_level_")]
    return Table(path, names, read)


def _images(
    paths: Sequence[Path], image: str, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns decoded images, and the labels beside them."""
    from pyarrow import compute, types

    count = sum(_open(path).metadata.num_rows for path in paths)
    labels = []

    def decoded() -> Iterator[tuple[str, np.ndarray]]:
        for path in paths:
            table = _table(path)
            for name in (image, label):
                if name not in table.names:
                    raise UserError(f"{path} has no column {name or 'for labels'!r}.")
            with limits.explaining(path):
                content = table.read(Columns(path, label, [image]))
            labels.append(tables.label_values(table, content[label], label))
            column = content[image]
            if types.is_struct(column.type):
                column = compute.struct_field(column, "bytes")
            tables.refuse_missing(table, column, image)
            for row, value in enumerate(column, 1):
                name = f"row {row} of {path}"
                yield name, decode(name, value.as_py(), count)

    return stack(count, decoded()), np.concatenate(labels)


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Returns the names of the classes that Hugging Face stores in the metadata."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return tuple(names) if all(isinstance(n, str) for n in names) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()  # another program wrote the file
