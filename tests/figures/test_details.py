"""Figures for the question of one experiment: the numbers that are drawn."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis import results
from fmnist_jax.figures import details
from tests.figures.test_curves import texts_of

SEEDS, EPOCHS = 2, 3


def dataset(axis: str, values: list[Any], **more: Any) -> xr.Dataset:
    """Made-up results with one axis: accuracy rises with value, seed and epoch."""
    shape = (len(values), SEEDS, EPOCHS)
    dims = (axis, "seed", "epoch")
    steps = np.arange(np.prod(shape)).reshape(shape)
    variables = {
        "train_accuracy": 0.5 + 0.01 * steps,
        "test_accuracy": 0.4 + 0.005 * steps,
        "epoch_learning_rate": 0.1 / (1 + steps),
        **more,
    }
    runs = xr.Dataset({n: (dims, v) for n, v in variables.items()})
    runs["status"] = (dims[:2], np.full(shape[:2], "trained"))
    coordinates = {axis: values, "seed": range(SEEDS), "epoch": range(1, EPOCHS + 1)}
    runs.attrs = {"dataset_title": "made up", "train_examples": 100, "num_classes": 4}
    return runs.assign_coords(coordinates)


def drawn(axes: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_updates_and_examples_are_counted() -> None:
    runs = dataset("batch_size", [30, 100])
    figure = details.against_updates(runs)
    by_updates, by_examples = figure.axes
    (x, y), (x_large, _) = drawn(by_updates)[:2]
    assert x == [4, 8, 12]  # of 100 examples, the last batch is a partial one
    assert x_large == [1, 2, 3]
    np.testing.assert_allclose(y, runs.test_accuracy.mean("seed")[0])
    assert drawn(by_examples)[0][0] == [100, 200, 300]


def test_gaps_are_in_points_with_dropout_on_in_a_second_row() -> None:
    on = {f"{p}_accuracy_with_dropout": np.full((2, 2, 3), v)
          for p, v in (("train", 0.75), ("test", 0.5))}  # fmt: skip
    runs = dataset("dropout_rate", [0.0, 0.25], **on)
    off_axes, on_axes = details.gaps(runs, "dropout_rate").axes
    gap = 100 * (runs.train_accuracy - runs.test_accuracy).mean("seed")
    np.testing.assert_allclose(drawn(off_axes)[1][1], gap[0])
    np.testing.assert_allclose(drawn(on_axes)[2][1], [25, 25, 25])


def test_learning_rates_of_every_seed_are_drawn() -> None:
    runs = dataset("schedule", ["constant", "plateau"])
    (axes,) = details.learning_rates(runs).axes
    assert len(axes.lines) == 4
    np.testing.assert_allclose(drawn(axes)[3][1], runs.epoch_learning_rate[1, 1])


def test_histograms_show_shares_and_the_ends() -> None:
    runs = dataset("divisor", [1.0, 255.0])
    counts, ends = np.zeros((2, 2, 3, 10)), np.zeros((2, 2, 3, 2))
    counts[..., 4], counts[..., 9], ends[..., 1] = 3, 1, 2.5
    counts[1] = np.nan
    runs["w1_counts"] = (("divisor", "seed", "epoch", "bin"), counts)
    runs["w1_range"] = (("divisor", "seed", "epoch", "end"), ends)
    figure = details.histograms(runs, {"w1": "W1"})
    patch: Any = figure.axes[0].patches[0]
    values, edges, _ = patch.get_data()
    np.testing.assert_allclose(values, [0, 0, 0, 0, 0.75, 0, 0, 0, 0, 0.25])
    np.testing.assert_allclose(edges, np.linspace(0, 2.5, 11))
    assert "0 … 2.5" in texts_of(figure)
    assert "none" in texts_of(figure)


def test_predictions_are_means_over_seeds() -> None:
    runs = dataset("order", ["shuffled", "sorted"])
    shares = np.zeros((2, 2, 3, 4))
    shares[0, ..., :] = 0.25
    shares[1, 0, :, 3], shares[1, 1, :, 2] = 1, 1
    runs["predicted_share"] = (("order", "seed", "epoch", "class"), shares)
    (axes,) = details.predictions(runs, "order").axes
    bars: Any = axes.patches
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_allclose(heights, [0.25] * 4 + [0, 0, 0.5, 0.5])


def test_a_target_that_no_seed_reached_is_labelled_none() -> None:
    reached = np.full((3, SEEDS, EPOCHS), 4.0)
    reached[1, 0], reached[2] = np.nan, np.nan
    runs = dataset("target_accuracy", [0.8, 0.9, 1.0], stopped_epoch=reached)
    runs.stopped_epoch.attrs["long_name"] = "epoch that reached it"
    (axes,) = details.by_choice(runs, "target_accuracy", ["stopped_epoch"]).axes
    nones = [t for t in axes.texts if t.get_text() == "none"]
    assert [t.get_position()[0] for t in nones] == [2]
    assert axes.get_xlim() == (-0.7, 2.7)


@pytest.mark.parametrize("scale", [100, 1])
def test_by_choice_marks_every_seed(scale: int) -> None:
    runs = results.with_gap(dataset("penalty", ["none", "a long one"]))
    name = "accuracy_gap" if scale == 100 else "other"
    runs = runs.rename(accuracy_gap=name)
    figure = details.by_choice(runs, "penalty", [name])
    last = runs[name].isel(epoch=-1)
    marks = [y for _, y in drawn(figure.axes[0])]
    np.testing.assert_allclose(marks, scale * last.transpose("seed", "penalty"))
    texts = texts_of(figure)
    label = "training − test accuracy" + (" in points" if scale == 100 else "")
    assert all(text in texts for text in ("none", "a long one", label))


def test_the_best_learning_rate_is_selected_for_each_optimizer() -> None:
    runs = dataset("learning_rate", [0.1, 1.0])
    swapped = runs.isel(learning_rate=[1, 0])
    both = xr.concat([runs, swapped], "optimizer", join="override")
    both = both.assign_coords(optimizer=["a", "b"], learning_rate=[0.1, 1.0])
    both.test_accuracy[0, 1, 0, -1] = np.nan  # the better one of a diverges
    both = both.transpose("optimizer", "learning_rate", ...)
    best = results.at_best(both, along="learning_rate")
    assert best.learning_rate.values.tolist() == [0.1, 0.1]
    assert best.status.dims == ("optimizer", "seed")
