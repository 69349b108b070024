"""Figures of the rows: published numbers on top of our results."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reproduction.references import Row
from experiments.reproduction.verdicts import (
    WITH_PENALTY,
    Comparison,
    comparisons,
    our_values,
)
from fmnist_jax.analysis.intervals import prediction_interval
from fmnist_jax.figures import style

MARKERS: Mapping[str, Mapping[str, Any]] = {
    "train": {"marker": "o", "markerfacecolor": "white"},
    "test": {"marker": "s", "markerfacecolor": "black"},
}
SPLIT_STYLES = {"train": ("training", "--"), "test": ("test", "-")}
LOG_SCALE_RATIO = 8  # maximum / minimum loss that is drawn on a log scale
TITLE_WIDTH = 100  # characters
MIN_POINTS = 5  # of an axis of accuracies
RING: dict[str, Any] = {"marker": "o", "color": "#D00000", "markerfacecolor": "none"}
RING |= {"linestyle": "none", "markersize": 11, "markeredgewidth": 1.8, "zorder": 4}


def _draw_ours(axes: Axes, values_SxE: np.ndarray, split: str, colour: str) -> None:
    """Draws the mean, and the 95 % prediction interval of one more run as a band.

    The band ends at half the minimum of our seeds, as losses have log scales.
    """
    mean, half = prediction_interval(values_SxE)
    epochs = np.arange(1, len(mean) + 1)
    low = np.maximum(mean - half, values_SxE.min(axis=0) / 2)
    axes.plot(epochs, mean, SPLIT_STYLES[split][1], color=colour, linewidth=1.3)
    axes.fill_between(epochs, low, mean + half, color=colour, alpha=0.18, linewidth=0)


def _draw_published(
    axes: Axes, row: Row, quantity: str, compared: Mapping[str, Comparison]
) -> None:
    """Draws published numbers, in a red ring where they do not agree."""
    kwargs: dict[str, Any] = {"linestyle": "none", "color": "black", "zorder": 3}
    kwargs |= {"markersize": 5, "elinewidth": 1, "capsize": 2}
    for metric, values in row.published.items():
        if quantity in metric:
            epochs = np.arange(1, len(values) + 1)
            marker = MARKERS[metric.split("_")[0]]
            errors = row.reading_error[metric]
            axes.errorbar(epochs, values, yerr=errors, **kwargs, **marker)
        if quantity in metric and metric in compared:
            comparison = compared[metric]
            outside = comparison.is_published & ~comparison.agrees
            for position in np.flatnonzero(outside):
                place = [position + 1], [comparison.published[position]]
                axes.plot(*place, clip_on=False, **RING)


def _metrics(row: Row, quantity: str) -> Iterator[tuple[str, str, bool]]:
    """Yields the split of each of our metrics, its name, and whether dropout is on."""
    for split in SPLIT_STYLES:
        metric = f"{split}_{quantity}"
        with_penalty = metric == "train_loss" and WITH_PENALTY in row.published
        yield split, WITH_PENALTY if with_penalty else metric, False
        if f"{metric}_with_dropout" in row.published:
            yield split, f"{metric}_with_dropout", True


def _scale_losses(axes: Axes) -> None:
    """Chooses a logarithmic scale if the losses span a wide range."""
    low, high = axes.dataLim.intervaly
    axes.set_ylabel("loss in nats")
    axes.yaxis.set_major_formatter("{x:g}")
    if low > 0 and high / low > LOG_SCALE_RATIO:
        axes.set_yscale("log")
        style.log_ticks(axes.yaxis)
        axes.set_ylabel("loss in nats (log scale)")


def _widen_accuracies(axes: Axes) -> None:
    """Makes the axis of accuracies at least ``MIN_POINTS`` wide, within 0 to 100 %."""
    low, high = axes.get_ylim()
    missing = max(MIN_POINTS / 100 - (high - low), 0) / 2
    low, high = max(low - missing, 0), high + missing
    axes.set_ylim(low, max(min(high, 1), low + MIN_POINTS / 100))


def row_figure(name: str, row: Row, runs: Mapping[str, xr.Dataset]) -> Figure:
    """Draws loss and accuracy: intervals of our seeds, marks for the published run.

    Rings are around the published numbers that do not agree with the first of ``runs``.
    """
    compared = comparisons(row, next(iter(runs.values())))
    figure, ((loss_axes, accuracy_axes),) = style.grid_of_panels(1, 2, size=(9, 3.6))
    for quantity, axes in {"loss": loss_axes, "accuracy": accuracy_axes}.items():
        for colour, dataset in zip(style.COLOURS, runs.values(), strict=False):
            for split, metric, with_dropout in _metrics(row, quantity):
                values = our_values(dataset, metric)[:, : row.num_epochs]
                shown = style.COLOURS[1] if with_dropout else colour
                _draw_ours(axes, values, split, shown)
        _draw_published(axes, row, quantity, compared)
        style.epoch_axis(axes, np.arange(1, row.num_epochs + 1))
        axes.set_xlim(0.5, row.num_epochs + 0.5)
    _scale_losses(loss_axes)
    _widen_accuracies(accuracy_axes)
    accuracy_axes.set_ylabel("accuracy")
    accuracy_axes.yaxis.set_major_formatter(style.PER_CENT)
    handles = _handles(row, runs)
    if any((c.is_published & ~c.agrees).any() for c in compared.values()):
        handles.append(style.legend_line("does not agree", **RING))
    style.add_legend(figure, handles)
    seeds = next(iter(runs.values())).sizes["seed"]
    titles = dict.fromkeys(dataset.attrs["dataset_title"] for dataset in runs.values())
    subject = f"{name}: {' and '.join(titles)}"
    title = f"{subject}, mean and 95 % prediction interval of {seeds} seeds"
    config = textwrap.fill(row.config, TITLE_WIDTH)
    figure.suptitle(f"{title}\n{config}", fontsize=11)
    return figure


def _handles(row: Row, runs: Mapping[str, xr.Dataset]) -> list[Line2D]:
    """Returns the entries of the legend."""
    labels = runs if len(runs) > 1 else ["ours"]
    colours = dict(zip(labels, style.COLOURS, strict=False))
    if any(metric.endswith("_with_dropout") for metric in row.published):
        colours["ours, with dropout on"] = style.COLOURS[1]
    handles = [style.legend_line(label, color=c) for label, c in colours.items()]
    for name, dash in SPLIT_STYLES.values():
        handles.append(style.legend_line(name, color="0.3", linestyle=dash))
    for split, marker in MARKERS.items():
        if any(metric.startswith(split) for metric in row.published):
            kwargs: dict[str, Any] = {"linestyle": "none", "color": "black", **marker}
            label = f"published, {SPLIT_STYLES[split][0]}"
            handles.append(style.legend_line(label, **kwargs))
    return handles
