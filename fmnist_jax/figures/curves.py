"""Learning curves and final values of any sweep. No jax."""

import itertools
import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.analysis.results import combinations
from fmnist_jax.config import axis_label, show
from fmnist_jax.figures import style

MAX_MARKS = 40  # of a line
MIN_JOINED = 6  # values: means of fewer are not joined, nothing was measured between
MAX_LABELS = 14  # of values below a panel
SHIFT = 0.015  # of the range, between the marks of different lines at a value
FAILED: dict[str, Any] = {"marker": "x", "linestyle": "none"}
MIN_ZOOM_ACCURACY = 0.5  # if all accuracies are above, their axis does not start at 0
CLOSE = 0.03  # accuracies that end closer to each other are enlarged
MIN_STRIPE = 0.3  # of the height of a panel, in which there is room for an inset


def curves_by_step(dataset: xr.Dataset, line: str) -> Figure:
    """Draws what ``Config.record_every`` records, as ``learning_curves`` does."""
    names = {f"{name}_by_step": name for name in ("test_loss", "test_accuracy")}
    records = dataset[["status", *names]].rename(names).rename(step="epoch")
    return learning_curves(records, line)


def has_content(dataset: xr.Dataset) -> bool:
    """Whether there is more than one setting and epoch, and a value that is finite."""
    loss, accuracy = dataset.test_loss, dataset.test_accuracy
    is_single = loss.size == loss.sizes["seed"]
    return not is_single and bool((np.isfinite(loss) | np.isfinite(accuracy)).any())


def learning_curves(dataset: xr.Dataset, line: str, best_of: str = "") -> Figure:
    """Draws loss and accuracy on the test set per epoch.

    Each value of the axis ``line`` gets a colour, each combination of the other axes'
    values a column. Lines that coincide are drawn again in an inset.

    ``best_of`` is a setting for which each run has the best of several values; if each
    colour has one such value, the legend contains it.
    """
    shown, truncation = style.shown_panels(dataset, line)
    unit = dataset.epoch.attrs.get("long_name", "epoch")
    figure, panels = style.grid_of_panels(2, len(shown), sharex=True, sharey="row")
    for (loss, accuracy), index in zip(panels.T, shown, strict=True):
        runs = dataset.isel(index)
        loss.set_title(style.panel_title(dataset, index), fontsize=10)
        _draw_curves(loss, runs.test_loss, line)
        _draw_curves(accuracy, runs.test_accuracy, line)
        _list_diverged(loss, runs, line)
        style.epoch_axis(accuracy, dataset.epoch.values, unit)
    baseline = _scale_rows(panels, dataset, "test ")
    for accuracy, index in zip(panels[1], shown, strict=True):
        _add_inset(accuracy, dataset.test_accuracy.isel(index), line)
    handles = style.legend_lines(dataset, line)
    if best_of and dataset[best_of].dims == (line,):
        for handle, value in zip(handles, dataset[best_of].values, strict=True):
            handle.set_label(f"{handle.get_label()} {show(best_of, value.item())}")
    style.add_legend(figure, handles + baseline, axis_label(line))
    subject = f"Test loss and accuracy during training, by {axis_label(line)}"
    subject += f", each at the best {axis_label(best_of)} tried" if best_of else ""
    style.title(figure, dataset, subject, note=truncation)
    return figure


def _draw_curves(axes: Axes, values: xr.DataArray, line: str) -> None:
    """Draws a variable per epoch, with a colour for each value of the axis ``line``."""
    marker = "." if values.sizes["epoch"] <= MAX_MARKS else ""
    for position, colour in enumerate(style.colours(values.sizes[line])):
        kwargs = {"color": colour, "marker": marker, "markersize": 5}
        style.draw_seeds(axes, values.epoch, values.isel({line: position}), **kwargs)


def _add_inset(axes: Axes, values: xr.DataArray, line: str) -> None:
    """Enlarges the lines that end close to each other, in the largest empty stripe.

    The inset starts after a third of the epochs.
    """
    start, count = values.sizes["epoch"] // 3, values.sizes[line]
    ends = values.isel(epoch=-1).mean("seed", skipna=False).transpose(line).values
    order = [i for i in np.argsort(ends) if np.isfinite(ends[i])]
    groups = np.split(order, 1 + np.flatnonzero(np.diff(ends[order]) > CLOSE))
    group = max(groups, key=len)
    bottom, top = axes.get_ylim()
    drawn = [
        values.values,
        *(np.asarray(curve.get_ydata(), float) for curve in axes.lines),
    ]
    every = np.concatenate([part.ravel() for part in drawn])
    limits = np.sort([bottom, top, *every[np.isfinite(every)]])
    gap = int(np.diff(limits).argmax())
    low, height = (limits[gap] - bottom) / (top - bottom), np.diff(limits)[gap]
    height /= top - bottom
    if values.sizes["epoch"] < 3 or len(group) < 2 or height < MIN_STRIPE:
        return
    inset = axes.inset_axes((0.3, low + 0.2 * height, 0.66, 0.7 * height))
    late = values.isel(epoch=slice(start, None))
    for position, colour in enumerate(style.colours(count)):
        if position in group:
            runs = late.isel({line: position})
            style.draw_seeds(inset, late.epoch, runs, color=colour, linewidth=1.2)
    inset.yaxis.set_major_formatter(style.PER_CENT)
    style.epoch_axis(inset, late.epoch.values, "")
    inset.tick_params(labelsize=7)
    inset.grid(alpha=0.25)


def _list_diverged(axes: Axes, runs: xr.Dataset, line: str) -> None:
    """Lists in a panel the values of ``line`` for which a seed's loss is not finite."""
    losses = runs["test_loss"].isel(epoch=-1)
    left = runs["status"] == "pruned"
    finite = ((abs(losses) < np.inf) | left).all("seed").values
    values = [show(line, v.item()) for v in runs[line].values[~finite]]
    if values:
        text = f"not finite: {', '.join(values[:4])}{', …' if len(values) > 4 else ''}"
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center"}
        axes.text(0.5, 0.97, text, va="top", fontsize=9, **place)


def _scale_rows(panels: np.ndarray, dataset: xr.Dataset, of: str = "") -> list[Line2D]:
    """Scales and labels a row of losses and a row of accuracies.

    Returns the legend's entry for a uniform prediction. It is not drawn if all
    accuracies are above ``MIN_ZOOM_ACCURACY``, so that curves can be distinguished.
    """
    classes = dataset.attrs["num_classes"]
    lowest = dataset.test_accuracy.min(skipna=False).item()
    floor = math.floor(10 * lowest) / 10 if lowest > MIN_ZOOM_ACCURACY else 0.0
    for loss, accuracy in panels.T:
        loss.set_yscale("log")
        accuracy.set_ylim(floor, 1)
        accuracy.yaxis.set_major_formatter(style.PER_CENT)
        if not floor:
            loss.axhline(math.log(classes), **style.BASELINE)
            accuracy.axhline(1 / classes, **style.BASELINE)
    style.log_ticks(panels[0, 0].yaxis)
    panels[0, 0].set_ylabel(f"{of}loss in nats (log scale)")
    panels[1, 0].set_ylabel(f"{of}accuracy")
    return [] if floor else [style.legend_line("uniform prediction", **style.BASELINE)]


def draw_final(axes: Axes, last: xr.Dataset, x: str, name: str) -> list[Line2D]:
    """Draws a variable of the last epoch against an axis of numbers: a mark per seed.

    Every combination of the other axes' values gets a colour, and, of at least
    ``MIN_JOINED`` values, a line through the means where all seeds are trained. Seeds
    that are not trained are crosses. Returns the entries of the legend.
    """
    indices, values = combinations(last, x), last[x].values.astype(float)
    handles, looks = [], itertools.cycle(style.MARKERS)
    is_joined, count = len(values) >= MIN_JOINED, len(indices)
    for position, (colour, marker) in enumerate(
        zip(style.colours(count), looks, strict=False)
    ):
        runs = last.isel(indices[position])
        label = style.panel_title(last, indices[position]) or "all runs"
        handles.append(style.legend_line(label, color=colour, marker=marker))
        handles[-1].set_linestyle("-" if is_joined else "none")
        if len(values) > MAX_MARKS:
            style.draw_seeds(axes, values, runs[name], color=colour)
            continue
        is_trained, dots = runs.status == "trained", runs[name].transpose(x, "seed")
        if is_joined:
            mean, _, _ = style.mean_and_range(dots.where(is_trained))
            axes.plot(values, mean, color=colour, linewidth=1)
        shift = 0 if is_joined else SHIFT * (position - (count - 1) / 2)
        shifted = _shifted(values, shift, style.scale(last, x) == "log")
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
        look |= {"linestyle": "none", "alpha": 0.7}
        axes.plot(shifted, dots.where(is_trained), **look)
        axes.plot(shifted, dots.where(~is_trained), **{**look, **FAILED})
    failed = sorted({*np.unique(last.status)} - {"trained"})
    if failed and len(values) <= MAX_MARKS:
        handles.append(style.legend_line(" or ".join(failed), color="0.3", **FAILED))
    return handles


def _shifted(values: np.ndarray, shift: float, is_log_scaled: bool) -> np.ndarray:
    """Returns values moved to the right by a share of their range, as it is drawn."""
    drawn = np.log(values) if is_log_scaled else values
    moved = drawn + shift * np.ptp(drawn)
    return np.exp(moved) if is_log_scaled else moved


def set_x_axis(axes: Axes, last: xr.Dataset, x: str) -> None:
    """Labels and scales the x axis, once for panels that share it, after drawing."""
    values = last[x].values.astype(float)
    axes.set_xlabel(style.scaled_label(last, x))
    axes.set_xscale(style.scale(last, x))
    if len(values) <= MAX_LABELS:
        turned = {"rotation": 45} if len(values) > 8 else {}
        labels = [show(x, value) for value in values]
        axes.set_xticks(values, labels, minor=False, **turned)
        axes.set_xticks([], minor=True)


def final_values(dataset: xr.Dataset, x: str) -> Figure:
    """Draws the last epoch's test loss and accuracy against an axis of numbers.

    Every combination of the other axes' values gets a colour (``draw_final``).
    """
    figure, panels = style.grid_of_panels(2, 1, sharex=True)
    last = dataset.isel(epoch=-1)
    handles = draw_final(panels[0, 0], last, x, "test_loss")
    draw_final(panels[1, 0], last, x, "test_accuracy")
    baseline = _scale_rows(panels, last, "test ")
    set_x_axis(panels[1, 0], last, x)
    style.add_legend(figure, handles + baseline)
    subject = f"Test loss and accuracy after epoch {int(last.epoch)} by {axis_label(x)}"
    style.title(figure, dataset, subject, seeds="a mark for each of")
    return figure
