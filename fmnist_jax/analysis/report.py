"""Results as text: a table, a few sentences, a legend. Imports no jax."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.intervals import paired_interval
from fmnist_jax.analysis.results import (
    FINAL,
    VALIDATION,
    combinations,
    selection_metric,
    summarise,
    sweep_axes,
)
from fmnist_jax.config import SETTINGS, axis_label, show

MAX_ROWS = 40
NOT_LEARNING = ("diverged", "dead", "frozen")


def _cell(mean: float, std: float, name: str) -> str:
    if not math.isfinite(mean):
        return "–"
    scale, digits = (100, 2) if "accuracy" in name else (1, 4)
    form = f".{digits}f" if mean < 1e4 else ".4g"
    text = f"{scale * mean:{form}}"
    return text if math.isnan(std) else f"{text} ± {scale * std:{form}}"


def format_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a summary for readers: axes, mean ± standard deviation, and status.

    ``summary`` is from ``summarise`` or ``summary.csv``. Accuracies are in per cent.
    """
    axes = summary.columns[: summary.columns.get_loc(f"{FINAL[0]}_mean")]
    table = pd.DataFrame(
        {axis_label(a): [show(a, v) for v in summary[a]] for a in axes}
    )
    names = [name for name in (*FINAL, *VALIDATION) if f"{name}_mean" in summary]
    for name in names:
        if name.startswith("train") and summary[f"{name}_mean"].isna().all():
            continue  # not evaluated
        columns = zip(summary[f"{name}_mean"], summary[f"{name}_std"], strict=True)
        unit = " %" if "accuracy" in name else ""
        label = name.replace("_", " ").replace("accuracy", "acc.")
        table[f"{label}{unit}"] = [_cell(m, s, name) for m, s in columns]
    table["status"] = summary["status"].tolist()
    return table


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns any table for readers: columns as labels, settings as on figures.

    A table with exactly the columns of a summary becomes ``format_summary`` of it.
    """
    final = {f"{name}_{of}" for name in FINAL for of in ("mean", "std")}
    if final <= {*table}:
        rest = table.columns[table.columns.get_loc(f"{FINAL[0]}_mean") :]
        final |= {f"{name}_{of}" for name in VALIDATION for of in ("mean", "std")}
        if {*rest} <= final | {"seeds", "status", "dataset", *SETTINGS}:
            return format_summary(table)
    shown = table.copy()
    for name in SETTINGS.keys() & {*table}:
        shown[name] = table[name].map(functools.partial(show, name), na_action="ignore")
    return shown.rename(columns=lambda name: axis_label(name).replace("_", " "))


def table(dataset: xr.Dataset) -> str:
    """Returns the summary of the last epoch as text.

    Of more than ``MAX_ROWS`` combinations, the best by ``selection_metric``.
    """
    summary, note = summarise(dataset), ""
    if "pruned_epoch" in dataset:
        left = summary["status"] == "pruned"
        note = f"\n({left.sum()} settings were pruned; see summary.csv)"
        summary = summary[~left]
    if len(summary) > MAX_ROWS:
        note += f"\n(the {MAX_ROWS} best of {len(summary)}; all are in summary.csv)"
        summary = summary.nlargest(MAX_ROWS, f"{selection_metric(dataset)}_mean")
    return format_summary(summary).to_string(index=False) + note


def describe_combination(dataset: xr.Dataset, index: Mapping[str, int]) -> str:
    """Returns the values at ``index`` on the axes that have several values."""
    several = [axis for axis in index if dataset.sizes[axis] > 1]
    values = [_describe(a, dataset[a].values[index[a]].item()) for a in several]
    return " ".join(values) or "this setting"


def _describe(axis: str, value: Any) -> str:
    """Returns a value, after the label of its axis unless the value suffices."""
    suffices = axis in ("divisor", "loss", "optimizer")
    return f"{'' if suffices else axis_label(axis) + ' '}{show(axis, value)}"


def _best(dataset: xr.Dataset) -> list[str]:
    """Returns which combination is best, and by how much, with its uncertainty."""
    metric = selection_metric(dataset)
    accuracy = dataset[metric].isel(epoch=-1).transpose(*dataset.status.dims)
    values = accuracy.values.reshape(-1, dataset.sizes["seed"]).astype(float)
    order = np.argsort(-np.nan_to_num(values.mean(1), nan=-1), kind="stable")
    indices = combinations(dataset)
    (best, best_index), *others = [(values[i], indices[i]) for i in order[:2]]
    if not np.isfinite(best.mean()):
        return ["No setting ended with finite outputs for every seed."]
    result = f"{_with_spread(best)} ({_count_seeds(len(best))})"
    label, is_validated = metric.replace("_", " "), metric != FINAL[0]
    if not others:
        return [f"{label.capitalize()} after the last epoch: {result}."]
    chosen = describe_combination(dataset, best_index)
    first = f"Best {label}: {chosen}, {result}"
    first += "" if is_validated else ", chosen on the test set"
    second, second_index = others[0]
    lead = "no other setting ended with finite outputs for every seed"
    if "pruned_epoch" in dataset:
        lead = "the other settings were pruned or diverged"
    if np.isfinite(second.mean()):
        lead = _lead(best - second, describe_combination(dataset, second_index))
    lines = [f"{first}; {lead}."]
    if is_validated:
        test = dataset.test_accuracy.isel(best_index).isel(epoch=-1).values
        lines.append(f"Test accuracy of {chosen}: {_with_spread(test.astype(float))}.")
    return lines


def _with_spread(accuracies: np.ndarray) -> str:
    """Returns mean and standard deviation over seeds, in per cent."""
    spread = f" ± {100 * accuracies.std(ddof=1):.2f}" if len(accuracies) > 1 else ""
    return f"{100 * accuracies.mean():.2f}{spread} %"


def _count_seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "one seed"


def _lead(differences: np.ndarray, runner_up: str) -> str:
    """Returns how far, and how surely, the best setting leads over the runner-up."""
    if not differences.any():
        return f"equal to {runner_up}"
    lead = f"{100 * differences.mean():.2f} points ahead of {runner_up}"
    if len(differences) == 1:
        return f"{lead}, which one seed cannot distinguish from chance"
    if np.ptp(differences) == 0:
        return f"{lead} for every seed"
    interval = paired_interval(100 * differences)
    sure = "so it is probably better" if interval.low > 0 else "so the two may be equal"
    return (
        f"{lead} (95 % interval for these two alone {interval.low:+.2f} to "
        f"{interval.high:+.2f}, paired over seeds), {sure}"
    )


def _contrast(dataset: xr.Dataset) -> list[str]:
    """Returns the test accuracy along the first axis, for each value of the second."""
    axes = [axis for axis in sweep_axes(dataset) if dataset.sizes[axis] > 1]
    if (
        "pruned_epoch" in dataset
        or len(axes) != 2
        or dataset.sizes[axes[1]] > 3
        or dataset.sizes[axes[0]] > 6
    ):
        return []
    first, second = axes
    mean = 100 * dataset.test_accuracy.isel(epoch=-1).mean("seed", skipna=False)
    parts = []
    for value in dataset[second].values:
        accuracies = mean.sel({second: value}).squeeze().values
        texts = [f"{a:.1f} %" if np.isfinite(a) else "not finite" for a in accuracies]
        labels = [show(first, v.item()) for v in dataset[first].values]
        listed = [f"{a}: {text}" for a, text in zip(labels, texts, strict=True)]
        parts.append(f"{_describe(second, value.item())} ({', '.join(listed)})")
    return [f"Test accuracy by {axis_label(first)}: {'; '.join(parts)}."]


def _not_learning(dataset: xr.Dataset) -> list[str]:
    """Returns which runs diverged, died or froze."""
    lines, indices = [], combinations(dataset)
    for name in NOT_LEARNING:
        counts = (dataset.status == name).sum("seed")
        (present,) = np.nonzero(counts.values.ravel())
        listed = [
            f"{describe_combination(dataset, indices[i])} ({counts.values.flat[i]})"
            for i in present[:4]
        ]
        if listed:
            total = f"{int(counts.sum())} of {dataset.status.size} runs {name}"
            listed += ["…"] * (len(present) > 4)
            meaning = dataset.status.attrs[name]
            lines.append(f"{total}: {', '.join(listed)} – {meaning}.")
    return lines


def sentences(dataset: xr.Dataset) -> list[str]:
    """Returns accuracies, the best setting, and the runs that failed, in sentences."""
    return [*_contrast(dataset), *_best(dataset), *_not_learning(dataset)]


def legend(dataset: xr.Dataset) -> list[str]:
    """Returns a line for each status and each loss that occurs."""
    return [
        f"{name} {value}: {dataset[name].attrs[value]}"
        for name in ("status", "loss")
        for value in dict.fromkeys(dataset[name].values.ravel().tolist())
    ]


def describe_stops(dataset: xr.Dataset) -> list[str]:
    """Returns for each combination when its runs stopped, and their test accuracy."""
    parts = []
    for index in combinations(dataset):
        runs = dataset.isel(index)
        epochs = runs.stopped_epoch.values
        listed = ", ".join("never" if np.isnan(e) else f"{e:.0f}" for e in epochs)
        accuracy = 100 * float(runs.test_accuracy.isel(epoch=-1).mean("seed"))
        text = f"stopped after epoch {listed} (by seed)"
        text = "never stopped" if np.isnan(epochs).all() else text
        label = describe_combination(dataset, index)
        parts.append(f"{label}: {text}, test accuracy {accuracy:.1f} %")
    return [f"{'; '.join(parts)}."]
