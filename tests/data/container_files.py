"""Files that the tests of containers read."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.containers import Pairs
from tests.data.data_files import Arrays


def pairs_of(arrays: Arrays) -> Pairs:
    return {
        split: (arrays[f"{split}_images"], arrays[f"{split}_labels"])
        for split in ("train", "test")
    }


def csv(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


ROWS = "\n".join(f"{i % 3},{i},{i / 2}" for i in range(12))


LAST = "\n".join(f"{i},{i / 2},{i % 3}" for i in range(12))


def parquet(path: Path, columns: dict[str, Any], metadata: bytes = b"") -> Path:
    import pyarrow
    from pyarrow import parquet as writer

    table = pyarrow.table(columns)
    writer.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
    return path


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def folders(root: Path, make: Callable[[int], Image.Image], suffix: str) -> Path:
    for i in range(12):
        save(root / "set" / ("cat", "dog")[i % 2] / f"{i}.{suffix}", make(i))
    return root / "set"


GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def bomb(shape: tuple[int, ...], size: int = 0) -> bytes:
    file, header = io.BytesIO(), io.BytesIO()
    content = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, content)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(size))
        archive.writestr("y.npy", header.getvalue() + bytes(size))
    return file.getvalue()
