"""Windows of learning rates, on results whose windows are known."""

import math

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle
from scipy import stats

from fmnist_jax.analysis import windows
from fmnist_jax.errors import UserError
from fmnist_jax.figures.windows import figure, figures

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
# Mean validation accuracies; the best is 0.9, so that half-way from 0.1 is 0.5.
MEANS = {
    "sgd: ÷255": [0.1, 0.5, 0.8, 0.4, 0.7],  # an island at 1
    "sgd: standard": [0.2, 0.6, 0.7, 0.9, 0.55],  # up to the edge
    "sgd: raw": [0.1, 0.1, 0.2, 0.1, 0.1],
    "adam: ÷255": [0.1, 0.6, 0.85, 0.6, 0.1],
    "adam: standard": [0.1, 0.8, 0.3, 0.1, np.nan],
}
SEEDS = np.array([-0.01, 0.0, 0.01])


def made_up() -> xr.Dataset:
    means = np.array(list(MEANS.values()))
    validation = means[..., None] + SEEDS
    noise = np.random.default_rng(0).normal(0, 0.02, validation.shape)
    test = validation + noise - 0.05
    dims = ("input", "learning_rate", "seed", "epoch")
    runs = xr.Dataset(
        {
            "validation_accuracy": (dims, validation[..., None]),
            "test_accuracy": (dims, test[..., None]),
            "validation_loss": (dims, 1 - validation[..., None]),
            "status": (dims[:-1], np.full(validation.shape, "trained")),
        },
        {"input": list(MEANS), "learning_rate": RATES, "seed": [0, 1, 2], "epoch": [1]},
        {
            "largest_class_share": 0.1,
            "validation_examples": 100,
            "dataset_title": "made up",
        },
    )
    optimizers = [label.partition(": ")[0] for label in MEANS]
    return runs.assign_coords(optimizer=("input", optimizers))


def test_a_learning_rate_counts_half_way_from_guessing_to_the_best() -> None:
    assert windows.threshold(made_up()) == pytest.approx(0.5)
    is_inside = windows.windows(made_up())
    expected = {
        "sgd: ÷255": [0, 1, 1, 0, 0],
        "sgd: standard": [0, 1, 1, 1, 1],
        "sgd: raw": [0, 0, 0, 0, 0],
        "adam: ÷255": [0, 1, 1, 1, 0],
        "adam: standard": [0, 1, 0, 0, 0],
    }
    for label, values in expected.items():
        assert is_inside.sel(input=label).values.tolist() == [bool(v) for v in values]


def test_a_sweep_that_learns_nothing_has_no_windows() -> None:
    runs = made_up()
    for accuracies in (np.nan, 0.1, 0.18):  # three standard errors are 0.09
        runs["validation_accuracy"] = runs.validation_accuracy * 0 + accuracies
        assert not windows.windows(runs).any()
    rows = windows.table(runs, "input", "÷255")
    (line, *_) = [x for x in windows.sentences(rows, "input", "÷255") if "train" in x]
    assert line == "sgd: no learning rate trains any input."


def test_the_order_of_learning_rates_does_not_matter() -> None:
    shuffled = made_up().isel(learning_rate=[3, 0, 4, 2, 1])
    rows = windows.table(made_up(), "input", "÷255")
    assert windows.table(shuffled, "input", "÷255").equals(rows)


def test_rows_have_windows_and_gains_paired_over_seeds() -> None:
    rows = windows.table(made_up(), "input", "÷255").set_index(["optimizer", "input"])
    row = rows.loc["sgd", "standard"]
    assert (row.lowest_learning_rate, row.highest_learning_rate, row.decades) == (
        1e-3,
        1.0,
        3.0,
    )
    assert row.at_edge
    assert not rows.loc[("sgd", "÷255"), "at_edge"]
    assert (row.best_learning_rate, row.validation_accuracy) == (0.1, 0.9)
    runs = made_up().sel(epoch=1).test_accuracy
    ours = runs.sel(input="sgd: standard", learning_rate=0.1).values
    theirs = runs.sel(input="sgd: ÷255", learning_rate=0.01).values
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert row.accuracy == pytest.approx(ours.mean(), abs=1e-4)
    actual = [row.gain, row.gain_low, row.gain_high]
    assert actual == pytest.approx([(ours - theirs).mean(), low, high], abs=1e-4)
    usual = runs.sel(input="sgd: standard", learning_rate=0.01).mean()
    assert (row.usual_learning_rate, row.usual_accuracy) == (
        0.01,
        round(float(usual), 6),
    )
    assert rows.loc[("adam", "÷255"), "usual_learning_rate"] == 1e-3
    assert math.isnan(rows.loc[("sgd", "raw"), "decades"])


def test_a_usual_learning_rate_outside_the_sweep_is_not_known() -> None:
    rows = windows.table(made_up().sel(learning_rate=[1e-4, 1e-1]), "input", "÷255")
    assert rows.filter(like="usual_").isna().all(axis=None)


def test_one_seed_has_no_interval() -> None:
    rows = windows.table(made_up().isel(seed=[1]), "input", "÷255")
    assert rows.gain.notna().all()
    assert rows.gain_low.isna().all()
    assert not any("nan" in line for line in windows.sentences(rows, "input", "÷255"))


def test_sentences_choose_by_validation() -> None:
    """Although another input has the better test accuracy."""
    runs = made_up()
    runs["test_accuracy"] = 1 - runs.validation_accuracy
    rows = windows.table(runs, "input", "÷255")
    lines = windows.sentences(rows, "input", "÷255")
    assert lines[0].startswith(
        "sgd: the best input by validation is standard, with a test accuracy of 10.0 % "
        "at 0.1 (-10.0 points compared with ÷255, 95 % interval over seeds -10.0 to "
    )
    assert lines[1] == (
        "sgd: the widest window of learning rates, at least 3.0 decades (0.001 to 1), "
        "is that of standard; that of ÷255 is 1.0 decades (0.001 to 0.01)."
    )


def test_inputs_that_validation_cannot_tell_apart_are_listed() -> None:
    """By the paired interval: 0.1 points behind with a spread of as much."""
    runs = made_up()
    best = runs.validation_accuracy.sel(input="sgd: standard")
    behind = xr.DataArray([0.001, 0.0, 0.002], {"seed": [0, 1, 2]}, ["seed"])
    runs.validation_accuracy.loc[{"input": "sgd: raw"}] = best - behind
    rows = windows.table(runs, "input", "÷255")
    sgd = rows[rows.optimizer == "sgd"].set_index("input").may_be_best
    assert sgd.to_dict() == {"÷255": False, "standard": True, "raw": True}
    lines = windows.sentences(rows, "input", "÷255")
    assert lines[1] == "sgd: validation cannot tell standard from raw."


def test_of_equal_accuracies_the_lowest_loss_is_the_best() -> None:
    """Up to one validation example: large learning rates may have enormous losses."""
    runs = made_up()
    runs.validation_accuracy.loc[{"input": "sgd: standard", "learning_rate": 1e-3}] = (
        0.8905
    )
    runs["validation_loss"] = runs.validation_loss * 0 + runs.learning_rate
    rows = windows.table(runs, "input", "÷255").set_index(["optimizer", "input"])
    assert rows.loc[("sgd", "standard"), "best_learning_rate"] == 1e-3
    runs.attrs["validation_examples"] = 200
    rows = windows.table(runs, "input", "÷255").set_index(["optimizer", "input"])
    assert rows.loc[("sgd", "standard"), "best_learning_rate"] == 0.1


def test_further_axes_have_a_figure_for_each_value() -> None:
    both = {32: made_up(), 64: made_up().isel(learning_rate=slice(None, None, -1))}
    runs = xr.concat(
        [part.sortby("learning_rate") for part in both.values()],
        xr.DataArray([32, 64], dims="batch_size", name="batch_size"),
        data_vars="all",
    ).transpose("input", "batch_size", "learning_rate", "seed", "epoch")
    rows = windows.table(runs, "input", "÷255")
    assert len(rows) == 2 * len(MEANS)
    drawn = figures(runs, "input", rows)
    assert list(drawn) == ["windows-32", "windows-64"]
    assert "batch size 64" in drawn["windows-64"].get_suptitle()


def test_runs_without_a_validation_set_are_refused() -> None:
    with pytest.raises(UserError, match="chosen on a validation set"):
        windows.table(made_up().drop_vars("validation_accuracy"), "input", "÷255")


def test_the_figure_outlines_windows_and_marks_the_best() -> None:
    rows = windows.table(made_up(), "input", "÷255")
    drawn = figure(made_up(), "input", rows)
    sgd, adam, bar = drawn.axes
    outlines = [patch for patch in sgd.patches if isinstance(patch, Rectangle)]
    boxes = [outline.get_bbox().bounds for outline in outlines]
    assert boxes == [(0.5, -0.5, 2, 1), (0.5, 0.5, 4, 1)]
    assert [tick.get_text() for tick in sgd.get_yticklabels()] == [
        "÷255",
        "standard",
        "raw",
    ]
    assert np.asarray(sgd.lines[0].get_xdata()).tolist() == [2, 3, 2]
    assert (sgd.get_title(), adam.get_title()) == ("sgd", "adam")
    assert bar.get_ylabel() == "validation accuracy, %"
