"""How sharpness along training compares with the edge of stability. No jax.

The edge is the sharpness above which the learning rate is no longer stable: 2/η for
gradient descent, the rest as in ``stability``.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import combinations
from fmnist_jax.config import OPTIMIZERS, axis_label, show
from fmnist_jax.stability import stable_sharpness

SHARPNESS = ("sharpness", "preconditioned_sharpness")
LINE = "learning_rate"
LAST = 0.25  # of the epochs, of which the end is the mean


def _of_run(dataset: xr.Dataset, index: Mapping[str, int]) -> tuple[Any, Any]:
    """Returns sharpness ``[seed, epoch]``, and the edge of each epoch."""
    runs = dataset.isel(index)
    name = next(name for name in SHARPNESS if name in dataset)
    optimizer = str(runs.optimizer.item())
    settings = {s: runs[s].item() for s in OPTIMIZERS[optimizer] if s in runs.coords}
    rate = runs.epoch_learning_rate.isel(seed=0).values
    return runs[name], stable_sharpness(optimizer, rate, settings)


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of the axes' values, mean over seeds.

    Columns: the axes; the sharpness after the first epoch and at the end (the mean of
    the last quarter of the epochs); the ``edge`` at the end; both sharpnesses over the
    edge of their time; and the first epoch at or above the edge, NaN for none.
    """
    rows = []
    for index in combinations(dataset):
        runs, edge = _of_run(dataset, index)
        mean = runs.astype(float).mean("seed", skipna=False).values
        last = math.ceil(LAST * len(mean))
        above = dataset.epoch.values[mean >= edge]
        row = {a: dataset[a].values[i].item() for a, i in index.items()}
        row |= {
            "sharpness_first": mean[0],
            "sharpness_end": mean[-last:].mean(),
            "edge": edge[-1],
            "over_edge_first": mean[0] / edge[0],
            "over_edge_end": (mean / edge)[-last:].mean(),
            "reached_in_epoch": float(above[0]) if len(above) else math.nan,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def sentences(table: pd.DataFrame) -> list[str]:
    """Says of each rate how far from the edge its runs begin and end."""
    axes = list(table.columns[: table.columns.get_loc("sharpness_first")])
    others = [a for a in axes if a != LINE and table[a].nunique() > 1]
    groups = table.groupby(others, sort=False) if others else [((), table)]
    said = ["Sharpness over the edge of stability (1: at the edge), by learning rate:"]
    for key, rows in groups:
        named = [
            f"{axis_label(a)} {show(a, v)}" for a, v in zip(others, key, strict=True)
        ]
        runs = "; ".join(_said(row) for row in rows.to_dict("records"))
        said.append(f"{', '.join(named) or 'All runs'} – {runs}.")
    return said


def _said(row: Mapping[str, Any]) -> str:
    """Says of one rate where it begins, where it ends, and whether it got there."""
    rate, end = show(LINE, row[LINE]), row["over_edge_end"]
    if not math.isfinite(end):
        return f"{rate}: diverges"
    how = f"reaches it in epoch {row['reached_in_epoch']:.0f}"
    if row["reached_in_epoch"] == 1:
        how = "above it from epoch 1"
        how += ", below it at the end" if end < 1 else ""
    if math.isnan(row["reached_in_epoch"]):
        how = "stays below"
    numbers = f"λ {row['sharpness_first']:.3g} → {row['sharpness_end']:.3g}"
    return f"{rate}: {numbers}, {row['over_edge_first']:.2g} → {end:.2g}, {how}"
