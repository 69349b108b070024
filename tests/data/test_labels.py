"""Labels of any type become classes 0 to C-1; targets as given stay as they are."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError


def data_of(train: Any, test: Any, **kwargs: Any) -> Data:
    images = np.ones((max(len(train), len(test)), 2), np.float32)
    parts = (Dataset(images[: len(given)], given) for given in (train, test))
    return Data(next(parts), next(parts), **kwargs)


ONE_HOT = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("train", "test", "classes", "class_names"),
    [
        ([1, 0, 2], [2, 0], [1, 0, 2], ()),
        ([1.0, 0.0, 2.0], [2.0], [1, 0, 2], ()),
        (np.array([1, 0, 2], np.float16), [2], [1, 0, 2], ()),
        ([[1], [0], [2]], [[2]], [1, 0, 2], ()),
        ([10, -5, 9], [10], [2, 0, 1], ("-5", "9", "10")),
        ([1, 3, 1], [2, 3], [0, 2, 0], ("1", "2", "3")),
        (["b", "a", "c"], ["a"], [1, 0, 2], ("a", "b", "c")),
        ([b"b", b"\xc3\xa4", b"c"], [b"c"], [0, 2, 1], ("b", "c", "ä")),
        (["10", "9", "-5"], ["9"], [2, 1, 0], ("-5", "9", "10")),
        (["1", "0", "2"], ["2"], [1, 0, 2], ()),
        (["01", "1", "2"], ["2"], [0, 1, 2], ("01", "1", "2")),
        ([True, False, True], [True], [1, 0, 1], ("False", "True")),
        ([True, 0, 2], [2], [1, 0, 2], ()),
        (ONE_HOT, ONE_HOT[:1], [1, 0, 2], ("0", "1", "2")),
        (ONE_HOT.astype(bool), ONE_HOT[:1] * 1.0, [1, 0, 2], ("0", "1", "2")),
        (pd.Series(["b", "a", "c"]), ["a"], [1, 0, 2], ("a", "b", "c")),
        (pd.Categorical(["b", "a", "c"]), ["a"], [1, 0, 2], ("a", "b", "c")),
        (np.array([3, 1, 2], object), [1], [2, 0, 1], ("1", "2", "3")),
        (np.array([1, 0, 2], np.uint64), [0], [1, 0, 2], ()),
    ],
)
def test_labels_are_classes_in_sorted_order(
    train: Any, test: Any, classes: list[int], class_names: tuple[str, ...]
) -> None:
    data = data_of(train, test)
    assert data.train.labels.tolist() == classes
    assert (data.train.labels.dtype, data.test.labels.dtype) == (np.int32, np.int32)
    assert (data.class_names, data.num_classes) == (class_names, len(class_names) or 3)
    again = dataclasses.replace(data)
    assert (again.fingerprint, again.source) == (data.fingerprint, data.source)


def test_the_classes_are_those_of_all_splits() -> None:
    data = data_of([7, 7, 3], [5, 7])
    assert data.class_names == ("3", "5", "7")
    assert data.test.labels.tolist() == [1, 2]
    assert data.source == "arrays given, labels 3 to 7 without 4, 6"
    assert data_of([1, 2], [3]).source == "arrays given, labels 1 to 3"
    assert data_of([0, 2**40], [0]).source.endswith("7, 8, 9, 10, …")
    assert data_of([0, 1], [1]).source == "arrays given"


def test_known_classes_are_kept() -> None:
    names = ("cat", "dog", "owl")
    by_position = data_of([2, 0], [0], class_names=names)
    by_name = data_of(["owl", "cat"], ["cat"], class_names=names)
    one_hot = data_of(ONE_HOT[:2], ONE_HOT[:1], class_names=names)
    assert by_position.fingerprint == by_name.fingerprint
    assert by_name.train.labels.tolist() == [2, 0]
    for data in (by_position, by_name, one_hot):
        assert (data.class_names, data.num_classes) == (names, 3)
    # A class that only one-hot labels know.
    assert data_of(ONE_HOT[:2], ONE_HOT[:1]).num_classes == 3


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([0.5, 1.0], [0], ["train labels", "got 0.5", "as_given"]),
        ([0.0, np.nan], [0], ["train labels", "got nan"]),
        ([0.0, 1e300], [0], ["train labels", "got 1e+300"]),
        ([1, "a"], ["a"], ["train labels must have one type, got int, str"]),
        (np.array([1, "a"], object), ["a"], ["one type, got int, str"]),
        (["a", None], ["a"], ["train labels are missing for 1 examples"]),
        (pd.array(["a", pd.NA]), ["a"], ["train labels are missing for 1 examples"]),
        (["a", ""], ["a"], ["train labels are missing", "empty"]),
        ([b"\xff", b"a"], [b"a"], ["train labels are bytes", "UTF-8"]),
        (["a", "b"], [0], ["train labels are text, but test labels are numbers"]),
        (ONE_HOT, [0], ["one-hot with 3 columns, but test labels are numbers"]),
        (ONE_HOT, np.eye(2), ["with 3 columns, but", "one-hot with 2 columns"]),
        (ONE_HOT * 2, ONE_HOT, ["must be one-hot: a single 1 in each row"]),
        (ONE_HOT * 0, ONE_HOT, ["must be one-hot"]),
        (np.zeros((2, 2, 2), int), [0], ["[N] or one-hot [N, C]", "(2, 2, 2)"]),
        (np.array([1j, 2]), [0], ["whole numbers or text", "complex128"]),
        (np.array(["2020-01-01"], "M8[D]"), [0], ["datetime64"]),
        (np.arange(30), [0], ["30 different values in 31 examples", "regression"]),
        (7, [0], ["must be [N], got 7"]),
    ],
)
def test_what_is_no_class_gets_one_line(
    train: Any, test: Any, words: list[str]
) -> None:
    images = np.ones((np.size(train), 2))
    images = images[: len(train)] if np.ndim(train) else images
    with pytest.raises(UserError) as error:
        Data(Dataset(images, train), Dataset(np.ones((len(test), 2)), test))
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (["cat", "eel"], "contain 'eel', which the 2 class names lack: cat, dog"),
        ([0, 2], "must be 0 to 1, with 2 class names, got 0 to 2"),
        (ONE_HOT[:2], "There are 3 one-hot columns, but 2 class names"),
    ],
)
def test_labels_beside_the_class_names_get_one_line(train: Any, words: str) -> None:
    test = train[:1]
    with pytest.raises(UserError, match=words):
        data_of(train, test, class_names=("cat", "dog"))


def test_many_classes_are_plausible_if_they_have_examples() -> None:
    assert data_of(np.arange(40) % 30, np.arange(30)).num_classes == 30
    assert data_of(np.arange(20), [0]).num_classes == 20


def test_targets_as_given_are_not_mapped() -> None:
    floats = np.linspace(-1, 1, 6).reshape(3, 2)
    data = data_of(floats, floats[:1], targets="as_given")
    np.testing.assert_array_equal(data.train.labels, floats.astype(np.float32))
    assert (data.train.labels.dtype, data.num_classes) == (np.float32, 2)
    gaps = data_of([5, 9, -1], [7], targets="as_given")
    assert (gaps.train.labels.tolist(), gaps.num_classes) == ([5, 9, -1], 1)
    assert gaps.train.labels.dtype == np.int32
    assert data_of([5, 9], [7], targets="as_given", class_names="ab").num_classes == 2
    assert len(gaps.with_validation(1).train.labels) == 2
    with pytest.raises(UserError, match="no classes"):
        _ = gaps.largest_class_share
    for given, words in (
        ([np.nan], "must be finite"),
        (["a"], "must be integers or floats, got"),
        ([2**31], "must fit into int32, got up to 2147483648"),
    ):
        with pytest.raises(UserError, match=f"^train targets {words}"):
            data_of(given, [0], targets="as_given")
    with pytest.raises(
        UserError, match=r"one type and shape, got float32 \(2,\) in tr"
    ):
        data_of(floats, floats[:, :1], targets="as_given")
    with pytest.raises(UserError, match="Unknown targets 'raw'"):
        data_of([0], [0], targets="raw")
