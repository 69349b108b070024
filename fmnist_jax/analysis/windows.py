"""Inputs compared: the learning rates that train, and the accuracies. No jax.

Learning rates are chosen by the validation accuracy; test accuracies are reported.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.intervals import Interval, paired_interval
from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.choices import OPTIMIZERS
from fmnist_jax.config import show
from fmnist_jax.errors import UserError

RATE = "learning_rate"


def final_accuracy(dataset: xr.Dataset, split: str) -> xr.DataArray:
    """Returns the accuracies after the last epoch; that of guessing if a run diverged.

    Raises:
      UserError: if the runs have no validation set.
    """
    if f"{split}_accuracy" not in dataset:
        raise UserError(
            "Learning rates are chosen on a validation set, which these runs do not "
            "have; give --validation_examples a number above 0, or leave it out."
        )
    accuracies = dataset[f"{split}_accuracy"].isel(epoch=-1).astype(float)
    return accuracies.fillna(dataset.attrs["largest_class_share"])


def threshold(dataset: xr.Dataset) -> float:
    """Returns the accuracy half-way from guessing to the best of the sweep.

    The best is the largest mean validation accuracy over seeds.
    """
    best = float(final_accuracy(dataset, "validation").mean("seed").max())
    return (best + float(dataset.attrs["largest_class_share"])) / 2


def windows(dataset: xr.Dataset) -> xr.DataArray:
    """Returns whether each learning rate is in the window of its setting.

    The window is the unbroken stretch of learning rates around the best one whose mean
    validation accuracy over seeds is at least the ``threshold``.
    """
    accuracy = final_accuracy(dataset, "validation").mean("seed").sortby(RATE)
    is_enough = accuracy >= threshold(dataset)
    stretch = (~is_enough).cumsum(RATE)
    at_best = stretch.isel({RATE: accuracy.argmax(RATE)}, drop=True)
    return is_enough & (stretch == at_best)


def by_optimizer(dataset: xr.Dataset, axis: str) -> Iterator[tuple[str, list[int]]]:
    """Yields each optimizer, and the positions of its inputs on ``axis``."""
    optimizers = np.broadcast_to(dataset.optimizer.values, dataset.sizes[axis])
    for optimizer in dict.fromkeys(optimizers.tolist()):
        yield optimizer, np.flatnonzero(optimizers == optimizer).tolist()


def input_name(label: Any) -> str:
    """Returns the input of a label ``OPTIMIZER: INPUT``."""
    return str(label).partition(": ")[2]


def table(dataset: xr.Dataset, axis: str, reference: str) -> pd.DataFrame:
    """Returns a row for each optimizer, input, and value of further axes.

    Columns: ``optimizer``; the axis; further axes; ``lowest_rate`` and ``highest_rate``
    of the window, its width in ``decades``, and whether it ends ``at_edge`` of the
    sweep; ``best_rate`` and the ``validation_accuracy`` by which it is chosen;
    ``accuracy``, the mean test accuracy there, and ``gain``, its difference to that of
    the reference, with the ends ``gain_low`` and ``gain_high`` of a 95 % interval
    paired over seeds; ``usual_rate`` and the same there. What is not
    known is NaN: windows without learning rates, usual learning rates that are not in
    the sweep, intervals of a single seed.

    Args:
      dataset: results of runs along ``axis``, "learning_rate" and "seed".
      axis: of the inputs, labelled ``OPTIMIZER: INPUT``.
      reference: the input that the others are compared with.
    """
    dataset = dataset.sortby(RATE)
    optimizers = {i: name for name, group in by_optimizer(dataset, axis) for i in group}
    labels = dataset[axis].values.tolist()
    others = [name for name in sweep_axes(dataset) if name not in (axis, RATE)]
    rows = []
    for position in combinations(dataset, RATE):
        label = labels[position[axis]]
        optimizer = optimizers[position[axis]]
        baseline = {**position, axis: labels.index(f"{optimizer}: {reference}")}
        row: dict[str, Any] = {"optimizer": optimizer, axis: input_name(label)}
        row |= {name: dataset[name].values[position[name]] for name in others}
        rows.append(row | _row(dataset, optimizer, position, baseline))
    return pd.DataFrame(rows)


def _row(
    dataset: xr.Dataset,
    optimizer: str,
    position: Mapping[str, int],
    baseline: Mapping[str, int],
) -> dict[str, Any]:
    """Returns the columns of ``table`` that are measured, for one setting."""
    validation = final_accuracy(dataset, "validation").mean("seed")
    rates, pair = dataset[RATE].values, (position, baseline)
    inside = np.flatnonzero(windows(dataset).isel(position).values)
    low, high = rates[inside[[0, -1]]] if len(inside) else (np.nan, np.nan)
    is_at_edge = bool({0, len(rates) - 1} & {*inside.tolist()})
    row = {"lowest_rate": low, "highest_rate": high}
    row |= {"decades": round(math.log10(high / low), 2), "at_edge": is_at_edge}
    best = [int(validation.isel(at).values.argmax()) for at in pair]
    usual = OPTIMIZERS[optimizer]["learning_rate"]
    nearest = int(np.abs(np.log(rates / usual)).argmin())
    is_swept = math.isclose(rates[nearest], usual, rel_tol=1e-3)
    test = [final_accuracy(dataset, "test").isel(at) for at in pair]
    row |= {"best_rate": rates[best[0]]}
    row |= {"validation_accuracy": round(float(validation.isel(position).max()), 4)}
    row |= _compared(test, best, "")
    at_usual = {"usual_rate": usual, **_compared(test, [nearest] * 2, "usual_")}
    return row | (at_usual if is_swept else dict.fromkeys(at_usual, math.nan))


def _compared(
    test: Sequence[xr.DataArray], positions: Sequence[int], prefix: str
) -> dict[str, float]:
    """Returns a test accuracy, and its gain over the reference, paired over seeds."""
    pairs = zip(test, positions, strict=True)
    ours, theirs = (accuracy.isel({RATE: at}).values for accuracy, at in pairs)
    gain = Interval(float((ours - theirs).mean()), math.nan, math.nan)
    if len(ours) > 1:
        gain = paired_interval(ours - theirs)
    values = {"accuracy": float(ours.mean())}
    values |= {"gain": gain.estimate, "gain_low": gain.low, "gain_high": gain.high}
    return {f"{prefix}{name}": round(value, 4) for name, value in values.items()}


def sentences(rows: pd.DataFrame, axis: str, reference: str) -> list[str]:
    """Returns the answer for each optimizer, in words."""
    lines = []
    for optimizer, part in rows.groupby("optimizer", sort=False):
        best = part.loc[part.validation_accuracy.idxmax()]
        widest = part.loc[part.decades.fillna(-1).idxmax()]
        base = part[part[axis] == reference].iloc[0]
        lines.append(
            f"{optimizer}: the best input by validation is {best[axis]}"
            f"{_ties_text(part, best, axis)}, with a test accuracy of "
            f"{100 * best.accuracy:.1f} % at {show(RATE, best.best_rate)}"
            f"{_gain_text(best, reference)}."
        )
        lines.append(
            f"{optimizer}: the widest window of learning rates is that of "
            f"{widest[axis]}, {_window_text(widest)}; that of {reference} is "
            f"{_window_text(base)}."
        )
    return lines


def _ties_text(part: pd.DataFrame, best: Mapping[str, Any], axis: str) -> str:
    ties = part[part.validation_accuracy == best["validation_accuracy"]][axis]
    others = [name for name in ties if name != best[axis]]
    return f" (equal by validation: {', '.join(others)})" if others else ""


def _gain_text(best: Mapping[str, Any], reference: str) -> str:
    if best["gain"] == 0:
        return ""
    low, high = 100 * best["gain_low"], 100 * best["gain_high"]
    interval = f", 95 % interval over seeds {low:+.1f} to {high:+.1f}"
    return (
        f" ({100 * best['gain']:+.1f} points compared with {reference}"
        f"{'' if math.isnan(low) else interval})"
    )


def _window_text(row: Mapping[str, Any]) -> str:
    if math.isnan(row["decades"]):
        return "empty"
    sign = "at least " if row["at_edge"] else ""
    rates = " to ".join(show(RATE, row[f"{end}_rate"]) for end in ("lowest", "highest"))
    return f"{sign}{row['decades']:.1f} decades ({rates})"
