import io
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

from fmnist_jax.figures import curves, style
from tests.analysis.test_results import ACCURACY, make


def texts_of(figure: Figure) -> str:
    figure.savefig(io.BytesIO(), format="png")
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_curves_show_the_means_and_ranges_over_seeds() -> None:
    figure = curves.learning_curves(make(), line="divisor")
    assert len(figure.axes) == 4  # loss and accuracy for each of two losses
    accuracy = figure.axes[2]
    assert {line.get_linestyle() for line in accuracy.lines[:2]} == {"-"}
    expected = np.array([0.08, 0.16])
    ours = np.asarray(accuracy.lines[0].get_ydata())
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    band = np.asarray(accuracy.collections[0].get_paths()[0].vertices)[:, 1]
    assert band.min() == pytest.approx(0.05)
    assert band.max() == pytest.approx(0.28)
    texts = texts_of(figure)
    for text in ("Fashion-MNIST", "3 seeds", "÷255", "loss: clipped", "epoch", "Test"):
        assert text in texts
    assert figure.axes[0].get_yscale() == "log"


def test_records_of_steps_are_drawn_by_step() -> None:
    dataset = make()
    steps = xr.Variable("step", [5, 8, 13, 16], {"long_name": "step"})
    names = ("test_loss", "test_accuracy", "train_loss", "train_accuracy_running")
    for name in names:
        source = dataset[name.removesuffix("_running")]
        halves = xr.concat([source / 2, source], "epoch").values
        dims = (*source.dims[:-1], "step")
        dataset[f"{name}_by_step"] = (dims, halves.reshape(*halves.shape[:-1], -1))
    figure = curves.curves_by_step(dataset.assign_coords(step=steps), "divisor")
    texts = texts_of(figure)
    assert "\nstep\n" in f"\n{texts}\n"
    assert "\nepoch\n" not in f"\n{texts}\n"
    line = figure.axes[2].lines[0]  # accuracy on the test set
    np.testing.assert_array_equal(line.get_xdata(), steps)
    expected = dataset.test_accuracy_by_step.isel(divisor=0, loss=0).mean("seed")
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, rtol=1e-6)


@pytest.mark.slow
def test_the_best_value_of_each_colour_is_in_the_legend() -> None:
    dataset = make()
    one = dataset.assign_coords(learning_rate=("divisor", [0.1, 0.001]))
    texts = texts_of(
        curves.learning_curves(one, line="divisor", best_of="learning_rate")
    )
    assert "÷1 0.1\n÷255 0.001" in texts
    assert "best learning rate" in texts
    rates = (("divisor", "loss"), np.full((2, 2), 0.1))
    several = dataset.assign_coords(learning_rate=rates)
    texts = texts_of(
        curves.learning_curves(several, line="divisor", best_of="learning_rate")
    )
    assert "\n÷1\n÷255\n" in texts


def test_final_values_of_few_divisors_are_a_mark_per_seed_and_not_joined() -> None:
    dataset = make()
    dataset.status[0, 0, :2] = "frozen"
    figure = curves.final_values(dataset, x="divisor")
    _, accuracy = figure.axes
    assert accuracy.get_xscale() == "log"
    assert {line.get_linestyle() for line in accuracy.lines[:-1]} == {"None"}
    marks: dict[Any, list[Any]] = {line.get_marker(): [] for line in accuracy.lines}
    for line in accuracy.lines[:-1]:
        points = np.asarray(line.get_xydata())
        marks[line.get_marker()] += points[np.isfinite(points[:, 1])].tolist()
    factor = 255**-0.0075  # of the marks of the other loss
    expected = {
        "x": [[1, 0.1], [1, 0.1]],
        "o": [[255, 0.87], [255, 0.88], [1, 0.28], [255, 0.86]],
    }
    for marker, points_at in expected.items():
        shifted = np.multiply(points_at, [factor, 1])
        np.testing.assert_allclose(marks[marker], shifted, rtol=1e-6)
    assert len(marks["s"]) == 6  # of the other loss
    texts = texts_of(figure).split("\n")
    assert {"÷255", "frozen", "loss: clipped"} <= set(texts)
    assert "after epoch 2" in texts_of(figure)


def test_means_of_six_divisors_are_joined() -> None:
    one = make().isel(loss=[0], divisor=[1])
    parts = [one.assign_coords(divisor=[10.0**d]) for d in range(6)]
    dataset = xr.concat(parts, "divisor", combine_attrs="override")
    dataset.status[0, 0, 1] = "frozen"  # there is no mean of what is frozen
    line = curves.final_values(dataset, x="divisor").axes[1].lines[0]
    assert line.get_linestyle() == "-"
    expected = [np.nan, *[0.87] * 5]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "label", "values"),
    [
        ("momentum", "momentum", [0.0, 0.9]),
        ("l1", "L1 penalty", [1e-4, 0.0]),  # a log axis would leave out the 0
        ("width", "width", [1.0, 2.0]),  # not a setting
    ],
)
def test_final_values_are_drawn_on_the_scale_of_their_axis(
    axis: str, label: str, values: list[float]
) -> None:
    dataset = make().rename(divisor=axis).assign_coords({axis: values})
    axes = curves.final_values(dataset, x=axis).axes[1]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == label
    assert axes.get_xticks().tolist() == values


@pytest.mark.slow
def test_a_uniform_prediction_is_not_drawn_if_every_run_is_far_above_it() -> None:
    near, far = make(), make(0.1 + 0.9 * np.maximum(ACCURACY, 0.8))
    for name in ("train_accuracy", "test_accuracy"):
        far[name][:] = np.maximum(far[name], 0.65)
    diverged = far.copy(deep=True)
    diverged.test_accuracy[0, 0, 0, 1] = np.nan
    for draw in (curves.learning_curves, curves.final_values):
        for dataset, is_drawn in ((near, True), (far, False), (diverged, True)):
            figure = draw(dataset, "divisor")
            assert ("uniform prediction" in texts_of(figure)) == is_drawn
            bottom, top = figure.axes[-1].get_ylim()
            assert top == 1
            assert (bottom == 0) == is_drawn
    assert curves.learning_curves(far, "divisor").axes[-1].get_ylim() == (0.6, 1)


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_runs_that_are_not_finite_leave_gaps_without_warnings(value: float) -> None:
    accuracy = ACCURACY.copy()
    accuracy[0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts_of(curves.learning_curves(make(accuracy), line="divisor"))
        assert texts_of(curves.final_values(make(accuracy), x="divisor"))
    if np.isnan(value):
        assert "not finite: ÷1" in texts_of(
            curves.learning_curves(make(accuracy), line="divisor")
        )
    one = make(np.full((1, 1, 1), np.nan))
    assert "one seed" in texts_of(curves.final_values(one, x="divisor"))


def test_many_values_get_distinct_colours() -> None:
    assert len({tuple(np.atleast_1d(c)) for c in style.colours(30)}) == 30


def test_lines_that_coincide_are_enlarged_where_there_is_room() -> None:
    ends = np.array([0.1, 0.86, 0.87])[:, None, None] + [[0.0, 0.004, 0.008]]
    values = np.stack([ends - 0.03, ends - 0.01, ends], -1)
    one = make().isel(divisor=0, loss=[0], drop=True).isel(epoch=[0, 1, 1])
    shape = ("divisor", "loss", "seed", "epoch")
    dataset = one.expand_dims(divisor=[1.0, 255.0, 1000.0]).transpose("divisor", ...)
    dataset = dataset.assign_coords(epoch=[1, 2, 3])
    dataset["test_accuracy"] = shape, values.astype(np.float32)
    (inset,) = curves.learning_curves(dataset, "divisor").axes[1].child_axes
    lines = [np.asarray(line.get_xydata()) for line in inset.lines]
    expected = [[[2, e - 0.006], [3, e + 0.004]] for e in (0.86, 0.87)]
    np.testing.assert_allclose(lines, expected, rtol=1e-6)
    box = inset.get_position().bounds
    assert box[1] > 0.118  # in the stripe between 11 and 82 %
    apart = dataset.isel(divisor=[0, 1])
    assert not curves.learning_curves(apart, "divisor").axes[1].child_axes


def test_there_is_nothing_to_draw_of_one_value_or_of_none_that_is_finite() -> None:
    dataset = make()
    assert curves.has_content(dataset)
    single = dataset.isel(divisor=[0], loss=[0])
    assert curves.has_content(single)
    assert not curves.has_content(single.isel(epoch=[0]))
    assert not curves.has_content(dataset[["test_loss", "test_accuracy"]] * np.nan)
