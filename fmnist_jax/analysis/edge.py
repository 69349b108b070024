"""How the sharpness along training compares with the edge of stability. No jax.

The edge is the sharpness above which the learning rate is unstable: 2/η for gradient
descent; ``stability`` has the other optimizers.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import as_table, combinations, sweep_axes
from fmnist_jax.analysis.trainability import LEARNING_RATE
from fmnist_jax.config import OPTIMIZERS, axis_label, show
from fmnist_jax.stability import stable_sharpness

SHARPNESS = ("sharpness", "preconditioned_sharpness")
BATCH_SHARPNESS = "batch_sharpness"
HEADING = "Sharpness λ, first epoch → last quarter of the epochs, by learning rate:"
END_FRACTION = 0.25  # share of the epochs that are averaged as the end of training


def sharpness_of(dataset: xr.Dataset) -> xr.DataArray:
    """Returns the sharpness that determines stability, after each epoch of each run."""
    return next(dataset[name] for name in SHARPNESS if name in dataset)


def edge_of(dataset: xr.Dataset, index: Mapping[str, int]) -> np.ndarray:
    """Returns the edge of stability ``[epoch]`` of the combination at ``index``."""
    runs = dataset.isel(index)
    optimizer = str(runs.optimizer.item())
    settings = {s: runs[s].item() for s in OPTIMIZERS[optimizer] if s in runs.coords}
    learning_rates = runs.epoch_learning_rate.isel(seed=0).values
    return stable_sharpness(optimizer, learning_rates, settings)


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of the axes' values, mean over seeds.

    Columns: the axes; ``sharpness_first`` and ``sharpness_end``, after the first epoch
    and as the mean of the last quarter of the epochs; ``edge`` after the last epoch;
    ``over_edge_first`` and ``over_edge_end``, sharpness divided by the edge of its
    epoch; ``reached_in_epoch``, the first epoch at or above the edge, NaN if none. If
    the batch sharpness is known, its means over the last quarter as
    ``batch_sharpness_end`` and ``batch_over_edge_end``.
    """
    axes = sweep_axes(dataset)
    sharpness = sharpness_of(dataset).astype(float).mean("seed", skipna=False)
    sharpness = sharpness.transpose(*axes, "epoch")
    edges = [edge_of(dataset, index) for index in combinations(dataset)]
    edge = sharpness.copy(data=np.reshape(edges, sharpness.shape))
    over_edge = sharpness / edge
    end = {"epoch": slice(-math.ceil(END_FRACTION * dataset.sizes["epoch"]), None)}
    columns = {
        "sharpness_first": sharpness.isel(epoch=0, drop=True),
        "sharpness_end": sharpness.isel(end).mean("epoch", skipna=False),
        "edge": edge.isel(epoch=-1, drop=True),
        "over_edge_first": over_edge.isel(epoch=0, drop=True),
        "over_edge_end": over_edge.isel(end).mean("epoch", skipna=False),
        "reached_in_epoch": dataset.epoch.where(sharpness >= edge).min("epoch"),
    }
    if BATCH_SHARPNESS in dataset:
        batch = dataset[BATCH_SHARPNESS].astype(float).mean("seed", skipna=False)
        batch = batch.transpose(*axes, "epoch").isel(end)
        ratio = batch / edge.isel(end)
        columns["batch_sharpness_end"] = batch.mean("epoch", skipna=False)
        columns["batch_over_edge_end"] = ratio.mean("epoch", skipna=False)
    return as_table(xr.Dataset(columns), axes)


def sentences(table: pd.DataFrame) -> list[str]:
    """Returns how far from the edge the runs start and end, by learning rate."""
    axes = list(table.columns[: table.columns.get_loc("sharpness_first")])
    others = [a for a in axes if a != LEARNING_RATE and table[a].nunique() > 1]
    groups = table.groupby(others, sort=False) if others else [((), table)]
    lines = [HEADING]
    for values, rows in groups:
        labels = [
            f"{axis_label(a)} {show(a, v)}" for a, v in zip(others, values, strict=True)
        ]
        runs = "; ".join(_describe_row(row) for row in rows.to_dict("records"))
        lines.append(f"{', '.join(labels) or 'All runs'} – {runs}.")
    return lines


def _describe_row(row: Mapping[str, Any]) -> str:
    """Returns how far from the edge a learning rate starts and ends."""
    learning_rate, end = show(LEARNING_RATE, row[LEARNING_RATE]), row["over_edge_end"]
    if not math.isfinite(end):
        return f"{learning_rate}: diverges"
    course = f"reaches the edge in epoch {row['reached_in_epoch']:.0f}"
    if row["reached_in_epoch"] == 1:
        course = "above the edge from epoch 1"
        course += ", below it at the end" if end < 1 else ""
    if math.isnan(row["reached_in_epoch"]):
        course = "stays below the edge"
    sharpness = f"λ {row['sharpness_first']:.3g} → {row['sharpness_end']:.3g}"
    over_edge = f"{row['over_edge_first']:.2g} → {end:.2g} times the edge"
    if "batch_over_edge_end" in row:
        course += f", batch sharpness {row['batch_over_edge_end']:.2g} times the edge"
    return f"{learning_rate}: {sharpness} ({over_edge}), {course}"
