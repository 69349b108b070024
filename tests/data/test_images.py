"""Images by class: modes, sizes, classes, and none left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.containers import to_folders
from fmnist_jax.data import load
from fmnist_jax.errors import UserError
from tests.data.container_files import GREY, folders, pairs_of, save
from tests.data.data_files import (
    _empty_locations,  # noqa: F401 (autouse)
    error_of,
    make_arrays,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TFDS


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
