"""Data files and helpers for the tests of the readers."""

import gzip
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import idx, load, official
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError

Arrays = dict[str, np.ndarray]  # by the keys of idx.FILES: uint8 [N, H, W] and [N]
ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("FMNIST_JAX_TEST_DATA") or ROOT.parent / "shared" / "data")
needs_real = pytest.mark.skipif(
    not all((REAL / name).is_dir() for name in OFFICIAL),
    reason=f"no official files in {REAL} (FMNIST_JAX_TEST_DATA)",
)


@pytest.fixture(autouse=True)
def _empty_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redirects all locations to an empty folder and switches the network off.

    Autouse in the modules that import it.
    """
    for variable in ("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("FMNIST_JAX_OFFLINE", "1")
    monkeypatch.delenv("FMNIST_JAX_DATA", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def make_arrays(seed: int = 0, train: int = 30, test: int = 20) -> Arrays:
    """Returns random images, 28 by 28, and labels 0 to 9."""
    rng = np.random.default_rng(seed)
    return {
        "train_images": rng.integers(0, 256, (train, 28, 28), np.uint8),
        "train_labels": rng.integers(0, 10, train, np.uint8),
        "test_images": rng.integers(0, 256, (test, 28, 28), np.uint8),
        "test_labels": rng.integers(0, 10, test, np.uint8),
    }


def encode(array: np.ndarray) -> bytes:
    """Returns an array as an IDX file."""
    return idx.header(array) + array.tobytes()


def sha256(body: bytes) -> str:
    """Returns the check sum in hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def write(folder: Path, arrays: Arrays, suffix: str = "") -> Path:
    """Writes IDX files, gzipped with suffix '.gz', and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, array in arrays.items():
        body = encode(array)
        path = folder / (idx.FILES[role] + suffix)
        path.write_bytes(gzip.compress(body, 1) if suffix == ".gz" else body)
    return folder


def make_official(monkeypatch: pytest.MonkeyPatch, name: str, arrays: Arrays) -> None:
    """Replaces the check sums of an official data set by those of small arrays."""
    digests = {role: sha256(encode(array)) for role, array in arrays.items()}
    monkeypatch.setitem(OFFICIAL, name, OFFICIAL[name]._replace(sha256=digests))
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        monkeypatch.setitem(official.NUM_EXAMPLES, split, len(labels))
        monkeypatch.setitem(
            official.official_ranks(), f"{name}_{split}", ranks(images, labels)
        )


def ranks(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the position of each example in the order of their hashes."""
    return np.argsort(official.sorted_order(images, labels), kind="stable")


def assert_equal(data: Data, arrays: Arrays) -> None:
    """Asserts that the data are equal to the arrays, in this order."""
    np.testing.assert_array_equal(data.train.images, arrays["train_images"])
    np.testing.assert_array_equal(data.train.labels, arrays["train_labels"])
    np.testing.assert_array_equal(data.test.images, arrays["test_images"])
    np.testing.assert_array_equal(data.test.labels, arrays["test_labels"])
    assert data.train.labels.dtype == data.test.labels.dtype == np.int32


def error_of(*args: Any, **kwargs: Any) -> str:
    """Returns the error of ``load`` for these arguments, which must be one line."""
    with pytest.raises(UserError) as error:
        load(*args, **kwargs)
    line = str(error.value)
    assert "\n" not in line
    return line


def damage(body: bytes, rng: random.Random) -> bytes:
    """Truncates, changes or lengthens a file at random."""
    damage_type, at = rng.randrange(4), rng.randrange(len(body))
    if damage_type == 0:
        return body[:at]
    if damage_type == 1:
        return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    if damage_type == 2:
        return body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[at:]
    start = rng.randrange(min(20, len(body)))  # within the header
    return body[:start] + rng.randbytes(3) + body[start + 3 :]
