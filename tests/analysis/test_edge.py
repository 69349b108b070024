"""Sharpness along training against the edge of stability."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.lines import Line2D

from experiments import edge_of_stability
from fmnist_jax.analysis import edge
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.figures.edge import figure as edge_figure
from fmnist_jax.sweeps.sweep import sweep
from tests.figures.test_curves import texts_of

LEARNING_RATES = [0.01, 0.1, 1.0, 1e4]
# λ after each of 8 epochs. The edges are at 200, 20, 2 and 0.0002.
COURSES: Any = [
    [10, 11, 12, 13, 14, 15, 16, 18],
    [12, 16, 19, 20, 22, 23, 21, 25],
    [4, 3, 2, 1, 1, 1, 2, 3],
    [1, np.nan] + 6 * [np.nan],
]


def dataset(name: str = "sharpness", **settings: str | float) -> xr.Dataset:
    courses = np.array(COURSES)[:, None, :] * np.array([0.5, 1.5])[:, None]
    dims = ("learning_rate", "seed", "epoch")
    rates = np.broadcast_to(np.reshape(LEARNING_RATES, (4, 1, 1)), courses.shape)
    variables = {
        name: (dims, courses),
        "train_loss": (dims, courses / 10),
        "epoch_learning_rate": (dims, rates),
        "status": (dims[:2], np.full((4, 2), "trained")),
    }
    attrs = {"dataset_title": "made up", "num_classes": 10}
    coordinates = {
        "learning_rate": LEARNING_RATES,
        "seed": [0, 1],
        "epoch": range(1, 9),
    }
    return xr.Dataset(variables, attrs=attrs).assign_coords(
        {"optimizer": "sgd", **coordinates, **settings}
    )


def drawn(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), float)


def test_the_table_has_start_end_and_the_epoch_that_reaches_the_edge() -> None:
    table = edge.table(dataset())
    np.testing.assert_allclose(table.edge, [200, 20, 2, 2e-4])
    np.testing.assert_allclose(table.sharpness_first, [10, 12, 4, 1])
    np.testing.assert_allclose(table.sharpness_end, [17, 23, 2.5, np.nan])
    np.testing.assert_allclose(table.over_edge_first, [0.05, 0.6, 2, 5000])
    np.testing.assert_allclose(table.over_edge_end, [0.085, 1.15, 1.25, np.nan])
    np.testing.assert_array_equal(table.reached_in_epoch, [np.nan, 4, 1, 1])


def test_sentences_tell_whether_each_learning_rate_reaches_the_edge() -> None:
    table = edge.table(dataset())
    _, line = edge.sentences(table)
    assert line == (
        "All runs – "
        "0.01: λ 10 → 17 (0.05 → 0.085 times the edge), stays below the edge; "
        "0.1: λ 12 → 23 (0.6 → 1.1 times the edge), reaches the edge in epoch 4; "
        "1: λ 4 → 2.5 (2 → 1.2 times the edge), above the edge from epoch 1; "
        "10000: diverges."
    )
    table.loc[2, "over_edge_end"] = 0.9
    _, line = edge.sentences(table)
    assert (
        "(2 → 0.9 times the edge), above the edge from epoch 1, below it at the end; "
        in line
    )


def test_adams_edge_is_for_the_preconditioned_sharpness() -> None:
    table = dataset("preconditioned_sharpness", optimizer="adam", b1=0.9)
    np.testing.assert_allclose(edge.table(table).edge, [3800, 380, 38, 38e-4])


def test_the_figure_draws_sharpness_divided_by_its_edge_and_a_line_at_1() -> None:
    figure = edge_figure(dataset())
    sharpness, loss = figure.axes
    *courses, edge_line = sharpness.lines
    assert len(courses) == 3
    for course, values, learning_rate in zip(
        courses, COURSES, LEARNING_RATES, strict=False
    ):
        ratio = np.multiply(values, learning_rate) / 2
        np.testing.assert_allclose(drawn(course), ratio)
    assert drawn(edge_line).tolist() == [1, 1]
    assert sharpness.get_ylabel() == "λη/2 (log scale)"
    np.testing.assert_allclose(10 * drawn(loss.lines[1]), COURSES[1])
    assert len(loss.lines) == 3
    assert "not drawn, far from the edge:\n10000" in texts_of(figure)
    assert (sharpness.get_yscale(), loss.get_yscale()) == ("log", "log")


@pytest.mark.slow
def test_a_rescaled_first_layer_is_as_far_from_the_edge_as_divided_pixels(
    small: Data,
) -> None:
    """Training on x with w1/256 and its learning rate/256² is training on x/256."""
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=2, optimizer="sgd")
    config = dataclasses.replace(config, evaluate_train=False)
    rescaled = {"first_kernel_scale": 1 / 256, "first_kernel_rate": 1 / 256**2}
    over = []
    for hparams in (Hparams(divisor=256.0), Hparams(divisor=1.0, **rescaled)):
        axes = {"learning_rate": [0.1]}
        job: Any = SimpleNamespace(configs=[config], axes=axes, hparams=hparams)
        probes = edge_of_stability.probes(job)
        results = sweep(axes, small, config, hparams, probes)
        over.append(edge.table(results)[["over_edge_first", "over_edge_end"]])
    assert not np.allclose(over[0], 0)
    np.testing.assert_allclose(over[1], over[0], rtol=1e-4)
