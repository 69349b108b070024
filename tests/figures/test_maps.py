"""Maps: the plane of a command line, trainable learning rates, and the drawings."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from experiments.scale_sweep import EXPERIMENT as SCALE_SWEEP
from experiments.trainability_map import EXPERIMENT
from fmnist_jax.analysis import trainability
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.figures import maps
from fmnist_jax.figures import trainability as trainability_figures
from fmnist_jax.probes.sharpness import sharpness_probe
from fmnist_jax.runner import flags, jobs
from fmnist_jax.sweeps import initial_sharpness
from fmnist_jax.sweeps.engine import sweep
from fmnist_jax.sweeps.planning import plan
from tests.figures.test_curves import texts_of

DIVISORS, LEARNING_RATES = (1.0, 10.0, 100.0), (1e-3, 1e-2, 1e-1, 1.0)


def axes(*arguments: str) -> dict[str, Any]:
    parsed = flags.parse(["program", *arguments], [EXPERIMENT])
    return dict(jobs.make_job(EXPERIMENT, parsed).axes)


def test_the_plane_spans_the_ranges_of_its_settings() -> None:
    results = axes()
    assert list(results) == ["divisor", "learning_rate", "seed"]
    np.testing.assert_allclose(results["divisor"], np.logspace(-2, 6, 24), rtol=1e-11)
    np.testing.assert_allclose(
        results["learning_rate"], np.logspace(-9, 3, 24), rtol=1e-11
    )


def test_another_plane() -> None:
    results = axes("--optimizers=momentum", "--y=momentum", "--divisors=9,3")
    assert list(results) == ["divisor", "momentum", "seed"]
    assert results["divisor"] == [3.0, 9.0]
    np.testing.assert_allclose(results["momentum"], np.linspace(0, 0.99, 24))
    results = axes("--x=learning_rate", "--y=divisor", "--losses=softmax,clipped")
    assert list(results) == ["learning_rate", "divisor", "loss", "seed"]


def test_a_zoom_has_as_many_values_in_its_window() -> None:
    results = axes("--zoom=1:100,1e-3:1e-1", "--divisors=1e-2:1e6:5")
    np.testing.assert_allclose(results["divisor"], np.logspace(0, 2, 5))
    np.testing.assert_allclose(results["learning_rate"], np.logspace(-3, -1, 24))
    results = axes(
        "--zoom=1:100,.5:.9", "--optimizers=momentum", "--y=momentum", "--momenta=0,.1"
    )
    assert results["momentum"] == [0.5, 0.9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--x=divisors", "Unknown setting for --x 'divisors'.*mean divisor"),
        ("--y=optimizer", "Unknown setting for --y 'optimizer'"),
        ("--x=learning_rate", "--x and --y are both learning_rate"),
        ("--divisors=3", "--divisors: 3 is one value, but --x needs several"),
        ("--y=target_accuracy", "give values with --target_accuracies="),
        ("--zoom=1:2", "--zoom=1:2 is not x0:x1,y0:y1"),
        ("--zoom=1,2", "--zoom=1,2 is not x0:x1,y0:y1"),
        ("--zoom=a:b,1:2", "--zoom=a:b,1:2 is not x0:x1,y0:y1"),
        ("--zoom=2:1,1:2", "'2:1' is not a window"),
        ("--zoom=0:1,1:2", "'0:1' is not a window; .* a positive number"),
    ],
)
def test_mistakes_are_explained(arguments: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        axes(*arguments.split())


def test_other_experiments_take_no_plane() -> None:
    with pytest.raises(UserError, match="--zoom has no effect: scale_sweep draws no"):
        flags.parse(["program", "--zoom=1:2,1:2"], [SCALE_SWEEP])


def made_up(seeds: int = 3) -> xr.Dataset:
    """Results in which learning rates from 1e-2 to divisor / 100 train."""
    shape = (len(DIVISORS), len(LEARNING_RATES), seeds)
    grid = np.meshgrid(DIVISORS, LEARNING_RATES, indexing="ij")
    divisor, learning_rate = grid
    trains = (learning_rate <= divisor / 100 * 1.01) & (learning_rate >= 0.99e-2)
    status = np.where(trains, "trained", "dead")[..., None].repeat(seeds, -1)
    status[0, 3, 0] = "trained"  # one seed is not most of three
    loss = np.where(status == "trained", 0.5, 30.0)[..., None]
    loss[2, 0] = np.inf
    sharpness = 100 / np.asarray(DIVISORS)[:, None] * 2.0 ** np.arange(seeds)
    dims = ("divisor", "learning_rate", "seed")
    results = xr.Dataset(
        {
            "status": (dims, status),
            "train_loss": ((*dims, "epoch"), loss),
            "test_accuracy": ((*dims, "epoch"), np.full((*shape, 1), 0.5)),
            "sharpness": (("divisor", "seed"), sharpness),
            "stable_rate": (("divisor", "seed"), 2 / sharpness),
        },
        {
            "divisor": list(DIVISORS),
            "learning_rate": list(LEARNING_RATES),
            "optimizer": "sgd",
            "seed": range(seeds),
            "epoch": [1],
        },
    )
    results.attrs = {
        "dataset_title": "made up", "num_classes": 10, "train_examples": 100,
    }  # fmt: skip
    return results


def test_trainable_learning_rates_and_their_ratio_to_the_stable_one() -> None:
    table = trainability.trainable_range(made_up())
    assert table.divisor.tolist() == list(DIVISORS)
    np.testing.assert_allclose(table.sharpness, [200, 20, 2])  # the geometric mean
    np.testing.assert_allclose(table.sharpness_min, [100, 10, 1])
    np.testing.assert_allclose(table.sharpness_max, [400, 40, 4])
    np.testing.assert_allclose(table.stable_rate, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.least_trainable, [0.01, 0.01, 0.01])
    np.testing.assert_allclose(table.largest_trainable, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.ratio, [1, 1, 1])


def test_sentences_give_the_ratios_or_that_nothing_trains() -> None:
    results = made_up()
    results["stable_rate"] = results.stable_rate / xr.DataArray(
        [0.5, 1, 4], dims="divisor"
    )
    count, ratios, step = trainability.sentences(
        results, trainability.trainable_range(results)
    )
    assert count == "6 of 12 settings train (most seeds)."
    assert ratios == (
        "All settings: largest learning rate that trains, divided by the stable one: "
        "minimum 0.5 (at ÷1), maximum 4 (at ÷100), median 1."
    )
    assert step == "The learning rates are a factor of 10 apart."
    unknown = results.assign(stable_rate=results.stable_rate * np.nan)
    lines = trainability.sentences(unknown, trainability.trainable_range(unknown))
    assert lines[1].startswith("All settings: no stable learning rate is known")
    results["status"] = xr.full_like(results.status, "slow")
    lines = trainability.sentences(results, trainability.trainable_range(results))
    assert lines[1] == "All settings: no learning rate met the criterion."


def test_without_learning_rates_there_is_no_table() -> None:
    results = made_up().isel(learning_rate=0)
    table = trainability.trainable_range(results)
    assert table.empty
    assert len(trainability.sentences(results, table)) == 1


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
def test_theory_measures_each_distinct_network_once(small: Data) -> None:
    """The same as a probe of every run, but without the axes it does not depend on."""
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="adam")
    values = {"learning_rate": [1e-3, 1e-2], "divisor": [1.0, 255.0], "seed": [0, 1]}
    results = initial_sharpness.initial_sharpness(
        plan(values, config, Hparams()), small
    )
    assert results.sharpness.dims == ("divisor", "seed")
    every = sweep(values, small, config, Hparams(), [sharpness_probe()])
    np.testing.assert_allclose(
        results.sharpness.values, every.sharpness.isel(learning_rate=1), rtol=1e-4
    )
    limits = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    np.testing.assert_array_equal(limits.sharpness, results.sharpness)
    assert limits.stable_rate.dims == ("divisor", "seed")
    np.testing.assert_allclose(
        limits.stable_rate, 38 / limits.preconditioned_sharpness, rtol=1e-6
    )
    merged = every.drop_vars(["sharpness", "sharpness_residual"]).merge(results)
    assert merged.optimizer == "adam"
    assert math.isfinite(merged.sharpness.max())


@pytest.mark.slow
def test_stable_rates_of_several_optimizers_and_their_settings(small: Data) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1)
    values = {
        "optimizer": ["sgd", "momentum", "rmsprop", "adam", "lion"],
        "divisor": [1.0, 255.0],
        "momentum": [0.5, 0.9], "learning_rate": [1e-3, 1.0],
    }  # fmt: skip
    results = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    assert set(results.stable_rate.dims) == {"optimizer", "divisor", "momentum", "seed"}
    assert results.optimizer.values.tolist() == values["optimizer"]
    rates = results.stable_rate.squeeze("seed").transpose(..., "divisor", "momentum")
    sharpness = results.sharpness.squeeze("seed").values[:, None]
    np.testing.assert_allclose(
        rates.sel(optimizer="sgd"), np.repeat(2 / sharpness, 2, 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        rates.sel(optimizer="momentum"), 2 * np.array([1.5, 1.9]) / sharpness, rtol=1e-6
    )
    divided = results.preconditioned_sharpness.sel(optimizer="adam").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="adam", momentum=0.5), 38 / divided, rtol=1e-6
    )
    divided = results.preconditioned_sharpness.sel(optimizer="rmsprop").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="rmsprop", momentum=0.9), 2 / divided, rtol=1e-6
    )
    assert np.isnan(rates.sel(optimizer="lion")).all()


@pytest.mark.slow
def test_the_stable_learning_rate_depends_on_that_of_the_first_kernel(
    small: Data,
) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    values = {"first_kernel_rate": [1e-6, 1.0, 100.0], "learning_rate": [1e-3, 1.0]}
    results = initial_sharpness.stable_rates(
        plan(values, config, Hparams(divisor=1.0)), small
    )
    rates = results.stable_rate.squeeze("seed").values
    np.testing.assert_allclose(rates[1], 2 / results.sharpness.item(), rtol=1e-4)
    assert rates[0] > 10 * rates[1] > 100 * rates[2]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[], [20, 150, 190]])
def test_batches_larger_than_the_sample_for_theory_are_capped(
    sizes: list[int], small: Data
) -> None:
    few = small.first(train=30)
    config = Config(hidden_sizes=(6,), batch_size=30, num_epochs=1, optimizer="adam")
    axes = {"batch_size": sizes} if sizes else {}
    results = initial_sharpness.stable_rates(plan(axes, config, Hparams()), few)
    rates = results.stable_rate.squeeze("seed").values
    assert np.isfinite(rates).all()
    if sizes:
        assert results.batch_size.values.tolist() == sizes
        assert rates[1] == rates[2] != rates[0]


@pytest.mark.slow
def test_losses_of_zero_and_learning_rates_without_a_limit_are_drawn() -> None:
    results = made_up()
    results["train_loss"] = xr.zeros_like(results.train_loss)
    results["stable_rate"] = results.stable_rate.where(results.divisor > 1, np.inf)
    texts_of(maps.maps(results)["map"])


@pytest.mark.slow
def test_an_unconverged_eigenvalue_gives_no_stable_learning_rate(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    monkeypatch.setattr(initial_sharpness, "MAX_RESIDUAL", 0.0)
    results = initial_sharpness.stable_rates(plan({}, config, Hparams()), small)
    assert np.isnan(results.stable_rate).all()
    assert np.isfinite(results.sharpness).all()
