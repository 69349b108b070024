"""The MNIST file of Keras: read if valid, skipped if damaged."""

import contextlib
import io
import random
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import idx, load, locations
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    damage,
    error_of,
    make_arrays,
    write,
)


def npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def keras_arrays(arrays: idx.Arrays) -> dict[str, Any]:
    letters = {"images": "x", "labels": "y"}
    return {
        f"{letters[role.split('_')[1]]}_{role.split('_')[0]}": array
        for role, array in arrays.items()
    }


def test_keras_file_is_read(sets: dict[str, idx.Arrays], tmp_path: Path) -> None:
    path = tmp_path / "KERAS_HOME" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(npz(keras_arrays(sets["mnist"])))
    data = load("mnist")
    assert_equal(data, sets["mnist"])
    assert data.source == f"Keras file {path}"
    with pytest.raises(locations.NotFoundError):
        load("fashion_mnist")


def npz_with_a_large_shape(arrays: idx.Arrays) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in keras_arrays(arrays):
            header = {"descr": "|u1", "fortran_order": False, "shape": (2**40,)}
            body = io.BytesIO()
            np.lib.format.write_array_header_1_0(body, header)
            archive.writestr(f"{name}.npy", body.getvalue())
    return file.getvalue()


def npz_with_a_long_header(packing: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        length = 10**8  # in version 2, NumPy reads the whole header before it fails
        start = b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little")
        archive.writestr("x_train.npy", start + b" " * length)
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda arrays: b"nonsense", "has no known arrays"),
        (lambda arrays: npz(keras_arrays(arrays))[:-100], "zip"),
        (
            lambda arrays: npz({"x_train": arrays["train_images"]}),
            "has x_train; expected images and labels",
        ),
        (lambda arrays: npz({key: {} for key in keras_arrays(arrays)}), "object"),
        (
            lambda arrays: npz(keras_arrays(make_arrays(0, 5, 5))),
            "5 train examples instead of 30",
        ),
        (lambda arrays: npz(keras_arrays(make_arrays(5))), "the sha256"),
        (npz_with_a_large_shape, "1099511627776"),
    ],
)
def test_damaged_keras_files_are_skipped(
    make: Callable[[idx.Arrays], bytes],
    word: str,
    sets: dict[str, idx.Arrays],
    tmp_path: Path,
) -> None:
    path = tmp_path / "KERAS_HOME" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(make(sets["mnist"]))
    line = error_of("mnist")
    assert str(path) in line
    assert word in line
    write(tmp_path / "cwd/data/MNIST/raw", sets["mnist"])
    assert_equal(load("mnist"), sets["mnist"])


@pytest.mark.slow
def test_the_header_of_a_keras_file_allocates_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    for packing, words in {
        zipfile.ZIP_DEFLATED: "x_train.npy has npy version (2, 0), not (1, 0)",
        zipfile.ZIP_BZIP2: "x_train.npy is neither stored nor deflated",
    }.items():
        path.write_bytes(npz_with_a_long_header(packing))
        tracemalloc.start()
        with pytest.raises(UserError, match=re.escape(words)):
            locations._read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 3e6
        tracemalloc.stop()
    with open(path, "ab") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(UserError, match="it has more than 67,108,864 bytes"):
        locations._read_npz(path)


def test_a_damaged_keras_file_never_crashes(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    rng, body = random.Random(0), npz(keras_arrays(make_arrays(0)))
    path = tmp_path / "mnist.npz"
    for _ in range(200):
        path.write_bytes(damage(body, rng))
        with contextlib.suppress(UserError):
            locations._read_npz(path)
