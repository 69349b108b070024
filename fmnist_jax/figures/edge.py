"""How sharpness along training compares with the edge of stability. No jax.

The edge is the sharpness above which the learning rate is no longer stable: 2/η for
gradient descent, the rest as in ``stability``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmnist_jax.config import OPTIMIZERS, axis_label, show
from fmnist_jax.figures.plots import (
    MOST_PANELS,
    colours_of,
    described,
    draw,
    panels_of,
    title,
    whole_epochs,
)
from fmnist_jax.stability import stable_sharpness

SHARPNESS = ("sharpness", "preconditioned_sharpness")
LINE = "learning_rate"
FAR = 30.0  # times the edge, above or below: of such runs a figure shows nothing


def _of_run(dataset: xr.Dataset, index: Mapping[str, int]) -> tuple[Any, Any]:
    """Returns sharpness ``[seed, epoch]``, and the edge of each epoch."""
    runs = dataset.isel(index)
    name = next(name for name in SHARPNESS if name in dataset)
    optimizer = str(runs.optimizer.item())
    settings = {s: runs[s].item() for s in OPTIMIZERS[optimizer] if s in runs.coords}
    rate = runs.epoch_learning_rate.isel(seed=0).values
    return runs[name], stable_sharpness(optimizer, rate, settings)


def figure(dataset: xr.Dataset) -> Figure:
    """Draws the sharpness of each rate's runs with its edge, and their training loss.

    Every combination of the other axes' values gets a column. Rates that begin further
    from the edge than ``FAR`` are named, and not drawn.

    Args:
      dataset: results with one of ``SHARPNESS`` for each epoch, and the axis of rates.
    """
    panels = panels_of(dataset, LINE)
    shown = panels[:MOST_PANELS]
    size = (max(7.5, 3.2 * len(shown) + 1.8), 6.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(shown), sharex=True, squeeze=False)
    for column, index in zip(axes.T, shown, strict=True):
        column[0].set_title(described(dataset, index).replace(", ", "\n"), fontsize=10)
        _draw_column(column, dataset, index)
    axes[0, 0].set_ylabel("sharpness (log scale)")
    axes[1, 0].set_ylabel("training loss (log scale)")
    rates = dataset[LINE].values
    handles = [
        Line2D([], [], color=colour, label=show(LINE, rate.item()))
        for colour, rate in zip(colours_of(len(rates)), rates, strict=True)
    ]
    edge = Line2D([], [], color="0.3", linestyle="--", label="edge of stability")
    figure.legend(
        handles=[*handles, edge], loc="outside right center", frameon=False,
        title=axis_label(LINE),
    )  # fmt: skip
    subject = "Sharpness after each epoch, and where the learning rate gets unstable"
    title(figure, dataset, subject, len(panels))
    return figure


def _draw_column(
    column: Sequence[Axes], dataset: xr.Dataset, index: Mapping[str, int]
) -> None:
    """Draws the runs of all rates that are not far from the edge."""
    epochs, far = dataset.epoch.values, []
    colours = colours_of(dataset.sizes[LINE])
    for position, colour in enumerate(colours):
        at = {**index, LINE: position}
        runs, edge = _of_run(dataset, at)
        first = runs.isel(epoch=0).mean("seed", skipna=False).item() / edge[0]
        if not 1 / FAR <= first <= FAR:
            far.append(show(LINE, dataset[LINE].values[position].item()))
            continue
        draw(column[0], epochs, runs, color=colour, linewidth=1.4)
        column[0].plot(epochs, edge, "--", color=colour, linewidth=1)
        draw(column[1], epochs, dataset.train_loss.isel(at), color=colour)
    for panel in column:
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        subs = (1,) if high / low > 1e3 else (1, 2, 3, 5)
        panel.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    if far:
        said = f"not drawn, far from the edge:\n{', '.join(far)}"
        place: dict[str, Any] = {"transform": column[0].transAxes, "ha": "center"}
        column[0].text(0.5, 0.01, said, va="bottom", fontsize=8, color="0.35", **place)
    whole_epochs(column[1], epochs)
