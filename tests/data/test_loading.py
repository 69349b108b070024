"""Loading data sets: valid files give equal arrays, invalid files one line."""

import contextlib
import io
import random
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import idx, load, locations
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    REAL,
    ROOT,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    damage,
    error_of,
    make_arrays,
    make_official,
    needs_real,
    sha256,
    write,
)


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, idx.Arrays]:
    """Two small data sets, whose check sums replace the official ones."""
    by_name = {name: make_arrays(seed) for seed, name in enumerate(OFFICIAL)}
    for name, arrays in by_name.items():
        make_official(monkeypatch, name, arrays)
    return by_name


# The official data sets.


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_idx_files_are_found_below_data_dir(
    below: str, suffix: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d" / below, sets["mnist"], suffix)
    data = load("mnist", tmp_path / "d")
    assert_equal(data, sets["mnist"])
    assert (data.name, data.title, data.num_classes) == ("mnist", "MNIST", 10)
    assert data.source == f"IDX files in {folder}"
    assert data.notice == ""


def test_dotted_file_names_and_the_environment_variable(
    sets: dict[str, idx.Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"])
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    monkeypatch.setenv("FMNIST_JAX_DATA", str(folder))
    data = load()
    assert_equal(data, sets["fashion_mnist"])
    assert (data.name, data.title) == ("fashion_mnist", "Fashion-MNIST")
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    "below",
    [
        "KERAS_HOME/datasets/fashion-mnist",
        "cwd/data/FashionMNIST/raw",
        "XDG_CACHE_HOME/fmnist_jax/fashion_mnist",
    ],
)
def test_caches_are_used_and_damaged_ones_skipped(
    below: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    write(tmp_path / "KERAS_HOME/datasets/fashion-mnist", sets["mnist"])
    write(tmp_path / "cwd/data/FashionMNIST/raw", {})
    (tmp_path / "cwd/data/FashionMNIST/raw" / idx.FILES["test_labels"]).touch()
    write(tmp_path / below, sets["fashion_mnist"])
    data = load("auto")
    assert_equal(data, sets["fashion_mnist"])
    assert data.source.endswith(below.removeprefix("cwd/"))


def test_the_users_folder_comes_first(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    write(tmp_path / "KERAS_HOME/datasets/fashion-mnist", sets["fashion_mnist"])
    (tmp_path / "empty").mkdir()
    assert "KERAS_HOME" in load("fashion_mnist", tmp_path / "empty").source
    write(tmp_path / "d", sets["fashion_mnist"])
    assert "IDX files in " + str(tmp_path / "d") == load("auto", tmp_path / "d").source


@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_the_other_official_data_set_is_identified(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    line = error_of(name, write(tmp_path / "d", sets["mnist"]))
    assert f"{tmp_path / 'd'} contains MNIST, not Fashion-MNIST" in line
    assert "--dataset=mnist" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_a_mixture_of_data_sets_is_identified(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"])
    write(folder, {"test_labels": sets["mnist"]["test_labels"]})
    line = error_of(name, folder)
    assert "contains only a part of Fashion-MNIST" in line
    assert "t10k-labels-idx1-ubyte (MNIST's)" in line


def test_one_changed_byte_is_detected(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"])
    images = sets["fashion_mnist"]["train_images"].copy()
    images[7, 7, 7] ^= 1
    write(folder, {"train_images": images})
    line = error_of("fashion_mnist", folder)
    assert "sha256" in line
    assert "train-images-idx3-ubyte;" in line


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "the sha256 of its files differ"),
        ({"train": 29}, "29 train examples instead of 30"),
        ({"test": 21}, "21 test examples instead of 20"),
    ],
)
@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_other_data_sets_are_referred_to_idx(
    name: str,
    change: dict[str, int],
    word: str,
    sets: dict[str, idx.Arrays],
    tmp_path: Path,
) -> None:
    line = error_of(name, write(tmp_path / "d", make_arrays(5, **change)))
    assert word in line
    assert "not Fashion-MNIST" in line
    assert "--dataset=idx" in line


def test_labels_out_of_range_are_reported(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    arrays = make_arrays(5)
    arrays["test_labels"][3] = 12
    line = error_of("mnist", write(tmp_path / "d", arrays))
    assert "test labels up to 12 instead of 9" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto", "idx"])
def test_missing_files_are_listed(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"], ".gz")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte.gz").unlink()
    line = error_of(name, folder)
    assert "2 of the 4" in line
    assert "train-images-idx3-ubyte, t10k-labels-idx1-ubyte" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto", "idx"])
def test_unequal_counts_are_reported(name: str, tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["train_labels"] = arrays["train_labels"][:-1]
    line = error_of(name, write(tmp_path / "d", arrays))
    assert "30 images" in line
    assert "train-labels-idx1-ubyte has 29 labels" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_a_missing_data_set_lists_every_location_and_what_to_do(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "cwd/data/MNIST/raw", make_arrays())
    line = error_of(name, tmp_path / "d")
    folders = ["d", f"TFDS_DATA_DIR/{name}", f"HOME/tensorflow_datasets/{name}"]
    folders += [f"XDG_CACHE_HOME/fmnist_jax/{name}", "KERAS_HOME/datasets"]
    assert [path for path in folders if str(tmp_path / path) not in line] == []
    assert "switched off by FMNIST_JAX_OFFLINE" in line
    assert "--data_dir=FOLDER" in line
    assert "--dataset=synthetic" in line
    assert ("30 train examples instead of 60,000" in line) == (name == "mnist")


def test_auto_falls_back_with_a_notice(tmp_path: Path) -> None:
    damaged = tmp_path / "KERAS_HOME/datasets/fashion-mnist"
    write(damaged, {"test_labels": np.zeros(3, np.uint8)})
    (tmp_path / "d").mkdir()
    data = load(data_dir=tmp_path / "d", train_examples=50, test_examples=20)
    assert data.name == "synthetic"
    assert data.title == "synthetic data, not Fashion-MNIST"
    assert data.class_names == OFFICIAL["fashion_mnist"].class_names
    assert data.train.images.shape == (50, 28, 28)
    words = [
        "Fashion-MNIST could not be loaded",
        "a generated synthetic data set is used",
    ]
    words += ["--data_dir", "FMNIST_JAX_OFFLINE", f"{damaged} has 1 of the 4"]
    words += [f"IDX files in {tmp_path / 'd'}: nothing found"]
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


# Other data sets.


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("fashion-mnist", "'fashion_mnist'?"),
        ("FashionMNIST", "'fashion_mnist'?"),
        ("sinthetic", "'synthetic'?"),
        ("cifra10", "'cifar10'?"),
        ("../etc", "an image set of TFDS."),
        ("", "an image set of TFDS."),
        (None, "an image set of TFDS."),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # raised by the import of TFDS
def test_unknown_names(name: Any, suggestion: str) -> None:
    line = error_of(name)
    assert line.startswith(f"Unknown dataset {name!r}; expected auto, fashion_mnist, ")
    assert line.endswith(suggestion)


def test_idx_reads_other_sets(sets: dict[str, idx.Arrays], tmp_path: Path) -> None:
    arrays = make_arrays(9)
    arrays["train_labels"][0] = 200
    data = load("idx", write(tmp_path / "kuzushiji", arrays))
    assert_equal(data, arrays)
    assert (data.name, data.title, data.num_classes) == ("idx", "idx", 201)
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


def test_examples_are_the_first_ones(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["mnist"])
    data = load("mnist", folder, train_examples=7, test_examples=20)
    first = {
        role: array[: 7 if "train" in role else 20]
        for role, array in sets["mnist"].items()
    }
    assert_equal(data, first)
    assert data.fingerprint != load("mnist", folder).fingerprint
    line = error_of("mnist", folder, test_examples=21)
    assert "test_examples is 21, but there are only 20 test examples" in line


@pytest.mark.parametrize("count", [0, -3, 2.5, "7"])
def test_wrong_counts_get_one_line(count: Any) -> None:
    line = error_of("synthetic", train_examples=count)
    assert "train_examples must be a whole number of at least 1" in line
    assert repr(count) in line


def test_synthetic_data_are_a_prefix_of_limited_size() -> None:
    few = load("synthetic", train_examples=20, test_examples=10)
    more = load("synthetic", train_examples=40, test_examples=10)
    np.testing.assert_array_equal(few.train.images, more.train.images[:20])
    assert (few.source, few.notice) == ("generated", "")
    assert "only 60,000" in error_of("synthetic", train_examples=60_001)


# The MNIST file of Keras.


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
        (lambda arrays: b"nonsense", "not a zip file"),
        (lambda arrays: npz(keras_arrays(arrays))[:-100], "zip"),
        (lambda arrays: npz({"x_train": arrays["train_images"]}), "y_train.npy"),
        (lambda arrays: npz({key: {} for key in keras_arrays(arrays)}), "object"),
        (lambda arrays: npz(keras_arrays(make_arrays(0, 5, 5))), "(5, 28, 28)"),
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
    with pytest.raises(UserError, match="not a file of at most 67,108,864 bytes"):
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


# The official files.


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
            body = (REAL / name / f"{file}.gz").read_bytes()
            assert sha256(body) == data_set.gz_sha256[role]


def test_the_import_requires_only_numpy() -> None:
    code = (
        "import sys, fmnist_jax.data; heavy = {'jax', 'absl', 'tensorflow_datasets', "
        "'urllib.request', 'PIL'} & set(sys.modules); sys.exit(str(heavy or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) in [(0, ""), (1, "")]
