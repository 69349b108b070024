"""A recommended scaling, optimizer and learning rate, from results. Imports no jax."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.code_lines import code_lines
from fmnist_jax.analysis.intervals import Interval, accuracy_interval, paired_interval
from fmnist_jax.analysis.windows import final_accuracy
from fmnist_jax.choices import OPTIMIZERS
from fmnist_jax.config import show

SETTING, RATE = "setting", "learning_rate"
TRIED = "tried_"  # begins the names of the axes of the search
WINDOW_RATE = f"{TRIED}{RATE}"
STABLE = {
    "activation_stable_rate": "activation stability",
    "stable_rate": "the curvature of the loss",
}


class Recommendation(NamedTuple):
    """How to scale the inputs, and what to train with.

    Attributes:
      scaling: its label among the candidates, such as "unit".
      settings: "normalization", "offset", "divisor", "optimizer" and its settings, such
        as "learning_rate", and those of further axes.
      accuracy: on the test set, the mean over seeds and its 95 % interval.
      window: minimum and maximum of the learning rates around the recommended one that
        reach half-way from guessing to the best accuracy; NaN if none does.
      theory: the learning rates that are stable by theory, by name of the theory.
      sentences: the answer in words.
      code: "Keras", "PyTorch" and "Flax" to lines of code.
      results: what was trained: see ``recommend``.
    """

    scaling: str
    settings: Mapping[str, Any]
    accuracy: Interval
    window: tuple[float, float]
    theory: Mapping[str, float]
    sentences: tuple[str, ...]
    code: Mapping[str, tuple[str, ...]]
    results: xr.Dataset


def recommendation(results: xr.Dataset) -> Recommendation:
    """Returns the recommendation that results lead to.

    Args:
      results: of ``search.recommending``.
    """
    best = results.isel({SETTING: best_position(results)})
    further = [str(dim).removeprefix(TRIED) for dim in results.tried_accuracy.dims]
    settings = _settings(best, further)
    examples = results.attrs["test_examples"]
    accuracy = accuracy_interval(final_accuracy(best, "test").values, examples)
    window = learning_rate_window(results)
    theory = {
        name: float(results[variable])
        for variable, name in STABLE.items()
        if variable in results and math.isfinite(results[variable])
    }
    code = code_lines(settings, results.attrs["image_shape"])
    lines = tuple(_sentences(results, settings, accuracy, window, theory))
    return Recommendation(
        str(best.scaling.item()),
        settings,
        accuracy,
        window,
        theory,
        lines,
        code,
        results,
    )


def best_position(results: xr.Dataset) -> int:
    """Returns the position of the recommended setting among those trained in full.

    The one with the lowest mean validation loss among those whose mean validation
    accuracy is at most one example below the highest.
    """
    accuracy = final_accuracy(results, "validation").mean("seed").values
    loss = results.validation_loss.isel(epoch=-1).mean("seed", skipna=False)
    one_example = 1 / results.attrs["validation_examples"]
    is_close = accuracy >= accuracy.max() - one_example - 1e-9
    return int(np.where(is_close, loss.fillna(np.inf).values, np.inf).argmin())


def learning_rate_window(results: xr.Dataset) -> tuple[float, float]:
    """Returns minimum and maximum of the window of learning rates; NaN if it is empty.

    The unbroken stretch around the recommended learning rate in which the validation
    accuracy, after training on a part of the data, is at least half-way from guessing
    to the best.
    """
    values = results.window_accuracy.sortby(WINDOW_RATE)
    rates = values[WINDOW_RATE].values
    best = results.isel({SETTING: best_position(results)})
    position = int(np.abs(np.log(rates / best[RATE].item())).argmin())
    is_enough = values.values >= middle_accuracy(results)
    if not is_enough[position]:
        return math.nan, math.nan
    stretch = np.flatnonzero(np.cumsum(~is_enough) == np.cumsum(~is_enough)[position])
    inside = rates[stretch[is_enough[stretch]]]
    return float(inside[0]), float(inside[-1])


def middle_accuracy(results: xr.Dataset) -> float:
    """Returns the accuracy half-way from guessing to the best of all learning rates.

    Infinity if the best is within three standard errors of guessing.
    """
    best, guess = results.window_accuracy.max().item(), _guess(results)
    error = math.sqrt(guess * (1 - guess) / results.attrs["validation_examples"])
    return (best + guess) / 2 if best > guess + 3 * error else math.inf


def _guess(results: xr.Dataset) -> float:
    return float(results.attrs["largest_class_share"])


def _settings(best: xr.Dataset, further: Sequence[str]) -> dict[str, Any]:
    """Returns how one of the settings that were trained in full scales and trains.

    ``further`` are the names of the axes of the search.
    """
    optimizer = str(best.optimizer.item())
    names = ["normalization", "offset", "divisor", "optimizer"]
    names += [RATE, *OPTIMIZERS.get(optimizer, ()), *further]
    names = [name for name in names if name != "scaling"]
    values = {name: best[name].item() for name in names if name in best.coords}
    is_known = {n: v not in ("", None) and v == v for n, v in values.items()}
    return {name: value for name, value in values.items() if is_known[name]}


def table(results: xr.Dataset) -> pd.DataFrame:
    """Returns a row for each setting that was trained on all data.

    Columns: ``setting``; ``validation_accuracy``, its mean over seeds, in per cent;
    ``behind``, how many points it is behind the recommended setting, with its interval
    ``behind_low`` to ``behind_high``, paired over seeds; ``recommended``, whether it is
    this setting; and ``may_be_best``, whether validation cannot tell it from this.
    """
    accuracy = 100 * final_accuracy(results, "validation").transpose(SETTING, "seed")
    best = best_position(results)
    rows = []
    for position, label in enumerate(results[SETTING].values.tolist()):
        behind = Interval(*(3 * [0.0]))
        difference = accuracy.values[best] - accuracy.values[position]
        if position != best and len(difference) > 1:
            behind = paired_interval(difference)
        elif position != best:
            behind = Interval(difference[0], math.nan, math.nan)
        numbers = {"behind": behind.estimate, "behind_low": behind.low}
        numbers |= {"behind_high": behind.high}
        row = {SETTING: label, "validation_accuracy": accuracy.values[position].mean()}
        row |= {name: round(float(value), 2) for name, value in numbers.items()}
        row["recommended"], row["may_be_best"] = position == best, not behind.low > 0
        rows.append(row)
    return pd.DataFrame(rows).round({"validation_accuracy": 2})


def _sentences(
    results: xr.Dataset,
    settings: Mapping[str, Any],
    accuracy: Interval,
    window: tuple[float, float],
    theory: Mapping[str, float],
) -> list[str]:
    """Returns the answer in two sentences, and what has to be known beside them."""
    noun = "images" if len(results.attrs["image_shape"]) > 1 else "rows"
    seeds, examples = results.sizes["seed"], results.attrs["test_examples"]
    rate = show(RATE, settings[RATE])
    estimate, low, high = (100 * value for value in accuracy)
    first = (
        f"{_imperative(settings, noun)}, and train with {settings['optimizer']} at "
        f"{rate}: the test accuracy is then {estimate:.1f} % (95 % interval "
        f"{low:.1f} to {high:.1f} %; {seeds} seeds, {examples:,} test {noun})."
    )
    return [
        first,
        _window_sentence(results, window, theory),
        *_notes(results, settings),
    ]


def _imperative(settings: Mapping[str, Any], noun: str) -> str:
    values = "pixels" if noun == "images" else "columns"
    value = "pixel" if noun == "images" else "column"
    if settings["normalization"] != "none":
        one = "channel" if settings["normalization"] == "per_channel" else value
        return (
            f"Subtract from each {one} its mean and divide it by its standard "
            f"deviation, both of the training {noun}"
        )
    offset, divisor = settings.get("offset", 0), settings.get("divisor", 1)
    if offset:
        return f"Subtract {offset:.4g} from the {values}, divide by {divisor:.4g}"
    if divisor == 1:
        return f"Leave the {values} as they are"
    return f"Divide the {values} by {divisor:.4g}"


def _window_sentence(
    results: xr.Dataset, window: tuple[float, float], theory: Mapping[str, float]
) -> str:
    guess, part = 100 * _guess(results), results.attrs["part_examples"]
    if math.isnan(window[0]):
        text = f"No learning rate gets half-way from guessing ({guess:.0f} %) to 100 %"
    else:
        low, high = (show(RATE, rate) for rate in window)
        decades = math.log10(window[1] / window[0])
        ends = results[WINDOW_RATE].min().item(), results[WINDOW_RATE].max().item()
        is_at_end = any(map(math.isclose, window, ends))
        text = (
            f"With this scaling, learning rates from {low} to {high} "
            f"({'at least ' if is_at_end else ''}{decades:.1f} decades) get half-way "
            f"from guessing ({guess:.0f} %) to the best"
        )
    text += f" in {results.attrs['part_epochs']} epochs of {part:,} examples"
    if not theory:
        return f"{text}; theory gives no limit for this optimizer."
    limits = [f"{rate:.2g} by {name}" for name, rate in theory.items()]
    return f"{text}; before training, theory set the limit at {' and '.join(limits)}."


def _notes(results: xr.Dataset, settings: Mapping[str, Any]) -> list[str]:
    """Returns sentences on settings that may be as good, and on ends of the sweep."""
    rows, lines = table(results), []
    others = rows[rows.may_be_best & ~rows.recommended][SETTING].tolist()
    if others:
        lines.append(f"Validation cannot tell it from: {'; '.join(others)}.")
    rates = np.sort(results[WINDOW_RATE].values)
    for rate, name in ((rates[0], "smallest"), (rates[-1], "largest")):
        if math.isclose(settings[RATE], rate, rel_tol=1e-5):
            lines.append(
                f"This learning rate is the {name} of those that were tried; try "
                f"{'smaller' if name == 'smallest' else 'larger'} ones too."
            )
    return lines
