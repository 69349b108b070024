"""Loading data sets by name: results, errors, and what auto falls back to."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax.data import idx, load
from fmnist_jax.data.official import OFFICIAL
from tests.data.data_files import (
    REAL,
    ROOT,
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    error_of,
    make_arrays,
    needs_real,
    sha256,
    write,
)


def test_auto_falls_back_with_a_notice(tmp_path: Path) -> None:
    damaged = tmp_path / "KERAS_HOME/datasets/fashion-mnist"
    write(damaged, {"test_labels": np.zeros(3, np.uint8)})
    data = load(train_examples=50, test_examples=20)
    assert data.name == "synthetic"
    assert data.title == "synthetic data, not Fashion-MNIST"
    assert data.class_names == OFFICIAL["fashion_mnist"].class_names
    assert data.train.images.shape == (50, 28, 28)
    words = [
        "Fashion-MNIST could not be loaded",
        "a generated synthetic data set is used",
    ]
    words += ["--data_dir", "FMNIST_JAX_OFFLINE", f"{damaged} has 1 of the 4"]
    assert [word for word in words if word not in data.notice] == []
    assert "\n" not in data.notice


@pytest.mark.parametrize("name", ["auto", "mnist", "synthetic", "idx", "cifar10"])
def test_a_missing_data_dir_is_always_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = error_of(name, tmp_path / "typo")
    assert f"data_dir is '{tmp_path / 'typo'}'" in line
    assert "No such file" in line
    (tmp_path / "file").touch()
    assert "Not a directory" in error_of(name, tmp_path / "file")
    monkeypatch.setenv("FMNIST_JAX_DATA", str(tmp_path / "typo"))
    assert "FMNIST_JAX_DATA is" in error_of(name)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("fashion-mnist", "'fashion_mnist'?"),
        ("FashionMNIST", "'fashion_mnist'?"),
        ("sinthetic", "'synthetic'?"),
        ("cifra10", "'cifar10'?"),
        ("../etc", "exists)."),
        ("", "exists)."),
        (None, "exists)."),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # raised by the import of TFDS
def test_unknown_names(name: Any, suggestion: str) -> None:
    line = error_of(name)
    assert line.startswith(f"Unknown dataset {name!r}; expected auto, fashion_mnist, ")
    assert line.endswith(suggestion)


def test_idx_reads_other_sets(sets: dict[str, Arrays], tmp_path: Path) -> None:
    arrays = make_arrays(9)
    arrays["train_labels"][0] = 200
    data = load("idx", write(tmp_path / "kuzushiji", arrays))
    assert (data.name, data.title, data.num_classes) == ("idx", "idx", 11)
    labels = np.where(arrays["train_labels"] == 200, 10, arrays["train_labels"])
    assert_equal(data, {**arrays, "train_labels": labels})
    assert data.class_names == (*"0123456789", "200")
    assert "'kuzushiji'" in data.source
    assert "labels 0 to 200" in data.source
    known = load("idx", write(tmp_path / "known", sets["mnist"]))
    assert (known.name, known.num_classes) == ("mnist", 10)


def test_idx_needs_a_folder_with_files(tmp_path: Path) -> None:
    assert "needs --data_dir=FOLDER" in error_of("idx")
    (tmp_path / "d").mkdir()
    line = error_of("idx", tmp_path / "d")
    assert f"{tmp_path / 'd'} has none of the IDX files" in line
    assert "train-images-idx3-ubyte" in line


def test_examples_are_the_first_ones(sets: dict[str, Arrays], tmp_path: Path) -> None:
    folder = write(tmp_path / "d", sets["mnist"])
    data = load("mnist", folder, train_examples=7, test_examples=20)
    first = {
        role: array[: 7 if "train" in role else 20]
        for role, array in sets["mnist"].items()
    }
    assert_equal(data, first)
    assert data.fingerprint != load("mnist", folder).fingerprint
    line = error_of("mnist", folder, test_examples=21)
    assert "test_examples is 21; expected a whole number from 1 to 20, because" in line


@pytest.mark.parametrize("count", [np.int64(20), jnp.int32(20), np.array(20)])
def test_counts_may_be_those_of_numpy_and_jax(count: Any) -> None:
    for subset in ("first", "stratified"):
        expected = load("synthetic", train_examples=20, test_examples=20, subset=subset)
        actual = load(
            "synthetic", train_examples=count, test_examples=count, subset=subset
        )
        assert actual.fingerprint == expected.fingerprint
    whole = load("synthetic", train_examples=50, test_examples=20)
    expected = whole.subset(20, method="stratified").with_validation(7)
    actual = whole.subset(count, method="stratified").with_validation(count - 13)
    assert actual.fingerprint == expected.fingerprint


@pytest.mark.parametrize("count", [0, -3, 2.5, "7"])
def test_wrong_counts_get_one_line(count: Any) -> None:
    line = error_of("synthetic", train_examples=count)
    assert (
        f"train_examples is {count!r}; expected a whole number from 1 to 60,000" in line
    )


def test_synthetic_data_are_a_prefix_of_limited_size() -> None:
    few = load("synthetic", train_examples=20, test_examples=10)
    more = load("synthetic", train_examples=40, test_examples=10)
    np.testing.assert_array_equal(few.train.images, more.train.images[:20])
    assert (few.source, few.notice) == ("generated", "")
    assert "from 1 to 60,000" in error_of("synthetic", train_examples=60_001)


@pytest.mark.slow
@needs_real
def test_official_fashion_mnist() -> None:
    data = load("fashion_mnist", REAL)
    assert (data.train.images.shape, data.test.images.shape) == (
        (60_000, 28, 28),
        (10_000, 28, 28),
    )
    assert data.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert np.bincount(data.train.labels).tolist() == [6000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.train.images.mean() == pytest.approx(72.9404, abs=5e-5)
    assert data.train.images.std() == pytest.approx(90.0212, abs=5e-5)
    assert "use --dataset=fashion_mnist" in error_of("mnist", REAL / "fashion_mnist")


@needs_real
def test_official_mnist(tmp_path: Path) -> None:
    data = load("mnist", REAL, test_examples=5)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.train.labels).tolist() == counts
    assert data.test.images.shape == (5, 28, 28)


@needs_real
def test_check_sums_of_the_official_files() -> None:
    for name, data_set in OFFICIAL.items():
        for role, file in idx.FILES.items():
            body = gzip.decompress((REAL / name / f"{file}.gz").read_bytes())
            assert sha256(body) == data_set.sha256[role]


def test_the_import_requires_only_numpy() -> None:
    code = (
        "import sys, fmnist_jax.data; heavy = {'jax', 'absl', 'tensorflow_datasets', "
        "'urllib.request', 'PIL'} & set(sys.modules); sys.exit(str(heavy or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) in [(0, ""), (1, "")]
