"""The common look of all figures: panels, colours, axes, titles and legends. No jax."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.analysis.results import combinations
from fmnist_jax.config import axis_label, is_log, show

# Okabe and Ito's colours, which colour-blind readers can distinguish; grey for yellow.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"),
    "#999999",
)
MARKERS = "osD^vPX"
MAX_PANELS = 6  # columns of a figure
MAX_TICKS = 12  # values along an axis that get a tick or an error bar each
CHARS_PER_INCH = 12  # in the small print
TITLE_CHARS_PER_INCH = 10  # in the title
# Settings in the small print unless they are axes.
CONTEXT = (
    *("model", "hidden_sizes", "initializer", "loss", "optimizer", "learning_rate"),
    *("batch_size", "divisor"),
)
BASELINE: dict[str, Any] = {"color": "0.45", "linestyle": (0, (1, 2)), "linewidth": 1}
PER_CENT = mpl.ticker.FuncFormatter(lambda share, _: f"{100 * share:.4g}%")


def colours(count: int) -> Sequence[Any]:
    """Returns this number of distinguishable colours."""
    if count <= len(COLOURS):
        return COLOURS[:count]
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.92, count)))


def grid_of_panels(
    rows: int, columns: int, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its panels ``[rows, columns]``, with grid lines.

    ``size`` is in inches; ``options`` are those of ``Figure.subplots``.
    """
    size = size or (max(7.5, 3.5 * columns + 2), max(4.4, 2.6 * rows + 1.2))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    for panel in panels.flat:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def panel_title(dataset: xr.Dataset, index: Mapping[str, int]) -> str:
    """Returns the values at ``index`` with the labels of their axes."""
    values = {a: dataset[a].values[i].item() for a, i in index.items()}
    return ", ".join(f"{axis_label(a)}: {show(a, v)}" for a, v in values.items())


def title(
    figure: Figure,
    dataset: xr.Dataset,
    subject: str,
    seeds: str = "mean and range of",
    note: str = "",
) -> None:
    """Writes subject, data set and seeds at the top, settings and note at the bottom.

    ``seeds`` is what is drawn of several seeds; "" leaves the seeds out.
    """
    count = dataset.sizes["seed"]
    runs = f": {seeds} {count} seeds" if count > 1 else ": one seed"
    width = figure.get_figwidth()
    subject = textwrap.fill(subject, int(TITLE_CHARS_PER_INCH * width))
    data = f"{dataset.attrs['dataset_title']}{runs if seeds else ''}"
    figure.suptitle(f"{subject}\n{data}", fontsize=12)
    settings = [
        f"{axis_label(name)} {show(name, dataset[name].item())}"
        for name in CONTEXT
        if name in dataset.coords and dataset[name].ndim == 0
    ]
    # Non-breaking spaces: lines break between two settings only.
    text = ", ".join(setting.replace(" ", "\N{NBSP}") for setting in settings)
    lines = [*textwrap.wrap(text, int(CHARS_PER_INCH * width)), note]
    figure.supxlabel("\n".join(filter(None, lines)), fontsize=9, color="0.35")
    figure.align_ylabels()


def add_legend(
    figure: Figure, handles: Sequence[Any], title: str = "", **text: Any
) -> None:
    """Adds a legend to the right of all panels."""
    options = {"loc": "outside right center", "frameon": False, **text}
    figure.legend(handles=handles, title=title or None, **options)


def legend_line(label: str, **style: Any) -> Line2D:
    """Returns a line for the legend."""
    return Line2D([], [], label=label, **style)


def legend_lines(dataset: xr.Dataset, axis: str) -> list[Line2D]:
    """Returns a coloured line for the legend for each value of an axis."""
    labels = [show(axis, value.item()) for value in dataset[axis].values]
    pairs = zip(labels, colours(len(labels)), strict=True)
    return [legend_line(label, color=colour) for label, colour in pairs]


def add_legend_of(figure: Figure, dataset: xr.Dataset, axis: str, *more: Any) -> None:
    """Adds a legend of the values of an axis, and of more lines."""
    handles = [*legend_lines(dataset, axis), *more]
    add_legend(figure, handles, axis_label(axis))


def shown_panels(dataset: xr.Dataset, axis: str) -> tuple[list[dict[str, int]], str]:
    """Returns the combinations to draw, a column each, and a note on those left out."""
    indices = combinations(dataset, axis)
    note = f"The first {MAX_PANELS} of {len(indices)} combinations are drawn."
    return indices[:MAX_PANELS], note if len(indices) > MAX_PANELS else ""


def at_first_values(dataset: xr.Dataset, axis: str) -> xr.Dataset:
    """Returns the results at the first value of every axis but ``axis``."""
    return dataset.isel(combinations(dataset, axis)[0])


def scale(dataset: xr.Dataset, axis: str) -> str:
    """Returns the scale on which figures draw the values of an axis."""
    return "log" if is_log(axis) and dataset[axis].min() > 0 else "linear"


def scaled_label(dataset: xr.Dataset, axis: str) -> str:
    """Returns the label of an axis, with its scale if that is a log scale."""
    is_log_scaled = scale(dataset, axis) == "log"
    return f"{axis_label(axis)}{' (log scale)' if is_log_scaled else ''}"


def epoch_axis(axes: Axes, epochs: np.ndarray, label: str = "epoch") -> None:
    """Labels the bottom axis as epochs (or steps), with ticks at whole numbers."""
    axes.set_xlabel(label)
    few = len(epochs) <= MAX_TICKS and label == "epoch"
    integers = mpl.ticker.MaxNLocator(integer=True, steps=[1, 2, 5, 10])
    locator = mpl.ticker.FixedLocator(epochs.tolist()) if few else integers
    axes.xaxis.set_major_locator(locator)


def log_ticks(axis: Axis) -> None:
    """Sets ticks with plain numbers on an axis with a log scale, by its range."""
    low, high = sorted(axis.get_view_interval())
    wide, narrow = high / low > 1e3, high / low < 6
    subs = [1] if wide else [1, 2, 3, 4, 5, 6, 8] if narrow else [1, 2, 3, 5]
    ticker = mpl.ticker
    is_short = high / low < 2  # such a range may contain one of these numbers or none
    axis.set_major_locator(
        ticker.MaxNLocator(5) if is_short else ticker.LogLocator(subs=subs)
    )
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(ticker.NullLocator())


def mean_and_range(values: xr.DataArray) -> Sequence[np.ndarray]:
    """Returns mean, minimum and maximum over seeds; NaN if any seed is not finite."""
    finite = values.where(np.isfinite(values))
    statistics = (finite.mean, finite.min, finite.max)
    return [reduce("seed", skipna=False).values for reduce in statistics]


def draw_seeds(axes: Axes, x: Any, values: xr.DataArray, **style: Any) -> None:
    """Draws the mean over seeds as a line, and the range over seeds as a band."""
    mean, low, high = mean_and_range(values)
    axes.plot(x, mean, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
