"""Trainable learning rates against theoretical stability. No jax."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.criteria import trains, usual_criteria
from fmnist_jax.analysis.dimension import dimension
from fmnist_jax.analysis.results import as_table, sweep_axes
from fmnist_jax.config import show
from fmnist_jax.errors import UserError
from fmnist_jax.values import STATUS

LEARNING_RATE, ACTIVATION = "learning_rate", "activation_stable_rate"


def stability_multiples(optimizer: str) -> dict[float, str]:
    """Returns the multiples of the stable learning rate to compare with, and labels.

    For gradient descent, Lewkowycz et al. (2020, "The large learning rate phase of deep
    learning: the catapult mechanism") derive 4/λ for linear networks and observe about
    12/λ for ReLU networks, both for squared loss and full batches, not cross-entropy.
    """
    if optimizer == "sgd":
        return {1.0: "2/λ", 2.0: "4/λ", 6.0: "12/λ"}
    return {1.0: f"stability limit of {optimizer}"}


def geometric_mean(values: xr.DataArray) -> xr.DataArray:
    """Returns the geometric mean over seeds; NaN if a seed's value is not positive."""
    positive = values.where(values > 0)
    logs = positive.copy(data=np.log(positive.values)).mean("seed", skipna=False)
    return logs.copy(data=np.exp(logs.values))


def largest_trainable(
    dataset: xr.Dataset, criterion: str = STATUS
) -> tuple[xr.DataArray, xr.DataArray]:
    """Returns the largest trainable learning rate, and how many more are above it.

    A learning rate is trainable if most seeds train by the criterion (``judge``). The
    largest is the top of the lowest unbroken stretch of them, NaN if there is none;
    trainable ones above the stretch are islands.
    """
    stretch, islands = _lowest_stretch(dataset, criterion)
    return stretch.max(LEARNING_RATE), islands


def _lowest_stretch(
    dataset: xr.Dataset, criterion: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Returns the learning rates in the stretch, others NaN; the number of islands."""
    is_trainable = trains(dataset, criterion).sortby(LEARNING_RATE)
    starts = is_trainable & ~is_trainable.shift({LEARNING_RATE: 1}, fill_value=False)
    in_stretch = is_trainable & (starts.cumsum(LEARNING_RATE) == 1)
    islands = (is_trainable & ~in_stretch).sum(LEARNING_RATE)
    return is_trainable[LEARNING_RATE].where(in_stretch), islands


def trainable_range(dataset: xr.Dataset, criterion: str = STATUS) -> pd.DataFrame:
    """Returns a row per combination of all axes but the learning rate.

    The range is the lowest unbroken stretch of trainable learning rates.

    Columns: the axes; ``sharpness``, its geometric mean over seeds; ``sharpness_min``
    and ``sharpness_max`` over seeds; ``stable_rate``, the geometric mean of the stable
    learning rate; ``least_trainable`` and ``largest_trainable``, the range of trainable
    learning rates, NaN if there is none; ``islands``, the number of trainable learning
    rates above the range; ``ratio``, the largest trainable learning rate divided by the
    stable one; and, where ``activation_stable_rate`` is known, its geometric mean over
    seeds, NaN for other optimizers than SGD, and ``ratio_to_activation``. If the
    learning rate is not an axis, there are no rows.
    """
    if LEARNING_RATE not in dataset.dims:
        return pd.DataFrame()
    stretch, islands = _lowest_stretch(dataset, criterion)
    columns = {
        "sharpness": geometric_mean(dataset.sharpness).astype(float),
        "sharpness_min": dataset.sharpness.min("seed", skipna=False),
        "sharpness_max": dataset.sharpness.max("seed", skipna=False),
        "stable_rate": geometric_mean(dataset.stable_rate),
        "least_trainable": stretch.min(LEARNING_RATE),
        "largest_trainable": stretch.max(LEARNING_RATE),
        "islands": islands,
    }
    if ACTIVATION in dataset:
        columns[ACTIVATION] = activation_rate(dataset)
    axes = [axis for axis in sweep_axes(dataset) if axis != LEARNING_RATE]
    table = as_table(xr.Dataset(columns), axes)
    table = table.assign(ratio=table.largest_trainable / table.stable_rate)
    if ACTIVATION in table:
        table["ratio_to_activation"] = table.largest_trainable / table[ACTIVATION]
    return table


def activation_rate(dataset: xr.Dataset) -> xr.DataArray:
    """Returns the learning rate of activation stability; NaN for all but SGD."""
    return geometric_mean(dataset[ACTIVATION]).where(dataset.optimizer == "sgd")


def by_criterion(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns how the results depend on when a run counts as trained.

    A row for each criterion and each combination of the axes other than the learning
    rate and the first other axis. Columns: ``criterion``; the axes; ``trained``, the
    number of settings in which most seeds train; minimum and maximum of the largest
    trainable learning rate; minimum, median and maximum of its ``ratio`` to the stable
    one; ``slope``, of the logarithm of the largest trainable learning rate against that
    of the sharpness, by least squares; NaN with fewer than three points; ``dimension``,
    the box-counting dimension of the boundary between settings that train and others,
    from ``dimension_low`` to ``dimension_high``; NaN without such a boundary, on a
    small map, or if an adaptive map was not refined by the criterion.
    """
    if LEARNING_RATE not in dataset.dims:
        return pd.DataFrame()
    rows = []
    for criterion in usual_criteria(dataset):
        table = trainable_range(dataset, criterion)
        most = trains(dataset, criterion)
        count = most.sum(LEARNING_RATE).rename("trained")
        axes = list(table.columns[: table.columns.get_loc("sharpness")])
        table["trained"] = as_table(count.reset_coords(drop=True).to_dataset(), axes)[
            "trained"
        ]
        groups = table.groupby(axes[1:], sort=False) if axes[1:] else [((), table)]
        for values, group in groups:
            labels = dict(zip(axes[1:], values, strict=True))
            plane = most.sel(labels) if _is_resolved(dataset, criterion) else None
            row = {**labels, **_headline(group), **_dimension(plane)}
            rows.append({"criterion": criterion, **row})
    return pd.DataFrame(rows)


def _is_resolved(dataset: xr.Dataset, criterion: str) -> bool:
    """Whether the boundary by a criterion is trained, not filled in."""
    refined = (STATUS, dataset.attrs.get("criterion"))
    return "is_trained" not in dataset or criterion in refined


def _dimension(is_trainable: xr.DataArray | None) -> dict[str, float]:
    """Returns the box-counting dimension of the boundary; NaN if there is none."""
    names = ("dimension", "dimension_low", "dimension_high")
    if is_trainable is None:
        return dict.fromkeys(names, math.nan)
    try:
        return dict(zip(names, dimension(is_trainable.values), strict=True))
    except UserError:  # too small a map, or no boundary on it
        return dict.fromkeys(names, math.nan)


def _median(values: pd.Series) -> float:
    return values.median() if values.notna().any() else np.nan  # else pandas may warn


def _headline(table: pd.DataFrame) -> dict[str, float]:
    known = table[table.largest_trainable.notna() & (table.sharpness > 0)]
    slope = np.nan
    if known.sharpness.nunique() > 2:
        logs = np.log(known.sharpness), np.log(known.largest_trainable)
        slope = float(np.polyfit(*logs, 1)[0])
    return {
        "trained": int(table.trained.sum()),
        "largest_trainable_min": table.largest_trainable.min(),
        "largest_trainable_max": table.largest_trainable.max(),
        "ratio_min": table.ratio.min(),
        "ratio_median": _median(table.ratio),
        "ratio_max": table.ratio.max(),
        **(
            {"activation_ratio_median": _median(table.ratio_to_activation)}
            if ACTIVATION in table
            else {}
        ),
        "slope": slope,
    }


def trained_share(dataset: xr.Dataset) -> str:
    """Returns how many points of an adaptive map were trained."""
    share, size = dataset.is_trained.mean().item(), dataset.is_trained.size
    return f"{100 * share:.1f} % of {size:,} points were run"


def sentences(
    dataset: xr.Dataset, table: pd.DataFrame, criterion: str = STATUS
) -> list[str]:
    """Returns how the largest trainable learning rates compare with stable ones."""
    most = trains(dataset, criterion)
    by = "" if criterion == STATUS else f" (criterion: {criterion})"
    count = f"{int(most.sum())} of {most.size} settings"
    lines = [f"In {count}, most seeds are trained{by}."]
    if "is_trained" in dataset:
        lines.insert(0, f"{trained_share(dataset)}; the others are filled in.")
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
