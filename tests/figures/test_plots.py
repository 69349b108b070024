import io
import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

from fmnist_jax.figures import plots
from tests.analysis.test_results import ACCURACY, make


def texts_of(figure: Figure) -> str:
    figure.savefig(io.BytesIO(), format="png")
    found = [text.get_text() for text in figure.findobj(Text)]
    return "\n".join(found)


def test_curves_show_the_means_and_ranges_over_seeds() -> None:
    figure = plots.curves(make(), line="divisor")
    assert len(figure.axes) == 4  # loss and accuracy for each of two losses
    accuracy = figure.axes[2]
    lines = {(line.get_color(), line.get_linestyle()): line for line in accuracy.lines}
    first = lines[plots.COLOURS[0], "-"]
    expected = np.array([0.08, 0.16])
    np.testing.assert_allclose(np.asarray(first.get_ydata()), expected, rtol=1e-6)
    band = np.asarray(accuracy.collections[1].get_paths()[0].vertices)[:, 1]
    assert band.min() == pytest.approx(0.05)
    assert band.max() == pytest.approx(0.28)
    texts = texts_of(figure)
    for text in ("Fashion-MNIST", "3 seeds", "÷255", "loss: clipped", "epoch", "test"):
        assert text in texts
    assert figure.axes[0].get_yscale() == "log"


def test_what_was_chosen_for_each_colour_stands_in_the_legend() -> None:
    dataset = make()
    one = dataset.assign_coords(learning_rate=("divisor", [0.1, 0.001]))
    texts = texts_of(plots.curves(one, line="divisor", chosen="learning_rate"))
    assert "÷1 0.1\n÷255 0.001" in texts
    assert "best learning rate" in texts
    rates = (("divisor", "loss"), np.full((2, 2), 0.1))
    several = dataset.assign_coords(learning_rate=rates)
    texts = texts_of(plots.curves(several, line="divisor", chosen="learning_rate"))
    assert "\n÷1\n÷255\n" in texts


def test_final_values_stand_against_the_axis_on_a_log_scale() -> None:
    figure = plots.final_against(make(), x="divisor")
    assert figure.axes[1].get_xscale() == "log"
    points = figure.axes[1].lines[0]
    expected = np.array([[1, 255], [0.16, 0.87]])
    np.testing.assert_allclose(np.asarray(points.get_data()), expected, rtol=1e-6)
    assert "÷255" in texts_of(figure)
    assert "after epoch 2" in texts_of(figure)


def test_what_guessing_gets_is_left_out_where_every_run_is_far_above_it() -> None:
    near, far = make(), make(0.1 + 0.9 * np.maximum(ACCURACY, 0.8))
    for name in ("train_accuracy", "test_accuracy"):
        far[name][:] = np.maximum(far[name], 0.65)
    diverged = far.copy(deep=True)
    diverged.test_accuracy[0, 0, 0, 1] = np.nan
    for draw in (plots.curves, plots.final_against):
        for dataset, guessing in ((near, True), (far, False), (diverged, True)):
            figure = draw(dataset, "divisor")
            assert ("guessing" in texts_of(figure)) == guessing
            bottom, top = figure.axes[-1].get_ylim()
            assert top == 1
            assert (bottom == 0) == guessing
    assert plots.curves(far, "divisor").axes[-1].get_ylim() == (0.6, 1)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_runs_that_are_not_finite_leave_gaps_and_warn_of_nothing(value: float) -> None:
    accuracy = ACCURACY.copy()
    accuracy[0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts_of(plots.curves(make(accuracy), line="divisor"))
        assert texts_of(plots.final_against(make(accuracy), x="divisor"))
    if np.isnan(value):
        assert "not finite: ÷1" in texts_of(
            plots.curves(make(accuracy), line="divisor")
        )
    one = make(np.full((1, 1, 1), np.nan))
    assert "one seed" in texts_of(plots.final_against(one, x="divisor"))


def test_many_values_get_a_colour_scale_not_repeated_colours() -> None:
    assert len({tuple(np.atleast_1d(c)) for c in plots.colours_of(30)}) == 30


def test_of_many_lines_those_of_the_test_set_are_drawn_alone() -> None:
    one = make().isel(loss=[0], divisor=[0])
    for count, styles in ((6, {"-", "--"}), (7, {"-"})):
        rates = [one.assign_coords(divisor=[float(d)]) for d in range(1, count + 1)]
        found = xr.concat(rates, "divisor")
        found.attrs = one.attrs
        figure = plots.curves(found, line="divisor")
        lines = [line for line in figure.axes[1].lines if line.get_marker() == "."]
        assert {line.get_linestyle() for line in lines} == styles
        assert len(lines) == count * len(styles)
        texts = texts_of(figure)
        assert ("Test loss and accuracy" in texts) == (count == 7)
        for said in ("\ntraining", "Training loss: mean"):
            assert (said in texts) == (count == 6)
