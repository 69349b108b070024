"""Parquet files: numeric columns, or encoded images as Hugging Face stores them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import limits, tables
from fmnist_jax.data.images import stack
from fmnist_jax.errors import UserError, reason

_BATCH = 256  # encoded images in memory at a time


def read(paths: Mapping[str, Sequence[Path]]) -> tables.Tables:
    """Reads the Parquet files of each split.

    Numeric columns are read as those of CSV files. A column of image bytes, or of
    structs with a field ``bytes``, gives uint8 images; columns beside it and the labels
    are left out.

    Raises:
      UserError: as ``tables.read_csv``.
    """
    pairs, label, first = {}, "", None
    class_names: tuple[str, ...] = ()
    for split, split_paths in paths.items():
        files = {path: _open(path) for path in split_paths}
        path, file = next(iter(files.items()))
        names = file.schema_arrow.names
        image = next((f.name for f in file.schema_arrow if _is_image(f.type)), None)
        if image is None:
            first = first or tables.choose(names, path)
            parts = [_table(p, f, first) for p, f in files.items()]
            label, images = first.label, np.concatenate([x for x, _ in parts])
            labels = np.concatenate([y for _, y in parts])
        else:
            others = [name for name in names if name != image]
            label = label or tables.named_label(others) or (others or [""])[0]
            images, labels = _images(files, image, label)
            class_names = class_names or _class_names(file.schema_arrow, label)
        pairs[split] = images, labels
    return tables.Tables(pairs, label, class_names, tables.label_notice(label, names))


def _open(path: Path) -> Any:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # of pyarrow
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
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


def _table(
    path: Path, file: Any, columns: tables.Columns
) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow as pa

    tables.compare(file.schema_arrow.names, columns, path)
    is_number = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean
    for name in columns.features:
        column_type = file.schema_arrow.field(name).type
        if not any(check(column_type) for check in is_number):
            raise UserError(
                f"{path} has the type {column_type} in column {name!r}; all columns "
                "but the labels must be numbers."
            )
    try:
        table = file.read([columns.label, *columns.features])
    except Exception as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    return tables.arrays(table, columns, path, 1)


def _images(
    files: Mapping[Path, Any], image: str, label: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns decoded images, and the labels beside them."""
    for path, file in files.items():
        for name in (image, label):
            if name not in file.schema_arrow.names:
                raise UserError(f"{path} has no column {name or 'for labels'!r}.")
    import pyarrow as pa

    labels: list[Any] = []

    def encoded() -> Iterator[tuple[str, bytes]]:
        for path, file in files.items():
            row = 1
            for batch in file.iter_batches(_BATCH, columns=[image, label]):
                column = batch.column(image)
                labels.append(batch.column(label))
                for value in column.to_pylist():
                    content = value["bytes"] if isinstance(value, dict) else value
                    if content is None:
                        raise UserError(f"{path} has no image bytes in row {row}.")
                    yield f"row {row} of {path}", content
                    row += 1

    images = stack(sum(file.metadata.num_rows for file in files.values()), encoded())
    path = next(iter(files))
    return images, tables.label_values(pa.chunked_array(labels), label, path, 1)


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Returns the names of the classes that Hugging Face stores in the metadata."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return tuple(names) if all(isinstance(n, str) for n in names) else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()  # another program wrote the file
