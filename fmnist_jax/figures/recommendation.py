"""A recommendation as a figure: learning rates by scaling, and the best settings."""

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_jax.analysis.recommendation import (
    SETTING,
    WINDOW_RATE,
    Recommendation,
    best_position,
)
from fmnist_jax.analysis.windows import RATE, final_accuracy
from fmnist_jax.figures import style

LABELS = {
    "raw": "raw (÷1)",
    "unit": "unit (0 to 1)",
    "symmetric": "symmetric (−1 to 1)",
    "standard": "standard, over all values",
    "per_feature": "standard, per pixel or column",
    "per_channel": "standard, per channel",
}
WINDOW: dict[str, Any] = {"color": "#009E73", "alpha": 0.15, "linewidth": 0}
THEORY: dict[str, Any] = {"color": "#7A1FA2", "linestyle": ":", "linewidth": 1.6}
LONGER: dict[str, Any] = {"color": "black", "linewidth": 2.2}
BEST: dict[str, Any] = {"marker": "*", "markersize": 15, "linestyle": "none"}
BEST |= {"color": "#D55E00", "markeredgecolor": "white"}


def figure(advice: Recommendation) -> Figure:
    """Draws the search, a panel for each optimizer, and the settings trained in full.

    The last panel has the legend. Lines: the validation accuracy of each scaling by
    learning rate after the first rung; in black, that of the recommended setting after
    more epochs.
    """
    results = advice.results
    guess = results.attrs["largest_class_share"]  # of runs that diverged
    tried = results.tried_accuracy.sortby(WINDOW_RATE).fillna(guess)
    others = [d for d in tried.dims if d not in ("tried_scaling", WINDOW_RATE)]
    optimizers = [""]
    if "tried_optimizer" in others:
        optimizers = tried.tried_optimizer.values.tolist()
    count = len(optimizers) + 2
    columns = 2 if count == 4 else 3
    rows = math.ceil(count / columns)
    size = 4.5 * columns, 3.9 * rows
    drawn, panels = style.grid_of_panels(rows, columns, size)
    finalists, legend, *empty = panels.flat[len(optimizers) :]
    for panel, optimizer in zip(panels.flat, optimizers, strict=False):
        part = tried.sel(tried_optimizer=optimizer) if optimizer else tried
        _draw_search(panel, part.max([d for d in others if d in part.dims]), results)
        panel.set_title(optimizer, fontsize=11)
        if optimizer in ("", advice.settings["optimizer"]):
            _draw_recommended(panel, advice)
        panel.set_ylabel("validation accuracy, %")
    _draw_finalists(finalists, advice)
    labels = [LABELS.get(name, name) for name in tried.tried_scaling.values.tolist()]
    legend.legend(handles=_legend(labels, advice), loc="center left", frameon=False)
    for panel in (legend, *empty):
        panel.set_axis_off()
    subject = "How to scale the inputs, and which learning rate to use"
    style.title(drawn, results, subject, seeds="")
    return drawn


def _draw_search(panel: Axes, tried: xr.DataArray, results: xr.Dataset) -> None:
    """Draws a line for each scaling."""
    values = 100 * tried.transpose("tried_scaling", WINDOW_RATE).values
    for colour, line in zip(style.colours(len(values)), values, strict=True):
        panel.plot(tried[WINDOW_RATE], line, color=colour, linewidth=1.2, alpha=0.9)
    panel.axhline(100 * results.attrs["largest_class_share"], **style.BASELINE)
    panel.set(xscale="log", xlabel="learning rate (log scale)", ylim=(0, 100))


def _draw_recommended(panel: Axes, advice: Recommendation) -> None:
    """Draws the recommended setting at every learning rate, its window and theory."""
    guess = advice.results.attrs["largest_class_share"]
    longer = advice.results.window_accuracy.sortby(WINDOW_RATE).fillna(guess)
    panel.plot(longer[WINDOW_RATE], 100 * longer, **LONGER)
    if math.isfinite(advice.window[0]):
        panel.axvspan(*advice.window, **WINDOW)
        middle = 100 * advice.results.attrs["window_threshold"]
        panel.axhline(middle, color="#009E73", linewidth=0.8)
    for rate in advice.theory.values():
        panel.axvline(rate, **THEORY)
    rate = advice.settings[RATE]
    at_rate = 100 * longer.sel({WINDOW_RATE: rate}, method="nearest").item()
    panel.plot([rate], [at_rate], zorder=5, **BEST)


def _draw_finalists(panel: Axes, advice: Recommendation) -> None:
    """Draws the accuracy of each seed of the settings that were trained in full."""
    results = advice.results
    values = 100 * final_accuracy(results, "validation").transpose(SETTING, "seed")
    order = np.argsort(values.mean("seed").values)
    best = best_position(results)
    for row, position in enumerate(order):
        seeds = values.values[position]
        colour = BEST["color"] if position == best else "0.35"
        panel.plot(seeds, [row] * len(seeds), "o", color=colour, alpha=0.5, ms=5)
        panel.plot([seeds.mean()], [row], "|", color=colour, ms=18, mew=2)
    row = order.tolist().index(best)
    mean, low, high = (100 * value for value in advice.accuracy)
    panel.errorbar(
        [mean], [row - 0.3], xerr=[[mean - low], [high - mean]], fmt="D", color="black"
    )
    labels = [label.replace(", ", "\n", 1) for label in results[SETTING].values[order]]
    panel.set_yticks(range(len(order)), labels, fontsize=9)
    panel.set(ylim=(-0.7, len(order) - 0.5), xlabel="validation accuracy by seed, %")
    panel.set_title(f"all training data, {results.sizes['epoch']} epochs", fontsize=11)


def _legend(labels: list[str], advice: Recommendation) -> list[Any]:
    attrs = advice.results.attrs
    pairs = zip(labels, style.colours(len(labels)), strict=True)
    part = f"{attrs['part_examples']:,} examples"
    lines = [style.legend_line(label, color=colour) for label, colour in pairs]
    lines.append(
        style.legend_line(f"(after epoch {attrs['first_rung']} on {part})", ls="none")
    )
    epochs = f"recommended scaling,\nafter epoch {attrs['part_epochs']} on these"
    lines.append(style.legend_line(epochs, **LONGER))
    lines.append(
        style.legend_line(
            "window: learning rates above\nthe line, half-way from\n"
            "guessing to the best",
            **{**WINDOW, "linewidth": 9},
        )
    )
    if advice.theory:
        lines.append(style.legend_line("theoretical stability limit", **THEORY))
    lines.append(style.legend_line("recommended", **BEST))
    lines.append(
        style.legend_line(
            "its test accuracy, with\n95 % interval",
            marker="D",
            color="black",
            ls="none",
        )
    )
    lines.append(style.legend_line("guessing", **style.BASELINE))
    return lines
