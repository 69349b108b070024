"""Fashion-MNIST and MNIST in any order of their examples."""

import numpy as np
import pytest

from fmnist_jax.data import idx, official
from fmnist_jax.data.official import OFFICIAL
from tests.data.data_files import (
    REAL,
    Arrays,
    _empty_locations,  # noqa: F401 (autouse)
    make_arrays,
    make_official,
    needs_real,
    ranks,
)


def test_any_order_becomes_the_official_one(sets: dict[str, Arrays]) -> None:
    rng = np.random.default_rng(0)
    for name, arrays in sets.items():
        for split in ("train", "test"):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            order = rng.permutation(len(labels))
            flat = images.reshape(len(images), -1)
            for given in (images, flat, flat.astype(np.float32), images[..., None]):
                match = official.recognise(given[order], labels[order])
                assert match is not None
                assert (match.name, match.split) == (name, split)
                np.testing.assert_array_equal(match.pair[0], images)
                np.testing.assert_array_equal(match.pair[1], labels)


def test_examples_that_are_equal_are_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = make_arrays(5)
    arrays["train_images"][10:20] = arrays["train_images"][:10]
    arrays["train_labels"][10:15] = arrays["train_labels"][:5]
    make_official(monkeypatch, "mnist", arrays)
    match = official.recognise(
        arrays["train_images"][::-1], arrays["train_labels"][::-1]
    )
    assert match is not None
    np.testing.assert_array_equal(match.pair[1], arrays["train_labels"])


def test_names_of_classes_are_recognised_without_their_signs(
    sets: dict[str, Arrays],
) -> None:
    arrays = sets["fashion_mnist"]
    names = [n.replace("/", "_") for n in OFFICIAL["fashion_mnist"].class_names]
    labels = np.array(names)[arrays["train_labels"]]
    match = official.recognise(arrays["train_images"], labels)
    assert match is not None
    np.testing.assert_array_equal(match.pair[1], arrays["train_labels"])
    assert official.recognise(arrays["train_images"], np.char.add("x", labels)) is None


def test_other_examples_are_not_recognised(sets: dict[str, Arrays]) -> None:
    images, labels = (sets["mnist"][f"train_{role}"] for role in ("images", "labels"))
    changed = images.copy()
    changed[3, 4, 5] ^= 1
    swapped = labels.copy()
    swapped[0] = (labels[0] + 1) % 10
    for other in (
        (changed, labels),
        (images, swapped),
        (images / 255, labels),
        (images - 1.0, labels),
        (np.where(images < 255, images + 0.25, 255), labels),
        (np.where(images == 255, np.nan, images), labels),
        (images[:-1], labels[:-1]),
        (images.reshape(-1, 14, 56), labels),
        (images, labels + 0.5),
    ):
        assert official.recognise(*other) is None


@needs_real
def test_the_table_is_that_of_the_official_files() -> None:
    """If this fails, the table was not made from the official files by ``ranks``."""
    for name in OFFICIAL:
        pairs = idx.read_folder(REAL / name)
        assert pairs is not None
        for split in ("train", "test"):
            np.testing.assert_array_equal(
                ranks(*pairs[split]), official.official_ranks()[f"{name}_{split}"]
            )
