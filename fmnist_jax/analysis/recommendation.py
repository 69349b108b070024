"""A recommended scaling, optimizer and learning rate, from results. Imports no jax."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from fmnist_jax.analysis.code_lines import code_lines
from fmnist_jax.analysis.intervals import Interval, accuracy_interval, paired_interval
from fmnist_jax.analysis.windows import RATE, best_positions, final_accuracy
from fmnist_jax.choices import OPTIMIZERS
from fmnist_jax.config import axis_label, show
from fmnist_jax.errors import Nouns, nouns

SETTING = "setting"
TRIED = "tried_"  # begins the names of the axes of the search
WINDOW_RATE = f"{TRIED}{RATE}"
SCALED = ("normalization", "offset", "divisor")
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
      window: minimum and maximum of the learning rates that reach half-way from
        guessing to the best accuracy, around the best; NaN if none does.
      theory: name of each theory to the largest stable learning rate it predicts.
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
    """Returns the recommendation that results of ``search.recommending`` lead to."""
    best = results.isel({SETTING: best_position(results)})
    settings, examples = _settings(best), results.attrs["test_examples"]
    accuracy = accuracy_interval(final_accuracy(best, "test").values, examples)
    inside = results[WINDOW_RATE].values[results.in_window.values]
    window = (inside.min(), inside.max()) if len(inside) else (math.nan, math.nan)
    theory = {
        name: float(results[variable])
        for variable, name in STABLE.items()
        if variable in results and math.isfinite(results[variable])
    }
    code = code_lines(settings, results.attrs["image_shape"])
    advice = Recommendation(
        str(best.scaling.item()),
        settings,
        accuracy,
        (float(window[0]), float(window[1])),
        theory,
        (),
        code,
        results,
    )
    return advice._replace(sentences=tuple(_sentences(advice)))


def best_position(results: xr.Dataset) -> int:
    """Returns the position of the recommended setting among those trained in full."""
    return int(best_positions(results, SETTING))


def _guess(results: xr.Dataset) -> float:
    return float(results.attrs["largest_class_share"])


def _settings(best: xr.Dataset) -> dict[str, Any]:
    """Returns the scaling and the training settings of one of the finalists."""
    optimizer = str(best.optimizer.item())
    names = [*SCALED, "optimizer", RATE, *OPTIMIZERS.get(optimizer, ())]
    names += np.atleast_1d(best.attrs["searched"]).tolist()
    values = {name: best[name].item() for name in names if name in best.coords}
    is_known = {n: v not in ("", None) and v == v for n, v in values.items()}
    return {name: value for name, value in values.items() if is_known[name]}


def table(results: xr.Dataset) -> pd.DataFrame:
    """Returns a row for each setting that was trained on all data.

    Columns: ``setting``; ``validation_accuracy``, its mean over seeds, in per cent;
    ``behind``, the difference from the recommended setting in points, with its interval
    ``behind_low`` to ``behind_high``, paired over seeds; ``recommended``, whether the
    row is the recommended setting; ``may_be_best``, whether it is not clearly worse.
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


def _sentences(advice: Recommendation) -> list[str]:
    """Returns the answer in two sentences, followed by notes."""
    results, settings = advice.results, advice.settings
    names = nouns(results.attrs["image_shape"])
    seeds, examples = results.sizes["seed"], results.attrs["test_examples"]
    estimate, low, high = (100 * value for value in advice.accuracy)
    further = np.atleast_1d(results.attrs["searched"]).tolist()
    more = [
        f", {axis_label(name)} {show(name, settings[name])}"
        for name in further
        if name in settings and name not in (*SCALED, "optimizer", RATE)
    ]
    epochs = results.sizes["epoch"]
    first = (
        f"{_imperative(settings, names)}, and train with {settings['optimizer']} at a "
        f"learning rate of {show(RATE, settings[RATE])}{''.join(more)}: after {epochs} "
        f"epoch{'' if epochs == 1 else 's'}, the test accuracy is {estimate:.1f} % "
        f"(95 % interval {low:.1f} to {high:.1f} %; {seeds} "
        f"seed{'' if seeds == 1 else 's'}, {examples:,} test {names.example}s)."
    )
    return [first, _window_sentence(advice), *_notes(advice)]


def _imperative(settings: Mapping[str, Any], names: Nouns) -> str:
    value = names.value
    if settings["normalization"] != "none":
        one = "channel" if settings["normalization"] == "per_channel" else value
        return (
            f"Standardise each {one} (subtract its mean and divide by its standard "
            f"deviation, both computed on the training {names.example}s)"
        )
    offset, divisor = settings["offset"], settings["divisor"]
    if offset:
        digits = max(0, 3 - math.floor(math.log10(divisor)))
        rounded = f"{round(offset, digits):.15g}"
        return f"Subtract {rounded} from the {value}s, divide by {divisor:.4g}"
    if divisor == 1:
        return f"Leave the {value}s as they are"
    return f"Divide the {value}s by {divisor:.4g}"


def _window_sentence(advice: Recommendation) -> str:
    results, guess = advice.results, 100 * _guess(advice.results)
    part, epochs = results.attrs["part_examples"], results.attrs["part_epochs"]
    budget = f"in {epochs} epochs of {part:,} examples"
    if math.isnan(advice.window[0]):
        text = f"No learning rate is clearly better than guessing ({guess:.0f} %)"
    else:
        low, high = (show(RATE, rate) for rate in advice.window)
        decades = math.log10(advice.window[1] / advice.window[0])
        ends = results[WINDOW_RATE].min().item(), results[WINDOW_RATE].max().item()
        is_at_end = any(map(math.isclose, advice.window, ends))
        size = f"{'at least ' if is_at_end else ''}{decades:.1f} decades"
        subject = f"learning rates from {low} to {high} ({size}) get"
        if low == high:
            subject = f"of the learning rates that were tried, only {low} gets"
        text = (
            f"With this scaling and optimizer, {subject} at least half-way from "
            f"guessing ({guess:.0f} %) to the best accuracy"
        )
    if not advice.theory:
        return f"{text} {budget}. Theory gives no limit for this optimizer."
    limits = [f"{rate:.2g} (from {name})" for name, rate in advice.theory.items()]
    return (
        f"{text} {budget}. The stability limit that theory predicts before training is "
        f"{' and '.join(limits)}."
    )


def _behind(row: Mapping[str, Any]) -> str:
    """Returns a setting, and how far it is behind, with the interval if known."""
    text = f"{row[SETTING]} ({row['behind']:.1f} points behind"
    if not math.isnan(row["behind_low"]):
        text += f", {row['behind_low']:.1f} to {row['behind_high']:.1f}"
    return f"{text})"


def _notes(advice: Recommendation) -> list[str]:
    """Returns sentences on settings that may be as good, and on ends of the sweep."""
    rows, lines = table(advice.results), []
    if advice.accuracy.low <= _guess(advice.results):
        lines.append(
            "This accuracy is not clearly better than that of always predicting the "
            "largest class."
        )
    others = rows[rows.may_be_best & ~rows.recommended]
    if len(others):
        texts = map(_behind, others.to_dict("records"))
        lines.append(f"Not clearly worse on the validation set: {'; '.join(texts)}.")
    rates = np.sort(advice.results[WINDOW_RATE].values)
    ends = {"smallest": rates[0], "largest": rates[-1]} if len(rates) > 1 else {}
    for name, rate in ends.items():
        if math.isclose(advice.settings[RATE], rate, rel_tol=1e-5):
            lines.append(
                f"This learning rate is the {name} of those that were tried; try "
                f"{name.replace('est', 'er')} ones too."
            )
    return lines
