"""Arrays of a user: converted to the types of the library, or refused in one line."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError


def make_data(images: Any = None, labels: Any = None, **kwargs: Any) -> Data:
    good = Dataset(np.zeros((4, 2, 3), np.uint8), np.array([0, 1, 2, 1]))
    images = good.images if images is None else images
    return Data(
        Dataset(images, good.labels if labels is None else labels), good, **kwargs
    )


def test_arrays_are_converted_to_the_types_of_the_library() -> None:
    data = make_data(np.linspace(0, 1, 24).reshape(4, 2, 3))
    assert data.train.images.dtype == np.float32
    assert data.train.labels.dtype == np.int32
    assert data.test.images.dtype == np.uint8
    assert make_data(np.full((4, 2, 3), 255)).train.images.dtype == np.uint8
    assert make_data(np.full((4, 2, 3), 255)).train.images.max() == 255
    assert make_data(np.ones((4, 2, 3), np.float16)).train.images.dtype == np.float32
    assert (data.num_classes, data.image_shape) == (3, (2, 3))
    assert (data.name, data.title, data.source) == ("custom", "custom", "arrays given")
    assert make_data(class_names=["a", "b", "c", "d"]).num_classes == 4


def test_images_of_ml_dtypes_are_accepted() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    data = make_data(np.ones((4, 2, 3), ml_dtypes.bfloat16))
    assert data.train.images.dtype == np.float32


def test_fingerprint_depends_on_types_shapes_and_values() -> None:
    zeros = np.zeros((4, 2, 3), np.uint8)
    assert (
        make_data().fingerprint
        == make_data().fingerprint
        == make_data(zeros[::-1]).fingerprint
    )
    changed = [
        make_data(zeros + 1),
        make_data(zeros.astype(np.float32)),
        make_data(labels=[1, 1, 2, 1]),
    ]
    flat = Dataset(zeros.reshape(4, 6), make_data().train.labels)
    changed.append(Data(flat, flat))  # the same bytes in another shape
    assert len({data.fingerprint for data in (make_data(), *changed)}) == 5


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
        (None, [0.5, 1, 2, 3], {}, ["train labels", "whole numbers", "0.5"]),
        (None, [0, 1, 2, 3], {"class_names": "abc"}, ["0 to 2", "3 class names"]),
    ],
)
def test_wrong_arrays_get_one_line(
    images: Any, labels: Any, kwargs: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        make_data(images, labels, **kwargs)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_the_arrays_cannot_be_changed_afterwards(dtype: Any) -> None:
    images, labels = np.ones((4, 2, 3), dtype), np.arange(4, dtype=np.int32)
    data = make_data(images[:], labels[::-1])  # views of arrays that can be changed
    fingerprint = data.fingerprint
    images[:], labels[:] = 0, 0
    assert (data.train.images == 1).all()
    assert data.train.labels.tolist() == [3, 2, 1, 0]
    assert dataclasses.replace(data).fingerprint == fingerprint
    for array in (*data.train, *data.first(2).train):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_arrays_that_nobody_can_change_are_not_copied() -> None:
    data = make_data()
    for subset in (data.first(2), dataclasses.replace(data, name="x")):
        for ours, theirs in zip(subset.train, data.train, strict=True):
            assert np.shares_memory(ours, theirs)


@pytest.mark.parametrize(
    ("train", "test", "is_one_scale"),
    [
        (1.0, 1 / 255, False),
        (1 / 255, 1.0, False),
        (1.0, 0.1, True),
        (1.0, 0.0, True),  # all black
        (0.0, 1.0, True),
    ],
)
def test_splits_on_different_scales_are_refused(
    train: float, test: float, is_one_scale: bool
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4)).astype(np.float32)
    images[0, 0], labels = 255, np.arange(50) % 2
    parts = Dataset(images * train, labels), Dataset(images * test, labels)
    if is_one_scale:
        Data(*parts)
        return
    with pytest.raises(UserError, match="not on one scale") as error:
        Data(*parts)
    assert "from 0 to 255" in str(error.value)
    assert "from 0 to 1" in str(error.value)


def test_a_subset_keeps_the_classes_of_the_whole_set() -> None:
    images, labels = np.ones((6, 2)), np.array([0, 0, 1, 1, 2, 5])
    data = Data(Dataset(images, labels), Dataset(images[:2], labels[:2]))
    assert data.num_classes == data.first(2).num_classes == 4
    assert data.first(2).class_names == data.class_names == ("0", "1", "2", "5")


def test_an_outlier_is_not_another_scale() -> None:
    table, labels = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2
    outlier = table.copy()
    outlier[0, 0] = 1e3
    Data(Dataset(outlier, labels), Dataset(table, labels))


@pytest.mark.parametrize("as_list", [False, True])
def test_masked_and_sparse_arrays_get_one_line(as_list: bool) -> None:
    masked = np.ma.masked_greater(np.array([[1.0, 1e37], [2.0, 3.0]]), 1e30)
    sparse = scipy.sparse.csr_array(np.eye(2))
    for given, words in ((masked, "are masked: "), (sparse, r"\.toarray\(\)")):
        with pytest.raises(UserError, match=f"^train images .*{words}"):
            make_data([given, given] if as_list else given, np.arange(2))
    with pytest.raises(UserError, match=r"^train labels are masked"):
        make_data(np.eye(2), np.ma.array([0, 1], mask=[False, True]))


def test_other_types_than_dataset_get_one_line() -> None:
    with pytest.raises(UserError, match=r"test must be a Dataset.*got int"):
        Data(make_data().train, 3)  # type: ignore[arg-type]


def test_a_validation_set_is_stratified_and_disjoint() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [600, 300, 103])[rng.permutation(1003)]
    images = np.arange(1003, dtype=np.float32)[:, None, None]
    data = Data(Dataset(images, labels), Dataset(images[-5:], labels[-5:]))
    split = data.with_validation(100)
    assert split.validation is not None
    assert len(split.train.labels) == 903
    # 59.8, 29.9 and 10.3 of each class, rounded to 100 in all.
    assert np.bincount(split.validation.labels).tolist() == [60, 30, 10]
    parts = [part.images.ravel() for part in (split.train, split.validation)]
    assert sorted(np.concatenate(parts)) == images.ravel().tolist()
    for part in (split.train, split.validation):
        positions = part.images.ravel().astype(int)
        assert (np.diff(positions) > 0).all()  # in the order of the file
        np.testing.assert_array_equal(part.labels, labels[positions])
    np.testing.assert_array_equal(split.test.images, data.test.images)
    again = data.with_validation(100)
    assert split.fingerprint == again.fingerprint != data.fingerprint
    other = data.with_validation(100, seed=1)
    assert other.fingerprint != split.fingerprint
    assert data.with_validation(0) is data
    assert (split.num_classes, split.largest_class_share) == (3, 540 / 903)


def test_impossible_validation_sets_get_one_line() -> None:
    data = make_data()
    for count in (-1, 4, 5):
        with pytest.raises(UserError, match=f"{count} validation examples of 4 train"):
            data.with_validation(count)
    with pytest.raises(UserError, match="has a validation set already"):
        data.with_validation(2).with_validation(1)
    other = Dataset(np.zeros((1, 3, 3), np.uint8), np.array([0]))
    with pytest.raises(UserError, match=r"train and validation images .* one shape"):
        make_data(validation=other)
