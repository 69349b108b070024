"""Box counting, against figures whose dimension is known."""

import itertools

import numpy as np
import pytest

from fmnist_jax.analysis.dimension import boundary, box_counts, dimension
from fmnist_jax.errors import UserError


def test_a_line_has_dimension_one_and_noise_two() -> None:
    x, y = np.ogrid[:512, :512]
    line = dimension(x > y)
    assert line.low <= 1.02
    assert line.estimate == pytest.approx(1, abs=0.02)
    noise = np.random.default_rng(0).integers(0, 2, (512, 512))
    assert dimension(noise).estimate == pytest.approx(2, abs=0.1)


def test_a_koch_curve_has_its_dimension() -> None:
    points = [0j, 1 + 0j]
    for _ in range(6):
        pairs = itertools.pairwise(points)
        turn = np.exp(-1j * np.pi / 3)
        points = [
            q
            for a, b in pairs
            for q in (a, a + (b - a) / 3, a + (b - a) / 3 * (1 + turn), b - (b - a) / 3)
        ] + [1 + 0j]
    dense = np.interp(
        np.linspace(0, len(points) - 1, 300_000), range(len(points)), points
    )
    is_on = np.zeros((1024, 1024), bool)
    is_on[(dense.real * 1000 + 5).astype(int), (-dense.imag * 1000 + 9).astype(int)] = 1
    counts = box_counts(is_on)
    sizes = [size for size in counts if size <= 64]
    slope = np.polyfit(np.log(sizes), np.log([counts[s] for s in sizes]), 1)[0]
    assert -slope == pytest.approx(np.log(4) / np.log(3), abs=0.04)


def test_boxes_are_counted_as_by_hand() -> None:
    points = np.zeros((16, 24), bool)
    points[0, 0] = points[1, 1] = points[15, 23] = True
    assert box_counts(points) == {1: 3, 2: 2}
    labels = np.zeros((3, 3), int)
    labels[1, 1] = 5
    expected = [[False, True, False], [True, True, False], [False, False, False]]
    assert boundary(labels).tolist() == expected


def test_a_map_without_boundary_is_refused() -> None:
    with pytest.raises(UserError, match="64×64 points has no dimension: 0 sizes"):
        dimension(np.zeros((64, 64), int))
