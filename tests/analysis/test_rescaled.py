"""Runs that exact arithmetic makes equal, on made-up results."""

import numpy as np
import pytest

from fmnist_jax.analysis import rescaled
from fmnist_jax.figures.rescaled import figure as rescaled_figure
from tests.figures.test_details import EPOCHS, SEEDS, dataset, drawn
from tests.figures.test_plots import texts_of


def test_twins_are_told_apart_by_the_largest_difference_of_their_losses() -> None:
    losses = np.ones((4, 2, 3), np.float32)
    losses[1, 1, 2], losses[3] = 1.25, 5
    variables = {"train_loss": losses, "test_loss": losses.copy()}
    found = dataset("side", ["a", "a twin", "b", "other"], **variables)
    found = found.assign_coords(optimizer=("side", ["sgd", "sgd", "adam", "sgd"]))
    found.test_loss[1, :, 1] = 0.5
    pairs = {"a twin": "a"}
    table = rescaled.table(found, "side", pairs)
    assert table.loss_difference.tolist() == [0, 0.5, 0.25]
    assert table.twins_test_accuracy[0] == pytest.approx(0.4 + 0.005 * 1.5)
    (said,) = rescaled.sentences(table)
    assert "a twin and a: losses apart by at most 0.5; test accuracy" in said
    (same,) = rescaled.sentences(table[:1])
    assert "losses the same, bit for bit" in same
    figure = rescaled_figure(found, "side", pairs)
    loss, other_loss, accuracy, _, apart, _ = figure.axes
    assert [line.get_label() for line in loss.lines] == ["a", "other", "a twin"]
    assert [line.get_label() for line in other_loss.lines] == ["b"]
    np.testing.assert_array_equal(drawn(apart), [([1, 2, 3], [0, 0, 0.25])])
    np.testing.assert_allclose(drawn(loss)[2][1], [1, 1, 1.125])
    np.testing.assert_allclose(
        drawn(accuracy)[0][1], found.test_accuracy.mean("seed")[0]
    )
    assert "exact arithmetic" in texts_of(figure)


def test_how_far_twins_part_is_in_the_picture_for_each_optimizer() -> None:
    labels = ["sgd a", "sgd b", "adam a", "adam b"]
    losses = np.ones((4, SEEDS, EPOCHS))
    losses[1] += 1e-7
    losses[3] += [0, 1e-7, 1e-3]
    found = dataset("side", labels, train_loss=losses)
    optimizers = [label.split()[0] for label in labels]
    found = found.assign_coords(optimizer=("side", optimizers))
    figure = rescaled_figure(found, "side", {"sgd b": "sgd a", "adam b": "adam a"})
    for axes, most in zip(figure.axes[-2:], (1e-7, 1e-3), strict=True):
        bottom, top = axes.get_ylim()
        assert bottom < 0
        assert top > 1e-3
        assert max(drawn(axes)[0][1]) == pytest.approx(most)
