"""Reading data sets: what is right comes back equal, what is wrong gets one line."""

import contextlib
import gzip
import http.server
import io
import os
import random
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax import download, idx, official, sources, synthetic
from fmnist_jax.config import UserError
from fmnist_jax.data import Data, Dataset, load
from fmnist_jax.official import OFFICIAL

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("FMNIST_JAX_TEST_DATA") or ROOT.parent / "shared" / "data")
needs_real = pytest.mark.skipif(
    not all((REAL / name).is_dir() for name in OFFICIAL),
    reason=f"no official files in {REAL} (FMNIST_JAX_TEST_DATA)",
)


@pytest.fixture(autouse=True)
def _no_other_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there is found, and there is no network."""
    for variable in ("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("FMNIST_JAX_OFFLINE", "1")
    monkeypatch.delenv("FMNIST_JAX_DATA", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def make_arrays(seed: int = 0, train: int = 30, test: int = 20) -> idx.Arrays:
    rng = np.random.default_rng(seed)
    return {
        "train_images": rng.integers(0, 256, (train, 28, 28), np.uint8),
        "train_labels": rng.integers(0, 10, train, np.uint8),
        "test_images": rng.integers(0, 256, (test, 28, 28), np.uint8),
        "test_labels": rng.integers(0, 10, test, np.uint8),
    }


def encode(array: np.ndarray) -> bytes:
    return idx.header(array) + array.tobytes()


def write(folder: Path, arrays: idx.Arrays, suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for role, array in arrays.items():
        body = encode(array)
        path = folder / (idx.FILES[role] + suffix)
        path.write_bytes(gzip.compress(body, 1) if suffix == ".gz" else body)
    return folder


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, idx.Arrays]:
    """Two small sets that count as the official ones in a test."""
    made = {name: make_arrays(seed) for seed, name in enumerate(OFFICIAL)}
    for name, arrays in made.items():
        sha256 = {
            role: official.hashlib.sha256(encode(array)).hexdigest()
            for role, array in arrays.items()
        }
        small = OFFICIAL[name]._replace(sha256=sha256)
        monkeypatch.setitem(OFFICIAL, name, small)
    for split, count in (("train", 30), ("test", 20)):
        monkeypatch.setitem(official.NUM_EXAMPLES, split, count)
    return made


def assert_equal(data: Data, arrays: idx.Arrays) -> None:
    np.testing.assert_array_equal(data.train.images, arrays["train_images"])
    np.testing.assert_array_equal(data.train.labels, arrays["train_labels"])
    np.testing.assert_array_equal(data.test.images, arrays["test_images"])
    np.testing.assert_array_equal(data.test.labels, arrays["test_labels"])
    assert data.train.labels.dtype == data.test.labels.dtype == np.int32


def error_of(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(UserError) as error:
        load(*args, **kwargs)
    line = str(error.value)
    assert "\n" not in line
    assert "Traceback" not in line
    return line


# Data: a user's own arrays.


def own(images: Any = None, labels: Any = None, **kwargs: Any) -> Data:
    good = Dataset(np.zeros((4, 2, 3), np.uint8), np.array([0, 1, 2, 1]))
    images = good.images if images is None else images
    return Data(
        Dataset(images, good.labels if labels is None else labels), good, **kwargs
    )


def test_own_arrays_are_kept_in_the_types_the_library_uses() -> None:
    data = own(np.linspace(0, 1, 24).reshape(4, 2, 3))
    assert data.train.images.dtype == np.float32
    assert data.train.labels.dtype == np.int32
    assert data.test.images.dtype == np.uint8
    assert own(np.full((4, 2, 3), 255)).train.images.dtype == np.uint8
    assert own(np.full((4, 2, 3), 255)).train.images.max() == 255
    assert own(np.ones((4, 2, 3), np.float16)).train.images.dtype == np.float32
    assert (data.num_classes, data.image_shape) == (3, (2, 3))
    assert (data.name, data.title, data.source) == ("custom", "custom", "arrays given")
    assert own(class_names=["a", "b", "c", "d"]).num_classes == 4


def test_images_of_ml_dtypes_are_taken() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    data = own(np.ones((4, 2, 3), ml_dtypes.bfloat16))
    assert data.train.images.dtype == np.float32


def test_fingerprint_depends_on_types_shapes_and_values() -> None:
    zeros = np.zeros((4, 2, 3), np.uint8)
    assert own().fingerprint == own().fingerprint == own(zeros[::-1]).fingerprint
    changed = [own(zeros + 1), own(zeros.astype(np.float32)), own(labels=[1, 1, 2, 1])]
    assert len({data.fingerprint for data in (own(), *changed)}) == 4


@pytest.mark.parametrize(
    ("images", "labels", "kwargs", "words"),
    [
        (np.zeros((0, 2, 3)), [], {}, ["train images", "at least one", "(0, 2, 3)"]),
        (np.zeros(4), None, {}, ["[N, ...]", "(4,)"]),
        ([[1, 2], [3]], None, {}, ["train images must be one array"]),
        (np.full((4, 2, 3), "a"), None, {}, ["uint8 or floating", "<U1"]),
        (np.zeros((4, 2, 3), bool), None, {}, ["uint8 or floating", "bool"]),
        (np.full((4, 2, 3), 256), None, {}, ["0 to 255", "256"]),
        (np.full((4, 2, 3), -1), None, {}, ["0 to 255", "-1"]),
        (np.full((4, 2, 3), np.nan), None, {}, ["finite", "24 values"]),
        (np.full((4, 2, 3), 1e300), None, {}, ["finite float32"]),
        (np.zeros((4, 3, 3)), None, {}, ["one shape", "(3, 3)", "(2, 3)"]),
        (None, [0, 1, 2], {}, ["4 images", "3 labels"]),
        (None, [0.0, 1, 2, 3], {}, ["train labels", "whole numbers", "float64"]),
        (None, np.eye(4, dtype=int), {}, ["whole numbers [N]", "(4, 4)"]),
        (None, [0, 1, 2, -1], {}, ["0 to 2147483646", "-1"]),
        (None, [0, 1, 2, 3], {"class_names": "abc"}, ["0 to 2", "3 class names"]),
    ],
)
def test_wrong_arrays_get_one_line(
    images: Any, labels: Any, kwargs: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        own(images, labels, **kwargs)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_something_else_than_a_dataset_gets_one_line() -> None:
    with pytest.raises(UserError, match=r"test must be a Dataset.*got int"):
        Data(own().train, 3)  # type: ignore[arg-type]


# load: the official sets.


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
def test_caches_are_used_and_damaged_ones_passed_over(
    below: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    write(tmp_path / "KERAS_HOME/datasets/fashion-mnist", sets["mnist"])
    write(tmp_path / "cwd/data/FashionMNIST/raw", {})
    (tmp_path / "cwd/data/FashionMNIST/raw" / idx.FILES["test_labels"]).touch()
    write(tmp_path / below, sets["fashion_mnist"])
    data = load("auto", tmp_path / "HOME" if (tmp_path / "HOME").exists() else None)
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
def test_the_files_of_the_other_set_are_named(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    line = error_of(name, write(tmp_path / "d", sets["mnist"]))
    assert f"{tmp_path / 'd'} holds MNIST, not Fashion-MNIST" in line
    assert "--dataset=mnist" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_a_mixture_is_named(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"])
    write(folder, {"test_labels": sets["mnist"]["test_labels"]})
    line = error_of(name, folder)
    assert "only in part" in line
    assert "t10k-labels-idx1-ubyte (MNIST's)" in line


def test_one_changed_byte_is_found(sets: dict[str, idx.Arrays], tmp_path: Path) -> None:
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
def test_other_sets_are_told_to_be_idx(
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


def test_labels_out_of_range_are_told(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    arrays = make_arrays(5)
    arrays["test_labels"][3] = 12
    line = error_of("mnist", write(tmp_path / "d", arrays))
    assert "test labels up to 12 instead of 9" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto", "idx"])
def test_missing_files_are_named(
    name: str, sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"], ".gz")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte.gz").unlink()
    line = error_of(name, folder)
    assert "2 of the 4" in line
    assert "train-images-idx3-ubyte, t10k-labels-idx1-ubyte" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto", "idx"])
def test_unequal_counts_are_told(name: str, tmp_path: Path) -> None:
    arrays = make_arrays()
    arrays["train_labels"] = arrays["train_labels"][:-1]
    line = error_of(name, write(tmp_path / "d", arrays))
    assert "30 images" in line
    assert "train-labels-idx1-ubyte 29 labels" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_what_is_nowhere_names_every_place_and_what_to_do(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    keras = write(tmp_path / "cwd/data/MNIST/raw", make_arrays())
    line = error_of(name, tmp_path / "d")
    places = ["d", f"TFDS_DATA_DIR/{name}", f"HOME/tensorflow_datasets/{name}"]
    places += [f"XDG_CACHE_HOME/fmnist_jax/{name}", "KERAS_HOME/datasets"]
    assert [each for each in places if str(tmp_path / each) not in line] == []
    assert "switched off by FMNIST_JAX_OFFLINE" in line
    assert "--data_dir=FOLDER" in line
    assert "--dataset=synthetic" in line
    assert keras.exists()
    assert ("30 train examples instead of 60,000" in line) == (name == "mnist")


def test_auto_falls_back_with_a_notice(tmp_path: Path) -> None:
    damaged = tmp_path / "KERAS_HOME/datasets/fashion-mnist"
    write(damaged, {"test_labels": np.zeros(3, np.uint8)})
    data = load(train_examples=50, test_examples=20)
    assert (data.name, data.title) == ("synthetic", "synthetic stand-in")
    assert data.class_names == tuple(synthetic.SYNTHETIC_CLASSES)
    assert data.train.images.shape == (50, 28, 28)
    words = ["Fashion-MNIST could not be had", "not Fashion-MNIST's", "--data_dir"]
    words += ["FMNIST_JAX_OFFLINE", f"{damaged} has 1 of the 4"]
    assert [word for word in words if word not in data.notice] == []
    assert "\n" not in data.notice


@pytest.mark.parametrize("name", ["auto", "mnist", "synthetic", "idx", "cifar10"])
def test_a_data_dir_that_is_not_there_is_always_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = error_of(name, tmp_path / "typo")
    assert f"data_dir is '{tmp_path / 'typo'}'" in line
    assert "No such file" in line
    (tmp_path / "file").touch()
    assert "Not a directory" in error_of(name, tmp_path / "file")
    monkeypatch.setenv("FMNIST_JAX_DATA", str(tmp_path / "typo"))
    assert "FMNIST_JAX_DATA is" in error_of(name)


# load: the others.


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
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS at import
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
    assert "none of the IDX files train-images-idx3-ubyte" in line


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


def test_synthetic_is_a_prefix_and_has_an_end() -> None:
    few = load("synthetic", train_examples=20, test_examples=10)
    more = load("synthetic", train_examples=40, test_examples=10)
    np.testing.assert_array_equal(few.train.images, more.train.images[:20])
    assert (few.source, few.notice) == ("generated", "")
    assert "only 60,000" in error_of("synthetic", train_examples=60_001)


# IDX files that are not what they should be.


def images_file(shape: tuple[int, ...] = (2, 3, 3), size: int = 18) -> bytes:
    return (
        bytes([0, 0, 8, len(shape)])
        + struct.pack(f">{len(shape)}I", *shape)
        + (bytes(range(size)))
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["not an IDX file"]),
        (b"\0\0\x08", ["not an IDX file"]),
        (b"\x89PNG" + bytes(40), ["not an IDX file", "89504e47"]),
        (b"\0\0\x0d\x03" + bytes(40), ["type 0x0d", "unsigned bytes"]),
        (images_file((18,)), ["has 1 dimensions", "expected 3"]),
        (images_file()[:11], ["truncated", "header"]),
        (images_file()[:-1], ["truncated", "2 x 3 x 3", "17 follow"]),
        (images_file() + b"\0", ["goes on after the 2 x 3 x 3"]),
        (images_file((0, 28, 28), 0), ["is empty", "0 x 28 x 28"]),
        (images_file((2**31, 2**31, 2**31)), ["claims 2,147,483,648 x", "at most"]),
        (gzip.compress(images_file())[:-9], ["cannot be read", "end-of-stream"]),
        (gzip.compress(images_file()) + b"x", ["cannot be read"]),
        (gzip.compress(images_file() + b"x"), ["goes on after"]),
        (b"\x1f\x8b" + bytes(40), ["cannot be read"]),
    ],
)
def test_malformed_files_get_one_line(
    body: bytes, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(body)
    with pytest.raises(UserError) as error:
        idx.read(path, 3)
    line = str(error.value)
    assert [word for word in (str(path), *words) if word not in line] == []
    assert "\n" not in line


@pytest.mark.parametrize("claim", [(2**20, 2**5, 2**5), (1, 8, 8)])
def test_a_bomb_costs_no_memory(claim: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", 1) as file:  # 64 MB of zeros; claims 1 GiB, or 64 bytes
        file.write(images_file(claim, 0))
        for _ in range(64):
            file.write(bytes(10**6))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"truncated|goes on"):
            idx.read(path, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (2e8 if claim[0] > 1 else 4e6)


def test_folders_pipes_and_dead_links_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    with pytest.raises(UserError, match="pipe is not a file"):
        idx.read(tmp_path / "pipe", 3)
    folder = write(tmp_path / "d", make_arrays())
    (folder / idx.FILES["test_labels"]).unlink()
    (folder / idx.FILES["test_labels"]).mkdir()
    assert "t10k-labels-idx1-ubyte is not a file" in error_of("auto", folder)
    (folder / idx.FILES["test_labels"]).rmdir()
    (folder / idx.FILES["test_labels"]).symlink_to("nowhere")
    assert "t10k-labels-idx1-ubyte cannot be read" in error_of("auto", folder)


def test_what_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "d", make_arrays())

    def refuse(path: Any, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:  # the tests may run as root
        patch.setattr("builtins.open", refuse)
        line = error_of("idx", folder)
    assert "train-images-idx3-ubyte cannot be read: Permission denied" in line
    monkeypatch.setattr(idx.os, "listdir", refuse)
    assert f"{folder} cannot be read: Permission denied" in error_of("idx", folder)


def damage(body: bytes, rng: random.Random) -> bytes:
    kind, at = rng.randrange(4), rng.randrange(len(body))
    if kind == 0:
        return body[:at]
    if kind == 1:
        return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    if kind == 2:
        return body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[at:]
    start = rng.randrange(min(20, len(body)))  # its header
    return body[:start] + rng.randbytes(3) + body[start + 3 :]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_files_are_errors_or_still_well_formed(
    suffix: str, tmp_path: Path
) -> None:
    rng, arrays = random.Random(0), make_arrays(1, 5, 4)
    errors: list[str] = []
    for _ in range(250):
        folder = write(tmp_path / "d", arrays, suffix)
        role = rng.choice(list(arrays))
        path = folder / (idx.FILES[role] + suffix)
        path.write_bytes(damage(path.read_bytes(), rng))
        with pytest.raises(UserError):  # never taken for an official set
            load("auto", folder)
        try:
            data = load("idx", folder)
        except UserError as error:
            errors.append(str(error))
        else:  # only values can have changed, without anything that could tell
            assert data.train.images.shape == (5, 28, 28)
            assert data.test.images.shape == (4, 28, 28)
            if suffix:  # gzip has a check sum
                assert_equal(data, arrays)
    assert len(errors) > 100
    assert not any("\n" in line for line in errors)


# Keras' file of MNIST.


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
    with pytest.raises(sources.NotFoundError):
        load("fashion_mnist")


def lying_npz(arrays: idx.Arrays) -> bytes:
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
        (lambda arrays: b"nonsense", "not a zip file"),
        (lambda arrays: npz(keras_arrays(arrays))[:-100], "zip"),
        (lambda arrays: npz({"x_train": arrays["train_images"]}), "y_train.npy"),
        (lambda arrays: npz({key: {} for key in keras_arrays(arrays)}), "object"),
        (lambda arrays: npz(keras_arrays(make_arrays(0, 5, 5))), "(5, 28, 28)"),
        (lambda arrays: npz(keras_arrays(make_arrays(5))), "the sha256"),
        (lying_npz, "1099511627776"),
    ],
)
def test_damaged_keras_files_are_passed_over(
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


def test_no_damage_to_a_keras_file_is_a_crash(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    rng, body = random.Random(0), npz(keras_arrays(make_arrays(0)))
    path = tmp_path / "mnist.npz"
    for _ in range(200):
        path.write_bytes(damage(body, rng))
        with contextlib.suppress(UserError):
            sources._read_npz(path)


# Downloads, from a server on this machine.


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]  # what is there, by path
    trickle = False

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/"))
            self.end_headers()
            return
        if self.path not in self.files:
            self.send_error(404)
            return
        body = self.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.trickle:
            self.wfile.write(body[:5])
            self.wfile.flush()
            time.sleep(0.6)
            return
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(
    sets: dict[str, idx.Arrays], monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[_Handler]]:
    """Offers the small Fashion-MNIST, and is where the library looks for it."""
    bodies = {
        role: gzip.compress(encode(array), 1)
        for role, array in sets["fashion_mnist"].items()
    }

    class Handler(_Handler):
        pass

    Handler.files = {f"/{idx.FILES[role]}.gz": body for role, body in bodies.items()}
    sha256 = {
        role: official.hashlib.sha256(body).hexdigest() for role, body in bodies.items()
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,)).start()
        small = OFFICIAL["fashion_mnist"]._replace(
            url=f"http://127.0.0.1:{running.server_port}/", gz_sha256=sha256
        )
        monkeypatch.setitem(OFFICIAL, "fashion_mnist", small)
        monkeypatch.setenv("FMNIST_JAX_OFFLINE", "0")
        monkeypatch.setenv("no_proxy", "*")
        yield Handler
        running.shutdown()


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "XDG_CACHE_HOME" / "fmnist_jax" / "fashion_mnist"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_only_https_is_in_the_table() -> None:
    assert all(each.url.startswith("https://") for each in OFFICIAL.values())


def test_download_fills_the_cache_once(
    server: type[_Handler], sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    data = load()
    assert_equal(data, sets["fashion_mnist"])
    assert data.source.startswith("downloaded to ")
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in idx.FILES.values())
    server.files = {}
    again = load("fashion_mnist")
    assert again.source.startswith("IDX files in ")
    assert again.fingerprint == data.fingerprint


def test_download_goes_on_where_it_ended_and_replaces_what_is_damaged(
    server: type[_Handler], sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
    all_files, last = dict(server.files), "/t10k-labels-idx1-ubyte.gz"
    server.files = {path: all_files[path] for path in all_files if path != last}
    assert "the server answered 404" in error_of("fashion_mnist")
    assert len(cached(tmp_path)) == 3
    folder = tmp_path / "XDG_CACHE_HOME" / "fmnist_jax" / "fashion_mnist"
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    server.files = {each: all_files[each] for each in (last, *list(all_files)[1:2])}
    assert_equal(load("fashion_mnist"), sets["fashion_mnist"])


def test_damaged_downloads_leave_nothing(
    server: type[_Handler], tmp_path: Path
) -> None:
    server.files = dict.fromkeys(server.files, b"<html>Log in</html>")
    assert "arrived damaged: wrong sha256" in error_of("fashion_mnist")
    assert "arrived damaged" in load(train_examples=1, test_examples=1).notice
    assert cached(tmp_path) == []


def test_large_downloads_are_refused(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    assert "larger than 1,000 bytes" in error_of("fashion_mnist")
    assert cached(tmp_path) == []


def test_redirects_are_followed_to_https_only(
    server: type[_Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = OFFICIAL["fashion_mnist"]
    moved = small._replace(url=f"{small.url}moved/")
    monkeypatch.setitem(OFFICIAL, "fashion_mnist", moved)
    line = error_of("fashion_mnist")
    assert "redirected to 'http://127.0.0.1" in line
    assert "not https" in line


def test_stalled_downloads_end(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.trickle = True
    monkeypatch.setattr(download, "START_SECONDS", 0.2)
    start = time.monotonic()
    assert "it stalled" in error_of("fashion_mnist")
    assert time.monotonic() - start < 0.6
    assert cached(tmp_path) == []


def test_slow_downloads_end(
    server: type[_Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MIN_BYTES_PER_SECOND", 1e15)
    real, passed = time.monotonic, iter(range(0, 1000, 20))
    monkeypatch.setattr(download.time, "monotonic", lambda: real() + next(passed))
    assert "it stalled" in error_of("fashion_mnist")


def test_a_hanging_start_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    class Opener:
        def open(self, url: str, timeout: float) -> Late:
            time.sleep(0.3)  # such as a DNS look-up without an answer
            return Late()

    monkeypatch.setattr(download, "START_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"no answer within 0\.1 s"):
        download.fetch({"a": ("https://a.example", "0")}, tmp_path, Opener())  # type: ignore[arg-type]
    assert closed.wait(2)


def test_no_server_and_no_room_are_short_reasons(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = OFFICIAL["fashion_mnist"]
    with monkeypatch.context() as patch:
        closed = small._replace(url="http://127.0.0.1:9/")
        patch.setitem(OFFICIAL, "fashion_mnist", closed)
        assert "no connection: Connection refused" in error_of("fashion_mnist")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "Not a directory" in error_of("fashion_mnist")


def test_an_interrupted_download_leaves_nothing(
    server: type[_Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load("fashion_mnist")
    assert cached(tmp_path) == []


# The real thing.


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
    for name, each in OFFICIAL.items():
        for role, file in idx.FILES.items():
            body = (REAL / name / f"{file}.gz").read_bytes()
            digest = official.hashlib.sha256(body).hexdigest()
            assert digest == each.gz_sha256[role]


def test_importing_needs_numpy_only() -> None:
    code = (
        "import sys, fmnist_jax.data; heavy = {'jax', 'absl', 'tensorflow_datasets', "
        "'urllib.request', 'PIL'} & set(sys.modules); sys.exit(str(heavy or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) in [(0, ""), (1, "")]
