"""Maps: the plane a command line asks for, trainable rates, and what is drawn."""

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
from fmnist_jax.probes.sharpness import sharpness_probe
from fmnist_jax.runner import flags, jobs
from fmnist_jax.sweeps import initial_sharpness
from fmnist_jax.sweeps.engine import sweep
from fmnist_jax.sweeps.planning import plan
from tests.figures.test_plots import texts_of

DIVISORS, RATES = (1.0, 10.0, 100.0), (1e-3, 1e-2, 1e-1, 1.0)


def axes(*arguments: str) -> dict[str, Any]:
    parsed = flags.parse(["program", *arguments], [EXPERIMENT])
    return dict(jobs.make_job(EXPERIMENT, parsed).axes)


def test_the_plane_spans_what_the_settings_say() -> None:
    found = axes()
    assert list(found) == ["divisor", "learning_rate", "seed"]
    np.testing.assert_allclose(found["divisor"], np.logspace(-2, 6, 24), rtol=1e-11)
    np.testing.assert_allclose(
        found["learning_rate"], np.logspace(-9, 3, 24), rtol=1e-11
    )


def test_another_plane() -> None:
    found = axes("--optimizers=momentum", "--y=momentum", "--divisors=9,3")
    assert list(found) == ["divisor", "momentum", "seed"]
    assert found["divisor"] == [3.0, 9.0]
    np.testing.assert_allclose(found["momentum"], np.linspace(0, 0.99, 24))
    found = axes("--x=learning_rate", "--y=divisor", "--losses=softmax,clipped")
    assert list(found) == ["learning_rate", "divisor", "loss", "seed"]


def test_a_zoom_has_as_many_values_in_its_window() -> None:
    found = axes("--zoom=1:100,1e-3:1e-1", "--divisors=1e-2:1e6:5")
    np.testing.assert_allclose(found["divisor"], np.logspace(0, 2, 5))
    np.testing.assert_allclose(found["learning_rate"], np.logspace(-3, -1, 24))
    found = axes(
        "--zoom=1:100,.5:.9", "--optimizers=momentum", "--y=momentum", "--momenta=0,.1"
    )
    assert found["momentum"] == [0.5, 0.9]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--x=divisors", "Unknown setting for --x 'divisors'.*mean divisor"),
        ("--y=optimizer", "Unknown setting for --y 'optimizer'"),
        ("--x=learning_rate", "--x and --y are both learning_rate"),
        ("--divisors=3", "--divisors: 3 is one value, but --x needs several"),
        ("--y=target_accuracy", "give its values with --target_accuracies="),
        ("--zoom=1:2", "--zoom=1:2 is not x0:x1,y0:y1"),
        ("--zoom=1,2", "--zoom=1,2 is not x0:x1,y0:y1"),
        ("--zoom=a:b,1:2", "--zoom=a:b,1:2 is not x0:x1,y0:y1"),
        ("--zoom=2:1,1:2", "'2:1' is not a window"),
        ("--zoom=0:1,1:2", "'0:1' is not a window; .* a positive number"),
    ],
)
def test_mistakes_are_said(arguments: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        axes(*arguments.split())


def test_other_experiments_take_no_plane() -> None:
    with pytest.raises(UserError, match="--zoom has no effect: scale_sweep draws no"):
        flags.parse(["program", "--zoom=1:2,1:2"], [SCALE_SWEEP])


def made_up(seeds: int = 3) -> xr.Dataset:
    """Results in which rates up to divisor / 100 and from 1e-2 on train."""
    shape = (len(DIVISORS), len(RATES), seeds)
    divisor, rate = np.meshgrid(DIVISORS, RATES, indexing="ij")
    does = (rate <= divisor / 100 * 1.01) & (rate >= 0.99e-2)
    status = np.where(does, "trained", "dead")[..., None].repeat(seeds, -1)
    status[0, 3, 0] = "trained"  # one seed is not most of three
    loss = np.where(status == "trained", 0.5, 30.0)[..., None]
    loss[2, 0] = np.inf
    sharpness = 100 / np.asarray(DIVISORS)[:, None] * 2.0 ** np.arange(seeds)
    dims = ("divisor", "learning_rate", "seed")
    found = xr.Dataset(
        {
            "status": (dims, status),
            "train_loss": ((*dims, "epoch"), loss),
            "test_accuracy": ((*dims, "epoch"), np.full((*shape, 1), 0.5)),
            "sharpness": (("divisor", "seed"), sharpness),
            "stable_rate": (("divisor", "seed"), 2 / sharpness),
        },
        {"divisor": list(DIVISORS), "learning_rate": list(RATES), "optimizer": "sgd",
         "seed": range(seeds), "epoch": [1]},
    )  # fmt: skip
    found.attrs = {
        "dataset_title": "made up", "num_classes": 10, "train_examples": 100,
    }  # fmt: skip
    return found


def test_trainable_rates_and_their_ratio_to_the_stable_one() -> None:
    table = trainability.trainable_rates(made_up())
    assert table.divisor.tolist() == list(DIVISORS)
    np.testing.assert_allclose(table.sharpness, [200, 20, 2])  # the geometric mean
    np.testing.assert_allclose(table.sharpness_min, [100, 10, 1])
    np.testing.assert_allclose(table.sharpness_max, [400, 40, 4])
    np.testing.assert_allclose(table.stable_rate, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.least_trainable, [0.01, 0.01, 0.01])
    np.testing.assert_allclose(table.largest_trainable, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.ratio, [1, 1, 1])


def test_sentences_say_the_ratios_or_that_nothing_trains() -> None:
    found = made_up()
    found["stable_rate"] = found.stable_rate / xr.DataArray([0.5, 1, 4], dims="divisor")
    count, ratios = trainability.sentences(found, trainability.trainable_rates(found))
    assert count == "6 of 12 settings train (most seeds)."
    assert "0.5 times the stable one at ÷1 and 4 times at ÷100, median 1;" in ratios
    assert "a factor of 10." in ratios
    found["status"] = xr.full_like(found.status, "slow")
    said = trainability.sentences(found, trainability.trainable_rates(found))
    assert said[1].startswith("The rates that train are none")


def test_without_learning_rates_there_is_no_table() -> None:
    found = made_up().isel(learning_rate=0)
    table = trainability.trainable_rates(found)
    assert table.empty
    assert len(trainability.sentences(found, table)) == 1


def test_the_map_draws_what_was_measured_and_theory_over_it() -> None:
    points = {"sgd": [{"divisor": 10.0, "learning_rate": 1e-2}, {"eps": 1.0}]}
    (figure,) = maps.maps(made_up(), points).values()
    panels: list[Any] = figure.axes[:3]
    loss, accuracy, status = panels
    cells = loss.collections[0].get_array()
    assert cells.shape == (len(RATES), len(DIVISORS))
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
    for line, level in zip(lines, trainability.levels("sgd"), strict=True):
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
    explained.status.attrs["dead"] = "every unit of some hidden layer puts out 0"
    (figure,) = maps.maps(explained).values()
    assert "dead: every unit of some\nhidden layer puts out 0" in texts_of(figure)
    edges = loss.collections[0].get_coordinates()[0, :, 0]
    np.testing.assert_allclose(edges, 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))


def test_a_map_for_each_value_of_another_axis_and_linear_axes() -> None:
    found = made_up().drop_vars("stable_rate").rename(learning_rate="momentum")
    found = found.assign_coords(momentum=[0.0, 0.3, 0.6, 0.9], learning_rate=0.1)
    both = xr.concat([found, found], xr.Variable("loss", ["softmax", "clipped"]))
    both["status"] = both.status.transpose("divisor", "momentum", "loss", "seed")
    points = [
        {"divisor": 10.0, "momentum": 0.6, "learning_rate": rate} for rate in (0.1, 0.2)
    ]
    points[1]["divisor"] = 100.0
    figures = maps.maps(both, {"sgd": points})
    (marks,) = figures["map_softmax"].axes[0].lines
    assert list(np.asarray(marks.get_xdata())) == [10.0]  # the other has another rate
    assert list(figures) == ["map_softmax", "map_clipped"]
    panel: Any = figures["map_clipped"].axes[0]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    edges = panel.collections[0].get_coordinates()[:, 0, 1]
    np.testing.assert_allclose(edges, [-0.15, 0.15, 0.45, 0.75, 1.05])
    assert maps.rates(both) == {}


def test_rates_are_drawn_with_multiples_of_the_stable_one() -> None:
    (figure,) = maps.rates(made_up()).values()
    panels: list[Any] = figure.axes
    above, below = panels
    lines = {line.get_label(): line.get_ydata() for line in above.lines}
    np.testing.assert_allclose(lines["4/λ"], [0.02, 0.2, 2])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [1, 1, 1])
    assert [line.get_ydata()[0] for line in below.lines[1:]] == [1, 2, 6]


def test_theory_measures_each_distinct_network_once(small: Data) -> None:
    """The same as a probe of every run, but without the axes it does not depend on."""
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="adam")
    values = {"learning_rate": [1e-3, 1e-2], "divisor": [1.0, 255.0], "seed": [0, 1]}
    found = initial_sharpness.initial_sharpness(plan(values, config, Hparams()), small)
    assert found.sharpness.dims == ("divisor", "seed")
    every = sweep(values, small, config, Hparams(), [sharpness_probe()])
    np.testing.assert_allclose(
        found.sharpness.values, every.sharpness.isel(learning_rate=1), rtol=1e-4
    )
    limits = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    np.testing.assert_array_equal(limits.sharpness, found.sharpness)
    assert limits.stable_rate.dims == ("divisor", "seed")
    np.testing.assert_allclose(
        limits.stable_rate, 38 / limits.preconditioned_sharpness, rtol=1e-6
    )
    merged = every.drop_vars(["sharpness", "sharpness_residual"]).merge(found)
    assert merged.optimizer == "adam"
    assert math.isfinite(merged.sharpness.max())


def test_stable_rates_of_several_optimizers_and_their_settings(small: Data) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1)
    values = {
        "optimizer": ["sgd", "momentum", "rmsprop", "adam", "lion"],
        "divisor": [1.0, 255.0],
        "momentum": [0.5, 0.9], "learning_rate": [1e-3, 1.0],
    }  # fmt: skip
    found = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    assert set(found.stable_rate.dims) == {"optimizer", "divisor", "momentum", "seed"}
    assert found.optimizer.values.tolist() == values["optimizer"]
    rates = found.stable_rate.squeeze("seed").transpose(..., "divisor", "momentum")
    sharpness = found.sharpness.squeeze("seed").values[:, None]
    np.testing.assert_allclose(
        rates.sel(optimizer="sgd"), np.repeat(2 / sharpness, 2, 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        rates.sel(optimizer="momentum"), 2 * np.array([1.5, 1.9]) / sharpness, rtol=1e-6
    )
    divided = found.preconditioned_sharpness.sel(optimizer="adam").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="adam", momentum=0.5), 38 / divided, rtol=1e-6
    )
    divided = found.preconditioned_sharpness.sel(optimizer="rmsprop").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="rmsprop", momentum=0.9), 2 / divided, rtol=1e-6
    )
    assert np.isnan(rates.sel(optimizer="lion")).all()


def test_the_first_kernels_own_rate_is_in_the_stable_one(small: Data) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    values = {"first_kernel_rate": [1e-6, 1.0, 100.0], "learning_rate": [1e-3, 1.0]}
    found = initial_sharpness.stable_rates(
        plan(values, config, Hparams(divisor=1.0)), small
    )
    rates = found.stable_rate.squeeze("seed").values
    np.testing.assert_allclose(rates[1], 2 / found.sharpness.item(), rtol=1e-4)
    assert rates[0] > 10 * rates[1] > 100 * rates[2]


@pytest.mark.parametrize("sizes", [[], [20, 150, 190]])
def test_batches_larger_than_what_theory_takes_are_capped(
    sizes: list[int], small: Data
) -> None:
    few = small.first(train=30)
    config = Config(hidden_sizes=(6,), batch_size=30, num_epochs=1, optimizer="adam")
    axes = {"batch_size": sizes} if sizes else {}
    found = initial_sharpness.stable_rates(plan(axes, config, Hparams()), few)
    rates = found.stable_rate.squeeze("seed").values
    assert np.isfinite(rates).all()
    if sizes:
        assert found.batch_size.values.tolist() == sizes
        assert rates[1] == rates[2] != rates[0]


def test_losses_of_zero_and_rates_without_a_limit_are_drawn() -> None:
    found = made_up()
    found["train_loss"] = xr.zeros_like(found.train_loss)
    found["stable_rate"] = found.stable_rate.where(found.divisor > 1, np.inf)
    texts_of(maps.maps(found)["map"])


def test_an_eigenvalue_that_is_not_known_gives_no_stable_rate(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    monkeypatch.setattr(initial_sharpness, "MOST_RESIDUAL", 0.0)
    found = initial_sharpness.stable_rates(plan({}, config, Hparams()), small)
    assert np.isnan(found.stable_rate).all()
    assert np.isfinite(found.sharpness).all()
