"""Which learning rates train a network, and which theory says would. Imports no jax."""

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.config import show
from fmnist_jax.results import combinations

RATE = "learning_rate"
# Multiples of the stable rate that theory or others' measurements speak of. Lewkowycz
# et al. (2020, "The large learning rate phase of deep learning: the catapult
# mechanism") derive 4/λ for linear networks and see about 12/λ for ReLU networks, both
# under squared loss and for full batches; neither is meant for cross-entropy.
LEVELS = {1.0: "2/λ", 2.0: "4/λ", 6.0: "12/λ"}


def trains(dataset: xr.Dataset) -> xr.DataArray:
    """Returns whether most seeds' runs end as ``trained``."""
    return (dataset.status == "trained").mean("seed") > 0.5


def stable_rate(dataset: xr.Dataset) -> xr.DataArray:
    """Returns 2/λ, the stability limit of gradient descent on the whole training set.

    λ is the sharpness at initialisation, the geometric mean over seeds. Above 2/λ a
    quadratic's steepest direction grows with each step (LeCun, Simard and Pearlmutter
    1993).
    """
    sharpness = dataset.sharpness.where(dataset.sharpness > 0)
    return 2 / np.exp(np.log(sharpness).mean("seed", skipna=False))


def trainable_rates(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of all axes but the learning rate.

    Columns: the axes; ``sharpness``, its mean over seeds, least and greatest;
    ``stable_rate``; ``least_trainable`` and ``largest_trainable`` rate, NaN where none
    trains; ``ratio`` of the last to the stable rate.

    Args:
      dataset: results with ``sharpness``; without learning rates along an axis, there
        are no rows.
    """
    if RATE not in dataset.dims:
        return pd.DataFrame()
    does, rates = trains(dataset), dataset[RATE]
    limit = stable_rate(dataset)
    rows = []
    for index in combinations(dataset.isel({RATE: 0}, drop=True)):
        where = rates.values[does.isel(index).values]
        own = {n: i for n, i in index.items() if n in dataset.sharpness.dims}
        sharpness = dataset.sharpness.isel(own).values
        row = {name: dataset[name].values[i].item() for name, i in index.items()}
        row["sharpness"] = 2 / limit.isel(own).item()
        row |= {"sharpness_min": sharpness.min(), "sharpness_max": sharpness.max()}
        row["stable_rate"] = limit.isel(own).item()
        row["least_trainable"] = where.min() if len(where) else np.nan
        row["largest_trainable"] = where.max() if len(where) else np.nan
        row["ratio"] = row["largest_trainable"] / row["stable_rate"]
        rows.append(row)
    return pd.DataFrame(rows)


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
    found = table.dropna(subset="ratio")
    if found.empty:
        return [*said, "No learning rate trains anywhere."]
    least, greatest = (
        found.loc[i] for i in (found.ratio.idxmin(), found.ratio.idxmax())
    )
    axes = table.columns[: table.columns.get_loc("sharpness")]

    def where(row: pd.Series) -> str:
        return ", ".join(show(axis, row[axis]) for axis in axes)

    said.append(
        f"The largest rate that trains is {least.ratio:.2g} times 2/λ at "
        f"{where(least)} and {greatest.ratio:.2g} times at {where(greatest)}, median "
        f"{found.ratio.median():.2g}; the grid tells each to a factor of "
        f"{_step(dataset):.2g}."
    )
    return said


def _step(dataset: xr.Dataset) -> float:
    """Returns the largest ratio of neighbouring learning rates."""
    rates = np.sort(dataset[RATE].values)
    return float((rates[1:] / rates[:-1]).max())
