"""Tables: label columns, pixels, mistakes by row and column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.containers import png
from fmnist_jax.data import Data, Dataset, load
from fmnist_jax.errors import UserError
from tests.data.container_files import LAST, ROWS, csv, parquet
from tests.data.data_files import (
    _empty_locations,  # noqa: F401 (autouse)
    error_of,
    make_arrays,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS


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


@pytest.mark.parametrize("order", ["in order", "shuffled", "a gap", "few"])
def test_a_column_that_numbers_the_rows_is_noted(order: str, tmp_path: Path) -> None:
    """Also if its numbers are shared out to two files at random, as by a split."""
    numbers = np.arange(1, 12 if order == "few" else 61)
    if order == "shuffled":
        numbers = np.random.default_rng(0).permutation(numbers)
    if order == "a gap":
        numbers[30] = 100
    lines = [f"{number},{number % 7}.5,{'ab'[number % 2]}\n" for number in numbers]
    train, test = (tmp_path / f"{split}.csv" for split in ("train", "test"))
    train.write_text("".join(["id,size,label\n", *lines[:-10]]))
    test.write_text("".join(["id,size,label\n", *lines[-10:]]))
    notice = load(tmp_path).notice
    if order in ("a gap", "few"):
        assert notice == ""
    else:
        assert notice.startswith("Column 'id' has every whole number from 1 to 60 once")


def test_labels_from_the_first_column_are_noted(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 2},{i}" for i in range(12))
    notice = load(csv(tmp_path, f"age,outcome\n{rows}")).notice
    assert notice.startswith("No column is called label, class, target or y: the first")
    assert "'age', was taken for the labels" in notice
    assert "was taken" not in load(csv(tmp_path, f"y,x\n{rows}", "y.csv")).notice
    rows = "\n".join(f"{i},{i},{i % 2}" for i in range(12))
    notice = load(csv(tmp_path, f"species,x,y\n{rows}", "xy.csv")).notice
    assert notice.startswith("'y' was taken for the labels. If it is a coordinate")


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
        ("label,a\n", ["with at least one image, got shape (0, 1)"]),
        ("label,a\n1,2\n", ["All examples have one label, '1'"]),
        ("label\n1\n2\n", ["t.csv", "expected CSV, Parquet"]),
        ("", ["is empty", "expected CSV, Parquet"]),
        ("<html><a,b>", ["HTML or XML page (a failed download?)"]),
        ("version https://git-lfs,", ["a Git LFS pointer"]),
        ('{"a": 1, "b": 2}', ["a JSON text"]),
        (b"\x80\4\x95,", ["a pickle, which is not read because it could run code"]),
        (b"\x89HDF\r\n\x1a\n", ["an HDF5 file"]),
        (b"\x1f\x8b,", ["compressed by gzip: unpack it"]),
        (
            b"l\xe4bel,a\n1,2\n",
            ["cannot be read: 'utf-8' codec can't decode byte 0xe4"],
        ),
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


def test_shards_of_csv_files_are_all_read(tmp_path: Path) -> None:
    rows = [f"{i % 2},{i}" for i in range(20)]
    for i, part in enumerate((rows[:8], rows[8:])):
        csv(tmp_path, "\n".join(["y,x", *part]), f"train-0000{i}-of-00002.csv")
    data = load(tmp_path)
    values = np.concatenate([data.train.images, data.test.images])[:, 0]
    assert sorted(values) == list(range(20))


def test_images_that_are_absent_or_damaged_in_a_table(tmp_path: Path) -> None:
    encoded: list[Any] = [png(np.zeros((2, 2), np.uint8))] * 4
    path = tmp_path / "t.parquet"
    for value, words in (
        (None, "missing values in column 'image', the first in row 3"),
        (b"nonsense", f"row 3 of {path} cannot be read: cannot identify image"),
        (png(np.zeros((3, 2), np.uint8)), f"is 2 x 2, but row 3 of {path} is 3 x 2"),
    ):
        images = [*encoded[:2], value, encoded[0]]
        parquet(path, {"image": images, "label": [0, 1, 0, 1]})
        assert words in error_of(path)


# Folders of images.
