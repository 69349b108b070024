"""Malformed IDX files: one line each, and little memory."""

import gzip
import os
import random
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import idx, load
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    _empty_locations,  # noqa: F401 (autouse)
    damage,
    error_of,
    make_arrays,
    write,
)


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
        (b"\x89PNG" + bytes(40), ["not an IDX file", "is an image"]),
        (b"\0\0\x0d\x03" + bytes(40), ["type 0x0d", "unsigned bytes"]),
        (images_file((18,)), ["has 1 dimensions", "expected 3"]),
        (images_file()[:11], ["truncated", "header"]),
        (images_file()[:-1], ["truncated", "2 x 3 x 3", "17 follow"]),
        (images_file() + b"\0", ["is too long", "2 x 3 x 3"]),
        (images_file((0, 28, 28), 0), ["is empty", "0 x 28 x 28"]),
        (images_file((2**31, 2**31, 2**31)), ["is too large", "bytes; the limit is"]),
        (
            gzip.compress(images_file(), mtime=0)[:-9],
            ["cannot be read", "end-of-stream"],
        ),
        (gzip.compress(images_file(), mtime=0) + b"x", ["cannot be read"]),
        (gzip.compress(images_file() + b"x", mtime=0), ["is too long"]),
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
def test_a_decompression_bomb_uses_little_memory(
    claim: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", 1) as file:  # 64 MB; its header: 1 GiB or 64 bytes
        file.write(images_file(claim, 0))
        for _ in range(64):
            file.write(bytes(10**6))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"truncated|too long"):
            idx.read(path, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (2e8 if claim[0] > 1 else 4e6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>", "is an HTML or XML page (a failed download?)"),
        (b"\n <html>  ", "is an HTML or XML page (a failed download?)"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "is a Git LFS pointer: run `git lfs pull`",
        ),
        (b"PK\3\4........", "is a zip archive"),
        (b"\xfd7zXZ\0....", "is compressed by xz"),
        (b"\x93NUMPY\1\0....", "is a .npy file"),
        (b"GIF89a......", "begins with '47494638'"),
        (b"", "is empty"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_other_files_are_named(
    body: bytes, words: str, pack: Any, tmp_path: Path
) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(pack(body))
    with pytest.raises(UserError, match=re.escape(f"is not an IDX file: it {words}")):
        idx.read(path, 3)


def test_folders_with_the_names_of_files_are_looked_into(tmp_path: Path) -> None:
    """As in Kaggle's archive of MNIST."""
    arrays = make_arrays()
    folder = write(tmp_path / "d", arrays)
    for name in list(idx.FILES.values())[:3]:
        (folder / name).rename(folder / "moved")
        (folder / name).mkdir()
        (folder / "moved").rename(folder / name / name)
    name = idx.FILES["test_labels"]
    (folder / name).rename(folder / name.replace("-idx", ".idx"))
    (folder / name).mkdir()  # empty, beside the file
    for split, (images, labels) in (idx.read_folder(folder) or {}).items():
        np.testing.assert_array_equal(images, arrays[f"{split}_images"])
        np.testing.assert_array_equal(labels, arrays[f"{split}_labels"])


def test_folders_pipes_and_dead_links_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    with pytest.raises(UserError, match="pipe is not a file"):
        idx.read(tmp_path / "pipe", 3)
    folder = write(tmp_path / "d", make_arrays())
    (folder / idx.FILES["test_labels"]).unlink()
    (folder / idx.FILES["test_labels"]).mkdir()
    assert "t10k-labels-idx1-ubyte is not a file" in error_of("auto", folder)
    (folder / idx.FILES["test_labels"]).rmdir()
    (folder / idx.FILES["test_labels"]).symlink_to("nowhere")
    assert "t10k-labels-idx1-ubyte cannot be read" in error_of("auto", folder)


def test_the_path_that_may_not_be_read_is_in_the_message(
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


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_files_are_errors_or_still_well_formed(
    suffix: str, tmp_path: Path
) -> None:
    rng, arrays = random.Random(0), make_arrays(1, 5, 4)
    errors: list[str] = []
    for _ in range(500):
        folder = write(tmp_path / "d", arrays, suffix)
        role = rng.choice(list(arrays))
        path = folder / (idx.FILES[role] + suffix)
        path.write_bytes(damage(path.read_bytes(), rng))
        with pytest.raises(UserError):  # never mistaken for an official data set
            load("auto", folder)
        try:
            data = load("idx", folder)
        except UserError as error:
            errors.append(str(error))
        else:  # only values differ, which cannot be detected
            assert data.train.images.shape == (5, 28, 28)
            assert data.test.images.shape == (4, 28, 28)
            if suffix:  # gzip has a check sum
                images, labels = data.train
                np.testing.assert_array_equal(images, arrays["train_images"])
                names = np.array(data.class_names, int)  # the labels that occur
                np.testing.assert_array_equal(names[labels], arrays["train_labels"])
    assert len(errors) > 200
    assert not any("\n" in line for line in errors)
