"""A figure of accuracies by input and learning rate, with the windows that train."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.analysis.windows import (
    RATE,
    by_optimizer,
    final_accuracy,
    input_name,
    windows,
)
from fmnist_jax.config import axis_label, show

ROW_INCHES, PANEL_INCHES = 0.36, 5.2


def figures(dataset: xr.Dataset, axis: str, rows: pd.DataFrame) -> dict[str, Figure]:
    """Draws ``figure`` for each combination of further axes; returns them by name."""
    others = [name for name in sweep_axes(dataset) if name not in (axis, RATE)]
    if not others:
        return {"windows": figure(dataset, axis, rows)}
    drawn = {}
    for position in combinations(dataset, axis, RATE):
        values = {name: dataset[name].values[at] for name, at in position.items()}
        is_part = (rows[others] == pd.Series(values)[others]).all(axis=1)
        title = ", ".join(f"{axis_label(n)} {show(n, v)}" for n, v in values.items())
        part = dataset.isel(position)
        name = "-".join(["windows", *map(str, values.values())])
        drawn[name] = figure(part, axis, rows[is_part], title)
    return drawn


def figure(
    dataset: xr.Dataset, axis: str, rows: pd.DataFrame, title: str = ""
) -> Figure:
    """Draws a panel for each optimizer: inputs down, learning rates across.

    The results are along ``axis``, the inputs, "learning_rate" and "seed" only;
    ``rows`` is their table of ``analysis.windows``. The title says what else is fixed.
    """
    dataset = dataset.sortby(RATE)
    accuracy = 100 * final_accuracy(dataset, "validation").mean("seed")
    is_in_window, groups = windows(dataset), list(by_optimizer(dataset, axis))
    most = max(len(group) for _, group in groups)
    size = (2.2 + PANEL_INCHES * len(groups), 1.9 + ROW_INCHES * most)
    drawn = Figure(figsize=size, layout="constrained")
    panels = drawn.subplots(1, len(groups), squeeze=False, sharey=False)[0]
    image: Any = None
    for panel, (optimizer, group) in zip(panels, groups, strict=True):
        values = accuracy.isel({axis: group}).transpose(axis, RATE).values
        image = panel.imshow(
            values,
            aspect="auto",
            cmap="YlGnBu",
            vmin=float(accuracy.min()),
            vmax=float(accuracy.max()),
        )
        inside = is_in_window.isel({axis: group}).transpose(axis, RATE).values
        _label_axes(panel, dataset, axis, group)
        _mark(panel, rows[rows.optimizer == optimizer], inside, dataset[RATE].values)
        panel.set_title(optimizer)
    for panel in panels[1:]:
        panel.set_yticklabels([])
    bar = drawn.colorbar(image, ax=panels.tolist(), pad=0.01)
    bar.set_label("validation accuracy, %")
    drawn.suptitle(
        f"{dataset.attrs['dataset_title']}: accuracy by input and learning rate"
        f"{', ' + title if title else ''}\n"
        "outlined: the unbroken stretch around the best (dot) that is at least "
        "half-way from guessing to the best of all; dashed: usual learning rate",
        fontsize=10,
    )
    return drawn


def _label_axes(panel: Any, dataset: xr.Dataset, axis: str, group: list[int]) -> None:
    rates = dataset[RATE].values
    whole = np.isclose(np.log10(rates) % 1, 0, atol=1e-3)
    shown = np.flatnonzero(whole if whole.any() else np.ones(len(rates), bool))
    powers = [f"$10^{{{np.log10(rates[i]):.0f}}}$" for i in shown]
    panel.set_xticks(shown, powers if whole.any() else [f"{r:g}" for r in rates])
    labels = [input_name(label) for label in dataset[axis].values[group]]
    panel.set_yticks(range(len(group)), labels, fontsize=9)
    panel.set_xlabel(axis_label(RATE))
    panel.grid(visible=False)


def _mark(
    panel: Any, rows: pd.DataFrame, inside: np.ndarray, rates: np.ndarray
) -> None:
    """Outlines windows, and marks best and usual learning rates."""
    for row, columns in enumerate(map(np.flatnonzero, inside)):
        if len(columns):
            corner, width = (columns[0] - 0.5, row - 0.5), len(columns)
            outline = Rectangle(corner, width, 1, fill=False, color="black", lw=1.5)
            panel.add_patch(outline)
    best = [int(np.argmin(np.abs(rates - rate))) for rate in rows.best_learning_rate]
    panel.plot(best, range(len(best)), "o", color="tab:red", ms=6, mec="white")
    usual = rows.usual_learning_rate.iloc[0]
    if np.isfinite(usual):
        panel.axvline(np.argmin(np.abs(rates - usual)), color="black", ls="--", lw=1)
