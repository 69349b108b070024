"""Runs that exact arithmetic makes equal, and how far they part. No jax."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fmnist_jax.figures.plots import (
    PER_CENT,
    colours_of,
    draw,
    empty_figure,
    title,
    whole_epochs,
)

DASHES = ((0, (4, 3)), (0, (1, 1.5)))  # of an optimizer's twins
LEAST_DIFFERENCE = 1e-8  # below a difference's log scale; float32 steps by 6e-8 at 1


def figure(dataset: xr.Dataset, axis: str, twins: Mapping[str, str]) -> Figure:
    """Draws runs with their twins over them, and how far their training losses part.

    A column for each optimizer; what has no twin is dotted.

    Args:
      dataset: results of a sweep with no axis but ``axis``, optimizers along it.
      axis: on which the twins stand.
      twins: label on it to that of the other.
    """
    by_label = dict(
        zip(dataset[axis].values.tolist(), dataset.optimizer.values, strict=True)
    )
    optimizers = list(dict.fromkeys(by_label.values()))
    figure, axes = empty_figure(3, len(optimizers), sharex=True, sharey="row")
    for column, optimizer in zip(axes.T, optimizers, strict=True):
        column[0].set_title(optimizer, fontsize=10)
        labels = [label for label, own in by_label.items() if own == optimizer]
        _draw_column(column, dataset, axis, labels, twins)
    loss, accuracy, apart = axes[:, 0]
    loss.set_ylabel("training loss (log scale)")
    accuracy.set_ylabel("test accuracy")
    apart.set_ylabel(
        "training losses apart,\nlargest of the seeds\n(log scale above 0)"
    )
    apart.set_ylim(bottom=-0.2 * LEAST_DIFFERENCE)  # once all columns are drawn
    title(figure, dataset, "Runs and their twins, which exact arithmetic makes equal")
    return figure


def _draw_column(
    column: np.ndarray,
    dataset: xr.Dataset,
    axis: str,
    labels: list[str],
    twins: Mapping[str, str],
) -> None:
    """Draws the runs of one optimizer: losses, accuracies, differences of losses."""
    epochs, apart = dataset.epoch.values, column[2]
    others = [v for v in labels if v not in twins]
    colours = dict(zip(others, colours_of(len(others)), strict=True))
    dashes = dict(zip(filter(twins.__contains__, labels), DASHES, strict=False))
    for label in sorted(labels, key=twins.__contains__):
        style = {"color": colours.get(label, "black"), "label": label}
        if label in twins:
            style |= {"linestyle": dashes.get(label, "-"), "linewidth": 1.2}
            pair = (dataset.train_loss.sel({axis: v}) for v in (label, twins[label]))
            parted = np.ptp([run.astype(float) for run in pair], axis=0).max(axis=0)
            colour = colours[twins[label]]
            named = f"{twins[label]} and its twin"
            apart.plot(
                epochs, parted, color=colour, marker="o", markersize=4, label=named
            )
        elif label in twins.values():
            style |= {"linewidth": 5, "alpha": 0.35}
        else:
            style |= {"linestyle": ":"}
        for panel, name in zip(column, ("train_loss", "test_accuracy"), strict=False):
            draw(panel, epochs, dataset[name].sel({axis: label}), **style)
    column[0].set_yscale("log")
    column[0].yaxis.set_major_formatter("{x:g}")
    for panel in (column[0], apart) if dashes else (column[0],):
        panel.legend(frameon=False, fontsize=8)
    column[1].yaxis.set_major_formatter(PER_CENT)
    apart.set_yscale("symlog", linthresh=LEAST_DIFFERENCE)
    whole_epochs(apart, epochs)
