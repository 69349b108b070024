"""Figures for the question of one experiment, besides learning curves. No jax.

``dataset`` is always the results of a sweep, and ``line`` the axis whose values get a
colour each.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.analysis.results import combinations
from fmnist_jax.config import axis_label, show
from fmnist_jax.figures import style

MAX_TICK_CHARS = 36  # characters of tick labels that fit side by side below a panel
DROPOUT_LABELS = {
    "": "dropout off, as in use",
    "_with_dropout": "dropout on, as the source measured",
}


def against_updates(dataset: xr.Dataset) -> Figure:
    """Draws test accuracy against the number of updates, and of examples seen."""
    figure, panels = style.grid_of_panels(1, 2, sharey=True)
    by_updates, by_examples = panels[0]
    first = style.at_first_values(dataset, "batch_size")
    size, epochs = dataset.attrs["train_examples"], dataset.epoch.values
    batch_sizes = dataset.batch_size.values
    for position, colour in enumerate(style.colours(len(batch_sizes))):
        runs = first.test_accuracy.isel(batch_size=position)
        kwargs = {"color": colour, "marker": "o", "markersize": 4}
        updates = np.ceil(size / batch_sizes[position]) * epochs
        style.draw_seeds(by_updates, updates, runs, **kwargs)
        style.draw_seeds(by_examples, size * epochs, runs, **kwargs)
    by_updates.set(xscale="log", xlabel="parameter updates (log scale)")
    by_updates.set_ylabel("test accuracy")
    by_updates.yaxis.set_major_formatter(style.PER_CENT)
    by_examples.set_xlabel("training examples seen")
    by_examples.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    for panel in panels[0]:
        panel.xaxis.set_major_formatter("{x:,.0f}")
    style.add_legend_of(figure, dataset, "batch_size")
    subject = "Test accuracy against updates and against examples seen"
    style.title(figure, first, subject)
    return figure


def gaps(dataset: xr.Dataset, line: str) -> Figure:
    """Draws training minus test accuracy, a column for each combination of other axes.

    A second row shows evaluations with dropout on, if the results contain them.
    """
    labels = DROPOUT_LABELS if "test_accuracy_with_dropout" in dataset else {"": ""}
    indices, epochs = combinations(dataset, line), dataset.epoch.values
    shape = len(labels), len(indices)
    figure, panels = style.grid_of_panels(*shape, sharex=True, sharey=True)
    for row, (ending, label) in zip(panels, labels.items(), strict=True):
        gap = dataset[f"train_accuracy{ending}"] - dataset[f"test_accuracy{ending}"]
        row[0].set_ylabel("training − test accuracy\nin percentage points")
        for panel, index in zip(row, indices, strict=True):
            heading = f"{style.panel_title(dataset, index)}\n{label}".strip()
            panel.set_title(heading, fontsize=10)
            panel.axhline(0, **style.BASELINE)
            panel.yaxis.set_major_formatter("{x:g}")
            for position, colour in enumerate(style.colours(dataset.sizes[line])):
                runs = 100 * gap.isel({**index, line: position})
                kwargs = {"color": colour, "marker": ".", "markersize": 5}
                style.draw_seeds(panel, epochs, runs, **kwargs)
    for panel in panels[-1]:
        style.epoch_axis(panel, epochs)
    style.add_legend_of(figure, dataset, line)
    subject = f"Training minus test accuracy, by {axis_label(line)}"
    style.title(figure, dataset, subject)
    return figure


def learning_rates(dataset: xr.Dataset, line: str = "schedule") -> Figure:
    """Draws the learning rate of each epoch, a thin line for each seed."""
    figure, ((panel,),) = style.grid_of_panels(1, 1)
    first, epochs = style.at_first_values(dataset, line), dataset.epoch.values
    for position, colour in enumerate(style.colours(dataset.sizes[line])):
        runs = first.epoch_learning_rate.isel({line: position})
        kwargs: dict[str, Any] = {"color": colour, "alpha": 0.7, "linewidth": 1.5}
        panel.step(epochs, runs.transpose("epoch", "seed"), where="mid", **kwargs)
    panel.set(yscale="log", ylabel="learning rate (log scale)")
    style.epoch_axis(panel, epochs)
    style.add_legend_of(figure, dataset, line)
    subject = f"Learning rate of each epoch by {axis_label(line)}"
    style.title(figure, first, subject, seeds="a line for each of")
    return figure


def histograms(dataset: xr.Dataset, names: Mapping[str, str]) -> Figure:
    """Draws the last epoch's histograms of the first seed, a column per combination.

    ``names`` maps NAME to its label: ``NAME_counts`` and ``NAME_range`` are drawn.
    """
    indices = combinations(dataset)
    names = {n: label for n, label in names.items() if f"{n}_counts" in dataset}
    figure, panels = style.grid_of_panels(len(names), len(indices))
    last = dataset.isel(seed=0).isel(epoch=-1, missing_dims="ignore")
    for column, index in zip(panels.T, indices, strict=True):
        heading = style.panel_title(dataset, index).replace(", ", "\n")
        column[0].set_title(heading, fontsize=10)
        for panel, name in zip(column, names, strict=True):
            runs = last.isel(index)
            _draw_histogram(panel, runs[f"{name}_counts"], runs[f"{name}_range"])
    for panel, label in zip(panels[:, 0], names.values(), strict=True):
        panel.set_ylabel(f"{label}\nshare of values")
    listed = ", ".join(names.values())
    subject = (
        f"{listed[0].upper()}{listed[1:]} after epoch {int(dataset.epoch[-1])}, first "
        "seed: ten bins from minimum to maximum (below each panel)"
    )
    style.title(figure, dataset, subject, seeds="")
    return figure


def _draw_histogram(axes: Axes, counts: xr.DataArray, ends: xr.DataArray) -> None:
    if not np.isfinite(counts).all():
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    low, high = ends.values
    edges = np.linspace(low, high, counts.size + 1)
    shares = (counts / counts.sum()).values
    axes.stairs(shares, edges, fill=True, color=style.COLOURS[0], alpha=0.8)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(style.PER_CENT)
    axes.set_xlabel(f"{low:.3g} … {high:.3g}", fontsize=9)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))


def predictions(dataset: xr.Dataset, line: str) -> Figure:
    """Draws the share of images predicted as each class after the last epoch."""
    figure, ((panel,),) = style.grid_of_panels(1, 1)
    first, count = style.at_first_values(dataset, line), dataset.sizes[line]
    shares = first.predicted_share.isel(epoch=-1).transpose(line, "seed", "class")
    classes = np.arange(dataset.sizes["class"])
    for position, colour in enumerate(style.colours(count)):
        runs = shares[position].values
        x = classes + (position - (count - 1) / 2) * 0.8 / count
        panel.bar(x, runs.mean(0), 0.8 / count, color=colour, alpha=0.75)
        panel.plot(x, runs.T, ".", color="0.2", markersize=3)
    panel.axhline(1 / len(classes), **style.BASELINE)
    panel.set_xticks(classes)
    has_sorted = line == "order" and "sorted" in dataset[line].values
    panel.set_xlabel(f"class{' (sorted: trained in this order)' * has_sorted}")
    panel.set_ylabel("share of the predictions")
    panel.yaxis.set_major_formatter(style.PER_CENT)
    equal = style.legend_line("equal shares", **style.BASELINE)
    style.add_legend_of(figure, dataset, line, equal)
    subject = f"Predicted classes after the last epoch, by {axis_label(line)}"
    style.title(figure, first, subject, seeds="means (bars) and values (dots) of")
    return figure


def by_choice(dataset: xr.Dataset, axis: str, names: Sequence[str]) -> Figure:
    """Draws variables after the last epoch, a mark per seed, for each value of an axis.

    Each variable in ``names`` gets a panel, each combination of the other axes' values
    a colour. Accuracies and shares are drawn in per cent.
    """
    figure, panels = style.grid_of_panels(1, len(names))
    indices, last = combinations(dataset, axis), dataset.isel(epoch=-1)
    titles = [style.panel_title(dataset, index) for index in indices]
    entries = titles, style.colours(len(titles)), itertools.cycle(style.MARKERS)
    handles = [
        style.legend_line(title, color=colour, marker=marker, linestyle="none")
        for title, colour, marker in zip(*entries, strict=False)
    ]
    for panel, name in zip(panels[0], names, strict=True):
        percent = "accuracy" in name or "share" in name
        unit = (" in points" if "gap" in name else " in %") if percent else ""
        panel.set_title(f"{dataset[name].attrs['long_name']}{unit}", fontsize=10)
        for position, (index, handle) in enumerate(zip(indices, handles, strict=True)):
            runs = last[name].isel(index).transpose(axis, "seed").values
            shift = (position - (len(indices) - 1) / 2) * 0.6 / len(indices)
            _draw_marks(panel, runs * (100 if percent else 1), shift, handle)
        if np.isnan(last[name]).all():
            panel.set_yticks([])
        elif name.endswith("epoch"):
            integers = mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1)
            panel.yaxis.set_major_locator(integers)
        _label_choices(panel, dataset, axis)
    if len(indices) > 1:
        style.add_legend(figure, handles)
    subject = f"Values after the last epoch, by {axis_label(axis)}"
    style.title(figure, dataset, subject, seeds="means (lines) and values (marks) of")
    return figure


def _draw_marks(axes: Axes, runs: np.ndarray, shift: float, handle: Line2D) -> None:
    """Draws values ``[choice, seed]`` as marks, and their means as lines."""
    x = np.arange(len(runs)) + shift
    colour = handle.get_color()
    kwargs: dict[str, Any] = {"color": colour, "marker": handle.get_marker()}
    axes.plot(x, runs, linestyle="none", markersize=5, alpha=0.6, **kwargs)
    axes.hlines(runs.mean(axis=1), x - 0.14, x + 0.14, color=colour)
    place: dict[str, Any] = {"rotation": 90, "transform": axes.get_xaxis_transform()}
    for missing in x[np.isnan(runs).all(axis=1)]:
        axes.text(missing, 0.5, "none", color=colour, ha="center", **place)


def _label_choices(axes: Axes, dataset: xr.Dataset, axis: str) -> None:
    """Labels the values of an axis below a panel, slanted if there is little room."""
    ticks = [show(axis, value.item()) for value in dataset[axis].values]
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    has_room = len(ticks) * max(map(len, ticks)) <= MAX_TICK_CHARS
    axes.set_xticks(range(len(ticks)), ticks, **({} if has_room else slant))
    axes.set(xlim=(-0.7, len(ticks) - 0.3), xlabel=axis_label(axis))
