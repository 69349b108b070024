"""Reading data sets prepared by TensorFlow Datasets (TFDS), without TensorFlow."""

import json
import logging
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.containers import to_tfds
from fmnist_jax.data import load, tfds
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    REAL,
    ROOT,
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    error_of,
    make_arrays,
    make_official,
    needs_real,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS


def prepare(name: str, root: Path, **splits: tuple[np.ndarray, np.ndarray]) -> Path:
    return to_tfds(splits, root, name)


def split_pairs(arrays: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        split: (arrays[f"{split}_images"], arrays[f"{split}_labels"])
        for split in ("train", "test")
    }


def to_tfrecord(folder: Path, shards: int = 2) -> None:
    """Converts a prepared array_record folder into tfrecord files."""
    import tensorflow_datasets

    builder = tensorflow_datasets.builder_from_directory(str(folder))
    info = json.loads((folder / "dataset_info.json").read_text())
    for split in info["splits"]:
        name = split["name"]
        records = list(tfds._records(tensorflow_datasets, builder, name, folder))
        parts = [part.tolist() for part in np.array_split(range(len(records)), shards)]
        for shard, part in enumerate(parts):
            file = f"{info['name']}-{name}.tfrecord-{shard:05}-of-{shards:05}"
            framed = (
                struct.pack("<QI", len(records[i]), 0) + records[i] + bytes(4)
                for i in part
            )
            (folder / file).write_bytes(b"".join(framed))
        split["shardLengths"] = [str(len(part)) for part in parts]
    info["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for path in folder.glob("*.array_record-*"):
        path.unlink()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Arrays]:
    """A prepared fashion_mnist of 300 + 100 images (version 3.0.1), and its arrays."""
    arrays = make_arrays(3, 300, 100)
    root = tmp_path_factory.mktemp("tfds")
    return prepare("fashion_mnist", root, **split_pairs(arrays)), arrays


@pytest.fixture
def official_small(
    small: tuple[Path, Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Arrays]:
    """The TFDS directory of a copy whose check sums replace the official ones."""
    folder, arrays = small
    shutil.copytree(folder, tmp_path / "tfds" / "fashion_mnist" / folder.name)
    make_official(monkeypatch, "fashion_mnist", arrays)
    return tmp_path / "tfds", arrays


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_prepared_directory_is_restored_to_the_official_order(
    file_format: str, official_small: tuple[Path, Arrays]
) -> None:
    root, arrays = official_small
    folder = root / "fashion_mnist" / "3.0.1"
    if file_format == "tfrecord":
        to_tfrecord(folder)
    stored = tfds.read(folder).pairs
    assert (stored["train"][1] != arrays["train_labels"]).any()
    data = load("fashion_mnist", root)
    assert_equal(data, arrays)
    assert data.source == f"TFDS directory {root / 'fashion_mnist'}"
    assert (data.name, data.class_names[0]) == ("fashion_mnist", "T-shirt/top")


@pytest.mark.parametrize("variable", ["TFDS_DATA_DIR", "HOME"])
def test_directories_of_the_environment_are_searched(
    variable: str,
    official_small: tuple[Path, Arrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, arrays = official_small
    if variable == "HOME":
        root.rename(tmp_path / "tensorflow_datasets")
        root = tmp_path
    monkeypatch.setenv(variable, str(root))
    assert_equal(
        load(train_examples=9, test_examples=9),
        {role: array[:9] for role, array in arrays.items()},
    )


@pytest.mark.slow
def test_nothing_is_logged(
    official_small: tuple[Path, Arrays], capfd: pytest.CaptureFixture[str]
) -> None:
    load("auto", official_small[0])
    assert capfd.readouterr() == ("", "")
    logger = logging.getLogger("absl")
    assert logger.isEnabledFor(logging.ERROR)
    assert logger.filters == []
    # TFDS logs some messages only once in a process.
    code = "import sys; from fmnist_jax.data import tfds; tfds.read(sys.argv[1])"
    folder = official_small[0] / "fashion_mnist" / "3.0.1"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_data_set_than_the_official_one_is_an_error(
    small: tuple[Path, Arrays], tmp_path: Path
) -> None:
    root = small[0].parents[1]
    line = error_of("auto", root)
    assert f"{root / 'fashion_mnist'} contains another data set, not Fash" in line
    assert "300 train examples instead of 60,000" in line


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((folder / "dataset_info.json").read_text())
    change(info)
    (folder / "dataset_info.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda info: info["splits"].pop(), ["no split 'test'", "only train"]),
        (lambda info: info.update(fileFormat="parquet"), ["format parquet"]),
        (
            lambda info: info["splits"][0].update(shardLengths=["299"]),
            ["299 train examples instead of 300"],
        ),
        (
            lambda info: info["splits"][0].update(shardLengths=[str(2**40)]),
            ["cannot be read: ", "bound 300"],
        ),
        (lambda info: info.clear(), ["cannot be read: "]),
    ],
)
def test_damaged_directories_get_one_line(
    change: Callable[[dict[str, Any]], object],
    words: list[str],
    official_small: tuple[Path, Arrays],
) -> None:
    root, _ = official_small
    folder = root / "fashion_mnist" / "3.0.1"
    edit(folder, change)
    line = error_of("fashion_mnist", root)
    assert [word for word in words if word not in line] == []
    assert str(root / "fashion_mnist") in line


def test_lost_and_damaged_records_are_detected(
    official_small: tuple[Path, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = official_small
    folder = root / "fashion_mnist" / "3.0.1"
    to_tfrecord(folder)
    path = folder / "fashion_mnist-test.tfrecord-00001-of-00002"
    body = path.read_bytes()
    first = 16 + struct.unpack("<Q", body[:8])[0]
    path.write_bytes(body[first:])
    line = error_of("auto", root)
    assert "100 images are specified, but 99 follow" in line
    path.write_bytes(body + body[:first])
    assert "100 images are specified, but 101 follow" in error_of("auto", root)
    for damaged in (body[:-1], body[:5], b"\xff" * 8 + body[8:]):
        path.write_bytes(damaged)
        assert f"{path} is truncated or damaged" in error_of("auto", root)
    path.write_bytes(body[:12] + bytes(50) + body[62:])
    assert "cannot be read: " in error_of("auto", root)
    path.write_bytes(body)
    edit(folder, lambda info: info["splits"][0].update(shardLengths=["150", 2**40]))
    line = error_of("auto", root)
    assert "is too large: reading it takes 862," in line
    # In a location that the user did not pass, the error becomes part of the notice.
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    notice = load("auto", train_examples=1, test_examples=1).notice
    assert f"{folder} is too large" in notice


def test_a_truncated_array_record_is_detected(
    official_small: tuple[Path, Arrays],
) -> None:
    root, _ = official_small
    path = next((root / "fashion_mnist" / "3.0.1").glob("*train.array_record*"))
    path.write_bytes(path.read_bytes()[:-70_000])
    assert "cannot be read: " in error_of("fashion_mnist", root)


# Other data sets, by name.


@pytest.mark.parametrize(
    ("name", "shape", "class_name"),
    [("cifar10", (32, 32, 3), "1"), ("kmnist", (28, 28), "ki")],
)
def test_another_image_set_is_read_by_name(
    name: str, shape: tuple[int, ...], class_name: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, *shape), np.uint8), np.arange(12) % 10
    few = images[:5], labels[:5]
    folder = prepare(name, tmp_path / "d", train=(images, labels), test=few)
    data = load(name, tmp_path / "d", test_examples=4)
    assert (data.name, data.title, data.image_shape) == (name, name, shape)
    assert (len(data.train.labels), len(data.test.labels)) == (12, 4)
    assert (len(data.class_names), data.class_names[1]) == (10, class_name)
    assert data.source == f"TFDS directory {folder}"
    for image, label in zip(*data.train, strict=True):  # the order is that of TFDS
        same = (images == image).reshape(12, -1).all(1)
        assert labels[same].tolist() == [label]


def test_the_newest_version_and_a_given_one(tmp_path: Path) -> None:
    for version in ("3.0.2/x", "3.9.0", "3.10.0", "incomplete.X_4.0.0"):
        folder = tmp_path / "d" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert tfds.find(tmp_path, "d") == tmp_path / "d" / "3.10.0"
    assert tfds.find(tmp_path, "d:3.9.0") == tmp_path / "d" / "3.9.0"
    assert tfds.find(tmp_path, "d:3.8.0") is None
    for name in ("../d", "d/..", "/d", "D", ""):
        assert tfds.find(tmp_path, name) is None


def test_several_configurations_are_listed(tmp_path: Path) -> None:
    for config in ("letters", "digits"):
        folder = tmp_path / "emnist" / config / "3.1.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    line = error_of("emnist", tmp_path)
    assert "emnist/digits, emnist/letters: choose one" in line
    newest = tfds.find(tmp_path, "emnist/digits")
    assert newest == tmp_path / "emnist" / "digits" / "3.1.0"


@pytest.mark.parametrize("name", ["cifar10", "emnist/letters"])
def test_a_data_set_that_is_not_prepared_gets_the_command(
    name: str, tmp_path: Path
) -> None:
    line = error_of(name)
    assert f"`tfds build {name}`" in line
    assert str(tmp_path / "TFDS_DATA_DIR") in line
    (tmp_path / "my data").mkdir()
    line = error_of(name, tmp_path / "my data")
    assert f"`tfds build {name} --data_dir='{tmp_path / 'my data'}'`" in line


def test_data_sets_without_images_are_refused(
    small: tuple[Path, Arrays], tmp_path: Path
) -> None:
    folder = tmp_path / "fashion_mnist" / "3.0.1"
    shutil.copytree(small[0], folder)
    features = json.loads((folder / "features.json").read_text())
    inner = features["featuresDict"]["features"]
    inner["picture"] = inner.pop("image")
    (folder / "features.json").write_text(json.dumps(features))
    with pytest.raises(UserError, match="is not a data set of uint8 images"):
        tfds.read(folder)


def test_modules_listed_in_a_folder_are_not_imported(
    small: tuple[Path, Arrays], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kmnist" / "3.0.1"
    shutil.copytree(small[0], folder)
    path = folder / "features.json"
    valid = json.loads(path.read_text())
    name, foreign = valid["pythonClassName"], "this.X"  # importing this prints a poem
    inner = {**valid["featuresDict"]["features"], "x": {"pythonClassName": foreign}}
    as_text = json.dumps({"image": {"type": foreign, "content": {}}})
    for features in (
        {**valid, "pythonClassName": foreign},
        {"featuresDict": {"features": inner}, "pythonClassName": name},
        {"python_class_name": foreign, "featuresDict": {}},
        {"type": foreign, "content": {}},
        {"type": name, "content": {"image": {"type": foreign, "content": {}}}},
        {"pythonClassName": name, "jsonFeature": {"json": as_text}},
    ):
        path.write_text(json.dumps(features))
        line = error_of("kmnist", tmp_path)
        assert f"{path} uses the class 'this.X'" in line
        assert "this" not in sys.modules
    path.write_text(" " * (2**20 + 1))
    assert "larger than 1,048,576 bytes" in error_of("kmnist", tmp_path)
    path.write_text("[" * 100_000)
    assert "cannot be read: " in error_of("kmnist", tmp_path)
    assert capsys.readouterr() == ("", "")


def test_images_of_several_shapes_are_refused(tmp_path: Path) -> None:
    images = [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]
    pair: Any = (images, np.array([0, 1]))
    prepare("tf_flowers", tmp_path, train=pair, test=pair)
    line = error_of("tf_flowers", tmp_path)
    assert f"train image 2 of {tmp_path}" in line
    assert "all images must have one size (height x width" in line


def test_without_tfds_the_error_is_one_line(
    official_small: tuple[Path, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    line = error_of("fashion_mnist", official_small[0])
    assert "requires more packages" in line
    assert "pip install tensorflow-datasets" in line
    assert error_of("cifar10").startswith("Unknown dataset 'cifar10'")


@pytest.mark.slow
@needs_real
def test_official_fashion_mnist_from_tfds(tmp_path: Path) -> None:
    given = load("fashion_mnist", REAL)
    pairs = {"train": tuple(given.train), "test": tuple(given.test)}
    prepare("fashion_mnist", tmp_path / "tfds", **pairs)
    data = load("fashion_mnist", tmp_path / "tfds")
    assert data.fingerprint == given.fingerprint
    assert data.source.startswith("TFDS directory")
