"""Maps over a plane of two settings, with theoretical stability limits. No jax."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fmnist_jax.analysis.criteria import judge
from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.analysis.trainability import (
    ACTIVATION,
    LEARNING_RATE,
    activation_rate,
    geometric_mean,
    stability_multiples,
    trained_share,
)
from fmnist_jax.config import axis_label
from fmnist_jax.figures import style, trainability
from fmnist_jax.values import STATUS

STATUS_COLOURS = {
    "missing": "#FFFFFF",
    "diverged": "#D55E00",
    "stopped": "#F0E442",
    "dead": "#000000",
    "frozen": "#CC79A7",
    "trained": "#009E73",
    "not trained": "#56B4E9",
    "finished": "#999999",
}
NOT_FINITE = "0.75"
HIGH_LOSS = 10  # times the loss of a uniform prediction: losses above look alike
FINE = 256  # points in each direction for lines of theory
POINT: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 1.5,
    "linestyle": "none",
}

Panels = Sequence[Axes]
Points = Mapping[str, Sequence[Mapping[str, float]]]


def maps(
    dataset: xr.Dataset, points: Points | None = None, criterion: str = STATUS
) -> dict[str, Figure]:
    """Draws loss, accuracy and status over the plane of the first two axes.

    Over seeds: the median of the loss, the mean of the accuracy, the most frequent
    status. If the results contain ``stable_rate``, lines of theory are drawn.
    ``points`` are the settings of published runs by optimizer, which are marked; the
    ``criterion`` decides which runs are shown as trained (``judge``).

    Returns:
      A figure for each combination of the other axes' values, by its file name.
    """
    figures, dataset = {}, judge(dataset, criterion)
    for index in combinations(dataset, *sweep_axes(dataset)[:2]):
        values = [str(dataset[a].values[i].item()) for a, i in index.items()]
        subtitle = style.panel_title(dataset, index)
        runs = dataset.isel(index)
        figures["_".join(["map", *values])] = _map(runs, subtitle, points or {})
    return figures


def trained_points(dataset: xr.Dataset) -> dict[str, Figure]:
    """Draws which points of an adaptive map were trained, and which are filled in.

    Returns:
      The figure by its file name; empty for other maps.
    """
    if "is_trained" not in dataset:
        return {}
    x, y = map(str, dataset.is_trained.dims)
    figure = Figure(figsize=(7.5, 6.2), layout="constrained")
    panel = figure.subplots()
    colours = ListedColormap(["white", "black"])
    _draw_cells(panel, dataset.is_trained.transpose(y, x), cmap=colours, vmin=0, vmax=1)
    panel.set(xscale=style.scale(dataset, x), yscale=style.scale(dataset, y))
    panel.set_xlabel(style.scaled_label(dataset, x))
    panel.set_ylabel(style.scaled_label(dataset, y))
    labels = {"black": "trained", "white": "filled in"}
    patches = [
        Patch(facecolor=colour, edgecolor="0.3", label=label)
        for colour, label in labels.items()
    ]
    style.add_legend(figure, patches)
    style.title(figure, dataset, trained_share(dataset), seeds="")
    return {"trained": figure}


def _map(dataset: xr.Dataset, subtitle: str, points: Points) -> Figure:
    x, y = sweep_axes(dataset)
    figure = Figure(figsize=(15.5, 5.8), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    last = dataset.isel(epoch=-1).transpose(y, x, ...)
    _draw_loss(figure, panels[0], last)
    _draw_accuracy(figure, panels[1], last)
    statuses = _draw_status(panels[2], last)
    panels[0].set(xscale=style.scale(dataset, x), yscale=style.scale(dataset, y))
    panels[0].set(xlim=edges(dataset, x)[[0, -1]], ylim=edges(dataset, y)[[0, -1]])
    for panel in panels:
        panel.set_xlabel(style.scaled_label(dataset, x))
    panels[0].set_ylabel(style.scaled_label(dataset, y))
    handles = _draw_theory(panels, dataset)
    handles += _draw_points(panels, points, dataset)
    style.add_legend(figure, handles + statuses, fontsize=9)
    axes = f"{axis_label(x)} and {axis_label(y)}"
    subject = f"Training in {trainability.budget(dataset)}, by {axes}"
    subject += f" – {subtitle}" if subtitle else ""
    note = ""
    if "is_trained" in dataset:
        note = f"{trained_share(dataset)}; the others are filled in."
    style.title(figure, dataset, subject, seeds="", note=note)
    return figure


def _over_seeds(dataset: xr.Dataset, statistic: str) -> str:
    """Returns the second line of a panel's title."""
    count = dataset.sizes["seed"]
    return f"{statistic} of {count} seeds" if count > 1 else "one seed"


def edges(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Returns the edges of the cells around the values of an axis."""
    is_log_scaled = style.scale(dataset, name) == "log"
    values = dataset[name].values.astype(float)
    values = np.log(values) if is_log_scaled else values
    wider = np.pad(values, 1, mode="reflect", reflect_type="odd")
    between = (wider[1:] + wider[:-1]) / 2
    return np.exp(between) if is_log_scaled else between


def _draw_cells(axes: Axes, values: xr.DataArray, **options: Any) -> Any:
    """Draws values ``[y, x]`` as coloured cells; grey if not finite."""
    y, x = map(str, values.dims)
    sides = (edges(values.to_dataset(name="values"), name) for name in (x, y))
    axes.set_facecolor(NOT_FINITE)
    masked = np.ma.masked_invalid(values.values)
    return axes.pcolormesh(*sides, masked, rasterized=True, **options)


def _draw_loss(figure: Figure, axes: Axes, last: xr.Dataset) -> None:
    loss = last.train_loss.where(np.isfinite(last.train_loss))
    loss = loss.median("seed", skipna=False)
    uniform = math.log(last.attrs["num_classes"])
    low, high = uniform / 2, HIGH_LOSS * uniform
    low = float(np.fmin(low, loss.where(loss > 0).min().item()))
    cells = _draw_cells(axes, loss, cmap="viridis_r", norm=LogNorm(low, high))
    bar = figure.colorbar(cells, ax=axes, location="bottom", extend="max", pad=0.02)
    ticks = [t for t in (0.3, 0.5, 1, uniform, 5, 10, 20) if low <= t <= high]
    bar.set_ticks(ticks, labels=["ln C" if t == uniform else f"{t:g}" for t in ticks])
    bar.ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    heading = (
        f"Training loss in epoch {int(last.epoch)} (nats, log scale; ln C: uniform\n"
        f"prediction; grey: not finite), {_over_seeds(last, 'median')}"
    )
    axes.set_title(heading, fontsize=10)


def _draw_accuracy(figure: Figure, axes: Axes, last: xr.Dataset) -> None:
    accuracy = last.test_accuracy.mean("seed", skipna=False)
    cells = _draw_cells(axes, accuracy, cmap="viridis", norm=Normalize(0, 1))
    bar = figure.colorbar(cells, ax=axes, location="bottom", pad=0.02)
    bar.ax.xaxis.set_major_formatter(style.PER_CENT)
    heading = f"Test accuracy after epoch {int(last.epoch)}"
    axes.set_title(f"{heading}\n{_over_seeds(last, 'mean')}", fontsize=10)


def _draw_status(axes: Axes, last: xr.Dataset) -> list[Any]:
    """Draws the most frequent status; returns the legend of the colours."""
    names = list(STATUS_COLOURS)
    counts = xr.concat([(last.status == name).sum("seed") for name in names], "name")
    most = counts.argmax("name")
    colours = ListedColormap(list(STATUS_COLOURS.values()))
    norm = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    _draw_cells(axes, most, cmap=colours, norm=norm)
    heading = f"Status after epoch {int(last.epoch)}"
    axes.set_title(f"{heading}\n{_over_seeds(last, 'most frequent')}", fontsize=10)
    handles = []
    for name in (names[i] for i in np.unique(most.values)):
        meaning = last.status.attrs.get(name)
        text = f"{name}: {meaning}" if meaning else name
        label = textwrap.fill(text, trainability.LEGEND_CHARS)
        colour = STATUS_COLOURS[name]
        handles.append(Patch(facecolor=colour, edgecolor="0.3", label=label))
    return handles


def _log_excess(dataset: xr.Dataset, limit: xr.DataArray) -> xr.DataArray:
    """Returns log(learning rate / limit) on a fine grid, ``[y, x]``.

    It is interpolated linearly as the axes are scaled. NaN if theory sets no limit.
    """
    excess = dataset[LEARNING_RATE] / limit
    excess = excess.broadcast_like(dataset.status.isel(seed=0, drop=True))
    grid: xr.DataArray = xr.apply_ufunc(np.log, excess.where(excess > 0))
    x, y = sweep_axes(dataset)
    for name in (x, y):
        values = dataset[name].values
        is_log_scaled = style.scale(dataset, name) == "log"
        drawn = np.log(values) if is_log_scaled else values.astype(float)
        fine = np.linspace(drawn[0], drawn[-1], FINE)
        grid = grid.assign_coords({name: drawn}).interp({name: fine})
        grid = grid.assign_coords({name: np.exp(fine) if is_log_scaled else fine})
    return grid.transpose(y, x)


def _draw_theory(panels: Panels, dataset: xr.Dataset) -> list[Any]:
    """Draws the learning rates that are stable by theory; returns their legend."""
    handles = []
    if ACTIVATION in dataset:
        grid = _log_excess(dataset, activation_rate(dataset))
        if _draw_level(panels, grid, 0, trainability.ACTIVATION_LINE):
            handles.append(trainability.explain_activation())
    if "stable_rate" not in dataset:
        return handles
    grid = _log_excess(dataset, geometric_mean(dataset.stable_rate))
    multiples = stability_multiples(str(dataset.optimizer.item()))
    lines = zip(multiples.items(), trainability.DASHES, strict=False)
    for (multiple, label), dash in lines:
        line = {"color": "black", "linestyle": dash}
        if _draw_level(panels, grid, math.log(multiple), line):
            handles.append(style.legend_line(label, **line))
    return handles + trainability.explain_sharpness(multiples.values())


def _draw_level(
    panels: Panels, grid: xr.DataArray, level: float, line: Mapping[str, Any]
) -> bool:
    """Draws a level of a grid on each panel; returns whether the grid crosses it."""
    if not grid.min() < level < grid.max():
        return False
    y, x = map(str, grid.dims)
    contour = (grid[x].values, grid[y].values, grid.values, [level])
    for panel in panels:
        for colour, width in (("white", 3.5), (line["color"], 1.6)):
            style_of = {"colors": colour, "linestyles": line["linestyle"]}
            panel.contour(*contour, linewidths=width, **style_of)
    return True


def _draw_points(panels: Panels, points: Points, dataset: xr.Dataset) -> list[Any]:
    """Marks the published runs with the settings of a map; returns their legend."""
    x, y = sweep_axes(dataset)
    fixed = [name for name in ("divisor", LEARNING_RATE) if name not in (x, y)]
    marks = {
        (point[x], point[y])
        for point in points.get(str(dataset.optimizer.item()), ())
        if {x, y} <= point.keys()
        and all(point.get(name) == dataset[name].item() for name in fixed)
    }
    if not marks:
        return []
    for panel in panels:
        panel.plot(*zip(*sorted(marks), strict=True), **POINT)
    return [style.legend_line("settings of the sources", **POINT)]
