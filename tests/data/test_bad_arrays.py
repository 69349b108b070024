"""Arrays of every sort are right, by value, or refused in one line: none is silent."""

import collections
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError
from tests.data import bad_arrays
from tests.data.bad_arrays import Given

many = settings(max_examples=600, deadline=None, derandomize=True, database=None)
GOOD = Dataset(
    np.random.default_rng(9).integers(0, 256, (4, *bad_arrays.SHAPE), np.uint8),
    np.array([0, 1, 2, 1]),
)
outcomes: collections.Counter[str] = collections.Counter()


def check(images: Given, labels: Given, make: Any) -> None:
    """Asserts that the data are what was given, or are refused in one line."""
    try:
        actual = make(Dataset(images.values, labels.values))
    except UserError as error:
        line = str(error)
        assert "\n" not in line, line
        assert 20 < len(line) < 400, line
        assert images.expected is None or labels.expected is None, line
        outcomes["refused"] += 1
        return
    assert images.expected is not None, images.name
    assert labels.expected is not None, labels.name
    # float16 and long doubles have rounded their values themselves.
    tolerance = 1e-3 if images.name == "e images" else 1e-6
    np.testing.assert_allclose(
        actual.images, images.expected, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_array_equal(actual.labels, labels.expected)
    assert actual.images.dtype in (np.uint8, np.float32)
    assert actual.labels.dtype == np.int32
    outcomes["right"] += 1


@given(bad_arrays.datasets(), st.sampled_from(["train", "test", "validation"]))
@many
def try_arrays(example: tuple[Given, Given], split: str) -> None:
    def make(dataset: Dataset) -> Dataset:
        splits: dict[str, Any] = {"train": GOOD, "test": GOOD, split: dataset}
        return getattr(Data(**splits), split)

    check(*example, make)


def test_arrays_are_right_or_refused_in_one_line() -> None:
    outcomes.clear()
    try_arrays()
    assert outcomes["refused"] >= 300
    assert outcomes["right"] >= 50


def test_every_sort_is_tried() -> None:
    """Each sort at least once, whatever Hypothesis chooses."""
    good_images, good_labels = (
        bad_arrays.right_images(0)[0],
        bad_arrays.right_labels(0)[0],
    )
    for seed in range(5):
        for images in bad_arrays.right_images(seed) + bad_arrays.wrong_images(seed):
            check(images, good_labels, lambda dataset: Data(dataset, GOOD).train)
        for labels in bad_arrays.right_labels(seed) + bad_arrays.wrong_labels(seed):
            check(good_images, labels, lambda dataset: Data(dataset, GOOD).train)


@pytest.mark.parametrize(
    "dataset",
    [None, 3, "ab", "abc", [], [GOOD.images], (*GOOD, 1), {"images": 1, "labels": 2},
     {1, 2}, object(), Dataset, GOOD.images, iter(GOOD.images), b"ab", 1j],
)  # fmt: skip
@pytest.mark.parametrize("split", ["train", "test", "validation"])
def test_other_things_than_datasets_get_one_line(dataset: Any, split: str) -> None:
    if dataset is None and split == "validation":
        return
    with pytest.raises(UserError, match=split) as error:
        Data(**{"train": GOOD, "test": GOOD, split: dataset})
    assert "\n" not in str(error.value)
