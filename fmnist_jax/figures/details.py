"""Figures of what one experiment asks beside losses and accuracies per epoch.

Labelled results to figures, as in ``plots``: they train nothing, save nothing, and
import no jax.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.config import axis_label, show
from fmnist_jax.figures.plots import (
    GUESSING,
    MARKERS,
    PER_CENT,
    colours_of,
    described,
    draw,
    empty_figure,
    panels_of,
    title,
    whole_epochs,
)

ROOM = 36  # letters of ticks that stand side by side below a panel; more are slanted


def _legend(figure: Figure, dataset: xr.Dataset, line: str, *more: Line2D) -> None:
    values = dataset[line].values
    handles = [
        Line2D([], [], color=colour, label=show(line, value.item()))
        for colour, value in zip(colours_of(len(values)), values, strict=True)
    ]
    figure.legend(
        handles=[*handles, *more], loc="outside right center", frameon=False,
        title=axis_label(line),
    )  # fmt: skip


def against_updates(dataset: xr.Dataset) -> Figure:
    """Draws test accuracy against updates made, and against examples seen.

    Args:
      dataset: results of a sweep with the axis ``batch_size``.
    """
    figure, axes = empty_figure(1, 2, sharey=True)
    examples = dataset.attrs["train_examples"] * dataset.epoch.values
    sizes = dataset.batch_size.values
    flat = dataset.isel(
        dict.fromkeys(panels_of(dataset, "batch_size")[0], 0), drop=True
    )
    for size, colour in zip(sizes, colours_of(len(sizes)), strict=True):
        runs = flat.test_accuracy.sel(batch_size=size)
        steps = np.ceil(dataset.attrs["train_examples"] / size) * dataset.epoch.values
        for panel, x in zip(axes[0], (steps, examples), strict=True):
            draw(panel, x, runs, color=colour, marker="o", markersize=4)
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xlabel("updates of the parameters (log scale)")
    axes[0, 0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0, 1].set_xlabel("training examples seen")
    axes[0, 1].xaxis.set_major_formatter("{x:,.0f}")
    axes[0, 1].xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes[0, 0].set_ylabel("test accuracy")
    axes[0, 0].yaxis.set_major_formatter(PER_CENT)
    _legend(figure, dataset, "batch_size")
    title(figure, flat, "Test accuracy against updates and against examples seen")
    return figure


def gaps(dataset: xr.Dataset, line: str) -> Figure:
    """Draws by how much training accuracy is above test accuracy after each epoch.

    Where the results hold evaluations with dropout on, these stand in a second row.

    Args:
      dataset: results of a sweep.
      line: the axis whose values get a colour each; every combination of the other
        axes' values gets a column.
    """
    endings = {"": "dropout off, as in use"}
    if "test_accuracy_with_dropout" in dataset:
        endings["_with_dropout"] = "dropout on, as the source measured"
    panels = panels_of(dataset, line)
    figure, axes = empty_figure(len(endings), len(panels), sharex=True, sharey=True)
    colours = colours_of(dataset.sizes[line])
    epochs = dataset.epoch.values
    for row, (ending, said) in enumerate(endings.items()):
        gap = dataset[f"train_accuracy{ending}"] - dataset[f"test_accuracy{ending}"]
        for column, index in enumerate(panels):
            panel = axes[row, column]
            named = [described(dataset, index), said if len(endings) > 1 else ""]
            panel.set_title("\n".join(filter(None, named)), fontsize=10)
            panel.axhline(0, **GUESSING)
            panel.yaxis.set_major_formatter("{x:g}")
            for position, colour in enumerate(colours):
                runs = 100 * gap.isel({**index, line: position})
                draw(panel, epochs, runs, color=colour, marker=".", markersize=5)
        axes[row, 0].set_ylabel("training − test accuracy\nin percentage points")
    for panel in axes[-1]:
        whole_epochs(panel, epochs)
    _legend(figure, dataset, line)
    title(figure, dataset, f"Gap from training to test accuracy, by {axis_label(line)}")
    return figure


def rates(dataset: xr.Dataset, line: str = "schedule") -> Figure:
    """Draws the learning rate of each epoch, a thin line for each seed.

    Args:
      dataset: results of a sweep.
      line: the axis whose values get a colour each.
    """
    figure, axes = empty_figure(1, 1)
    panel, epochs = axes[0, 0], dataset.epoch.values
    colours = colours_of(dataset.sizes[line])
    flat = dataset.isel(dict.fromkeys(panels_of(dataset, line)[0], 0), drop=True)
    for position, colour in enumerate(colours):
        runs = flat.epoch_learning_rate.isel({line: position})
        for run in runs.transpose("seed", "epoch").values:
            panel.step(epochs, run, where="mid", color=colour, alpha=0.7, linewidth=1.5)
    panel.set_yscale("log")
    panel.set_ylabel("learning rate (log scale)")
    whole_epochs(panel, epochs)
    _legend(figure, dataset, line)
    subject = f"Learning rate of each epoch by {axis_label(line)}: a line per seed"
    title(figure, dataset, subject, seeds=False)
    return figure


def histograms(dataset: xr.Dataset, names: Mapping[str, str]) -> Figure:
    """Draws the last epoch's histograms of the first seed, a column per combination.

    Args:
      dataset: results with ``NAME_counts`` and ``NAME_range`` for each name.
      names: of what is drawn, to its label.
    """
    panels = panels_of(dataset, None)
    names = {n: label for n, label in names.items() if f"{n}_counts" in dataset}
    figure, axes = empty_figure(len(names), len(panels))
    last = dataset.isel(seed=0)
    last = last.isel(epoch=-1) if "epoch" in last.dims else last
    for column, index in enumerate(panels):
        axes[0, column].set_title(
            described(dataset, index).replace(", ", "\n"), size=10
        )
        for row, name in enumerate(names):
            panel = axes[row, column]
            counts = last[f"{name}_counts"].isel(index).values
            low, high = last[f"{name}_range"].isel(index).values
            if not np.isfinite(counts).all():
                panel.text(0.5, 0.5, "none", ha="center", transform=panel.transAxes)
                continue
            edges = np.linspace(low, high, len(counts) + 1)
            shares = counts / counts.sum()
            panel.stairs(shares, edges, fill=True, color=colours_of(1)[0], alpha=0.8)
            panel.set_ylim(0, 1)
            panel.yaxis.set_major_formatter(PER_CENT)
            panel.set_xlabel(f"{low:.3g} … {high:.3g}", fontsize=9)
            panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    for row, label in enumerate(names.values()):
        axes[row, 0].set_ylabel(f"{label}\nshare of values")
    subject = (
        f"{', '.join(names.values())} after epoch {int(dataset.epoch[-1])}, first "
        "seed: ten bins, with the least … greatest value below"
    )
    subject = subject[0].upper() + subject[1:]
    title(figure, dataset, subject, seeds=False)
    return figure


def predictions(dataset: xr.Dataset, line: str) -> Figure:
    """Draws what share of images is taken for each class after the last epoch.

    Args:
      dataset: results with ``predicted_share``.
      line: the axis whose values get a colour each.
    """
    figure, axes = empty_figure(1, 1)
    panel, count = axes[0, 0], dataset.sizes[line]
    flat = dataset.isel(dict.fromkeys(panels_of(dataset, line)[0], 0), drop=True)
    shares = flat.predicted_share.isel(epoch=-1)
    classes = np.arange(dataset.sizes["class"])
    for position, colour in enumerate(colours_of(count)):
        runs = shares.isel({line: position}).transpose("seed", "class").values
        x = classes + (position - (count - 1) / 2) * 0.8 / count
        panel.bar(x, runs.mean(0), 0.8 / count, color=colour, alpha=0.75)
        for run in runs:
            panel.plot(x, run, ".", color="0.2", markersize=3)
    panel.axhline(1 / len(classes), **GUESSING)
    panel.set_xticks(classes)
    sorted_too = line == "order" and "sorted" in dataset[line].values
    panel.set_xlabel(f"class{' (sorted: they came in this order)' * sorted_too}")
    panel.set_ylabel("share of the predictions")
    panel.yaxis.set_major_formatter(PER_CENT)
    _legend(figure, dataset, line, Line2D([], [], **GUESSING, label="equal shares"))
    subject = (
        f"What is predicted after the last epoch, by {axis_label(line)}: a dot per "
        "seed, bars at the mean"
    )
    title(figure, flat, subject, seeds=False)
    return figure


def _choices(panel: Axes, dataset: xr.Dataset, axis: str) -> None:
    """Writes the values of an axis below a panel, slanted where room is short."""
    ticks = [show(axis, value.item()) for value in dataset[axis].values]
    panel.set_xlim(-0.7, len(ticks) - 0.3)
    panel.set_xticks(range(len(ticks)), ticks)
    panel.set_xlabel(axis_label(axis))
    if len(ticks) * max(map(len, ticks)) > ROOM:
        panel.tick_params(axis="x", rotation=45)
        for tick in panel.get_xticklabels():
            tick.set(horizontalalignment="right", rotation_mode="anchor")


def by_choice(dataset: xr.Dataset, axis: str, names: Sequence[str]) -> Figure:
    """Draws what each run ended with, a mark per seed, for each value of an axis.

    Args:
      dataset: results of a sweep.
      axis: along the bottom; every combination of the other axes' values gets a colour.
      names: of variables, a panel each; accuracies and shares are drawn in percent.
    """
    figure, axes = empty_figure(1, len(names))
    panels = panels_of(dataset, axis)
    last = dataset.isel(epoch=-1)
    for panel, name in zip(axes[0], names, strict=True):
        label = dataset[name].attrs["long_name"]
        scale = 100 if "accuracy" in name or "share" in name else 1
        unit = " in points" if "gap" in name else " in %" if scale > 1 else ""
        panel.set_title(f"{label}{unit}", fontsize=10)
        for number, colour in enumerate(colours_of(len(panels))):
            runs = scale * last[name].isel(panels[number]).transpose(axis, "seed")
            shift = (number - (len(panels) - 1) / 2) * 0.6 / len(panels)
            x = np.arange(dataset.sizes[axis]) + shift
            marker = MARKERS[number % len(MARKERS)]
            style = {"color": colour, "marker": marker, "linestyle": "none"}
            panel.plot(x, runs.values, markersize=5, alpha=0.6, **style)
            means = runs.mean("seed", skipna=False).values
            panel.hlines(means, x - 0.14, x + 0.14, color=colour)
            if np.isnan(last[name]).all():
                panel.set_yticks([])
            for missing in x[np.isnan(runs.values).all(axis=1)]:
                panel.text(
                    missing, 0.5, "none", color=colour, ha="center", rotation=90,
                    transform=panel.get_xaxis_transform(),
                )  # fmt: skip
        if name.endswith("epoch"):
            panel.yaxis.set_major_locator(
                mpl.ticker.MaxNLocator(integer=True, min_n_ticks=1)
            )
        _choices(panel, dataset, axis)
    if len(panels) > 1:
        handles = [
            Line2D([], [], color=colour, marker=MARKERS[i % len(MARKERS)],
                   linestyle="none", label=described(dataset, panels[i]))
            for i, colour in enumerate(colours_of(len(panels)))
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside right center", frameon=False)
    title(
        figure, dataset,
        f"After the last epoch, by {axis_label(axis)}: a mark per seed, a line at the "
        "mean", seeds=False,
    )  # fmt: skip
    return figure
