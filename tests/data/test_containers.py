"""Data sets in files and folders: the same arrays from each, mistakes in one line."""

import contextlib
import io
import random
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.containers import WRITERS, Pairs, png, to_csv, to_folders, to_parquet
from fmnist_jax.data import Data, Dataset, idx, limits, load
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    damage,
    error_of,
    make_arrays,
    make_official,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS


def pairs_of(arrays: idx.Arrays) -> Pairs:
    return {
        split: (arrays[f"{split}_images"], arrays[f"{split}_labels"])
        for split in ("train", "test")
    }


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
    sets: dict[str, idx.Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,label,pixel0,pixel1,pixel2,pixel3", "pixel columns, and beside them id;"),
        ("target,x,class", "columns 'target' and 'class' are both named like labels"),
    ],
)
def test_columns_of_unclear_meaning_are_refused(
    header: str, words: str, tmp_path: Path
) -> None:
    row = ",".join(map(str, range(header.count(",") + 1)))
    with pytest.raises(UserError, match=words):
        load(csv(tmp_path, f"{header}\n{row}\n{row}"))


def test_columns_that_float32_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    """As times in seconds: all would be the same number."""
    rows = "\n".join(f"{i % 2},{1_600_000_000 + i},{i}" for i in range(60))
    with pytest.raises(UserError, match=r"1\.6e\+09 in column 'time', which float32"):
        load(csv(tmp_path, f"y,time,x\n{rows}"))
    images = 1.6e9 + np.arange(120.0).reshape(60, 2)
    dataset = Dataset(images, np.arange(60) % 2)
    with pytest.raises(UserError, match="in column 0, which float32 cannot tell apart"):
        Data(dataset, dataset)
    seconds = Dataset(images - 1.6e9, dataset.labels)
    assert Data(seconds, seconds).train.images[-1].tolist() == [118, 119]
    same = load(csv(tmp_path, "y,x\n" + "0,0.1\n1,0.1\n0,0.2\n" * 9, "s.csv"))
    assert same.train.images.dtype == np.float32  # 0.1 is rounded, and stays itself


def test_labels_from_the_first_column_are_noted(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 2},{i}" for i in range(12))
    notice = load(csv(tmp_path, f"age,outcome\n{rows}")).notice
    assert notice.startswith("No column is called label, class, target or y: the first")
    assert "'age', was taken for the labels" in notice
    assert "was taken" not in load(csv(tmp_path, f"y,x\n{rows}", "y.csv")).notice


def test_images_are_not_left_out(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 3), 7 * len(name)).save(path)
    assert len(load(tmp_path / "mine").train.labels) == 3
    (tmp_path / "mine" / "labels.csv").write_text("y,x\n0,1\n1,2\n0,3\n")
    with pytest.raises(UserError, match=r"by class, and beside them labels\.csv"):
        load(tmp_path / "mine")
    (tmp_path / "mine" / "labels.csv").unlink()
    (tmp_path / "mine" / "a" / "more").mkdir()
    with pytest.raises(UserError, match="has images, and a folder more beside them"):
        load(tmp_path / "mine")
    (tmp_path / "mine" / "a" / "more").rmdir()
    for split in ("train", "training"):
        shutil.copytree(tmp_path / "mine", tmp_path / "two" / split)
    with pytest.raises(UserError, match="train and training, which are both"):
        load(tmp_path / "two")


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
    assert "5 of the 30 examples, a sixth of each class, are the test" in data.notice
    assert np.bincount(data.test.labels).tolist() == [3, 2]
    assert data.class_names == ("a", "b")
    values = np.concatenate([data.train.images, data.test.images]).ravel()
    assert sorted(values) == list(range(30))
    np.testing.assert_array_equal(data.test.labels, data.test.images[:, 0] >= 20)
    assert load(tmp_path / "t.csv").fingerprint == data.fingerprint


def test_one_split_of_an_official_set(
    sets: dict[str, idx.Arrays], tmp_path: Path
) -> None:
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
    assert data.notice == "There is no test set: the validation set is the test set."
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


def csv(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


ROWS = "\n".join(f"{i % 3},{i},{i / 2}" for i in range(12))
LAST = "\n".join(f"{i},{i / 2},{i % 3}" for i in range(12))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (f"y,a,b\n{ROWS}", "y"),
        (f"first,a,b\n{ROWS}", "first"),
        (f"a,b,CLASS\n{LAST}", "CLASS"),
        (f"\ufefflabel,a,b\n{ROWS}\n", "label"),
        (f"label;a;b\n{ROWS}".replace(",", ";"), "label"),
        (f"label\ta\tb\n{ROWS}".replace(",", "\t").replace("\n", "\r\n"), "label"),
        (ROWS, "1"),
        (f"0,1,2\n{ROWS}", "0"),
        (f'"label","a","b"\n{ROWS}', "label"),
    ],
)
def test_the_label_column_of_a_table(text: str, label: str, tmp_path: Path) -> None:
    data = load(csv(tmp_path, text))
    assert f"labels from column {label!r}" in data.source
    assert (data.train.images.dtype, data.class_names) == (np.float32, ("0", "1", "2"))
    rows = np.concatenate([np.c_[part] for part in (data.train, data.test)])
    expected = [[i, i / 2, i % 3] for i in range(12)]
    assert rows[rows[:, 0].argsort()].tolist() == expected


@pytest.mark.parametrize(
    ("names", "is_image"),
    [
        (["pixel0", "pixel1", "pixel2", "pixel3"], True),
        (["pixel1", "pixel2", "pixel3", "pixel4"], True),
        (["1x1", "1x2", "2x1", "2x2"], True),
        (["pixel0", "pixel1", "pixel2", "pixel4"], False),
    ],
)
def test_pixel_columns_are_images_in_the_order_of_their_numbers(
    names: list[str], is_image: bool, tmp_path: Path
) -> None:
    order = [3, 1, 0, 2]  # of the columns in the file
    header = ",".join(["label", *(names[i] for i in order)])
    row = ",".join(str(10 * i) for i in order)
    path = csv(tmp_path, f"{header}\n0,{row}\n1,{row}")
    images = load(path).train.images
    if is_image:
        assert (images.dtype, images.tolist()) == (np.uint8, [[[0, 10], [20, 30]]])
        for value in ("0.3", "300", "-30"):
            other = load(csv(tmp_path, path.read_text().replace("30", value), "s.csv"))
            assert (other.train.images.dtype, other.image_shape) == (np.float32, (2, 2))
            assert other.train.images[0, 1, 1] == np.float32(value)
    else:
        assert (images.dtype, images.tolist()) == (np.float32, [[30, 10, 0, 20]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"label,a,b\n{ROWS}\n1,2", ["Row #14", "Expected 3 columns, got 2"]),
        (f"label,a,b\n{ROWS}\n1,2,", ["missing values in column 'b'", "row 14"]),
        (f"{ROWS}\n1,NA,3", ["missing values in column '2'", "row 13"]),
        (f"label,a,b\n{ROWS}\n,2,3", ["missing values in column 'label'", "row 14"]),
        (f"label,a,b\n{ROWS}\n1,2,cold", ["'cold' in row 14, column 'b'", "numbers"]),
        (f",a,b\n{ROWS}", ["a column without a name", "index=False"]),
        (f"y,a,a\n{ROWS}", ["two columns named 'a'"]),
        (f"setosa,1,2\n{ROWS}", ["names and numbers in its first row", "a header"]),
        (f"price,a,b\n{ROWS}".replace("\n0,", "\n0.5,"), ["column 'price'", "got 0.5"]),
        ("label,a\n" + "1,1e39\n" * 9, ["finite float32"]),
        ("label,a\n", ["0 images or rows"]),
        ("label,a\n1,2\n", ["one example is too few"]),
        ("label\n1\n2\n", ["t.csv", "expected CSV, Parquet"]),
        (f"label,a\n{'x' * 201},1\n", ["201 characters in the label column 'label'"]),
        ("", ["is empty", "expected CSV, Parquet"]),
        ("<html><a,b>", ["HTML or XML page (a failed download?)"]),
        ("version https://git-lfs,", ["a Git LFS pointer"]),
        ('{"a": 1, "b": 2}', ["a JSON text"]),
        (b"\x80\4\x95,", ["a pickle, which is not read because it could run code"]),
        (b"\x89HDF\r\n\x1a\n", ["an HDF5 file"]),
        (b"\x1f\x8b,", ["compressed by gzip: unpack it"]),
        (b"l\xe4bel,a\n1,2\n", ["not text in UTF-8"]),
        (b"PAR1" + bytes(90) + b"PAR1", ["cannot be read"]),
        (b"PK\3\4" + bytes(90), ["cannot be read", "not a zip file"]),
    ],
)
def test_damaged_tables_get_one_line(
    text: str | bytes, words: list[str], tmp_path: Path
) -> None:
    line = error_of(csv(tmp_path, text))
    assert [word for word in ("t.csv", *words) if word not in line] == []


def test_tables_of_a_set_have_the_same_columns(tmp_path: Path) -> None:
    csv(tmp_path, "label,a,b\n0,1,2\n1,3,4\n", "train.csv")
    csv(tmp_path, "b,a,label\n2,1,0\n", "test.csv")  # in another order
    data = load(tmp_path)
    assert data.train.images.tolist() == [[1, 2], [3, 4]]
    assert data.test.images.tolist() == [[1, 2]]
    csv(tmp_path, "a,b\n2,1\n", "test.csv")
    assert "train.csv has a column 'label', but" in error_of(tmp_path)
    csv(tmp_path, "label,a,b,c\n1,2,1,0\n", "test.csv")
    assert "test.csv has a column 'c', but" in error_of(tmp_path)


def parquet(path: Path, columns: dict[str, Any], metadata: bytes = b"") -> Path:
    import pyarrow
    from pyarrow import parquet as writer

    table = pyarrow.table(columns)
    writer.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
    return path


def test_parquet_tables(tmp_path: Path) -> None:
    columns = {"__index_level_0__": [7, 8, 9, 6], "a": [1, 2, 3, 4], "Class": [*"baab"]}
    data = load(parquet(tmp_path / "t.parquet", columns | {"b": [0.5, 1, True, -1]}))
    assert (data.class_names, data.image_shape) == (("a", "b"), (2,))
    assert [1.0, 0.5] in np.concatenate([data.train.images, data.test.images]).tolist()
    line = error_of(parquet(tmp_path / "u.parquet", columns | {"c": [*"wxyz"]}))
    assert "has the type string in column 'c'; all columns but the labels" in line
    line = error_of(parquet(tmp_path / "v.parquet", columns | {"c": [1, 2, None, 3]}))
    assert "missing values in column 'c', the first in row 3" in line


def test_shards_are_read_together_or_not_at_all(tmp_path: Path) -> None:
    images = make_arrays(1)["train_images"]
    names = b'{"info": {"features": {"digit": {"names": ["no", "yes", "maybe"]}}}}'
    paths = [tmp_path / f"train-0000{i}-of-00002.parquet" for i in range(2)]
    for path, part in zip(paths, (images[:20], images[20:]), strict=True):
        labels = np.arange(len(part)) % 2
        encoded = [{"bytes": png(image), "path": "x"} for image in part]
        parquet(path, {"picture": encoded, "digit": labels}, names)
    data = load(paths[1])
    assert data.class_names == ("no", "yes", "maybe")
    assert sum(len(part.labels) for part in (data.train, data.test)) == 30
    assert data.train.images.sum() + data.test.images.sum() == images.sum()
    paths[0].unlink()
    assert "has 1 of 2 files such as train-00001-of-00002" in error_of(tmp_path)


def test_images_that_are_absent_or_damaged_in_a_table(tmp_path: Path) -> None:
    encoded: list[Any] = [png(np.zeros((2, 2), np.uint8))] * 4
    path = tmp_path / "t.parquet"
    for value, words in (
        (None, "no image bytes in row 3"),
        (b"nonsense", f"row 3 of {path} cannot be read: cannot identify image"),
        (png(np.zeros((3, 2), np.uint8)), f"is 2 x 2, but row 3 of {path} is 3 x 2"),
    ):
        images = [*encoded[:2], value, encoded[0]]
        parquet(path, {"image": images, "label": [0, 1, 0, 1]})
        assert words in error_of(path)


# Folders of images.


def save(path: Path, image: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def folders(root: Path, make: Callable[[int], Image.Image], suffix: str) -> Path:
    for i in range(12):
        save(root / "set" / ("cat", "dog")[i % 2] / f"{i}.{suffix}", make(i))
    return root / "set"


GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.mark.parametrize(
    ("mode", "suffix", "shape"),
    [
        ("L", "png", (2, 3)),
        ("1", "png", (2, 3)),
        ("LA", "png", (2, 3)),
        ("RGB", "png", (2, 3, 3)),
        ("RGBA", "png", (2, 3, 3)),
        ("P", "png", (2, 3, 3)),
        ("L", "jpg", (2, 3)),
        ("RGB", "JPEG", (2, 3, 3)),
    ],
)
def test_modes_of_images(
    mode: str, suffix: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    root = folders(tmp_path, lambda i: Image.fromarray(GREY + i).convert(mode), suffix)
    for junk in ("Thumbs.db", ".DS_Store", "cat/Thumbs.db", "cat/notes.txt"):
        (root / junk).write_bytes(b"\xff\xd8\xff junk")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "__MACOSX" / "cat").mkdir(parents=True)
    data = load(root)
    assert (data.image_shape, data.class_names) == (shape, ("cat", "dog"))
    assert len(data.train.labels) + len(data.test.labels) == 12
    if suffix == "png" and mode != "1":
        plain = data.train.images.reshape(-1, 6, shape[2] if shape[2:] else 1)
        first = plain[:, 0, 0]  # GREY + i begins with i
        np.testing.assert_array_equal(plain[:, :, 0], first[:, None] + GREY.ravel())
        np.testing.assert_array_equal(data.train.labels, first % 2)


def test_classes_that_are_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    for label in (0, 2, 10):
        for i in range(2):
            save(tmp_path / str(label) / f"{i}.png", Image.fromarray(GREY + label))
    data = load(tmp_path)
    assert data.class_names == ("0", "2", "10")


def test_images_that_do_not_fit_get_one_line(tmp_path: Path) -> None:
    root = folders(tmp_path, lambda i: Image.fromarray(GREY + i), "png")
    other = root / "dog" / "11.png"
    good = other.read_bytes()
    clear = Image.new("RGBA", (3, 2), (1, 2, 3, 0))
    for image, words in (
        (Image.new("L", (3, 3)), f"cat/0.png is 2 x 3, but {other} is 3 x 3; all"),
        (Image.new("RGB", (3, 2)), f"cat/0.png is 2 x 3, but {other} is 2 x 3 x 3"),
        (Image.new("I;16", (3, 2)), f"{other} cannot be read: its mode is I;16; exp"),
        (clear, f"{other} cannot be read: it is transparent"),
    ):
        save(other, image)
        assert words in error_of(root)
    for body in (good[:-30], b"", b"nonsense", b"GIF89a" + bytes(20)):
        other.write_bytes(body)
        assert f"{other} cannot be read: " in error_of(root)
    other.write_bytes(good)
    assert load(root).num_classes == 2
    assert "is an image: pass the folder" in error_of(other)


def test_splits_of_images_have_the_same_classes(tmp_path: Path) -> None:
    pairs = pairs_of(make_arrays(1, 60, 40))
    to_folders(pairs, tmp_path)
    save(tmp_path / "test" / "owl" / "0.png", Image.fromarray(GREY))
    line = error_of(tmp_path)
    assert "has no images of the class 'owl' in the train set" in line


# Limits.


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 10_000)


def bomb(shape: tuple[int, ...], size: int = 0) -> bytes:
    file, header = io.BytesIO(), io.BytesIO()
    content = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, content)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(size))
        archive.writestr("y.npy", header.getvalue() + bytes(size))
    return file.getvalue()


def test_what_is_over_the_limit_is_not_read(small_limit: None, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for body, words in (
        (bomb((2**40,)), "header specifies uint8 (1099511627776,), 1,099,511"),
        (bomb((6000,), 6000), "y.npy is too large"),  # both together
        (bomb((100,), 10**6), "x.npy does not have the 100 bytes of its header"),
        (bomb((-1, 5)), "is too large"),
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
    assert "x.npy has the type object; only numbers, booleans and text" in line
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "y.npy", np.arange(2))
    assert "x.npy has the type object" in error_of(tmp_path / "y.npy")


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
        ({"x": np.ones((4, 2)), "y": np.ones(3)}, "4 images or rows, and 3 labels"),
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
