"""The IDX format of MNIST: arrays of unsigned bytes, raw or compressed by gzip.

A file is ``00 00 08 NDIM``, then NDIM sizes as big-endian uint32, then the bytes. The
size in the header is checked against a limit before any byte is read, and no more than
that size is ever unpacked.
"""

import gzip
import math
import os
import struct
from pathlib import Path
from typing import IO

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.splits import Pairs
from fmnist_jax.errors import UserError

_CHUNK = 2**20

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

# The first bytes of files that are often saved under the name of an IDX file.
_OTHER_FILES = {
    b"<": "an HTML or XML page (a failed download?)",
    b"version ": "a Git LFS pointer: run `git lfs pull`",
    b"PK\3\4": "a zip archive: unpack it",
    b"BZh": "compressed by bzip2: unpack it",
    b"\xfd7zXZ": "compressed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"\x93NUMPY": "a .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickle, which is not read because it could run code",
    b"PAR1": "a Parquet file",
    b"\x89PNG": "an image: pass the folder with the folders of the classes",
    b"\xff\xd8\xff": "an image: pass the folder with the folders of the classes",
    b"{": "a JSON text",
}


def header(array: np.ndarray) -> bytes:
    """Returns the IDX header of a uint8 array, which precedes its bytes in a file."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)


def read(path: Path, ndim: int) -> np.ndarray:
    """Reads one IDX file, which must have ``ndim`` dimensions, as a uint8 array.

    The first bytes of the file show whether it is compressed.
    """
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise UserError(f"{path} is not a file; expected an IDX file.")
    with limits.explaining(path), open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_packed else file
        return _parse(stream, path, ndim)


def _parse(stream: IO[bytes] | gzip.GzipFile, path: Path, ndim: int) -> np.ndarray:
    head = read_bytes(stream, 4 + 4 * ndim)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise UserError(f"{path} is not an IDX file: it {description(head)}.")
    if head[2] != 8:
        raise UserError(
            f"{path} has IDX type 0x{head[2]:02x}; expected unsigned bytes (0x08)."
        )
    if head[3] != ndim:
        raise UserError(f"{path} has {head[3]} dimensions; expected {ndim}.")
    if len(head) < 4 + 4 * ndim:
        raise UserError(f"{path} is truncated within its header.")
    shape = struct.unpack_from(f">{ndim}I", head, 4)
    size = math.prod(shape)
    claim = f"header specifies {' x '.join(f'{length:,}' for length in shape)} bytes"
    limits.check(path, size)
    if size == 0:
        raise UserError(f"{path} is empty: its {claim}.")
    body = read_bytes(stream, size + 1)  # one more, to detect trailing bytes
    if len(body) < size:
        raise UserError(f"{path} is truncated: its {claim}, {len(body):,} follow.")
    if len(body) > size:
        raise UserError(f"{path} is too long: its {claim}, but more follow.")
    array = np.frombuffer(body, np.uint8).reshape(shape)
    array.flags.writeable = False
    return array


def description(head: bytes | bytearray) -> str:
    """Returns what a file of no format that is read is, by its first bytes."""
    for start, kind in _OTHER_FILES.items():
        if head.lstrip().startswith(start):
            return f"is {kind}"
    return f"begins with {head[:4].hex()!r}" if head else "is empty"


def read_bytes(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Returns at most ``size`` bytes of a stream."""
    # In chunks: the memory allocated depends on the bytes present, not on the header.
    body = bytearray()
    while len(body) < size and (chunk := stream.read(min(_CHUNK, size - len(body)))):
        body += chunk
    return body


def find_files(folder: Path) -> dict[str, Path]:
    """Returns the files of a folder by the keys of ``FILES``, as far as present.

    A folder with the name of a file may contain the file, as in some archives.
    """
    if not folder.is_dir():
        return {}
    with limits.explaining(folder):
        present = set(os.listdir(folder))
    paths = {}
    for role, name in FILES.items():
        dotted = name.replace("-idx", ".idx")
        variants = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        entries = [folder / variant for variant in variants if variant in present]
        inner = [path / path.name if path.is_dir() else path for path in entries]
        files = [path for path in inner if path in entries or path.is_file()]
        if entries:
            paths[role] = (files or entries)[0]
    return paths


def read_folder(folder: Path) -> Pairs | None:
    """Reads the four IDX files of a folder; returns None if it has none."""
    paths = find_files(folder)
    if not paths:
        return None
    if missing := [name for role, name in FILES.items() if role not in paths]:
        raise UserError(
            f"{folder} has {len(paths)} of the 4 IDX files; missing: "
            f"{', '.join(missing)} (each may end in .gz)."
        )
    pairs = {}
    for split in ("train", "test"):
        images_path, labels_path = paths[f"{split}_images"], paths[f"{split}_labels"]
        images, labels = read(images_path, 3), read(labels_path, 1)
        if len(images) != len(labels):
            raise UserError(
                f"{images_path} has {len(images):,} images, but "
                f"{labels_path.name} has {len(labels):,} labels."
            )
        pairs[split] = images, labels
    return pairs
