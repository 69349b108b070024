"""Compares inputs by the learning rates that train and by accuracy. No jax.

Learning rates are chosen on the validation set; test accuracies are reported.
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
    """Returns accuracies after the last epoch; that of guessing if a run diverged."""
    if f"{split}_accuracy" not in dataset:
        raise UserError(
            "Learning rates are chosen on a validation set, which these runs do not "
            "have; give --validation_examples a number above 0, or leave it out."
        )
    accuracies = dataset[f"{split}_accuracy"].isel(epoch=-1).astype(float)
    return accuracies.fillna(dataset.attrs["largest_class_share"])


def threshold(dataset: xr.Dataset) -> float:
    """Returns the accuracy half-way from guessing to the best of the sweep.

    The best is the largest mean validation accuracy over seeds. Infinity if it is
    within three standard errors of guessing: nothing was learned.
    """
    best = float(final_accuracy(dataset, "validation").mean("seed").max())
    guess = float(dataset.attrs["largest_class_share"])
    error = math.sqrt(guess * (1 - guess) / dataset.attrs["validation_examples"])
    return (best + guess) / 2 if best > guess + 3 * error else math.inf


def windows(dataset: xr.Dataset) -> xr.DataArray:
    """Returns whether each learning rate is in the window of its setting.

    The window is the unbroken stretch of learning rates around the best one whose mean
    validation accuracy over seeds is at least the ``threshold``.
    """
    accuracy = final_accuracy(dataset, "validation").mean("seed").sortby(RATE)
    is_enough = accuracy >= threshold(dataset)
    stretch = (~is_enough).cumsum(RATE)
    at_best = stretch.isel({RATE: best_positions(dataset.sortby(RATE))}, drop=True)
    return is_enough & (stretch == at_best)


def best_positions(dataset: xr.Dataset, along: str = RATE) -> xr.DataArray:
    """Returns the position of the best value along an axis, by default learning rates.

    The best is the one with the lowest validation loss among those whose mean
    validation accuracy is at most one example below the highest.
    """
    accuracy = final_accuracy(dataset, "validation").mean("seed")
    loss = dataset.validation_loss.isel(epoch=-1).mean("seed", skipna=False)
    one_example = 1 / dataset.attrs["validation_examples"]
    is_close = accuracy >= accuracy.max(along) - one_example - 1e-9
    return loss.fillna(np.inf).where(is_close, np.inf).argmin(along)


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

    Columns: ``optimizer``, the axis, and further axes;

    - ``lowest_learning_rate``, ``highest_learning_rate``: of the window; ``decades``:
      its width; ``at_edge``: whether it reaches an end of the sweep;
    - ``best_learning_rate``; ``best_at_edge``: whether it is an end of the sweep;
    - ``validation_accuracy``, ``validation_loss``: there;
    - ``may_be_best``: whether validation cannot tell the input from the best one;
    - ``accuracy``: on the test set, there; ``gain``: its difference to that of the
      reference; ``gain_low``, ``gain_high``: its 95 % interval, paired over seeds;
    - ``usual_…``: the same at the usual learning rate of the optimizer.

    Unknown values are NaN: windows without learning rates, usual learning rates that
    are not in the sweep, and intervals of a single seed.

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
    table = pd.DataFrame(rows)
    at = table.columns.get_loc("validation_loss") + 1
    table.insert(at, "may_be_best", _may_be_best(dataset, table.optimizer.tolist()))
    return table


def _may_be_best(dataset: xr.Dataset, optimizers: list[str]) -> list[bool]:
    """Returns which rows of ``table`` may be the best of their optimizer.

    Those whose difference to the highest validation accuracy, paired over seeds, has an
    interval that includes 0; with one seed, those without a difference.
    """
    accuracy = final_accuracy(dataset, "validation")
    chosen = accuracy.isel({RATE: best_positions(dataset)})
    at_best = [chosen.isel(position).values for position in combinations(dataset, RATE)]
    highest: dict[str, np.ndarray] = {}
    for optimizer, values in zip(optimizers, at_best, strict=True):
        if values.mean() > highest.get(optimizer, np.array(-1.0)).mean():
            highest[optimizer] = values
    results = []
    for optimizer, values in zip(optimizers, at_best, strict=True):
        behind = highest[optimizer] - values
        low = paired_interval(behind).low if len(behind) > 1 else behind[0]
        results.append(bool(low <= 0))
    return results


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
    row = {"lowest_learning_rate": low, "highest_learning_rate": high}
    row |= {"decades": round(math.log10(high / low), 2), "at_edge": is_at_edge}
    best = [int(best_positions(dataset).isel(at)) for at in pair]
    usual = OPTIMIZERS[optimizer]["learning_rate"]
    nearest = int(np.abs(np.log(rates / usual)).argmin())
    is_swept = math.isclose(rates[nearest], usual, rel_tol=1e-3)
    test = [final_accuracy(dataset, "test").isel(at) for at in pair]
    row |= {"best_learning_rate": rates[best[0]]}
    row |= {"best_at_edge": best[0] in (0, len(rates) - 1)}
    loss = dataset.validation_loss.isel(epoch=-1).mean("seed", skipna=False)
    for name, values in {"accuracy": validation, "loss": loss}.items():
        value = values.isel({**position, RATE: best[0]})
        row[f"validation_{name}"] = round(float(value), 4)
    row |= _compared(test, best, "")
    at_usual = {
        "usual_learning_rate": usual,
        **_compared(test, [nearest] * 2, "usual_"),
    }
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
    return {f"{prefix}{name}": round(value, 6) for name, value in values.items()}


def sentences(rows: pd.DataFrame, axis: str, reference: str) -> list[str]:
    """Returns the answer for each optimizer, in words."""
    lines = []
    for optimizer, part in rows.groupby("optimizer", sort=False):
        order = ["validation_accuracy", "validation_loss"]
        best = part.sort_values(order, ascending=[False, True]).iloc[0]
        others = part[part.may_be_best & (part.index != best.name)][axis].tolist()
        rate = show(RATE, best.best_learning_rate)
        lines.append(
            f"{optimizer}: the best input by validation is {best[axis]}, with a test "
            f"accuracy of {100 * best.accuracy:.1f} % at {rate}"
            f"{', an end of the sweep' if best.best_at_edge else ''}"
            f"{_gain_text(best, reference)}."
        )
        if others:
            lines.append(
                f"{optimizer}: validation cannot tell {best[axis]} from "
                f"{'; '.join(others)}."
            )
        lines += _widest(optimizer, part, axis, reference)
    return lines


def _widest(optimizer: str, part: pd.DataFrame, axis: str, reference: str) -> list[str]:
    """Returns a sentence on the widest windows and that of the reference."""
    if not part.decades.notna().any():
        return [f"{optimizer}: no learning rate trains any input."]
    widest = part[part.decades == part.decades.max()]
    names = "; ".join(widest[axis])
    text = f"{optimizer}: the widest window of learning rates, "
    text += f"{_window_text(widest.iloc[0])}, is that of {names}"
    base = part[part[axis] == reference].iloc[0]
    if reference in widest[axis].tolist():
        return [f"{text}."]
    return [f"{text}; that of {reference} is {_window_text(base)}."]


def _gain_text(best: Mapping[str, Any], reference: str) -> str:
    if best["gain"] == best["gain_low"] == best["gain_high"] == 0:
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
    if row["decades"] == 0:
        return f"a single learning rate ({show(RATE, row['lowest_learning_rate'])})"
    sign = "at least " if row["at_edge"] else ""
    rates = " to ".join(
        show(RATE, row[f"{end}_learning_rate"]) for end in ("lowest", "highest")
    )
    return f"{sign}{row['decades']:.1f} decades ({rates})"
