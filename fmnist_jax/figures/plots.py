"""Labelled results to figures. Trains nothing, saves nothing, imports no jax."""

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.config import axis_label, show

# Okabe and Ito's colours, which colour-blind readers can tell apart; grey for yellow.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
    "#999999",
)
MARKERS = "osD^vPX"
MOST_PANELS = 6
LETTERS_PER_INCH = 12  # of the small print
LARGE_LETTERS_PER_INCH = 10  # of the title
MOST_PAIRS = 6  # of lines for test and training set in a panel; of more, test alone
MOST_MARKED = 12  # values along an axis that get an error bar each
FAR = 0.5  # an accuracy: above it, what guessing gets need not be in the picture
# Settings that tell a stranger what was trained, where they are no axis.
CONTEXT = (
    *("model", "hidden_sizes", "initializer", "loss", "optimizer", "learning_rate"),
    *("batch_size", "divisor"),
)
PARTS = {"test": "test", "train": "training"}
GUESSING: dict[str, Any] = {"color": "0.45", "linestyle": (0, (1, 2)), "linewidth": 1}
PER_CENT = mpl.ticker.FuncFormatter(lambda share, _: f"{100 * share:.4g}%")

Index = Mapping[str, int]


def colours_of(count: int) -> Sequence[Any]:
    """Returns so many colours that can be told apart."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.92, count)))


def panels_of(dataset: xr.Dataset, line: str | None) -> list[dict[str, int]]:
    """Returns the combinations of all axes but ``line``: a column of panels each."""
    axes = [axis for axis in sweep_axes(dataset) if axis != line]
    ranges = (range(dataset.sizes[axis]) for axis in axes)
    return [dict(zip(axes, i, strict=True)) for i in itertools.product(*ranges)]


def described(dataset: xr.Dataset, index: Index) -> str:
    """Returns in words where on the axes ``index`` is."""
    values = {a: dataset[a].values[i].item() for a, i in index.items()}
    return ", ".join(f"{axis_label(a)}: {show(a, v)}" for a, v in values.items())


def title(
    figure: Figure,
    dataset: xr.Dataset,
    subject: str,
    panels: int = 0,
    seeds: bool = True,
    training: bool = True,
) -> None:
    """Writes subject, data set and seeds on top, and the fixed settings below.

    Where panels show ``training`` losses along epochs, how these are taken, too.
    """
    count = dataset.sizes["seed"]
    runs = f": mean and range of {count} seeds" if count > 1 else ": one seed"
    runs = runs if seeds else ""
    cut = (
        f"; the first {MOST_PANELS} of {panels} panels" if panels > MOST_PANELS else ""
    )
    fixed = [  # a line is to end between two of them, not in one
        f"{axis_label(name)} {show(name, dataset[name].item())}".replace(
            " ", "\N{NBSP}"
        )
        for name in CONTEXT
        if name in dataset.coords and dataset[name].ndim == 0
    ]
    subject = textwrap.fill(
        subject, int(LARGE_LETTERS_PER_INCH * figure.get_figwidth())
    )
    title = f"{subject}\n{dataset.attrs['dataset_title']}{runs}{cut}"
    figure.suptitle(title, fontsize=12)
    note = "Training loss: mean during the epoch; the rest: after it."
    note *= training and panels > 0
    width = int(LETTERS_PER_INCH * figure.get_figwidth())
    lines = [*textwrap.wrap(", ".join(fixed), width), note]
    figure.supxlabel("\n".join(filter(None, lines)), fontsize=9, color="0.35")
    figure.align_ylabels()


def empty_figure(rows: int, columns: int, **shared: Any) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its panels, ``[rows, columns]``, with a grid each."""
    size = (max(7.5, 3.3 * columns + 1.8), max(4.4, 2.6 * rows + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for panel in axes.flat:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def whole_epochs(axes: Axes, epochs: np.ndarray) -> None:
    """Has an axis say epochs, which are whole numbers."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(
        mpl.ticker.FixedLocator(epochs.tolist())
        if len(epochs) <= MOST_MARKED
        else mpl.ticker.MaxNLocator(integer=True)
    )


def _over_seeds(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, least and greatest over seeds; NaN where a seed's is not finite."""
    finite = values.where(np.isfinite(values))
    over: dict[str, Any] = {"dim": "seed", "skipna": False}
    return (
        finite.mean(**over).values,
        finite.min(**over).values,
        finite.max(**over).values,
    )


def draw(axes: Axes, x: Any, values: xr.DataArray, **style: Any) -> None:
    """Draws the mean over seeds as a line, and their range as a band."""
    mean, low, high = _over_seeds(values)
    axes.plot(x, mean, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _draw_against(axes: Axes, x: Any, values: xr.DataArray, **style: Any) -> None:
    """Draws few values as marks with error bars: nothing was measured between them."""
    if len(x) > MOST_MARKED:
        draw(axes, x, values, **{**style, "marker": None})
        return
    mean, low, high = _over_seeds(values)
    axes.errorbar(
        x, mean, yerr=np.maximum((mean - low, high - mean), 0),
        linestyle=":", linewidth=1, capsize=4, elinewidth=1.5,
        markerfacecolor="none", markeredgewidth=1.8, **style,
    )  # fmt: skip


def _floor(dataset: xr.Dataset) -> float:
    """Returns where an axis of accuracies begins: at 0, or below the least, if ``FAR``.

    From 0 on, curves that are all near .9 cannot be told apart.
    """
    both = (dataset.train_accuracy, dataset.test_accuracy)
    least = np.min([accuracy.min(skipna=False) for accuracy in both])
    return math.floor(10 * least) / 10 if least > FAR else 0.0


def _loss_scale(axes: Axes, num_classes: int, floor: float) -> None:
    axes.set_yscale("log")
    if not floor:
        axes.axhline(math.log(num_classes), **GUESSING)
    low, high = axes.get_ylim()
    wide, narrow = high / low > 1e3, high / low < 6
    steps = (1,) if wide else (1, 2, 3, 4, 5, 6, 8) if narrow else (1, 2, 3, 5)
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def _accuracy_scale(axes: Axes, num_classes: int, floor: float) -> None:
    axes.set_ylim(floor, 1)
    if not floor:
        axes.axhline(1 / num_classes, **GUESSING)
    axes.yaxis.set_major_formatter(PER_CENT)


def _rows(dataset: xr.Dataset) -> Iterator[tuple[str, Any]]:
    classes, floor = dataset.attrs["num_classes"], _floor(dataset)
    yield "loss", lambda axes: _loss_scale(axes, classes, floor)
    yield "accuracy", lambda axes: _accuracy_scale(axes, classes, floor)


def _guessing(dataset: xr.Dataset) -> list[Line2D]:
    """Returns what the legend says of guessing, where it is drawn."""
    return [] if _floor(dataset) else [Line2D([], [], **GUESSING, label="guessing")]


def _name_the_infinite(axes: Axes, runs: xr.Dataset, line: str) -> None:
    """Says in a panel which lines are missing because a seed's loss is not finite."""
    losses = runs["test_loss"].isel(epoch=-1).transpose(line, "seed").values
    values = [v.item() for v in runs[line].values[~np.isfinite(losses).all(axis=1)]]
    if values:
        named = ", ".join(show(line, v) for v in values[:4])
        text = f"not finite: {named}{', …' if len(values) > 4 else ''}"
        axes.text(
            0.5, 0.97, text, transform=axes.transAxes, ha="center", va="top", fontsize=9
        )


def _grid(columns: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(max(7.5, 3.6 * columns + 2.2), 6.4), layout="constrained")
    axes = figure.subplots(2, columns, sharex=True, sharey="row", squeeze=False)
    for panel in axes.flat:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def curves(dataset: xr.Dataset, line: str, chosen: str = "") -> Figure:
    """Draws loss and accuracy per epoch, on test and training set.

    Of more than ``MOST_PAIRS`` lines, those of the test set alone.

    Args:
      dataset: results of a sweep.
      line: the axis whose values get a colour each; every combination of the other
        axes' values gets a column of panels.
      chosen: a setting of which each run has the best of several; where there is one
        for each colour, the legend says which.
    """
    panels = panels_of(dataset, line)
    figure, axes = _grid(len(panels[:MOST_PANELS]))
    values = dataset[line].values
    colours = colours_of(len(values))
    parts: dict[str, Any] = {"test": "-", "train": "--"}
    if len(values) > MOST_PAIRS:
        del parts["train"]
    epochs = dataset["epoch"].values
    for column, index in enumerate(panels[:MOST_PANELS]):
        axes[0, column].set_title(described(dataset, index), fontsize=10)
        whole_epochs(axes[1, column], epochs)
        for row, (name, scale) in enumerate(_rows(dataset)):
            for position, colour in enumerate(colours):
                runs = dataset.isel({**index, line: position})
                for part, style in reversed(parts.items()):
                    draw(
                        axes[row, column], epochs, runs[f"{part}_{name}"],
                        color=colour, linestyle=style, marker=".", markersize=5,
                    )  # fmt: skip
            scale(axes[row, column])
        _name_the_infinite(axes[0, column], dataset.isel(index), line)
    axes[0, 0].set_ylabel("loss in nats (log scale)")
    axes[1, 0].set_ylabel("accuracy")
    labels = [show(line, value.item()) for value in values]
    if chosen and dataset[chosen].dims == (line,):
        best = [show(chosen, value.item()) for value in dataset[chosen].values]
        labels = [f"{own} {value}" for own, value in zip(labels, best, strict=True)]
    handles = [
        Line2D([], [], color=colour, label=label)
        for colour, label in zip(colours, labels, strict=True)
    ]
    handles += [
        Line2D([], [], color="0.3", linestyle=style, label=PARTS[part])
        for part, style in parts.items()
        if len(parts) > 1
    ]
    handles += _guessing(dataset)
    figure.legend(
        handles=handles, loc="outside right center", frameon=False,
        title=axis_label(line),
    )  # fmt: skip
    whose = "Loss" if "train" in parts else "Test loss"
    subject = f"{whose} and accuracy while training, by {axis_label(line)}"
    subject += f", each at the best {axis_label(chosen)} tried" if chosen else ""
    title(figure, dataset, subject, len(panels), training="train" in parts)
    return figure


def _log_axis(axes: Axes, dataset: xr.Dataset, x: str) -> None:
    axes.set_xlabel(f"{axis_label(x)} (log scale)")
    axes.set_xscale("log")
    if dataset.sizes[x] <= 8:
        ticks = dataset[x].values.astype(float)
        axes.set_xticks(ticks, [show(x, tick) for tick in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def final_against(dataset: xr.Dataset, x: str) -> Figure:
    """Draws the last epoch's test loss and accuracy against an axis of numbers.

    Args:
      dataset: results of a sweep.
      x: the axis along the bottom, on a log scale; every combination of the other
        axes' values gets a line.
    """
    panels = panels_of(dataset, x)
    figure, axes = _grid(1)
    last = dataset.isel(epoch=-1)
    colours = colours_of(len(panels))
    for position, (index, colour) in enumerate(zip(panels, colours, strict=True)):
        for row, (name, _) in enumerate(_rows(last)):
            _draw_against(
                axes[row, 0], dataset[x].values, last.isel(index)[f"test_{name}"],
                color=colour, marker=MARKERS[position % len(MARKERS)],
                markersize=9 - 4 * position / len(panels),
                label=described(dataset, index) or "test set",
            )  # fmt: skip
    for row, (_, scale) in enumerate(_rows(last)):
        scale(axes[row, 0])
    axes[0, 0].set_ylabel("test loss in nats (log scale)")
    axes[1, 0].set_ylabel("test accuracy")
    _log_axis(axes[1, 0], dataset, x)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles += _guessing(last)
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    subject = f"Test loss and accuracy after epoch {int(last.epoch)} by {axis_label(x)}"
    title(figure, dataset, subject)
    return figure


def shares_against(dataset: xr.Dataset, x: str, shares: Mapping[str, str]) -> Figure:
    """Draws shares that probes recorded, after the last epoch, against an axis.

    Args:
      dataset: results of a sweep.
      x: the axis along the bottom, on a log scale; every combination of the other
        axes' values gets a line.
      shares: name of a variable in 0…1 to its title; a panel each, in two rows.
    """
    lines = panels_of(dataset, x)
    figure, axes = _grid(math.ceil(len(shares) / 2))
    last = dataset.isel(epoch=-1)
    for panel, (name, heading) in zip(axes.flat, shares.items(), strict=False):
        for position, colour in enumerate(colours_of(len(lines))):
            _draw_against(
                panel, dataset[x].values, last.isel(lines[position])[name],
                color=colour, marker=MARKERS[position % len(MARKERS)],
                markersize=9 - 4 * position / len(lines),
                label=described(dataset, lines[position]) or "share",
            )  # fmt: skip
        panel.set_title(heading, fontsize=10)
        panel.set_ylim(-0.03, 1.03)
        panel.yaxis.set_major_formatter(PER_CENT)
    for panel in axes[1]:
        _log_axis(panel, dataset, x)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    subject = (
        f"What is saturated or 0 after epoch {int(last.epoch)}, by {axis_label(x)}"
    )
    title(figure, dataset, subject)
    return figure
