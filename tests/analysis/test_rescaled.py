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
    loss, accuracy = figure.axes  # none for the optimizer without a pair
    labels = [line.get_label() for line in loss.lines]
    assert labels == ["other", "a", "a rescaled,\nfirst layer rescaled"]
    np.testing.assert_allclose(drawn(loss)[2][1], [1, 1, 1.125])
    means = runs.test_accuracy.mean("seed")
    np.testing.assert_allclose([y for _, y in drawn(accuracy)], means[[3, 0, 1]])
    title = " ".join(texts_of(figure).split())
    assert "losses differ by at most 0.25" in title
    equal = runs.assign(train_loss=runs.train_loss * 0 + 1)
    title = " ".join(texts_of(rescaled_figure(equal, "side", pairs)).split())
    assert "losses are equal bit for bit" in title


def test_pairs_alone_are_drawn_for_each_optimizer() -> None:
    labels = ["sgd a", "sgd b", "adam a", "adam b"]
    losses = np.ones((4, SEEDS, EPOCHS))
    runs = dataset("side", labels, train_loss=losses)
    optimizers = [label.split()[0] for label in labels]
    runs = runs.assign_coords(optimizer=("side", optimizers))
    figure = rescaled_figure(runs, "side", {"sgd b": "sgd a", "adam b": "adam a"})
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == [
            "a",
            "b,\nfirst layer rescaled",
        ]
