"""The MNIST file of Keras: read if valid, skipped if damaged."""

import contextlib
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import load, locations
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    Arrays,
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


def keras_arrays(arrays: Arrays) -> dict[str, Any]:
    letters = {"images": "x", "labels": "y"}
    return {
        f"{letters[role.split('_')[1]]}_{role.split('_')[0]}": array
        for role, array in arrays.items()
    }


def test_keras_file_is_read(sets: dict[str, Arrays], tmp_path: Path) -> None:
    path = tmp_path / "KERAS_HOME" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(npz(keras_arrays(sets["mnist"])))
    data = load("mnist")
    assert_equal(data, sets["mnist"])
    assert data.source == f"Keras file {path}"
    with pytest.raises(locations.NotFoundError):
        load("fashion_mnist")


def npz_with_a_large_shape(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in keras_arrays(arrays):
            header = {"descr": "|u1", "fortran_order": False, "shape": (2**40,)}
            body = io.BytesIO()
            np.lib.format.write_array_header_1_0(body, header)
            archive.writestr(f"{name}.npy", body.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda arrays: b"nonsense", "it is damaged, or has Python objects"),
        (lambda arrays: npz(keras_arrays(arrays))[:-100], "zip"),
        (
            lambda arrays: npz({"x_train": arrays["train_images"]}),
            "has x_train; expected images and labels",
        ),
        (
            lambda arrays: npz({key: {} for key in keras_arrays(arrays)}),
            "has Python objects, which are never read",
        ),
        (
            lambda arrays: npz(keras_arrays(make_arrays(0, 5, 5))),
            "5 train examples instead of 30",
        ),
        (lambda arrays: npz(keras_arrays(make_arrays(5))), "the sha256"),
        (npz_with_a_large_shape, "cannot be read"),
    ],
)
def test_damaged_keras_files_are_skipped(
    make: Callable[[Arrays], bytes],
    word: str,
    sets: dict[str, Arrays],
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


def test_a_damaged_keras_file_never_crashes(
    sets: dict[str, Arrays], tmp_path: Path
) -> None:
    rng, body = random.Random(0), npz(keras_arrays(make_arrays(0)))
    path = tmp_path / "mnist.npz"
    for _ in range(200):
        path.write_bytes(damage(body, rng))
        with contextlib.suppress(UserError):
            locations._read_npz(path)
