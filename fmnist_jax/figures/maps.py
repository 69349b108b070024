"""Maps over a plane of two settings, with theoretical stability limits. No jax."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fmnist_jax.analysis.criteria import judge
from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.analysis.trainability import (
    LEARNING_RATE,
    trained_share,
)
from fmnist_jax.config import axis_label
from fmnist_jax.figures import style, trainability
from fmnist_jax.figures.theory import (
    COARSE,
    UNCONVERGED,
    draw_regimes,
    draw_theory,
    draw_unconverged,
)
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
LIGHT = ListedColormap(mpl.colormaps["YlGnBu"](np.linspace(0, 0.65, 256)))
MIN_DEPTH = 2  # of a region that is named
LEGEND_CHARS = 36
HATCH: dict[str, Any] = {"hatch": "//////", "edgecolor": "0.25", "linewidth": 0}
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
    """Draws accuracy and status over the plane of the first two axes.

    Over seeds: the mean of the accuracy, the most frequent status. If the results
    contain ``stable_rate``, lines of theory are drawn. ``points`` are the settings of
    published runs by optimizer, which are marked; the ``criterion`` decides which runs
    are shown as trained (``judge``). There is a figure for each combination of the
    other axes' values, by its file name.
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

    Returns the figure by its file name; nothing for other maps.
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
    figure = Figure(figsize=(9.4, 6.6), layout="constrained")
    mosaic: Any = [["accuracy", "status"], ["accuracy", "legend"]]
    panels = figure.subplot_mosaic(
        mosaic, width_ratios=(2.2, 1), height_ratios=(1, 1.6)
    )
    accuracy, status, legend = panels.values()
    last = dataset.isel(epoch=-1).transpose(y, x, ...)
    most = _most_frequent(last)
    _draw_accuracy(figure, accuracy, last)
    _draw_status(status, most)
    scales: dict[str, Any] = {"xscale": style.scale(dataset, x)}
    scales |= {"yscale": style.scale(dataset, y)}
    ends = {"xlim": edges(dataset, x)[[0, -1]], "ylim": edges(dataset, y)[[0, -1]]}
    for panel in (accuracy, status):
        panel.set(**scales, **ends)
    accuracy.set_xlabel(style.scaled_label(dataset, x))
    accuracy.set_ylabel(style.scaled_label(dataset, y))
    heading = f"Status, {_over_seeds(last, 'most frequent')}"
    status.set_title(heading, fontsize=10)
    status.tick_params(labelsize=8)
    handles = _draw_disagreement((accuracy, status), last)
    handles += _draw_points((accuracy, status), points, dataset)
    lines, explanations = draw_theory(accuracy, dataset)
    _name_regions(accuracy, most, lines)
    if draw_unconverged(accuracy, dataset):
        handles.append(_entry("the computation of λ did not converge", **UNCONVERGED))
    handles += [_entry(text, linestyle="none") for text in explanations]
    draw_regimes(accuracy, last)
    legend.set_axis_off()
    handles = _status_legend(last, most) + handles
    look: dict[str, Any] = {"frameon": False, "loc": "upper left", "labelspacing": 0.4}
    legend.legend(handles=handles, fontsize=8, **look).set_in_layout(False)
    axes = f"{axis_label(x)} and {axis_label(y)}"
    subject = f"{axes[0].upper()}{axes[1:]}, {trainability.budget(dataset)}"
    subject += f" – {subtitle}" if subtitle else ""
    note = ""
    if "is_trained" in dataset:
        note = f"{trained_share(dataset)}; the others are filled in."
    style.title(figure, dataset, subject, seeds="", note=note)
    return figure


def _over_seeds(dataset: xr.Dataset, statistic: str) -> str:
    """Returns what is drawn of several seeds."""
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


def _draw_accuracy(figure: Figure, axes: Axes, last: xr.Dataset) -> None:
    """Draws the accuracy in colours that end where the data end."""
    accuracy = last.test_accuracy.mean("seed", skipna=False)
    cells = _draw_cells(axes, accuracy, cmap=LIGHT)
    bar = figure.colorbar(cells, ax=axes, location="bottom", pad=0.02, aspect=40)
    bar.ax.xaxis.set_major_formatter(style.PER_CENT)
    heading = f"Test accuracy after epoch {int(last.epoch)}"
    grey = "; grey: not finite" if accuracy.isnull().any() else ""
    heading = f"{heading}, {_over_seeds(last, 'mean')}{grey}"
    axes.set_title(heading, fontsize=10)


def _most_frequent(last: xr.Dataset) -> xr.DataArray:
    """Returns the position of each cell's status in ``STATUS_COLOURS``."""
    names = list(STATUS_COLOURS)
    counts = xr.concat([(last.status == name).sum("seed") for name in names], "name")
    return counts.argmax("name")


def _draw_status(axes: Axes, most: xr.DataArray) -> None:
    colours = ListedColormap(list(STATUS_COLOURS.values()))
    count = len(STATUS_COLOURS)
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    _draw_cells(axes, most, cmap=colours, norm=norm)


def _status_legend(last: xr.Dataset, most: xr.DataArray) -> list[Any]:
    handles = []
    for name in (list(STATUS_COLOURS)[i] for i in np.unique(most.values)):
        meaning = last.status.attrs.get(name)
        label = _wrapped(f"{name}: {meaning}" if meaning else name)
        colour = STATUS_COLOURS[name]
        handles.append(Patch(facecolor=colour, edgecolor="0.3", label=label))
    return handles


def _wrapped(text: str) -> str:
    return textwrap.fill(text, LEGEND_CHARS)


def _entry(text: str, **look: Any) -> Any:
    """Returns a line for the legend."""
    return style.legend_line(_wrapped(text), **look)


def _draw_disagreement(panels: Panels, last: xr.Dataset) -> list[Any]:
    """Hatches the cells in which some seeds are trained and some are not."""
    share = (last.status == "trained").mean("seed")
    y, x = map(str, share.dims)
    is_mixed = ((share > 0) & (share < 1)).values
    if not is_mixed.any():
        return []
    sides = [edges(last, name) for name in (x, y)]
    cells = np.ma.masked_where(~is_mixed, np.ones(is_mixed.shape))
    for panel in panels:
        panel.pcolor(*sides, cells, cmap=ListedColormap(["none"]), **HATCH)
    label = _wrapped("seeds disagree: some are trained, others are not")
    return [Patch(facecolor="none", label=label, **HATCH)]


def _name_regions(axes: Axes, most: xr.DataArray, lines: Sequence[np.ndarray]) -> None:
    """Writes the name of each status where its region is widest and without lines."""
    centres, cells = {}, []
    for name in map(str, most.dims):
        is_log_scaled = style.scale(most.to_dataset(name="most"), name) == "log"
        sides = edges(most.to_dataset(name="most"), name)
        sides = np.log(sides) if is_log_scaled else sides
        fine = np.linspace(sides[0], sides[-1], 2 * COARSE + 1)[1::2]
        centres[name] = np.exp(fine) if is_log_scaled else fine
        cells.append(np.searchsorted(sides, fine) - 1)
    y, x = centres.values()
    codes, is_free = most.values[np.ix_(*cells)], np.ones((COARSE, COARSE), bool)
    for line in lines:
        is_free &= ~line
    for point in (
        point for mark in axes.lines for point in np.asarray(mark.get_data()).T
    ):
        row, column = np.searchsorted(y, point[1]), np.searchsorted(x, point[0])
        is_free[max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = False
    for code, name in enumerate(STATUS_COLOURS):
        depth, (row, column) = _deepest((codes == code) & is_free)
        if depth >= MIN_DEPTH:
            looks: dict[str, Any] = {"ha": "center", "va": "center", "style": "italic"}
            axes.text(x[column], y[row], name, fontsize=11, **looks)


def _deepest(inside: np.ndarray) -> tuple[int, tuple[int, int]]:
    """Returns how often a region can be eroded, and a cell that remains then."""
    depth, last = 0, inside
    while inside.any():
        depth, last = depth + 1, inside
        wide = np.pad(inside, ((1, 1), (2, 2)))
        inside = inside & wide[:-2, 2:-2] & wide[2:, 2:-2]
        inside &= wide[1:-1, :-4] & wide[1:-1, 4:]
    rows, columns = np.nonzero(last)
    middle = len(rows) // 2
    return depth, (int(rows[middle]), int(columns[middle])) if depth else (0, 0)


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
