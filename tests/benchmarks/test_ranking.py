"""The replay of searches against choices by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmarks import ranking
from fmnist_jax.search.rungs import Rungs

# Five learning rates, two seeds, two epochs: the second is the last.
DIMS = ("scaling", "optimizer", "learning_rate", "seed", "epoch")
ACCURACIES = np.array([0.9, 0.8, 0.7, 0.6, np.nan])
LOSSES = np.array([2.0, 0.9, 0.5, 0.6, np.nan])
TESTS = np.array([0.85, 0.8, 0.75, 0.5, np.nan])


@pytest.fixture
def grid() -> xr.Dataset:
    def repeated(values: np.ndarray) -> Any:
        return DIMS, np.tile(values[None, None, :, None, None], (1, 1, 1, 2, 2))

    columns = {"validation_accuracy": ACCURACIES, "validation_loss": LOSSES}
    variables = {n: repeated(v) for n, v in {**columns, "test_accuracy": TESTS}.items()}
    attrs = {"validation_examples": 100, "largest_class_share": 0.1}
    return xr.Dataset(variables, attrs=attrs)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ranking.by_accuracy, [0, 1, 2]),
        (ranking.by_loss, [2, 3, 1]),
        (ranking.by_either, [2, 0, 1]),  # ranks 2 and 0, 0 and 3, 1 and 2
    ],
)
def test_the_order_decides_which_settings_are_left(
    order: ranking.Order, expected: list[int], grid: xr.Dataset
) -> None:
    search: Any = SimpleNamespace(rungs=Rungs((1, 2), 0.6, fewest=3))
    left = ranking.finalists(grid, 0, search, order)
    assert left == expected[: ranking.PER_PAIR]  # of one scaling and optimizer


def test_regret_is_the_loss_against_the_best_of_the_grid(grid: xr.Dataset) -> None:
    search: Any = SimpleNamespace(
        rungs=Rungs((1, 2), 0.6, fewest=3), config=SimpleNamespace(num_epochs=2)
    )
    for order, chosen in ((ranking.by_accuracy, 0), (ranking.by_loss, 2)):
        lost = [*ranking.regrets(grid, search, order)]
        np.testing.assert_allclose(lost, 100 * (TESTS[0] - TESTS[chosen]))


def test_shapes_are_few_noisy_images_of_three_classes() -> None:
    data = ranking.shapes()
    assert data.train.images.shape == (240, 16, 16)
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [100, 100, 100]
