"""Intervals, against SciPy and simulated runs."""

import numpy as np
import pytest
from scipy import stats

from fmnist_jax.analysis.intervals import accuracy_interval


def test_equal_seeds_have_the_interval_over_examples() -> None:
    interval = accuracy_interval(np.array([0.9, 0.9, 0.9]), 200)
    wilson = stats.binomtest(180, 200).proportion_ci(0.95, "wilson")
    assert interval == pytest.approx((0.9, wilson.low, wilson.high))
    assert accuracy_interval(np.array([0.9]), 200) == pytest.approx(interval)


def test_many_examples_leave_the_interval_over_seeds() -> None:
    accuracies = np.array([0.85, 0.88, 0.9])
    interval = accuracy_interval(accuracies, 10**9)
    error = stats.sem(accuracies)
    low, high = stats.t.interval(0.95, 2, accuracies.mean(), error)
    assert interval == pytest.approx((accuracies.mean(), low, high), abs=1e-4)


def test_the_interval_covers_the_accuracy_of_all_seeds_and_examples() -> None:
    """The accuracy of a seed and of an example both vary."""
    random, covered, truth = np.random.default_rng(0), 0, 0.85
    for _ in range(400):
        of_seeds = truth + 0.02 * random.standard_normal(5)
        difficulty = random.uniform(size=300)  # of the examples that seeds share
        accuracies = (difficulty[None] < of_seeds[:, None]).mean(1)
        interval = accuracy_interval(accuracies, 300)
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / 400 <= 0.995


def test_ends_are_accuracies() -> None:
    assert accuracy_interval(np.array([1.0, 1.0, 0.99]), 30).high == 1
