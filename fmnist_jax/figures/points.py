"""Accuracy of points in a space of settings: sampled, or paired. No jax."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from fmnist_jax.analysis.results import selection_metric
from fmnist_jax.config import SETTINGS, axis_label
from fmnist_jax.figures import details, style

FEW = 8  # points
FAILED: dict[str, Any] = {"color": "0.25", "marker": "x", "linestyle": "none"}
FAILED_LABEL = "not finite for a seed"


def figure(dataset: xr.Dataset, axis: str) -> Figure:
    """Draws the accuracy after the last epoch of the points along ``axis``.

    One panel shows it against each setting of the points. If there are two settings,
    another panel shows both, with accuracy as colour. There is a row of panels for each
    combination of the other axes' values. If there are few points, or none of their
    settings is a number, the accuracy of each point is listed instead.
    """
    names = [
        name
        for name in SETTINGS
        if name in dataset.coords and dataset[name].dims == (axis,)
        if dataset[name].dtype.kind in "iuf" and len(np.unique(dataset[name])) > 1
    ]
    texts = [n for n in SETTINGS if n in dataset.coords and dataset[n].dims == (axis,)]
    is_mixed = any(dataset[name].dtype.kind in "UO" for name in texts)
    metric = selection_metric(dataset)
    if not names or is_mixed or dataset.sizes[axis] <= FEW:
        return details.by_choice(dataset, axis, ["train_accuracy", metric])
    shown, note = style.shown_panels(dataset, axis)
    columns = len(names) + (len(names) == 2)
    size = max(7.5, 3.4 * columns + 1), 2.6 * len(shown) + 1.8
    drawing, panels = style.grid_of_panels(len(shown), columns, size)
    finite = dataset[metric].where(np.isfinite(dataset[metric]))
    best = finite.isel(epoch=-1).mean("seed", skipna=False).max().item()
    for row, index in zip(panels, shown, strict=True):
        runs = dataset.isel({**index, "epoch": -1})
        row[0].set_ylabel(metric.replace("_", " "))
        for panel, name in zip(row, names, strict=False):
            _draw(panel, runs, name, metric)
        for panel in row if index else ():
            panel.set_title(style.panel_title(dataset, index), fontsize=10)
        if len(names) == 2:
            dots = _draw_plane(row[-1], runs, names, metric, best)
            bar = drawing.colorbar(dots, ax=row[-1], format=style.PER_CENT)
            bar.set_label(metric.replace("_", " "))
    for panel, name in zip(panels[-1], [*names, names[0]], strict=False):
        panel.set_xlabel(style.scaled_label(dataset, name))
    classes = dataset.attrs["num_classes"]
    guess = f"uniform prediction, {100 / classes:.3g} %"
    handles = [style.legend_line(guess, **style.BASELINE)]
    if not np.isfinite(dataset[metric].isel(epoch=-1)).all():
        handles.append(style.legend_line(FAILED_LABEL, **FAILED))
    style.add_legend(drawing, handles, loc="outside lower right", ncols=2)
    labels = " and ".join(axis_label(name) for name in names)
    count, epoch = dataset.sizes[axis], int(dataset.epoch[-1])
    subject = f"{metric.replace('_', ' ').capitalize()} after epoch {epoch}: "
    subject += f"{count} points of {labels}"
    style.title(drawing, dataset, subject, note=note)
    return drawing


def _draw(panel: Axes, runs: xr.Dataset, name: str, metric: str) -> None:
    """Draws the mean and the range over seeds against a setting."""
    x, (mean, low, high) = runs[name].values, style.mean_and_range(runs[metric])
    errors = np.maximum((mean - low, high - mean), 0)
    panel.errorbar(
        x,
        mean,
        yerr=errors,
        fmt="o",
        markersize=4,
        elinewidth=1,
        color=style.COLOURS[0],
    )
    failed = ~np.isfinite(mean)
    if failed.any():  # an empty line with clip_on=False breaks the layout
        panel.plot(x[failed], np.zeros(failed.sum()), clip_on=False, **FAILED)
    panel.axhline(1 / runs.attrs["num_classes"], **style.BASELINE)
    panel.set_xscale(style.scale(runs, name))
    panel.set_ylim(0, 1)
    panel.yaxis.set_major_formatter(style.PER_CENT)


def _draw_plane(
    panel: Axes, runs: xr.Dataset, names: list[str], metric: str, best: float
) -> PathCollection:
    """Draws the points in the plane of two settings, coloured by accuracy.

    The colours range from 0 to ``best``. Returns the collection of points.
    """
    mean, _, _ = style.mean_and_range(runs[metric])
    x, y = (runs[name].values for name in names)
    finite = np.isfinite(mean)
    options: dict[str, Any] = {
        "cmap": "viridis",
        "vmin": 0,
        "vmax": best,
        "s": 30,
        "zorder": 2,
    }
    dots = panel.scatter(x[finite], y[finite], c=mean[finite], **options)
    panel.plot(x[~finite], y[~finite], **FAILED)
    panel.set_xscale(style.scale(runs, names[0]))
    panel.set_yscale(style.scale(runs, names[1]))
    panel.set_ylabel(style.scaled_label(runs, names[1]))
    return dots
