"""Results in words: a table, a few sentences, legends. Imports no jax."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import (
    FINAL,
    combinations,
    summarise,
    sweep_axes,
)
from fmnist_jax.config import SETTINGS, axis_label, show

MOST_ROWS = 40
CONFIDENCE = 0.95
NOT_LEARNING = ("diverged", "dead", "frozen")


def _cell(mean: float, std: float, name: str) -> str:
    if not math.isfinite(mean):
        return "–"
    scale, digits = (100, 2) if "accuracy" in name else (1, 4)
    form = f".{digits}f" if mean < 1e4 else ".4g"
    text = f"{scale * mean:{form}}"
    return text if math.isnan(std) else f"{text} ± {scale * std:{form}}"


def shown(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns what people read of a summary: mean ± standard deviation, and status.

    Accuracies in percent.

    Args:
      summary: of ``summarise``, or as ``summary.csv`` holds it.
    """
    axes = summary.columns[: summary.columns.get_loc(f"{FINAL[0]}_mean")]
    found = pd.DataFrame(
        {axis_label(a): [show(a, v) for v in summary[a]] for a in axes}
    )
    for name in FINAL:
        columns = zip(summary[f"{name}_mean"], summary[f"{name}_std"], strict=True)
        unit = " %" if "accuracy" in name else ""
        label = name.replace("_", " ").replace("accuracy", "acc.")
        found[f"{label}{unit}"] = [_cell(m, s, name) for m, s in columns]
    found["status"] = summary["status"].tolist()
    return found


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Returns any table as people read it: columns named in words, settings as shown.

    One with the columns of a summary becomes what ``shown`` makes of it.
    """
    final = {f"{name}_{of}" for name in FINAL for of in ("mean", "std")}
    if final <= {*table}:
        rest = table.columns[table.columns.get_loc(f"{FINAL[0]}_mean") :]
        if {*rest} <= final | {"seeds", "status", "dataset"}:
            return shown(table)
    settings = {
        c: table[c].map(functools.partial(show, c), na_action="ignore")
        for c in table
        if c in SETTINGS
    }
    return table.assign(**settings).rename(columns=_in_words)


def _in_words(column: str) -> str:
    return axis_label(column).replace("_", " ")


def table(dataset: xr.Dataset) -> str:
    """Returns the last epoch's metrics as ``shown``.

    Of more than ``MOST_ROWS`` combinations, the best by test accuracy.
    """
    summary = summarise(dataset)
    note = ""
    if len(summary) > MOST_ROWS:
        note = f"\n(the {MOST_ROWS} best of {len(summary)}; all are in summary.csv)"
        summary = summary.nlargest(MOST_ROWS, "test_accuracy_mean")
    return shown(summary).to_string(index=False) + note


def named(dataset: xr.Dataset, index: Mapping[str, int]) -> str:
    """Returns a combination in words, by the axes that have several values."""
    several = [axis for axis in index if dataset.sizes[axis] > 1]
    shown = [_called(a, dataset[a].values[index[a]].item()) for a in several]
    return " ".join(shown) or "this setting"


def _called(axis: str, value: Any) -> str:
    """Returns a value in words, with its axis where it does not speak for itself."""
    speaks = axis in ("divisor", "loss", "optimizer")
    return f"{'' if speaks else axis_label(axis) + ' '}{show(axis, value)}"


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "one seed"


def _best(dataset: xr.Dataset) -> list[str]:
    """Says which combination is best, and how sure that is over seeds."""
    accuracy = dataset.test_accuracy.isel(epoch=-1)
    ranked = sorted(
        ((accuracy.isel(i).values.astype(float), i) for i in combinations(dataset)),
        key=lambda pair: -np.nan_to_num(pair[0].mean(), nan=-1),
    )
    (best, best_index), *others = ranked
    if not np.isfinite(best.mean()):
        return ["No setting ended with finite outputs for every seed."]
    count = len(best)
    spread = f" ± {100 * best.std(ddof=1):.2f}" if count > 1 else ""
    said = f"{100 * best.mean():.2f}{spread} % of the test images right"
    if not others:
        return [f"After the last epoch {said} ({_seeds(count)})."]
    second, second_index = others[0]
    first = f"Best: {named(dataset, best_index)}, with {said} ({_seeds(count)})"
    if not np.isfinite(second.mean()):
        return [f"{first}; no other setting ended with finite outputs for every seed."]
    return [f"{first}; {_lead(best - second, named(dataset, second_index))}."]


def _lead(differences: np.ndarray, other: str) -> str:
    """Says how sure a lead over the runner-up is, paired over seeds."""
    points = 100 * differences
    if not points.any():
        return f"level with {other}"
    lead = f"{points.mean():.2f} points ahead of {other}"
    if len(points) == 1:
        return f"{lead}, which one seed cannot tell from chance"
    error = points.std(ddof=1) / math.sqrt(len(points))
    if error == 0:
        return f"{lead} for every seed alike"
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    half = stdtrit(len(points) - 1, (1 + CONFIDENCE) / 2) * error
    low, high = points.mean() - half, points.mean() + half
    sure = "so it is probably better" if low > 0 else "so the two may be equal"
    interval = f"95 % interval of these two alone {low:+.2f} to {high:+.2f}, paired"
    return f"{lead} ({interval}), {sure}"


def _contrast(dataset: xr.Dataset) -> list[str]:
    """Says what the first axis does, for each value of the second."""
    axes = [axis for axis in sweep_axes(dataset) if dataset.sizes[axis] > 1]
    if len(axes) != 2 or dataset.sizes[axes[1]] > 3:
        return []
    first, second = axes
    mean = 100 * dataset.test_accuracy.isel(epoch=-1).mean("seed", skipna=False)
    said = []
    for value in dataset[second].values:
        row = mean.sel({second: value}).squeeze()
        listed = [
            f"{show(first, v.item())} {a:.1f} %" if np.isfinite(a) else
            f"{show(first, v.item())} not finite"
            for v, a in zip(dataset[first].values, row.values, strict=True)
        ]  # fmt: skip
        if len(listed) <= 6:
            said.append(f"{_called(second, value.item())}: {', '.join(listed)}")
    return (
        [f"Test accuracy by {axis_label(first)} – {'; '.join(said)}."] if said else []
    )


def _not_learning(dataset: xr.Dataset) -> list[str]:
    """Says which runs froze, died or diverged."""
    said = []
    for name in NOT_LEARNING:
        where = {}
        for index in combinations(dataset):
            count = int((dataset.status.isel(index) == name).sum())
            if count:
                where[named(dataset, index)] = count
        if where:
            total, runs = sum(where.values()), dataset.status.size
            listed = [f"{place} ({count})" for place, count in where.items()]
            listed = [*listed[:4], "…"] if len(listed) > 4 else listed
            why = dataset.status.attrs[name]
            said.append(f"{total} of {runs} runs {name}: {', '.join(listed)} – {why}.")
    return said


def sentences(dataset: xr.Dataset) -> list[str]:
    """Returns what the results say: best value, how sure, which runs failed and why."""
    return [*_best(dataset), *_contrast(dataset), *_not_learning(dataset)]


def legend(dataset: xr.Dataset) -> list[str]:
    """Returns a line for each status and each loss that occurs."""
    lines = []
    for name in ("status", "loss"):
        found = dataset[name]
        for value in dict.fromkeys(found.values.ravel().astype(str).tolist()):
            lines.append(f"{name} {value}: {found.attrs[value]}")
    return lines


def stops(dataset: xr.Dataset) -> list[str]:
    """Says at which epoch the runs of each target stopped, and with what accuracy."""
    said = []
    for index in combinations(dataset):
        runs = dataset.isel(index)
        epochs = runs.stopped_epoch.values
        listed = ", ".join("never" if np.isnan(e) else f"{e:.0f}" for e in epochs)
        accuracy = 100 * float(runs.test_accuracy.isel(epoch=-1).mean("seed"))
        text = f"stopped after epoch {listed} (by seed)"
        text = "never stopped" if np.isnan(epochs).all() else text
        said.append(f"{named(dataset, index)}: {text}, test {accuracy:.1f} %")
    return [f"{'; '.join(said)}."]
