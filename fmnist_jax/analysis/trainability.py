"""Which learning rates train a network, and which theory says would. Imports no jax."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import combinations
from fmnist_jax.config import show

RATE = "learning_rate"


def levels(optimizer: str) -> dict[float, str]:
    """Returns the multiples of the stable rate that are of interest, and their names.

    For gradient descent, those that others speak of: Lewkowycz et al. (2020, "The large
    learning rate phase of deep learning: the catapult mechanism") derive 4/λ for linear
    networks and see about 12/λ for ReLU networks, both under squared loss and for full
    batches; neither is meant for cross-entropy.
    """
    if optimizer == "sgd":
        return {1.0: "2/λ", 2.0: "4/λ", 6.0: "12/λ"}
    return {1.0: f"stability limit of {optimizer}"}


def trains(dataset: xr.Dataset) -> xr.DataArray:
    """Returns whether most seeds' runs end as ``trained``."""
    return (dataset.status == "trained").mean("seed") > 0.5


def over_seeds(values: xr.DataArray) -> xr.DataArray:
    """Returns the geometric mean over seeds; NaN where one is not positive."""
    positive = values.where(values > 0)
    logs = positive.copy(data=np.log(positive.values)).mean("seed", skipna=False)
    return logs.copy(data=np.exp(logs.values))


def trainable_rates(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of all axes but the learning rate.

    Columns: the axes; ``sharpness``, its geometric mean over seeds, least and greatest;
    ``stable_rate``, likewise the mean; ``least_trainable`` and ``largest_trainable``
    rate, NaN where none trains; ``ratio`` of the last to the stable rate.

    Args:
      dataset: results with ``sharpness`` and ``stable_rate``; without learning rates
        along an axis, there are no rows.
    """
    if RATE not in dataset.dims:
        return pd.DataFrame()
    does, rates = trains(dataset), dataset[RATE]
    sharpness, limit = over_seeds(dataset.sharpness), over_seeds(dataset.stable_rate)
    rows = []
    for index in combinations(dataset.isel({RATE: 0}, drop=True)):
        where = rates.values[does.isel(index).values]
        seeds = _at(dataset.sharpness, index).values
        row = {name: dataset[name].values[i].item() for name, i in index.items()}
        row["sharpness"] = _at(sharpness, index).item()
        row |= {"sharpness_min": seeds.min(), "sharpness_max": seeds.max()}
        row["stable_rate"] = _at(limit, index).item()
        row["least_trainable"] = where.min() if len(where) else np.nan
        row["largest_trainable"] = where.max() if len(where) else np.nan
        row["ratio"] = row["largest_trainable"] / row["stable_rate"]
        rows.append(row)
    return pd.DataFrame(rows)


def _at(values: xr.DataArray, index: Mapping[str, int]) -> xr.DataArray:
    return values.isel({name: i for name, i in index.items() if name in values.dims})


def sentences(dataset: xr.Dataset, table: pd.DataFrame) -> list[str]:
    """Says how the largest trainable rates compare with what theory calls stable.

    Args:
      dataset: results.
      table: their ``trainable_rates``.
    """
    count = int(trains(dataset).sum())
    said = [f"{count} of {trains(dataset).size} settings train (most seeds)."]
    if table.empty:
        return said
    axes = list(table.columns[: table.columns.get_loc("sharpness")])
    several = [a for a in axes if a in ("optimizer", "loss")]
    groups = table.groupby(several, sort=False) if several else [((), table)]
    return [*said, *(_ratios(key, rows, axes, dataset) for key, rows in groups)]


def _ratios(
    key: tuple[str, ...], rows: pd.DataFrame, axes: list[str], dataset: xr.Dataset
) -> str:
    """Says how the rates of an optimizer and a loss compare with the stable ones."""
    which = f"{', '.join(key)}: the" if key else "The"
    found = rows.dropna(subset="ratio")
    if found.empty:
        return f"{which} rates that train are none, or have no stable one to go with."
    ends = [found.loc[found.ratio.idxmin()], found.loc[found.ratio.idxmax()]]
    places = [
        ", ".join(show(a, row[a]) for a in axes if row[a] not in key) for row in ends
    ]
    return (
        f"{which} largest rate that trains is {ends[0].ratio:.2g} times the stable "
        f"one at {places[0]} and {ends[1].ratio:.2g} times at {places[1]}, median "
        f"{found.ratio.median():.2g}; the grid tells each to a factor of "
        f"{_step(dataset):.2g}."
    )


def _step(dataset: xr.Dataset) -> float:
    """Returns the largest ratio of neighbouring learning rates."""
    rates = np.sort(dataset[RATE].values)
    return float((rates[1:] / rates[:-1]).max())
