"""Saturation of the sigmoid and of trained networks: tables, sentences. No jax."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike

from fmnist_jax.analysis.report import describe_combination
from fmnist_jax.analysis.results import as_table, combinations, sweep_axes

SCALE = 255  # the largest pixel
WEIGHTS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.4, 0.8, 1.0)
INPUTS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 16.0, 17.0, 18.0, 36.0, 37.0, 38.0)
HINT = (0.0, 1e-5)  # range of weights in the hint of the source's discussion thread
# Labels of the shares that the probe ``health.saturation`` records.
SHARES = {
    "saturated_outputs_share": "softmax outputs within 1e-7 of 0 or 1",
    "saturated_true_share": "images with p(true class) < 1e-7",
    "inactive_share": "hidden activations that are 0",
    "dead_units_share": "hidden units that are 0 for every image",
}


def sigmoid(x: ArrayLike, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Returns 1/(1 + exp(−x)), with every operation rounded to ``dtype``."""
    one = np.asarray(1, dtype)
    return one / (one + np.exp(-np.asarray(x, dtype)))


def rounded_sigmoid(x: ArrayLike, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Returns σ(x) for x ≥ 0, rounded once: 1 minus its tail, computed in float64."""
    tail = np.exp(-np.asarray(x, float))
    return np.asarray(1 - tail / (1 + tail)).astype(dtype)


def gradient(x: ArrayLike) -> np.ndarray:
    """Returns σ(1 − σ), accurate even if σ rounds to 1."""
    tail = np.exp(-np.abs(np.asarray(x, float)))
    return tail / (1 + tail) ** 2


def first_one(function: Callable[..., np.ndarray], dtype: DTypeLike) -> int:
    """Returns the first whole number at which a sigmoid is exactly 1."""
    return int(np.argmax(function(np.arange(100), dtype) == 1))


def by_input(inputs: Sequence[float] = INPUTS) -> pd.DataFrame:
    """Returns a row per x: σ in both types, its distance from 1, and its gradient.

    ``gradient`` is exact; ``gradient_TYPE`` is σ(1 − σ) as that type computes it.
    """
    table = pd.DataFrame({"x": inputs})
    for name in ("float64", "float32"):
        value = sigmoid(inputs, name)
        table[name] = value
        table[f"1-{name}"] = 1 - value
        table[f"gradient_{name}"] = value * (1 - value)
    table["gradient"] = gradient(inputs)
    return table


def by_weight(weights: Sequence[float] = WEIGHTS) -> pd.DataFrame:
    """Returns a row per weight w: σ(255w) and σ(w), distances from 1, gradients."""
    w = np.asarray(weights, float)
    table = pd.DataFrame({"w": w})
    for name, x in ((f"{SCALE}w", SCALE * w), ("w", w)):
        table[f"sigmoid({name})"] = sigmoid(x)
        table[f"1-sigmoid({name})"] = 1 - sigmoid(x)
        table[f"gradient({name})"] = gradient(x)
    return table


def shares(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination: ``SHARES`` after the last epoch, over seeds."""
    mean = dataset[list(SHARES)].isel(epoch=-1).mean("seed")
    return as_table(mean.astype(float), sweep_axes(dataset))


def tables(dataset: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Returns the tables of the sigmoid and of the trained networks, by name."""
    return {
        "sigmoid": by_input(),
        "weights": by_weight(),
        "hint": by_weight(np.linspace(*HINT, 5).tolist()),
        "shares": shares(dataset),
    }


def sentences(dataset: xr.Dataset) -> list[str]:
    """Returns the main numbers of the tables as sentences."""
    return [*_sigmoid_sentences(), *_network_sentences(dataset)]


def _sigmoid_sentences() -> list[str]:
    (double, single), (rounded_double, rounded_single) = (
        [first_one(function, dtype) for dtype in (np.float64, np.float32)]
        for function in (sigmoid, rounded_sigmoid)
    )
    large, small = 4 * gradient([SCALE * 0.02, 0.02])
    ranges = [np.ptp(sigmoid(np.multiply(factor, HINT))) for factor in (SCALE, 1)]
    return [
        f"The sigmoid computed as 1/(1 + exp(-x)) is exactly 1 from x = {double} on in "
        f"float64 and from {single} on in float32 (if only the result is rounded: "
        f"{rounded_double} and {rounded_single}). This is rounding, not overflow. "
        "Learning depends on the gradient, which fades at much smaller x.",
        f"At a weight of 0.02, sigmoid({SCALE}w) keeps {100 * large:.1f} % of its "
        f"largest gradient and sigmoid(w) {100 * small:.1f} %. But for weights from "
        f"{HINT[0]:g} to {HINT[1]:g}, sigmoid({SCALE}w) varies by {ranges[0]:.2g} and "
        f"sigmoid(w) by {ranges[1]:.2g}. This close to 0, the larger input is more "
        "informative.",
    ]


def _network_sentences(dataset: xr.Dataset) -> list[str]:
    labels = [describe_combination(dataset, index) for index in combinations(dataset)]
    table = 100 * shares(dataset)[list(SHARES)].set_axis(labels)
    parts = [
        f"{SHARES[name]} from {values.min():.1f} % ({values.idxmin()}) to "
        f"{values.max():.1f} % ({values.idxmax()})"
        for name, column in table.items()
        if len(values := column.dropna())
    ]
    start = "These networks have no sigmoid. After training, these shares are saturated"
    return [f"{start} or zero: {'; '.join(parts)}."] if parts else []
