"""Random points against what a uniform distribution in the box would give."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fmnist_jax.errors import UserError
from fmnist_jax.search.sampling import sample_points

SPANS = {"divisor": (1.0, 1e6), "momentum": (0.0, 0.9), "learning_rate": (1e-5, 1.0)}


def columns(points: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([p[name] for p in points]) for name in points[0]}


def test_points_are_uniform_on_the_scale_of_each_setting() -> None:
    values = columns(sample_points(SPANS, 512))
    uniform = {
        "divisor": np.log10(values["divisor"]) / 6,
        "momentum": values["momentum"] / 0.9,
        "learning_rate": np.log10(values["learning_rate"]) / 5 + 1,
    }
    for name, shares in uniform.items():
        assert stats.kstest(shares, "uniform").pvalue > 0.5, name
    # More even than independent points, whose discrepancy is about 0.004.
    cube = np.clip(np.stack([*uniform.values()], axis=1), 0, 1)
    assert stats.qmc.discrepancy(cube) < 2e-4


def test_more_points_begin_with_the_same_ones() -> None:
    few, many = sample_points(SPANS, 5, seed=7), sample_points(SPANS, 40, seed=7)
    assert many[:5] == few
    assert sample_points(SPANS, 5, seed=8) != few
    pairs = itertools.combinations(many, 2)
    assert all(a["divisor"] != b["divisor"] for a, b in pairs)


def test_values_have_four_digits_and_stay_inside() -> None:
    values = columns(sample_points({"learning_rate": (0.123456, 0.123457)}, 9))
    assert set(values["learning_rate"]) <= {0.123456, 0.123457}
    patience = columns(sample_points({"plateau_patience": (1, 20)}, 30))
    assert set(patience["plateau_patience"]) <= {*map(float, range(1, 21))}
    offsets = columns(sample_points({"offset": (-1.0, 1.0)}, 64))["offset"]
    assert abs(offsets.mean()) < 0.05
    assert all(float(f"{v:.4g}") == v for v in offsets)


@pytest.mark.parametrize(
    ("spans", "count", "line"),
    [
        ({"optimizer": ("sgd", "adam")}, 4, "optimizer cannot be sampled"),
        ({"learning_rate": (1.0, 0.1)}, 4, "a minimum and a larger maximum"),
        ({"learning_rate": (0.0, 0.1)}, 4, "a positive number"),
        ({"learning_rate": 0.1}, 4, "The span of learning_rate is 0.1"),
        ({"learning_rate": (0.1, 1.0)}, 0, "num_points is 0; expected a whole number"),
        ({}, 4, "no settings to sample"),
        ([1], 4, "spans is a list"),
    ],
)
def test_mistakes_are_explained(spans: Any, count: int, line: str) -> None:
    with pytest.raises(UserError, match=line):
        sample_points(spans, count)
