"""Where data sets are found: valid files give equal arrays, invalid files one line."""

from pathlib import Path

import pytest

from fmnist_jax.data import idx, load
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    assert_equal,
    error_of,
    make_arrays,
    write,
)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_idx_files_are_found_below_data_dir(
    below: str, suffix: str, sets: dict[str, Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d" / below, sets["mnist"], suffix)
    data = load("mnist", tmp_path / "d")
    assert_equal(data, sets["mnist"])
    assert (data.name, data.title, data.num_classes) == ("mnist", "MNIST", 10)
    assert data.source == f"IDX files in {folder}"
    assert data.notice == ""


def test_dotted_file_names_and_the_environment_variable(
    sets: dict[str, Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    below: str, sets: dict[str, Arrays], tmp_path: Path
) -> None:
    write(tmp_path / "KERAS_HOME/datasets/fashion-mnist", sets["mnist"])
    write(tmp_path / "cwd/data/FashionMNIST/raw", {})
    (tmp_path / "cwd/data/FashionMNIST/raw" / idx.FILES["test_labels"]).touch()
    write(tmp_path / below, sets["fashion_mnist"])
    data = load("auto")
    assert_equal(data, sets["fashion_mnist"])
    assert data.source.endswith(below.removeprefix("cwd/"))


def test_the_users_folder_comes_first(sets: dict[str, Arrays], tmp_path: Path) -> None:
    write(tmp_path / "KERAS_HOME/datasets/fashion-mnist", sets["fashion_mnist"])
    (tmp_path / "empty").mkdir()
    assert "KERAS_HOME" in load("fashion_mnist", tmp_path / "empty").source
    write(tmp_path / "d", sets["fashion_mnist"])
    assert "IDX files in " + str(tmp_path / "d") == load("auto", tmp_path / "d").source


def test_raw_folders_of_torchvision_are_looked_into(
    sets: dict[str, Arrays], tmp_path: Path
) -> None:
    write(tmp_path / "FashionMNIST/raw", sets["fashion_mnist"])
    for name in ("auto", "fashion_mnist", "idx"):
        data = load(name, tmp_path / "FashionMNIST")
        assert data.name == "fashion_mnist"


@pytest.mark.slow
def test_a_named_folder_without_data_is_not_replaced_by_synthetic_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load("auto").name == "synthetic"
    (tmp_path / "empty").mkdir()
    line = error_of("auto", tmp_path / "empty")
    assert f"IDX files in {tmp_path / 'empty'}: nothing found" in line
    assert "--dataset=synthetic" in line
    monkeypatch.setenv("FMNIST_JAX_DATA", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="Fashion-MNIST was not found"):
        load("auto")


@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_the_other_official_data_set_is_identified(
    name: str, sets: dict[str, Arrays], tmp_path: Path
) -> None:
    line = error_of(name, write(tmp_path / "d", sets["mnist"]))
    assert f"{tmp_path / 'd'} contains MNIST, not Fashion-MNIST" in line
    assert "--dataset=mnist" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto"])
def test_a_mixture_of_data_sets_is_identified(
    name: str, sets: dict[str, Arrays], tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", sets["fashion_mnist"])
    write(folder, {"test_labels": sets["mnist"]["test_labels"]})
    line = error_of(name, folder)
    assert "contains only a part of Fashion-MNIST" in line
    assert "t10k-labels-idx1-ubyte (of MNIST)" in line


def test_one_changed_byte_is_detected(sets: dict[str, Arrays], tmp_path: Path) -> None:
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
    sets: dict[str, Arrays],
    tmp_path: Path,
) -> None:
    line = error_of(name, write(tmp_path / "d", make_arrays(5, **change)))
    assert word in line
    assert "not Fashion-MNIST" in line
    assert "--dataset=idx" in line


def test_labels_out_of_range_are_reported(
    sets: dict[str, Arrays], tmp_path: Path
) -> None:
    arrays = make_arrays(5)
    arrays["test_labels"][3] = 12
    line = error_of("mnist", write(tmp_path / "d", arrays))
    assert "test labels up to 12 instead of 9" in line


@pytest.mark.parametrize("name", ["fashion_mnist", "auto", "idx"])
def test_missing_files_are_listed(
    name: str, sets: dict[str, Arrays], tmp_path: Path
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
    (tmp_path / "HOME").mkdir(exist_ok=True)
    write(tmp_path / "cwd/data/MNIST/raw", make_arrays())
    line = error_of(name, tmp_path / "d")
    folders = ["d", f"TFDS_DATA_DIR/{name}", f"HOME/tensorflow_datasets/{name}"]
    folders += [f"XDG_CACHE_HOME/fmnist_jax/{name}", "KERAS_HOME/datasets"]
    assert [path for path in folders if str(tmp_path / path) not in line] == []
    assert "switched off by FMNIST_JAX_OFFLINE" in line
    assert "--data_dir=FOLDER" in line
    assert "--dataset=synthetic" in line
    assert ("30 train examples instead of 60,000" in line) == (name == "mnist")
