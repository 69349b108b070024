"""Maps of a plane of two settings, with theory over what was measured.

Trains nothing, saves nothing, imports no jax.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.analysis.trainability import (
    RATE,
    levels,
    over_seeds,
    trainable_rates,
)
from fmnist_jax.config import axis_label, is_log
from fmnist_jax.figures.plots import described, panels_of, title

STATUS_COLOURS = {
    "missing": "#FFFFFF", "diverged": "#D55E00", "stopped": "#F0E442",
    "dead": "#000000", "frozen": "#CC79A7", "trained": "#009E73", "slow": "#56B4E9",
}  # fmt: skip
NOT_FINITE = "0.75"
COSTLY = 10  # times what guessing costs: losses from there on look alike
LINES: Sequence[Any] = ("-", "--", ":")  # of the levels of theory
LEGEND_LETTERS = 26  # in a line of the legend
SHARPNESS_IN_WORDS = "λ: the curvature of the loss (sharpness) before the first step"
FINE = 256  # points each way for lines of theory
POINT: dict[str, Any] = {
    "marker": "o", "markersize": 7, "markerfacecolor": "white",
    "markeredgecolor": "black", "markeredgewidth": 1.5, "linestyle": "none",
}  # fmt: skip

Points = Mapping[str, Sequence[Mapping[str, float]]]


def maps(dataset: xr.Dataset, points: Points | None = None) -> dict[str, Figure]:
    """Draws loss, accuracy and status over the plane of the first two axes.

    Over seeds: the median of the loss, the mean of the accuracy, the most frequent
    status.

    Args:
      dataset: results of a sweep; with ``stable_rate``, lines of theory are drawn.
      points: optimizer to settings of others' runs, marked where they lie.

    Returns:
      A figure for each combination of the other axes' values, by a name for its file.
    """
    figures = {}
    plane = sweep_axes(dataset)[:2]
    for index in panels_of(dataset.isel({plane[1]: 0}, drop=True), plane[0]):
        chosen = dataset.isel(index)
        values = [str(dataset[a].values[i].item()) for a, i in index.items()]
        figures["_".join(["map", *values])] = _map(
            chosen, described(dataset, index), points or {}
        )
    return figures


def _map(dataset: xr.Dataset, which: str, points: Points) -> Figure:
    x, y = sweep_axes(dataset)
    figure = Figure(figsize=(15.5, 5.8), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    last = dataset.isel(epoch=-1)
    _draw_loss(figure, panels[0], last, x, y)
    _draw_accuracy(figure, panels[1], last, x, y)
    statuses = _draw_status(panels[2], last, x, y)
    handles: list[Any] = []
    off = [name for name in ("divisor", RATE) if name not in (x, y)]
    here = [
        point
        for point in points.get(str(dataset.optimizer.item()), ())
        if all(point.get(name) == dataset[name].item() for name in off)
    ]
    for panel in panels:
        for name, setter in ((x, panel.set_xscale), (y, panel.set_yscale)):
            setter("log" if _is_log(dataset, name) else "linear")
        panel.set_xlim(*_edges(dataset, x)[[0, -1]])
        panel.set_ylim(*_edges(dataset, y)[[0, -1]])
        panel.set_xlabel(_label(dataset, x))
        handles = _draw_theory(panel, dataset, x, y)
        handles += _draw_points(panel, here, x, y)
    panels[0].set_ylabel(_label(dataset, y))
    handles += statuses
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, fontsize=9
    )
    subject = (
        f"What trains in {_amount(dataset)}, by {axis_label(x)} and {axis_label(y)}"
    )
    title(figure, dataset, f"{subject}{f' – {which}' if which else ''}", seeds=False)
    return figure


def _amount(dataset: xr.Dataset) -> str:
    epochs = dataset.sizes["epoch"]
    count = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    return f"{count} of {dataset.attrs['train_examples']:,} images"


def _over_seeds(dataset: xr.Dataset, what: str) -> str:
    """Returns the second line of a panel's title."""
    count = dataset.sizes["seed"]
    return f"{what} of {count} seeds" if count > 1 else "one seed"


def _is_log(dataset: xr.Dataset, name: str) -> bool:
    return is_log(name) and bool(dataset[name].values[0] > 0)


def _label(dataset: xr.Dataset, name: str) -> str:
    scale = " (log scale)" if _is_log(dataset, name) else ""
    return f"{axis_label(name)}{scale}"


def _edges(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Returns the edges of the cells around the values of an axis."""
    is_log_scaled = _is_log(dataset, name)
    values = dataset[name].values.astype(float)
    values = np.log(values) if is_log_scaled else values
    middles = (values[1:] + values[:-1]) / 2
    first, last = values[0] - (middles[0] - values[0]), 2 * values[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    return np.exp(edges) if is_log_scaled else edges


def _draw_cells(axes: Axes, values: xr.DataArray, x: str, y: str, **style: Any) -> Any:
    grid = values.transpose(y, x).values
    dataset = values.to_dataset(name="values")
    axes.set_facecolor(NOT_FINITE)
    return axes.pcolormesh(
        _edges(dataset, x), _edges(dataset, y), np.ma.masked_invalid(grid),
        rasterized=True, **style,
    )  # fmt: skip


def _draw_loss(figure: Figure, axes: Axes, last: xr.Dataset, x: str, y: str) -> None:
    loss = last.train_loss.where(np.isfinite(last.train_loss))
    loss = loss.median("seed", skipna=False)
    guess = math.log(last.attrs["num_classes"])
    worst = COSTLY * guess
    lowest = loss.where(loss > 0).min().item()  # NaN where there is none
    least = min(lowest, guess / 2) if math.isfinite(lowest) else guess / 2
    cells = _draw_cells(
        axes, loss, x, y, cmap="viridis_r", norm=LogNorm(least, worst)
    )  # fmt: skip
    bar = figure.colorbar(cells, ax=axes, location="bottom", extend="max", pad=0.02)
    ticks = [t for t in (0.3, 0.5, 1, guess, 5, 10, 20) if least <= t <= worst]
    bar.set_ticks(ticks, labels=["ln C" if t == guess else f"{t:g}" for t in ticks])
    bar.ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_title(
        f"Training loss in epoch {int(last.epoch)} (nats, log scale; ln C: guessing\n"
        f"one of C classes; grey: not finite), {_over_seeds(last, 'median')}",
        fontsize=10,
    )  # fmt: skip


def _draw_accuracy(
    figure: Figure, axes: Axes, last: xr.Dataset, x: str, y: str
) -> None:
    accuracy = last.test_accuracy.mean("seed", skipna=False)
    cells = _draw_cells(axes, accuracy, x, y, cmap="viridis", norm=Normalize(0, 1))
    bar = figure.colorbar(cells, ax=axes, location="bottom", pad=0.02)
    bar.ax.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    axes.set_title(
        f"Test accuracy after epoch {int(last.epoch)}\n{_over_seeds(last, 'mean')}",
        fontsize=10,
    )


def _draw_status(axes: Axes, last: xr.Dataset, x: str, y: str) -> list[Any]:
    """Draws the most frequent status; returns what each colour stands for."""
    names = list(STATUS_COLOURS)
    counts = xr.concat([(last.status == name).sum("seed") for name in names], "name")
    most = counts.argmax("name")
    colours = ListedColormap(list(STATUS_COLOURS.values()))
    norm = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    _draw_cells(axes, most, x, y, cmap=colours, norm=norm)
    axes.set_title(
        f"Status after epoch {int(last.epoch)}\n{_over_seeds(last, 'most frequent')}",
        fontsize=10,
    )
    return [
        Patch(facecolor=STATUS_COLOURS[n], edgecolor="0.3", label=_meaning(last, n))
        for n in (names[i] for i in np.unique(most.values))
    ]


def _meaning(dataset: xr.Dataset, status: str) -> str:
    """Returns a status with what it means, as the results hold it."""
    text = dataset.status.attrs.get(status)
    return textwrap.fill(f"{status}: {text}" if text else status, LEGEND_LETTERS)


def _draw_theory(axes: Axes, dataset: xr.Dataset, x: str, y: str) -> list[Any]:
    """Draws where the learning rate is a multiple of what is stable."""
    if "stable_rate" not in dataset:
        return []
    excess = dataset[RATE] / over_seeds(dataset.stable_rate)
    excess = excess.broadcast_like(dataset.status.isel(seed=0, drop=True))
    known = excess.where(excess > 0)  # 0 where nothing limits the rate
    grid: xr.DataArray = known.copy(data=np.log(known.values))
    for name in (x, y):  # as straight between the values as the axis is drawn
        there = dataset[name].values.astype(float)
        scale, back = (np.log, np.exp) if _is_log(dataset, name) else (_same, _same)
        grid = grid.assign_coords({name: scale(there)})
        fine = np.linspace(scale(there[0]), scale(there[-1]), FINE)
        grid = grid.interp({name: fine}).assign_coords({name: back(fine)})
    handles = []
    multiples = levels(str(dataset.optimizer.item()))
    for (level, label), line in zip(multiples.items(), LINES, strict=False):
        if not grid.min() < math.log(level) < grid.max():
            continue
        for colour, width in (("white", 3.5), ("black", 1.6)):
            axes.contour(
                grid[x].values, grid[y].values, grid.transpose(y, x).values,
                [math.log(level)], colors=colour, linewidths=width, linestyles=line,
            )  # fmt: skip
        handles.append(Line2D([], [], color="black", linestyle=line, label=label))
    return handles + _explained(multiples.values())


def _explained(labels: Iterable[str]) -> list[Any]:
    """Returns what a legend says of λ, where these speak of it."""
    if not any("λ" in label for label in labels):
        return []
    said = textwrap.fill(SHARPNESS_IN_WORDS, LEGEND_LETTERS)
    return [Line2D([], [], linestyle="none", label=said)]


def _same(values: Any) -> Any:
    return values


def _draw_points(
    axes: Axes, points: Sequence[Mapping[str, float]], x: str, y: str
) -> list[Any]:
    found = sorted({(p[x], p[y]) for p in points if x in p and y in p})
    if not found:
        return []
    axes.plot(*zip(*found, strict=True), **POINT)
    return [Line2D([], [], **POINT, label="settings of the sources")]


def rates(dataset: xr.Dataset) -> dict[str, Figure]:
    """Draws the trainable learning rates and those of theory against the other axis.

    Below, the ratio of the largest trainable rate to the stable one. A column for each
    combination of further axes.

    Args:
      dataset: results with ``sharpness`` and ``stable_rate``; the first two axes span
        a plane.

    Returns:
      The figure, by a name for its file; none where no axis is the learning rate.
    """
    plane = sweep_axes(dataset)[:2]
    if RATE not in plane:
        return {}
    (x,) = (axis for axis in plane if axis != RATE)
    table = trainable_rates(dataset)
    others = [a for a in sweep_axes(dataset) if a not in (x, RATE)]
    groups = list(table.groupby(others, sort=False)) if others else [("", table)]
    figure = Figure(figsize=(max(7.5, 4 * len(groups) + 2), 7), layout="constrained")
    axes = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False,
                           height_ratios=(3, 2))  # fmt: skip
    for column, (label, rows) in zip(axes.T, groups, strict=True):
        text = label if isinstance(label, tuple) else (label,)
        column[0].set_title(", ".join(map(str, text)), fontsize=10)
        _draw_rates(column[0], rows, x, _levels(dataset, rows))
        column[1].plot(rows[x], rows.ratio, "o-", color="#009E73", markersize=4)
        for level, line in zip(_levels(dataset, rows), LINES, strict=False):
            column[1].axhline(level, color="black", linestyle=line, linewidth=1)
        for panel in column:
            panel.set_yscale("log")
            panel.set_xscale("log" if _is_log(dataset, x) else "linear")
            panel.grid(alpha=0.25)
        column[1].set_xlabel(_label(dataset, x))
    axes[0, 0].set_ylabel("learning rate (log scale)")
    axes[1, 0].set_ylabel("largest that trains,\nover stable (log scale)")
    named = [axis.get_legend_handles_labels() for axis in axes[0]]
    by_label: dict[str, Any] = {}
    for handles, names in named:
        by_label |= dict(zip(names, handles, strict=True))
    handles = list(by_label.values())
    handles += _explained(by_label)
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    subject = f"Learning rates that train in {_amount(dataset)}, by {axis_label(x)}"
    title(figure, dataset, subject, seeds=False)
    return {"rates": figure}


def _levels(dataset: xr.Dataset, rows: pd.DataFrame) -> dict[float, str]:
    """Returns the multiples of interest for the one optimizer of some rows."""
    of_rows = (
        rows.optimizer.iloc[0] if "optimizer" in rows else dataset.optimizer.item()
    )
    return levels(str(of_rows))


def _draw_rates(
    axes: Axes, rows: pd.DataFrame, x: str, multiples: Mapping[float, str]
) -> None:
    """Draws what trains as a band, and the multiples of the stable rate as lines."""
    axes.fill_between(
        rows[x], rows.least_trainable, rows.largest_trainable, color="#009E73",
        alpha=0.3, linewidth=0, label="trains",
    )  # fmt: skip
    for name in ("least_trainable", "largest_trainable"):
        axes.plot(rows[x], rows[name], "o", color="#009E73", markersize=4)
    for (level, label), line in zip(multiples.items(), LINES, strict=False):
        axes.plot(rows[x], level * rows.stable_rate, color="black", linestyle=line,
                  linewidth=1.4, label=label)  # fmt: skip
