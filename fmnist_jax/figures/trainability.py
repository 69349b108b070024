"""Trainable learning rates against theoretical stability, as a figure. No jax."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_jax.analysis import trainability
from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.analysis.trainability import ACTIVATION
from fmnist_jax.config import axis_label
from fmnist_jax.figures import style
from fmnist_jax.values import STATUS

GREEN = "#009E73"  # for trainable learning rates
DASHES: Sequence[Any] = ("-", "--", ":")  # for multiples of the stable learning rate
ACTIVATION_LINE: dict[str, Any] = {"color": "#7A1FA2", "linestyle": "-"}
LEGEND_CHARS = 26  # in a line of the legend
ACTIVATION_LABEL = (
    "activation stability: a first step changes the inputs of a layer's ReLUs by their "
    "own size"
)
SHARPNESS_LABEL = "λ: the curvature of the loss (sharpness) before the first step"


def budget(dataset: xr.Dataset) -> str:
    """Returns the number of epochs and of images in the training of each run."""
    epochs = dataset.sizes["epoch"]
    count = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    return f"{count} of {dataset.attrs['train_examples']:,} images"


def explain_sharpness(labels: Iterable[str]) -> list[Any]:
    """Returns the legend's explanation of λ if any label contains λ."""
    text = textwrap.fill(SHARPNESS_LABEL, LEGEND_CHARS)
    has_sharpness = any("λ" in label for label in labels)
    return [style.legend_line(text, linestyle="none")] if has_sharpness else []


def explain_activation() -> Any:
    """Returns the legend of the line of activation stability, in words."""
    text = textwrap.fill(ACTIVATION_LABEL, LEGEND_CHARS)
    return style.legend_line(text, **ACTIVATION_LINE)


def trainable_ranges(dataset: xr.Dataset, criterion: str = STATUS) -> dict[str, Figure]:
    """Draws trainable and stable learning rates against the other axis of the plane.

    Below, the largest trainable learning rate divided by the stable one. A column for
    each combination of further axes. The first two axes span the plane. Returns the
    figure by its file name; nothing if the learning rate is not an axis.
    """
    axes = sweep_axes(dataset)
    plane, others = axes[:2], axes[2:]
    if trainability.LEARNING_RATE not in plane:
        return {}
    (x,) = (axis for axis in plane if axis != trainability.LEARNING_RATE)
    table = trainability.trainable_range(dataset, criterion)
    if "optimizer" not in table:
        table = table.assign(optimizer=str(dataset.optimizer.item()))
    groups = list(table.groupby(others, sort=False)) if others else [((), table)]
    options: dict[str, Any] = {"sharey": "row", "height_ratios": (3, 2)}
    figure, panels = style.grid_of_panels(2, len(groups), sharex=True, **options)
    for column, (values, rows) in zip(panels.T, groups, strict=True):
        column[0].set_title(", ".join(map(str, values)), fontsize=10)
        _draw_range(column, rows, x)
        for panel in column:
            panel.set(xscale=style.scale(dataset, x), yscale="log")
        column[1].set_xlabel(style.scaled_label(dataset, x))
    style.log_ticks(panels[1, 0].yaxis)
    panels[0, 0].set_ylabel("learning rate (log scale)")
    panels[1, 0].set_ylabel("largest trainable ÷ stable\nlearning rate (log scale)")
    artists = [a for panel in panels[0] for a in panel.get_legend_handles_labels()[0]]
    handles = {artist.get_label(): artist for artist in artists}
    legend = [*handles.values(), *explain_sharpness(handles)]
    if ACTIVATION in table and table[ACTIVATION].notna().any():
        legend.append(explain_activation())
    style.add_legend(figure, legend)
    subject = f"Trainable learning rates after {budget(dataset)}, by {axis_label(x)}"
    subject += "" if criterion == STATUS else f" (trainable: {criterion})"
    style.title(figure, dataset, subject, seeds="")
    return {"rates": figure}


def _draw_range(column: Sequence[Axes], rows: pd.DataFrame, x: str) -> None:
    """Draws trainable learning rates as a band, multiples of the stable as lines."""
    (learning_rate, ratio), values = column, rows[x]
    multiples = trainability.stability_multiples(rows.optimizer.iloc[0])
    ends = rows.least_trainable, rows.largest_trainable
    kwargs: dict[str, Any] = {"color": GREEN, "markersize": 4}
    learning_rate.fill_between(
        values, *ends, color=GREEN, alpha=0.3, linewidth=0, label="trainable"
    )
    for end in ends:
        learning_rate.plot(values, end, "o", **kwargs)
    ratio.plot(values, rows.ratio, "o-", **kwargs)
    for (multiple, label), dash in zip(multiples.items(), DASHES, strict=False):
        line: dict[str, Any] = {"color": "black", "linestyle": dash}
        stable = multiple * rows.stable_rate
        learning_rate.plot(values, stable, linewidth=1.4, label=label, **line)
        ratio.axhline(multiple, linewidth=1, **line)
    if ACTIVATION in rows:
        learning_rate.plot(values, rows[ACTIVATION], linewidth=1.4, **ACTIVATION_LINE)
