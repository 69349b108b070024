"""Subsets: the first examples if they are a fair sample, or stratified ones."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax.data import load, subsets
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError
from tests.data.data_files import (
    REAL,
    _empty_locations,  # noqa: F401 (autouse)
    needs_real,
    write,
)


def make_data(labels: np.ndarray) -> Data:
    """Images that are their own position, so that a subset shows what it took."""
    positions = np.arange(len(labels), dtype=np.float32)
    images = np.stack([positions, np.full(len(labels), 5000.0)], 1)
    test = Dataset(images[-2:], np.array([0, 1]))
    return Data(Dataset(images, labels), test)


SORTED = np.repeat(np.arange(10), 60)


def test_stratified_subsets_keep_shares_and_order() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 103])
    data = make_data(labels[np.random.default_rng(1).permutation(1003)])
    part = data.subset(train=100, method="stratified")
    # 59.8, 29.9 and 10.3 of each class, rounded to 100 in all.
    assert np.bincount(part.train.labels).tolist() == [60, 30, 10]
    positions = part.train.images[:, 0].astype(int)
    assert (np.diff(positions) > 0).all()
    np.testing.assert_array_equal(part.train.labels, data.train.labels[positions])
    again = data.subset(train=100, method="stratified")
    assert again.fingerprint == part.fingerprint
    assert len(part.test.labels) == 2


@pytest.mark.parametrize("count", [1, 2, 7, 599, 600, 601])
def test_counts_are_exact_and_shares_within_one(count: int) -> None:
    part = make_data(SORTED).subset(train=count, method="stratified")
    assert len(part.train.labels) == min(count, 600)
    counts = np.bincount(part.train.labels, minlength=10)
    assert np.ptp(counts) <= 1
    assert part.num_classes == 10


def test_counts_may_be_those_of_numpy_and_jax() -> None:
    labels = np.repeat([0, 1], [55_000, 5_000])
    expected = subsets.stratified_mask(labels, 50_000)
    for count in (np.int32(50_000), jnp.int32(50_000), np.array(50_000)):
        mask = subsets.stratified_mask(labels, count)  # type: ignore[arg-type]
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("count", [20, 40, 100, 300, 400])
def test_the_first_examples_of_a_sorted_set_are_refused(count: int) -> None:
    data = make_data(SORTED)
    with pytest.raises(UserError, match=r"lose classes.*--subset=stratified") as error:
        data.subset(train=count)
    line = str(error.value)
    assert f"The first {count} of 600 train examples" in line
    assert f"9 (0 of about {count / 10:.0f})" in line or "more" in line
    assert "\n" not in line
    assert data.first(count).num_classes == 10  # the library's plain slice remains


def test_a_class_below_half_of_its_share_is_refused() -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.full(20, 9), rng.integers(0, 9, 1000), np.full(200, 9)]
    data = make_data(labels)
    with pytest.raises(UserError, match=r"sorted: 9 \(20 of about 180\)\. Pass"):
        data.subset(train=1000)


def test_honest_samples_are_never_refused() -> None:
    """Shuffled sets of many sizes, classes and imbalances."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        classes, size = rng.integers(2, 120), rng.integers(50, 3000)
        shares = rng.dirichlet(np.full(classes, rng.choice([0.1, 1, 100])))
        labels = rng.choice(classes, size, p=shares)
        count = int(rng.integers(1, size))
        names = [str(i) for i in range(classes)]
        subsets.check_first("train", labels, count, names)


def test_the_bound_is_above_the_true_chance() -> None:
    """Of the orders of a small set, no larger share is refused than the chance."""
    labels = np.repeat([0, 1, 2], [3, 2, 2])
    with pytest.MonkeyPatch.context() as patch:
        for chance in (0.03, 0.2):
            patch.setattr(subsets, "MAX_CHANCE", chance)
            orders = np.array(list(itertools.permutations(labels)))
            refused = 0
            for order in orders[::7]:
                try:
                    subsets.check_first("train", order, 4, ["a", "b", "c"])
                except UserError:
                    refused += 1
            assert refused <= chance * len(orders[::7])


def test_logarithms_of_choices_are_those_of_whole_numbers() -> None:
    for n, k in ((5, 2), (600, 60), (60_000, 20_000), (7, 0)):
        assert subsets._log_choose(n, k) == pytest.approx(math.log(math.comb(n, k)))


def test_unknown_subsets_get_one_line() -> None:
    for ask in (
        lambda: make_data(SORTED).subset(train=5, method="random"),
        lambda: load("synthetic", subset="random"),
    ):
        with pytest.raises(UserError, match=r"Unknown subset 'random'; expected one"):
            ask()


def test_sorted_files_are_refused_or_stratified(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (600, 28, 28), np.uint8),
        "train_labels": SORTED.astype(np.uint8),
        "test_images": rng.integers(0, 256, (100, 28, 28), np.uint8),
        "test_labels": np.repeat(np.arange(10), 10).astype(np.uint8),
    }
    folder = write(tmp_path / "sorted", arrays)  # type: ignore[operator]
    with pytest.raises(UserError, match="500 of 600 train examples lose classes"):
        load("idx", folder, train_examples=500)
    with pytest.raises(UserError, match="50 of 100 test examples lose classes"):
        load("idx", folder, test_examples=50)
    data = load(
        "idx", folder, train_examples=500, test_examples=50, subset="stratified"
    )
    assert np.bincount(data.train.labels).tolist() == [50] * 10
    assert np.bincount(data.test.labels).tolist() == [5] * 10


def test_the_synthetic_set_is_stratified_at_any_length() -> None:
    first = load("synthetic", train_examples=55, test_examples=30)
    data = load("synthetic", train_examples=55, test_examples=30, subset="stratified")
    assert data.fingerprint == first.fingerprint
    assert set(np.bincount(data.train.labels)) == {5, 6}


@needs_real
@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_official_sets_keep_their_first_examples(name: str) -> None:
    whole = load(name, REAL / name)
    for count in (1, 2, 10, 40, 100, 500, 3000, 20_000, 59_999):
        np.testing.assert_array_equal(
            whole.subset(count, min(count, 9999)).train.labels,
            whole.train.labels[:count],
        )
