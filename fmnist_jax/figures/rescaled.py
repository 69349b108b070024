"""Runs with a rescaled first layer against runs with divided pixels. No jax."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_jax.figures import style

Pairs = Mapping[str, str]
DASHES = ((0, (4, 3)), (0, (1, 1.5)))  # of an optimizer's runs with a rescaled layer
DIFFERENCE = "difference of training losses,\nmaximum over seeds\n(log scale above 0)"
SMALLEST_DIFFERENCE = 1e-8  # below it the scale is linear; float32 has steps of 6e-8


def figure(dataset: xr.Dataset, axis: str, pairs: Pairs) -> Figure:
    """Draws both runs of each pair, and the difference of their training losses.

    A column for each optimizer; runs that belong to no pair are dotted. The arguments
    are those of ``analysis.rescaled.table``.
    """
    optimizers = dict.fromkeys(dataset.optimizer.values.tolist())
    figure, panels = style.grid_of_panels(3, len(optimizers), sharex=True, sharey="row")
    for column, optimizer in zip(panels.T, optimizers, strict=True):
        column[0].set_title(optimizer, fontsize=10)
        runs = dataset.isel({axis: dataset.optimizer.values == optimizer})
        _draw_column(column, runs.rename({axis: "label"}), pairs)
    loss, accuracy, difference = panels[:, 0]
    loss.set_ylabel("training loss (log scale)")
    accuracy.set_ylabel("test accuracy")
    difference.set_ylabel(DIFFERENCE)
    difference.set_ylim(bottom=-0.2 * SMALLEST_DIFFERENCE)  # after drawing all columns
    subject = "Rescaled first layer against divided pixels: equal in exact arithmetic"
    style.title(figure, dataset, subject)
    return figure


def _draw_column(panels: Sequence[Axes], runs: xr.Dataset, pairs: Pairs) -> None:
    """Draws losses, accuracies and differences of the runs of one optimizer."""
    loss, accuracy, difference = panels
    epochs, labels = runs.epoch.values, runs["label"].values.tolist()
    rescaled = [label for label in labels if label in pairs]
    others = [label for label in labels if label not in pairs]
    for label, colour in zip(others, style.colours(len(others)), strict=True):
        in_pair = label in pairs.values()
        kwargs: dict[str, Any] = {"color": colour, "label": label}
        kwargs |= {"linewidth": 5, "alpha": 0.35} if in_pair else {"linestyle": ":"}
        for panel, values in ((loss, runs.train_loss), (accuracy, runs.test_accuracy)):
            style.draw_seeds(panel, epochs, values.sel(label=label), **kwargs)
        for name in (name for name in rescaled if pairs[name] == label):
            losses = runs.train_loss.sel(label=[name, label]).astype(float).values
            largest = np.ptp(losses, axis=0).max(axis=0)
            kwargs = {"color": colour, "label": f"{name}, {label}"}
            difference.plot(epochs, largest, marker="o", markersize=4, **kwargs)
    for position, label in enumerate(rescaled):
        kwargs = {"color": "black", "linewidth": 1.2, "label": label}
        kwargs["linestyle"] = DASHES[position % len(DASHES)]
        for panel, values in ((loss, runs.train_loss), (accuracy, runs.test_accuracy)):
            style.draw_seeds(panel, epochs, values.sel(label=label), **kwargs)
    loss.set_yscale("log")
    loss.yaxis.set_major_formatter("{x:g}")
    accuracy.yaxis.set_major_formatter(style.PER_CENT)
    difference.set_yscale("symlog", linthresh=SMALLEST_DIFFERENCE)
    style.epoch_axis(difference, epochs)
    for panel in (loss, difference) if rescaled else (loss,):
        panel.legend(frameon=False, fontsize=8)
