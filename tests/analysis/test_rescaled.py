"""Rescaled first layers against divided pixels, on made-up results."""

import numpy as np
import pytest

from fmnist_jax.analysis import rescaled
from fmnist_jax.figures.rescaled import figure as rescaled_figure
from tests.figures.test_curves import texts_of
from tests.figures.test_details import EPOCHS, SEEDS, dataset, drawn


@pytest.mark.slow
def test_the_table_has_the_largest_difference_of_the_losses_of_each_pair() -> None:
    losses = np.ones((4, 2, 3), np.float32)
    losses[1, 1, 2], losses[3] = 1.25, 5
    variables = {"train_loss": losses, "test_loss": losses.copy()}
    runs = dataset("side", ["a", "a rescaled", "b", "other"], **variables)
    runs = runs.assign_coords(optimizer=("side", ["sgd", "sgd", "adam", "sgd"]))
    runs.test_loss[1, :, 1] = 0.5
    pairs = {"a rescaled": "a"}
    table = rescaled.table(runs, "side", pairs)
    assert table.loss_difference.tolist() == [0, 0.5, 0.25]
    assert table[["rescaled", "divided", "epoch"]].values.tolist() == [
        ["a rescaled", "a", epoch] for epoch in (1, 2, 3)
    ]
    assert table.divided_test_accuracy[0] == pytest.approx(0.4 + 0.005 * 1.5)
    assert table.rescaled_test_accuracy[0] == pytest.approx(0.4 + 0.005 * 7.5)
    (line,) = rescaled.sentences(table)
    assert "a rescaled and a: losses differ by at most 0.5; test accuracy" in line
    (same,) = rescaled.sentences(table[:1])
    assert "losses are equal bit for bit" in same
    figure = rescaled_figure(runs, "side", pairs)
    loss, other_loss, accuracy, _, difference, _ = figure.axes
    assert [line.get_label() for line in loss.lines] == ["a", "other", "a rescaled"]
    assert [line.get_label() for line in other_loss.lines] == ["b"]
    np.testing.assert_array_equal(drawn(difference), [([1, 2, 3], [0, 0, 0.25])])
    np.testing.assert_allclose(drawn(loss)[2][1], [1, 1, 1.125])
    np.testing.assert_allclose(
        drawn(accuracy)[0][1], runs.test_accuracy.mean("seed")[0]
    )
    assert "exact arithmetic" in texts_of(figure)


def test_all_differences_are_inside_the_figure_for_each_optimizer() -> None:
    labels = ["sgd a", "sgd b", "adam a", "adam b"]
    losses = np.ones((4, SEEDS, EPOCHS))
    losses[1] += 1e-7
    losses[3] += [0, 1e-7, 1e-3]
    runs = dataset("side", labels, train_loss=losses)
    optimizers = [label.split()[0] for label in labels]
    runs = runs.assign_coords(optimizer=("side", optimizers))
    figure = rescaled_figure(runs, "side", {"sgd b": "sgd a", "adam b": "adam a"})
    for axes, most in zip(figure.axes[-2:], (1e-7, 1e-3), strict=True):
        bottom, top = axes.get_ylim()
        assert bottom < 0
        assert top > 1e-3
        assert max(drawn(axes)[0][1]) == pytest.approx(most)
