"""What is said of a data set before training, and what is refused."""

import dataclasses
import time
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.inspection import Copies, check_learnable
from fmnist_jax.errors import UserError
from tests.data.data_files import REAL, needs_real

RNG = np.random.default_rng(0)


def make(labels: Any, test_labels: Any, images: Any = None, **kwargs: Any) -> Data:
    """No image twice, no pixel constant, from 0 to 255 unless images are given."""
    count, rest = len(labels), len(test_labels)
    if images is None:
        images = np.random.default_rng(1).uniform(0, 255, (count + rest, 5))
    train, test = Dataset(images[:count], labels), Dataset(images[count:], test_labels)
    return Data(train, test, **kwargs)


def test_plain_data_have_no_notice(small: Data) -> None:
    data = make(np.arange(300) % 3, np.arange(60) % 3)
    for divisors in ([], [255.0], [1.0], [1e4, 1e6], [1e-3]):
        assert data.notices(divisors) == small.notices(divisors) == []
    check_learnable(data.findings)
    assert data.findings is data.findings  # computed once


def test_findings_are_counted() -> None:
    images = np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2)
    images[:, 0, 1] = 9
    images[5] = images[0]  # test 0: label 2, the training image has 0
    images[6] = images[1]  # test 1: label 1, as in training
    images[7] = images[0]  # validation 0: label 0, as in training
    data = Data(
        Dataset(images[:5], [0, 1, 0, 1, 3]),
        Dataset(images[5:7], [2, 1]),
        validation=Dataset(images[7:], [0]),
    )
    findings = data.findings
    assert findings.counts["train"].tolist() == [2, 2, 0, 1]
    assert findings.counts["test"].tolist() == [0, 1, 1, 0]
    assert findings.copies == {"test": Copies(2, 1), "validation": Copies(1, 0)}
    assert (findings.constant_pixels, findings.num_pixels) == (1, 4)
    train = findings.ranges["train"]
    assert (train.low, train.high, train.negative, train.number) == (0, 19, 0, 20)
    assert findings.ranges["validation"].high == 9
    values = images[:5][images[:5] > 0]
    assert train.size == pytest.approx(np.quantile(values, 0.99))


def test_copies_are_counted_across_types() -> None:
    images = np.arange(40, dtype=np.uint8).reshape(10, 4) * 6
    train = Dataset(images, np.arange(10) % 2)
    data = Data(train, Dataset(images.astype(np.float64)[:3], [0, 1, 1]))
    assert data.findings.copies["test"] == Copies(3, 1)


@pytest.mark.parametrize(
    ("labels", "test_labels", "names", "words"),
    [
        # Classes of the names that occur nowhere.
        (np.arange(90) % 2 * 2, np.arange(30) % 2 * 2, tuple("abcde"),
         "No split has an example of the 3 classes b, d, e; the network"),
        # A class that is tested, but never trained on.
        (np.arange(90) % 2, np.arange(30) % 3, (),
         "The training set has no example of class 2, to which 33.3 % of the test"),
        # A class that is trained on, but never tested: not by chance.
        (np.arange(90) % 2, np.zeros(30, int), (),
         "The test set has no example of class 1, to which 50 % of the training"),
        # A class with very few examples.
        (np.r_[np.arange(2000) % 2, [2] * 4], np.r_[np.arange(600) % 2, [2]], (),
         "The training set has fewer than 10 examples each of class 2, of 2,004 in"),
    ],
)  # fmt: skip
def test_classes_are_looked_at(
    labels: Any, test_labels: Any, names: tuple[str, ...], words: str
) -> None:
    (line,) = make(labels, test_labels, class_names=names).notices([255.0])
    assert line.startswith(words)
    assert "\n" not in line


def test_small_samples_lack_examples_by_chance() -> None:
    assert make(np.arange(90) % 3, np.array([0, 1, 0, 1, 0])).notices() == []
    few = np.r_[np.arange(90) % 9, [9] * 4]  # 4 of about 9 examples
    assert make(few, np.arange(60) % 10).notices() == []


@pytest.mark.parametrize(("copies", "is_noticed"), [(1, False), (2, True)])
def test_more_than_one_per_cent_of_copies_are_noticed(
    copies: int, is_noticed: bool
) -> None:
    images = np.random.default_rng(2).uniform(0, 255, (400, 3))
    images[300 : 300 + copies] = images[0]
    data = make(np.arange(300) % 2, np.arange(100) % 2, images)
    lines = data.notices()
    if not is_noticed:
        assert lines == []
        return
    assert lines == [
        "2 of 100 test rows are also in the training set, bit for bit (1 of them "
        "with another label): the test accuracy is in part a training accuracy."
    ]
    validated = dataclasses.replace(data, test=data.train, validation=data.test)
    assert "2 of 100 validation rows are also in the training" in "".join(
        validated.notices()
    )


@pytest.mark.parametrize(
    ("images", "divisors", "better"),
    [
        (RNG.uniform(0, 1, (400, 5)), [255.0], "1"),  # D4
        (RNG.integers(0, 2, (400, 50), np.uint8), [255.0], "1"),  # 0 and 1 as uint8
        (RNG.normal(size=(400, 5)), [255.0, 1000.0], "1"),  # standardised
        (RNG.integers(0, 17, (400, 20)).astype(float), [255.0], "16"),
        (RNG.uniform(0, 65_535, (400, 5)), [255.0, 1.0], "65100"),
        (RNG.uniform(0, 1, (400, 5)), [1.0, 255.0], None),
        (RNG.uniform(0, 1, (400, 5)), [], None),  # nothing is divided
        (RNG.uniform(0, 1, (400, 5)) * 255, [1e9], None),  # on purpose
        (RNG.integers(0, 256, (400, 5), np.uint8), [1e6], None),
        (RNG.integers(0, 256, (400, 5), np.uint8), [1e-6], None),
        (RNG.uniform(0, 65_535, (400, 5)), [255.0, 65_535.0], None),
        # One bright pixel among 100 dark ones is no reason.
        (255.0 * (RNG.uniform(size=(400, 100)) < 0.01), [255.0], None),
    ],
)
def test_the_scale_is_judged_by_the_divisors(
    images: np.ndarray, divisors: list[float], better: str | None
) -> None:
    data = make(np.arange(300) % 2, np.arange(100) % 2, images)
    lines = [line for line in data.notices(divisors) if "divided by" in line]
    assert len(lines) == (better is not None)
    if better:
        assert f"pass --divisors={better}" in lines[0]
        assert "divided by 255, " in lines[0]


@pytest.mark.parametrize(
    ("scale", "offset", "is_noticed"),
    [(1, 0, False), (0.8, 0, False), (1 / 3, 0, True), (3, 0, True), (2, -1, True)],
)
def test_ranges_of_the_splits_are_compared(
    scale: float, offset: float, is_noticed: bool
) -> None:
    images = np.random.default_rng(5).uniform(0, 1, (400, 20))
    images[300:] = images[300:] * scale + offset
    data = make(np.arange(300) % 2, np.arange(100) % 2, images)
    assert len(data.notices()) == is_noticed
    if is_noticed:
        (line,) = data.notices()
        assert "training rows are from 1.36e-06 to 1, but the test rows are" in line
    few = make(np.arange(300) % 2, np.arange(40) % 2, images[:340])
    assert few.notices() == []  # 800 values


def test_sets_that_teach_nothing_are_refused() -> None:
    images = np.random.default_rng(1).uniform(0, 255, (6, 5))
    one = Dataset(images, np.zeros(6, int))
    with pytest.raises(UserError, match="All examples have one label, '0': "):
        Data(one, one)
    named_classes = Data(one, one, class_names=("cat", "dog"))  # may be a subset
    with pytest.raises(UserError, match="has only class cat: there is nothing"):
        check_learnable(named_classes.findings)
    same = make(np.arange(4) % 2, np.arange(2), np.full((6, 3), 7.0))
    with pytest.raises(UserError, match="All training rows are the same"):
        check_learnable(same.findings)


def test_names_are_listed_in_one_short_line() -> None:
    names = tuple(f"a name that\n is far too long {i}" for i in range(40))
    (line,) = make(np.arange(90) % 2, np.arange(30) % 2, class_names=names).notices()
    assert "and 33 more" in line
    assert len(line) < 300
    assert "\n" not in line


@needs_real
def test_official_sets_are_silent_and_quickly_looked_at() -> None:
    for name in ("fashion_mnist", "mnist"):
        data = load(name, REAL / name)
        start = time.process_time()  # other load does not count
        assert data.notices([255.0]) == []
        assert time.process_time() - start < 2  # 0.2 s on an idle core
        assert data.findings.copies["test"] == Copies(0, 0)
        assert data.findings.constant_pixels == (67 if name == "mnist" else 0)


@pytest.mark.parametrize(("ratio", "is_noted"), [(29.0, False), (31.0, True)])
def test_columns_on_different_scales_are_noted(ratio: float, is_noted: bool) -> None:
    """One divisor cannot scale them; a normalization can, and images are one column."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((400, 3)).astype(np.float32)
    rows = (rows - rows.mean(0)) / rows.std(0) * [1, 3, ratio] + [0, 2, 1]
    rows[:, 1] = 7  # constant: not on any scale
    labels = np.arange(400) % 2
    data = Data(Dataset(rows, labels), Dataset(rows[:200] + 1e-3, labels[:200]))
    lines = [line for line in data.notices([1.0]) if "deviations" in line]
    assert len(lines) == is_noted
    if is_noted:
        assert lines[0].startswith("The columns have standard deviations from 1 to 31,")
    assert not [line for line in data.notices() if "deviations" in line]
    images = rows.reshape(400, 3, 1)
    data = Data(Dataset(images, labels), Dataset(images[:200] + 1e-3, labels[:200]))
    assert not [line for line in data.notices([1.0]) if "deviations" in line]
