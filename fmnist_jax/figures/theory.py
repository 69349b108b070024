"""Theory on a map: labelled lines, regimes, and where λ is uncertain. No jax."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.analysis.trainability import (
    ACTIVATION,
    LEARNING_RATE,
    activation_rate,
    geometric_mean,
    stability_multiples,
)
from fmnist_jax.figures import style, trainability

FINE = 256  # points in each direction
COARSE = 64  # cells in each direction, in which names of regions are placed
POSITIONS = (0.8, 0.95, 0.82, 0.88)  # of the lines' labels, from left to right
SATURATED = 10  # times the loss of a uniform prediction
MAX_RESIDUAL = 1e-4  # of the eigenvalue; it has not converged above
UNCONVERGED: dict[str, Any] = {"color": "#D55E00", "marker": "x", "linestyle": "none"}
ACTIVATION_NAME = "activation stability"


def _log_excess(dataset: xr.Dataset, limit: xr.DataArray) -> xr.DataArray:
    """Returns log(learning rate / limit) on a fine grid, ``[y, x]``.

    It is interpolated linearly as the axes are scaled. NaN if theory sets no limit.
    """
    excess = dataset[LEARNING_RATE] / limit
    excess = excess.broadcast_like(dataset.status.isel(seed=0, drop=True))
    grid: xr.DataArray = xr.apply_ufunc(np.log, excess.where(excess > 0))
    x, y = sweep_axes(dataset)
    for name in (x, y):
        values = dataset[name].values
        is_log_scaled = style.scale(dataset, name) == "log"
        drawn = np.log(values) if is_log_scaled else values.astype(float)
        fine = np.linspace(drawn[0], drawn[-1], FINE)
        grid = grid.assign_coords({name: drawn}).interp({name: fine})
        grid = grid.assign_coords({name: np.exp(fine) if is_log_scaled else fine})
    return grid.transpose(y, x)


def draw_theory(axes: Axes, dataset: xr.Dataset) -> tuple[list[np.ndarray], list[str]]:
    """Draws and labels the learning rates that are stable by theory.

    Returns the cells of a coarse grid on which lines are, and explanations.
    """
    levels: list[tuple[xr.DataArray, float, str, Mapping[str, Any]]] = []
    if ACTIVATION in dataset:
        grid = _log_excess(dataset, activation_rate(dataset))
        line = trainability.ACTIVATION_LINE
        levels.append((grid, 0, ACTIVATION_NAME, line))
    if "stable_rate" in dataset:
        grid = _log_excess(dataset, geometric_mean(dataset.stable_rate))
        multiples = stability_multiples(str(dataset.optimizer.item()))
        lines = zip(multiples.items(), trainability.DASHES, strict=False)
        for (multiple, label), dash in lines:
            look = {"color": "black", "linestyle": dash}
            levels.append((grid, math.log(multiple), label, look))
    drawn: list[np.ndarray] = []
    labels: list[str] = []
    for level in levels:
        if _draw_level(axes, *level, len(drawn)):
            grid, value, label, _ = level
            drawn.append(_on_line(grid.values - value))
            labels.append(label)
    texts = [trainability.SHARPNESS_LABEL] if any("λ" in t for t in labels) else []
    if ACTIVATION_NAME in labels:
        texts.append(trainability.ACTIVATION_LABEL)
    return drawn, texts


def _on_line(excess: np.ndarray) -> np.ndarray:
    """Returns which cells of a coarse grid the zero level passes through."""
    step = FINE // COARSE
    signs = (excess > 0).reshape(COARSE, step, COARSE, step)
    crossed: np.ndarray = np.any(signs, (1, 3)) & ~np.all(signs, (1, 3))
    return crossed


def _draw_level(
    axes: Axes,
    grid: xr.DataArray,
    level: float,
    label: str,
    line: Mapping[str, Any],
    position: int,
) -> bool:
    """Draws and labels a level of a grid; returns whether the grid crosses it."""
    if not grid.min() < level < grid.max():
        return False
    y, x = map(str, grid.dims)
    look = {"colors": line["color"], "linestyles": line["linestyle"]}
    contour = axes.contour(grid[x], grid[y], grid, [level], linewidths=1.6, **look)
    columns = np.flatnonzero((grid.min(y) < level) & (level < grid.max(y)))
    if len(columns):
        wanted = POSITIONS[position % len(POSITIONS)] * FINE
        column = columns[np.abs(columns - wanted).argmin()]
        row = int(np.nanargmin(np.abs(grid.values[:, column] - level)))
        at = float(grid[x][column]), float(grid[y][row])
        axes.clabel(contour, fmt=label, manual=[at], fontsize=8.5)
    return True


def draw_unconverged(axes: Axes, dataset: xr.Dataset) -> bool:
    """Marks at the bottom where the computation of λ did not converge for a seed.

    Returns whether there is a mark.
    """
    prefix = "" if dataset.optimizer.item() == "sgd" else "preconditioned_"
    residual = dataset.get(f"{prefix}sharpness_residual", xr.DataArray(0.0))
    x, _ = sweep_axes(dataset)
    if set(residual.dims) != {x, "seed"}:
        return False
    values = residual[x].values[(residual.max("seed") > MAX_RESIDUAL).values]
    bottom = np.full(len(values), 0.02)
    axes.plot(values, bottom, transform=axes.get_xaxis_transform(), **UNCONVERGED)
    return len(values) > 0


def draw_regimes(axes: Axes, last: xr.Dataset) -> None:
    """Writes along the bottom for which divisors the inputs are too large or too small.

    The softmax is saturated if the loss is far above that of a uniform prediction even
    at the lowest learning rate. Inputs are too small above the largest divisor at which
    some learning rate trains most seeds.
    """
    y, x = map(str, last.status.isel(seed=0).dims)
    if (x, y) != ("divisor", LEARNING_RATE):
        return
    loss = last.train_loss.isel({y: 0}).median("seed", skipna=False).values
    far = SATURATED * math.log(last.attrs["num_classes"])
    trains = ((last.status == "trained").mean("seed") > 0.5).any(y)
    largest = last[x].where(trains).max() if trains.any() else math.inf
    regimes = {
        "softmax saturated": np.isfinite(loss) & (loss > far),
        "inputs too small": (last[x] > largest).values,
    }
    for text, is_inside in regimes.items():
        values = last[x].values[is_inside]
        if len(values) < 2:
            continue
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform()}
        ends = values[[0, -1]]
        axes.plot(ends, [0.05, 0.05], "|-", color="0.25", linewidth=1, **place)
        middle = values[len(values) // 2]
        axes.text(middle, 0.06, text, ha="center", va="bottom", fontsize=9, **place)
