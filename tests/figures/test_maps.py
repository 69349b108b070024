"""The drawings of maps and of the trainable learning rates."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis import trainability
from fmnist_jax.figures import maps
from fmnist_jax.figures import trainability as trainability_figures
from tests.analysis.test_trainability import DIVISORS, LEARNING_RATES, made_up
from tests.figures.test_curves import texts_of


@pytest.mark.slow
def test_the_map_draws_the_measurements_and_theory_over_them() -> None:
    points = {"sgd": [{"divisor": 10.0, "learning_rate": 1e-2}, {"eps": 1.0}]}
    (figure,) = maps.maps(made_up(), points).values()
    panels: list[Any] = figure.axes[:3]
    loss, accuracy, status = panels
    cells = loss.collections[0].get_array()
    assert cells.shape == (len(LEARNING_RATES), len(DIVISORS))
    assert cells[1, 0] == 0.5
    assert cells.mask[0, 2]  # infinite
    assert (accuracy.collections[0].get_array() == 0.5).all()
    names = list(maps.STATUS_COLOURS)
    drawn = status.collections[0].get_array()
    assert names[int(drawn[0, 0])] == "dead"
    assert names[int(drawn[1, 0])] == "trained"
    assert names[int(drawn[3, 0])] == "dead"  # one seed of three
    lines = [c for c in status.collections if isinstance(c, mpl.contour.ContourSet)][
        1::2
    ]  # the black ones
    assert len(lines) == 3
    for line, level in zip(lines, trainability.stability_multiples("sgd"), strict=True):
        (path,) = line.get_paths()
        x, y = np.asarray(path.vertices).T
        np.testing.assert_allclose(y, level * x / 100, rtol=1e-3)
    (mark,) = status.lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (10.0, 1e-2)
    for panel in (loss, accuracy, status):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    texts = texts_of(figure).split("\n")
    assert {"2/λ", "4/λ", "12/λ", "dead", "trained"} <= set(texts)
    assert "λ: the curvature of the" in texts
    explained = made_up()
    explained.status.attrs["dead"] = "every unit of some hidden layer outputs 0"
    (figure,) = maps.maps(explained).values()
    assert "dead: every unit of some\nhidden layer outputs 0" in texts_of(figure)
    edges = loss.collections[0].get_coordinates()[0, :, 0]
    np.testing.assert_allclose(edges, 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))


def test_a_map_for_each_value_of_another_axis_and_linear_axes() -> None:
    results = made_up().drop_vars("stable_rate").rename(learning_rate="momentum")
    results = results.assign_coords(momentum=[0.0, 0.3, 0.6, 0.9], learning_rate=0.1)
    both = xr.concat([results, results], xr.Variable("loss", ["softmax", "clipped"]))
    both["status"] = both.status.transpose("divisor", "momentum", "loss", "seed")
    points = [
        {"divisor": 10.0, "momentum": 0.6, "learning_rate": value}
        for value in (0.1, 0.2)
    ]
    points[1]["divisor"] = 100.0
    figures = maps.maps(both, {"sgd": points})
    (marks,) = figures["map_softmax"].axes[0].lines
    assert list(np.asarray(marks.get_xdata())) == [
        10.0
    ]  # the other has another learning rate
    assert list(figures) == ["map_softmax", "map_clipped"]
    panel: Any = figures["map_clipped"].axes[0]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    edges = panel.collections[0].get_coordinates()[:, 0, 1]
    np.testing.assert_allclose(edges, [-0.15, 0.15, 0.45, 0.75, 1.05])
    assert trainability_figures.trainable_ranges(both) == {}


def test_learning_rates_are_drawn_with_multiples_of_the_stable_one() -> None:
    (figure,) = trainability_figures.trainable_ranges(made_up()).values()
    panels: list[Any] = figure.axes
    above, below = panels
    lines = {line.get_label(): line.get_ydata() for line in above.lines}
    np.testing.assert_allclose(lines["4/λ"], [0.02, 0.2, 2])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [1, 1, 1])
    assert [line.get_ydata()[0] for line in below.lines[1:]] == [1, 2, 6]


@pytest.mark.slow
def test_losses_of_zero_and_learning_rates_without_a_limit_are_drawn() -> None:
    results = made_up()
    results["train_loss"] = xr.zeros_like(results.train_loss)
    results["stable_rate"] = results.stable_rate.where(results.divisor > 1, np.inf)
    texts_of(maps.maps(results)["map"])


def test_activation_stability_is_drawn_under_sgd_and_explained() -> None:
    results = made_up()
    rates = np.asarray(DIVISORS)[:, None] / 50 * np.ones(results.sizes["seed"])
    results["activation_stable_rate"] = ("divisor", "seed"), rates
    (figure,) = maps.maps(results).values()
    panel: Any = figure.axes[0]
    contours = [c for c in panel.collections if isinstance(c, mpl.contour.ContourSet)]
    (path,) = contours[1].get_paths()  # after its white edge
    x, y = np.asarray(path.vertices).T
    np.testing.assert_allclose(y, x / 50, rtol=1e-3)
    assert "activation stability: a" in texts_of(figure)
    (figure,) = trainability_figures.trainable_ranges(results).values()
    assert "activation stability: a" in texts_of(figure)
    (figure,) = maps.maps(results.assign_coords(optimizer="adam")).values()
    assert "activation stability" not in texts_of(figure)


def test_another_criterion_recolours_the_status() -> None:
    results = made_up()
    not_trained = results.status.where(results.status == "trained", "not trained")
    results["status"] = not_trained
    results["final_train_accuracy"] = xr.full_like(not_trained, 0.6).astype(float)
    names = list(maps.STATUS_COLOURS)
    for criterion, expected in (("accuracy>=0.5", "trained"), ("accuracy>=0.7", "not")):
        (figure,) = maps.maps(results, criterion=criterion).values()
        panel: Any = figure.axes[2]
        shown = {names[int(i)] for i in np.unique(panel.collections[0].get_array())}
        assert shown == {"trained" if expected == "trained" else "not trained"}
        assert criterion in texts_of(figure).replace("\n", " ")
        (figure,) = trainability_figures.trainable_ranges(results, criterion).values()
        assert criterion in texts_of(figure)
