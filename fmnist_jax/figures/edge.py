"""Sharpness along training against the edge of stability, as a figure. No jax."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_jax.analysis.edge import BATCH_SHARPNESS, edge_of, sharpness_of
from fmnist_jax.analysis.trainability import LEARNING_RATE
from fmnist_jax.config import show
from fmnist_jax.figures import style

TRAINING_NOTE = "Training loss: mean during the epoch; all else: after the epoch."
Index = Mapping[str, int]
EDGE: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.2}
MAX_EDGE_FACTOR = 30.0  # runs that start further from the edge are not drawn


def figure(dataset: xr.Dataset) -> Figure:
    """Draws sharpness ÷ its edge, and training loss, by learning rate (an axis).

    For gradient descent, the edge is 2/η, and the ratio λη/2. Every combination of the
    other axes' values gets a column. Learning rates whose runs start further from the
    edge than ``MAX_EDGE_FACTOR`` are listed, not drawn.
    """
    shown, truncation = style.shown_panels(dataset, LEARNING_RATE)
    figure, panels = style.grid_of_panels(2, len(shown), sharex=True, sharey="row")
    for column, index in zip(panels.T, shown, strict=True):
        heading = style.panel_title(dataset, index).replace(", ", "\n")
        column[0].set_title(heading, fontsize=10)
        _draw_column(column, dataset, index)
        style.epoch_axis(column[1], dataset.epoch.values)
    ratio = "λη/2" if (dataset.optimizer == "sgd").all() else "λ ÷ edge"
    panels[0, 0].set_ylabel(f"{ratio} (log scale)")
    panels[1, 0].set_ylabel("training loss (log scale)")
    lines = [style.legend_line("λ, the sharpness", color="0.3")]
    if BATCH_SHARPNESS in dataset:
        lines.append(style.legend_line("batch sharpness", color="0.3", linestyle=":"))
    lines.append(style.legend_line("1: edge of stability", **EDGE))
    style.add_legend_of(figure, dataset, LEARNING_RATE, *lines)
    subject = "Sharpness relative to the edge above which training is unstable"
    style.title(figure, dataset, subject, note=f"{TRAINING_NOTE} {truncation}".strip())
    return figure


def _draw_column(column: Sequence[Axes], dataset: xr.Dataset, index: Index) -> None:
    """Draws the runs of all learning rates that start near the edge."""
    epochs, far = dataset.epoch.values, []
    for position, colour in enumerate(style.colours(dataset.sizes[LEARNING_RATE])):
        at = {**index, LEARNING_RATE: position}
        sharpness, edge = sharpness_of(dataset).isel(at), edge_of(dataset, at)
        first = sharpness.isel(epoch=0).mean("seed", skipna=False).item() / edge[0]
        if not 1 / MAX_EDGE_FACTOR <= first <= MAX_EDGE_FACTOR:
            far.append(show(LEARNING_RATE, dataset[LEARNING_RATE].values[position]))
            continue
        relative = sharpness.transpose("seed", "epoch") / edge
        style.draw_seeds(column[0], epochs, relative, color=colour, linewidth=1.4)
        if BATCH_SHARPNESS in dataset:
            batch = dataset[BATCH_SHARPNESS].isel(at).mean("seed", skipna=False) / edge
            column[0].plot(epochs, batch, ":", color=colour, linewidth=1.4)
        style.draw_seeds(column[1], epochs, dataset.train_loss.isel(at), color=colour)
    column[0].axhline(1, **EDGE)
    for panel in column:
        panel.set_yscale("log")
        style.log_ticks(panel.yaxis)
    if far:
        text = f"not drawn, far from the edge:\n{', '.join(far)}"
        kwargs: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8}
        kwargs["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        column[0].text(0.5, 0.02, text, transform=column[0].transAxes, **kwargs)
