"""Figures of the rows: published numbers on top of our results."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reproduction.references import Row
from experiments.reproduction.verdicts import WITH_PENALTY, our_values
from fmnist_jax.figures.plots import COLOURS, PER_CENT

STYLES: Mapping[str, Any] = {"train": "--", "test": "-"}
MARKERS: Mapping[str, Mapping[str, Any]] = {
    "train": {"marker": "o", "markerfacecolor": "white"},
    "test": {"marker": "s", "markerfacecolor": "black"},
}
WIDE = 8  # maximum / minimum loss from which the scale is logarithmic
DECADES = 1e3  # maximum / minimum loss from which only powers of ten are ticks
TITLE_WIDTH = 100  # characters


def _draw_ours(axes: Axes, values_SxE: np.ndarray, split: str, colour: str) -> None:
    finite = np.where(np.isfinite(values_SxE), values_SxE, np.nan)
    epochs = np.arange(1, finite.shape[1] + 1)
    axes.plot(epochs, finite.mean(0), STYLES[split], color=colour, linewidth=1.3)
    low, high = finite.min(0), finite.max(0)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)


def _draw_published(axes: Axes, row: Row, quantity: str) -> None:
    style: dict[str, Any] = {"linestyle": "none", "color": "black", "zorder": 3}
    style |= {"markersize": 5, "elinewidth": 1, "capsize": 2}
    for metric, values in row.published.items():
        if quantity in metric:
            epochs = np.arange(1, len(values) + 1)
            marker = MARKERS[metric.split("_")[0]]
            errors = row.reading_error[metric]
            axes.errorbar(epochs, values, yerr=errors, **style, **marker)


def _metrics(row: Row, quantity: str) -> Iterator[tuple[str, str, bool]]:
    """Yields the split of each of our metrics, its name, and whether dropout is on."""
    for split in STYLES:
        metric = f"{split}_{quantity}"
        with_penalty = metric == "train_loss" and WITH_PENALTY in row.published
        yield split, WITH_PENALTY if with_penalty else metric, False
        if f"{metric}_with_dropout" in row.published:
            yield split, f"{metric}_with_dropout", True


def _scale_losses(axes: Axes) -> None:
    """Chooses a logarithmic scale if the losses span a wide range."""
    low, high = axes.dataLim.intervaly
    axes.set_ylabel("loss in nats")
    if low > 0 and high / low > WIDE:
        axes.set_yscale("log")
        steps = (1, 2, 5) if high / low < DECADES else (1,)
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_ylabel("loss in nats (log scale)")
    axes.yaxis.set_major_formatter("{x:g}")


def row_figure(name: str, row: Row, runs: Mapping[str, xr.Dataset]) -> Figure:
    """Draws loss and accuracy: bands over our seeds, marks for the published run."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for quantity, axes in {"loss": loss_axes, "accuracy": accuracy_axes}.items():
        for colour, dataset in zip(COLOURS, runs.values(), strict=False):
            for split, metric, with_dropout in _metrics(row, quantity):
                values = our_values(dataset, metric)[:, : row.num_epochs]
                _draw_ours(axes, values, split, COLOURS[1] if with_dropout else colour)
        _draw_published(axes, row, quantity)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, row.num_epochs + 0.5)
        locator = mpl.ticker.MaxNLocator(integer=True, steps=[1, 2, 5, 10])
        axes.xaxis.set_major_locator(locator)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _scale_losses(loss_axes)
    accuracy_axes.set_ylabel("accuracy")
    accuracy_axes.yaxis.set_major_formatter(PER_CENT)
    handles = _handles(row, runs)
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    seeds = next(iter(runs.values())).sizes["seed"]
    titles = dict.fromkeys(dataset.attrs["dataset_title"] for dataset in runs.values())
    title = f"{name}: {' and '.join(titles)}, mean and range of {seeds} seeds"
    config = textwrap.fill(row.config, TITLE_WIDTH)
    figure.suptitle(f"{title}\n{config}", fontsize=11)
    return figure


def _handles(row: Row, runs: Mapping[str, xr.Dataset]) -> list[Line2D]:
    """Returns the entries of the legend."""
    labels = runs if len(runs) > 1 else ["ours"]
    colours = dict(zip(labels, COLOURS, strict=False))
    if any(metric.endswith("_with_dropout") for metric in row.published):
        colours["ours, with dropout on"] = COLOURS[1]
    handles = [Line2D([], [], color=c, label=label) for label, c in colours.items()]
    names = {"train": "training", "test": "test"}
    for split, style in STYLES.items():
        line = Line2D([], [], color="0.3", linestyle=style, label=names[split])
        handles.append(line)
    for split, marker in MARKERS.items():
        if any(metric.startswith(split) for metric in row.published):
            label = f"published, {names[split]}"
            handles.append(
                Line2D([], [], linestyle="none", label=label, color="black", **marker)
            )
    return handles
