"""Trainable learning rates against theoretical stability. No jax."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import as_table, sweep_axes
from fmnist_jax.config import show

LEARNING_RATE = "learning_rate"


def stability_multiples(optimizer: str) -> dict[float, str]:
    """Returns the multiples of the stable learning rate to compare with, and labels.

    For gradient descent, Lewkowycz et al. (2020, "The large learning rate phase of deep
    learning: the catapult mechanism") derive 4/λ for linear networks and observe about
    12/λ for ReLU networks, both for squared loss and full batches, not cross-entropy.
    """
    if optimizer == "sgd":
        return {1.0: "2/λ", 2.0: "4/λ", 6.0: "12/λ"}
    return {1.0: f"stability limit of {optimizer}"}


def most_seeds_trained(dataset: xr.Dataset) -> xr.DataArray:
    """Returns whether the status of most seeds is ``trained``."""
    return (dataset.status == "trained").mean("seed") > 0.5


def geometric_mean(values: xr.DataArray) -> xr.DataArray:
    """Returns the geometric mean over seeds; NaN if a seed's value is not positive."""
    positive = values.where(values > 0)
    logs = positive.copy(data=np.log(positive.values)).mean("seed", skipna=False)
    return logs.copy(data=np.exp(logs.values))


def trainable_range(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of all axes but the learning rate.

    Columns: the axes; ``sharpness``, its geometric mean over seeds; ``sharpness_min``
    and ``sharpness_max`` over seeds; ``stable_rate``, the geometric mean of the stable
    learning rate; ``least_trainable`` and ``largest_trainable``, the range of trainable
    learning rates, NaN if there is none; ``ratio``, the largest trainable learning rate
    divided by the stable one. If the learning rate is not an axis, there are no rows.
    """
    if LEARNING_RATE not in dataset.dims:
        return pd.DataFrame()
    trainable = dataset[LEARNING_RATE].where(most_seeds_trained(dataset))
    columns = {
        "sharpness": geometric_mean(dataset.sharpness).astype(float),
        "sharpness_min": dataset.sharpness.min("seed", skipna=False),
        "sharpness_max": dataset.sharpness.max("seed", skipna=False),
        "stable_rate": geometric_mean(dataset.stable_rate),
        "least_trainable": trainable.min(LEARNING_RATE),
        "largest_trainable": trainable.max(LEARNING_RATE),
    }
    axes = [axis for axis in sweep_axes(dataset) if axis != LEARNING_RATE]
    table = as_table(xr.Dataset(columns), axes)
    return table.assign(ratio=table.largest_trainable / table.stable_rate)


def sentences(dataset: xr.Dataset, table: pd.DataFrame) -> list[str]:
    """Returns how the largest trainable learning rates compare with stable ones."""
    most = most_seeds_trained(dataset)
    lines = [f"In {int(most.sum())} of {most.size} settings, most seeds are trained."]
    if table.empty:
        return lines
    axes = list(table.columns[: table.columns.get_loc("sharpness")])
    several = [a for a in axes if a in ("optimizer", "loss")]
    groups = table.groupby(several, sort=False) if several else [((), table)]
    lines += [_describe_ratios(values, rows, axes) for values, rows in groups]
    learning_rates = np.sort(dataset[LEARNING_RATE].values)
    step = (learning_rates[1:] / learning_rates[:-1]).max()
    return [*lines, f"Neighbouring learning rates differ by a factor of {step:.2g}."]


def _describe_ratios(values: Sequence[str], rows: pd.DataFrame, axes: list[str]) -> str:
    """Returns the range and the median of the ratios of an optimizer and a loss."""
    prefix = ", ".join(values) or "All settings"
    if rows.largest_trainable.isna().all():
        return f"{prefix}: no learning rate met the criterion."
    rows = rows.dropna(subset="ratio")
    if rows.empty:
        return f"{prefix}: no stable learning rate is known for the trainable settings."
    ratios = {"minimum": rows.ratio.idxmin(), "maximum": rows.ratio.idxmax()}
    parts = []
    for name, index in ratios.items():
        row = rows.loc[index]
        place = ", ".join(show(a, row[a]) for a in axes if row[a] not in values)
        parts.append(f"{name} {row.ratio:.2g} (at {place})")
    return (
        f"{prefix}: largest trainable learning rate, divided by the stable one: "
        f"{', '.join(parts)}, median {rows.ratio.median():.2g}."
    )
