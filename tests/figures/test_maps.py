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


def contours_of(panel: Any) -> list[Any]:
    return [c for c in panel.collections if isinstance(c, mpl.contour.ContourSet)]


@pytest.mark.slow
def test_the_map_draws_the_measurements_and_theory_over_them() -> None:
    points = {"sgd": [{"divisor": 10.0, "learning_rate": 1e-2}, {"eps": 1.0}]}
    results = made_up()
    results.test_accuracy[1, 2] = 0.9
    results.test_accuracy[0, 0, 0] = np.nan
    (figure,) = maps.maps(results, points).values()
    panels: dict[Any, Any] = {panel.get_label(): panel for panel in figure.axes}
    accuracy, status = panels["accuracy"], panels["status"]
    cells = accuracy.collections[0]
    assert cells.get_array().shape == (len(LEARNING_RATES), len(DIVISORS))
    assert cells.get_array()[2, 1] == pytest.approx(0.9)
    assert cells.get_array().mask[0, 0]
    assert (cells.norm.vmin, cells.norm.vmax) == (0.5, 0.9)  # as the data
    assert "grey: not finite" in accuracy.get_title()
    names = list(maps.STATUS_COLOURS)
    drawn = status.collections[0].get_array()
    assert names[int(drawn[0, 0])] == "dead"
    assert names[int(drawn[1, 0])] == "trained"
    assert names[int(drawn[3, 0])] == "dead"  # one seed of three
    hatched = [c for c in accuracy.collections if c.get_hatch()]
    (corners,) = hatched[0].get_paths()  # there the seeds disagree
    x, y = np.log10(corners.vertices.mean(0)), np.log10(corners.vertices).max(0)
    assert y.tolist() == pytest.approx([0.5, 0.5])
    assert x[0] < 0.5
    lines = contours_of(accuracy)
    assert len(lines) == 3
    for line, level in zip(lines, trainability.stability_multiples("sgd"), strict=True):
        for path in line.get_paths():
            x, y = np.asarray(path.vertices).T
            np.testing.assert_allclose(y, level * x / 100, rtol=1e-3)
    on_lines = {text.get_text() for line in lines for text in line.labelTexts}
    assert on_lines == {"2/λ", "4/λ", "12/λ"}
    (mark,) = status.lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (10.0, 1e-2)
    for panel in (accuracy, status):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    texts = " ".join(texts_of(figure).split())
    assert "λ: the curvature of the loss (sharpness)" in texts
    explained = made_up()
    explained.status.attrs["dead"] = "every unit of some hidden layer outputs 0"
    (figure,) = maps.maps(explained).values()
    texts = " ".join(texts_of(figure).split())
    assert "dead: every unit of some hidden layer outputs 0" in texts
    sides = cells.get_coordinates()[0, :, 0]
    np.testing.assert_allclose(sides, 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))


@pytest.mark.slow
def test_regions_and_regimes_have_their_names_where_they_are() -> None:
    divisors, rates = 10.0 ** np.arange(-2, 4), 10.0 ** np.arange(-5, 5)
    shape = (len(divisors), len(rates), 1)
    status = np.full(shape, "not trained", dtype="U11")
    status[:, 5:], status[:4, 2:5] = "dead", "trained"
    loss = np.where(np.arange(6) < 2, 50.0, 2.3)[:, None, None] * np.ones(shape)
    dims = ("divisor", "learning_rate", "seed")
    results = made_up(1)[["status"]].drop_dims(["divisor", "learning_rate"])
    results = results.assign(
        status=(dims, status),
        train_loss=((*dims, "epoch"), loss[..., None]),
        test_accuracy=(
            (*dims, "epoch"),
            np.linspace(0.1, 0.8, 60).reshape(6, 10, 1, 1),
        ),
        sharpness_residual=(("divisor", "seed"), [[0.0], [0.1], *[[0.0]] * 4]),
    ).assign_coords(divisor=divisors, learning_rate=rates, seed=[0], epoch=[1])
    (figure,) = maps.maps(results).values()
    panel: Any = figure.axes[0]
    positions = {text.get_text(): text.get_position() for text in panel.texts}
    assert positions["dead"][1] > 1
    assert positions["trained"][0] < 100
    assert 1e-3 < positions["trained"][1] < 1
    assert positions["not trained"][1] < 1e-2 or positions["not trained"][0] > 10
    spans = [tuple(line.get_xdata()) for line in panel.lines]
    assert spans == [(0.1,), (0.01, 0.1), (100, 1000)]
    assert {"softmax saturated", "inputs too small"} <= positions.keys()
    assert "the computation of λ did" in texts_of(figure)


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
    (marks,) = figures["map_softmax"].axes[1].lines
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
    line = contours_of(panel)[0]
    for path in line.get_paths():
        x, y = np.asarray(path.vertices).T
        np.testing.assert_allclose(y, x / 50, rtol=1e-3)
    assert [text.get_text() for text in line.labelTexts] == ["activation stability"]
    assert "activation stability: a" in texts_of(figure)
    (figure,) = trainability_figures.trainable_ranges(results).values()
    assert "activation stability: a" in texts_of(figure)
    (figure,) = maps.maps(results.assign_coords(optimizer="adam")).values()
    assert "activation stability" not in texts_of(figure)


@pytest.mark.slow
def test_another_criterion_recolours_the_status() -> None:
    results = made_up()
    not_trained = results.status.where(results.status == "trained", "not trained")
    results["status"] = not_trained
    results["final_train_accuracy"] = xr.full_like(not_trained, 0.6).astype(float)
    names = list(maps.STATUS_COLOURS)
    for criterion, expected in (("accuracy>=0.5", "trained"), ("accuracy>=0.7", "not")):
        (figure,) = maps.maps(results, criterion=criterion).values()
        panel: Any = figure.axes[1]
        shown = {names[int(i)] for i in np.unique(panel.collections[0].get_array())}
        assert shown == {"trained" if expected == "trained" else "not trained"}
        assert criterion in texts_of(figure).replace("\n", " ")
        (figure,) = trainability_figures.trainable_ranges(results, criterion).values()
        assert criterion in texts_of(figure)
