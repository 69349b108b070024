"""Data sets in files and folders: the same arrays from each, mistakes in one line."""

import contextlib
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.containers import WRITERS, png, to_csv, to_parquet
from fmnist_jax.data import limits, load
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError
from tests.data.container_files import GREY, bomb, csv, pairs_of, parquet, save
from tests.data.data_files import (
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    damage,
    error_of,
    make_arrays,
    make_official,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("is_official", [False, True], ids=["other", "official"])
def test_every_container_has_the_same_arrays(
    container: str,
    is_official: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Official examples have the official order, even from TFDS and from folders."""
    arrays = make_arrays(3, 60, 40)
    if is_official:
        make_official(monkeypatch, "fashion_mnist", arrays)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("no table, only text")
    data = load(WRITERS[container](pairs_of(arrays), tmp_path / "d"))
    if is_official:
        assert_equal(data, arrays)
        assert data.class_names == OFFICIAL["fashion_mnist"].class_names
        assert data.source.endswith("recognised as Fashion-MNIST")
        assert (data.name, data.notice) == ("fashion_mnist", "")
        return
    assert data.num_classes == 10
    assert data.name not in OFFICIAL
    for split, part in (("train", data.train), ("test", data.test)):
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        examples = [(x.tobytes(), int(y)) for x, y in zip(*part, strict=True)]
        given = zip(*pairs_of(arrays)[split], strict=True)
        expected = [(image.tobytes(), int(label)) for image, label in given]
        if container in ("PNG folders", "TFDS"):  # they have orders of their own
            assert sorted(examples) == sorted(expected)
        else:
            assert examples == expected


def test_a_file_stands_for_those_of_the_other_splits(tmp_path: Path) -> None:
    arrays = make_arrays(3)
    to_csv(pairs_of(arrays), tmp_path)
    (tmp_path / "README.md").write_text("a, b")
    for name in ("fashion-mnist_train.csv", "fashion-mnist_test.csv", ""):
        data = load(tmp_path / name)
        assert_equal(data, arrays)
        assert "labels from column 'label'" in data.source
    assert load(str(tmp_path / "fashion-mnist_train.csv")).name == "fashion-mnist"
    (tmp_path / "other_train.csv").write_text("label,a\n1,2\n0,3\n")
    assert_equal(load(tmp_path / "fashion-mnist_train.csv"), arrays)
    line = error_of(tmp_path)
    assert "such as fashion-mnist_test.csv and other_train.csv; pass one of" in line


def test_names_precede_paths(
    sets: dict[str, Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd" / "synthetic").mkdir()
    (tmp_path / "cwd" / "mine").mkdir()
    assert load("synthetic", train_examples=9, test_examples=9).name == "synthetic"
    arrays = make_arrays(7)
    to_csv(pairs_of(arrays), tmp_path / "cwd" / "mine")
    assert_equal(load("mine"), arrays)
    monkeypatch.setenv("HOME", str(tmp_path / "cwd"))
    assert_equal(load("~/mine"), arrays)
    assert len(load("mine", train_examples=7).train.labels) == 7
    line = error_of("min")
    assert "a file or folder (none of this name exists)" in line


def test_a_path_and_a_folder_are_not_both_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("y,x\n" + "0,1\n1,2\n" * 6)
    with pytest.raises(UserError, match=r"has no effect, because --dataset=.* a path"):
        load(tmp_path / "t.csv", tmp_path)
    monkeypatch.setenv("FMNIST_JAX_DATA", str(tmp_path))  # for names
    assert len(load(tmp_path / "t.csv").test.labels) == 2


def test_without_a_test_set_a_stratified_sixth_is_one(tmp_path: Path) -> None:
    rows = [f"{'ab'[i >= 20]},{i}" for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["y,x", *rows]))
    data = load(tmp_path / "t.csv")
    assert "5 of the 30 examples, a sixth of each class, are used as one" in data.notice
    assert np.bincount(data.test.labels).tolist() == [3, 2]
    assert data.class_names == ("a", "b")
    values = np.concatenate([data.train.images, data.test.images]).ravel()
    assert sorted(values) == list(range(30))
    np.testing.assert_array_equal(data.test.labels, data.test.images[:, 0] >= 20)
    assert load(tmp_path / "t.csv").fingerprint == data.fingerprint


def test_one_split_of_an_official_set(sets: dict[str, Arrays], tmp_path: Path) -> None:
    images, labels = sets["mnist"]["train_images"], sets["mnist"]["train_labels"]
    np.savez(tmp_path / "one.npz", x=images[::-1], y=labels[::-1])
    data = load(tmp_path / "one.npz")
    assert data.name == "mnist"
    assert data.source.endswith("recognised as the train set of MNIST")
    assert "5 of the 30 examples" in data.notice
    official: dict[str, Any] = {
        f"x_{s}": sets["mnist"][f"{s}_images"] for s in ("train", "test")
    }
    official |= {f"y_{s}": sets["mnist"][f"{s}_labels"] for s in ("train", "test")}
    official |= {"x_val": images[:9], "y_val": labels[:9]}
    np.savez(tmp_path / "mnist.npz", **official)
    data = load(tmp_path / "mnist.npz")
    assert data.name == "custom_mnist"  # not what others call MNIST
    assert data.validation is not None
    few: dict[str, Any] = {"x_test": images[:9], "y_test": labels[:9]}
    np.savez(tmp_path / "two.npz", x_train=images, y_train=labels, **few)
    data = load(tmp_path / "two.npz")
    assert data.name == "two"
    assert data.source.endswith("its train set recognised as that of MNIST")


def test_a_validation_set_is_kept_or_is_the_test_set(tmp_path: Path) -> None:
    splits = "train", "val"
    parts: dict[str, Any] = {f"x_{s}": np.full((4, 2), splits.index(s)) for s in splits}
    parts |= {f"y_{s}": np.arange(4)[:, None] % 2 for s in splits}
    np.savez(tmp_path / "a.npz", **parts)
    data = load(tmp_path / "a.npz")
    assert data.notice == "There is no test set; the validation set is used as one."
    assert (data.test.images.max(), data.validation) == (1, None)
    np.savez(tmp_path / "b.npz", **parts, x_test=np.full((4, 2), 7), y_test=np.ones(4))
    data = load(tmp_path / "b.npz")
    assert data.validation is not None
    assert (data.test.images.max(), data.validation.images.max()) == (7, 1)


def test_archives_by_split(tmp_path: Path) -> None:
    for value, split in enumerate(("train", "test")):
        images = np.full((4, 2), value)
        np.savez(tmp_path / f"set_{split}.npz", x=images, y=np.arange(4) % 2)
    for path in (tmp_path, tmp_path / "set_test.npz"):
        data = load(path)
        assert (data.train.images.max(), data.test.images.min()) == (0, 1)


# Tables.


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 10_000)


def test_what_is_over_the_limit_is_not_read(small_limit: None, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for body, words in (
        (bomb((2**40,)), "cannot be read: Unable to allocate 1.00 TiB"),
        (bomb((6000,), 6000), "is too large: reading it takes 12,"),  # both together
        (bomb((100,), 10**6), "is too large: reading it takes 2,000,"),
        (bomb((-1, 5)), "cannot be read: negative dimensions"),
    ):
        path.write_bytes(body)
        line = error_of(path)
        assert words in line
    text = "label,a\n" + "1,2\n" * 700
    assert "the limit is 10,000 (8 GiB, or half" in error_of(csv(tmp_path, text))
    wide = parquet(tmp_path / "t.parquet", {"y": [1] * 900, "a": [2] * 900})
    assert "is too large: reading it takes 14,400 bytes" in error_of(wide)
    image = png(np.zeros((200, 200), np.uint8))
    assert len(image) < 500
    encoded = parquet(tmp_path / "i.parquet", {"x": [image] * 2, "y": [0, 1]})
    assert "takes 80,000 bytes" in error_of(encoded)


@pytest.mark.filterwarnings("default")  # not only where warnings are errors
@pytest.mark.parametrize(
    ("size", "words"),
    [
        (20, "cannot be read: image file is truncated"),
        (10_000, "cannot be read: Image size (100000000 pixels) exceeds limit"),
        (9_000, "takes 8,748,000,000 bytes; the limit is"),
    ],
)
def test_an_image_that_unpacks_to_gigabytes_is_not_decoded(
    size: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 8 * 2**30)
    root = tmp_path / "set"
    for i in range(108):
        save(root / "cat" / f"{i:03}.png", Image.fromarray(GREY))
    path = root / "cat" / "000.png"
    body = bytearray(path.read_bytes())
    body[16:24] = size.to_bytes(4, "big") * 2
    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    path.write_bytes(body)
    assert f"{path} {words}" in error_of(root).replace("is too large: reading it ", "")


def test_python_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}, {}]), y=np.arange(2))
    line = error_of(tmp_path / "a.npz")
    assert "has Python objects, which are never read (save text with" in line
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "y.npy", np.arange(2))
    assert "has Python objects" in error_of(tmp_path / "y.npy")


@pytest.mark.parametrize("container", [c for c in WRITERS if c != "TFDS"])
def test_damaged_files_never_crash(container: str, tmp_path: Path) -> None:
    rng = random.Random(0)
    root = WRITERS[container](pairs_of(make_arrays(3, 6, 6)), tmp_path)
    path = sorted(p for p in root.rglob("*") if p.is_file())[-1]
    body = path.read_bytes()
    for _ in range(60):
        path.write_bytes(damage(body, rng))
        with contextlib.suppress(UserError):
            load(root)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"q": np.ones(3)}, "has no known arrays; expected images and labels: x_train"),
        ({"x": np.ones((4, 2))}, "has x; expected images and labels"),
        ({"y": np.ones(4)}, "has y; expected images and labels"),
        ({"x": np.ones((4, 2)), "X": np.ones((4, 2))}, "x and X mean the same"),
        ({"x": np.ones((4, 2)), "y": np.ones(3)}, "train has 4 images, but 3 labels"),
        (
            {"x": np.ones((4, 2)), "y": np.ones(4), "x_train": np.ones((4, 2))},
            "has x, y, x_train; expected",
        ),
        (
            {"x_test": np.ones((4, 2)), "y_test": np.ones(4)}
            | {"x_val": np.ones((4, 2)), "y_val": np.ones(4)},
            "no training set",
        ),
    ],
)
def test_archives_without_pairs_get_one_line(
    arrays: dict[str, Any], words: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    assert words in error_of(tmp_path / "a.npz")


def test_folders_without_or_with_several_data_sets(tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    assert "contains no data set; expected CSV, Parq" in error_of(tmp_path / "empty")
    arrays = make_arrays(2)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    to_parquet(pairs_of(arrays), tmp_path / "outer" / "inner")
    assert_equal(load(tmp_path / "outer"), arrays)
    csv(tmp_path / "outer" / "inner" / "data", "label,a\n1,2", "a.csv")
    line = error_of(tmp_path / "outer")
    assert "has files of several formats (CSV, Parquet); pass one of the" in line
    assert "is neither a file nor a folder" in error_of(Path("/dev/null"))
