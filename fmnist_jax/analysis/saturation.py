"""Where the sigmoid saturates, and what saturates in trained networks.

Tables, sentences and a figure; only NumPy, pandas and matplotlib, no jax.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike

from fmnist_jax.analysis.report import named
from fmnist_jax.analysis.results import combinations

SCALE = 255  # the largest pixel
WEIGHTS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.4, 0.8, 1.0)
INPUTS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 16.0, 17.0, 18.0, 36.0, 37.0, 38.0)
HINT = (0.0, 1e-5)  # the range of weights that the thread's hint draws
# What ``diagnostics.saturation`` counts, in words.
SHARES = {
    "saturated_outputs_share": "softmax outputs within 1e-7 of 0 or 1",
    "saturated_true_share": "images with p(true class) < 1e-7",
    "inactive_share": "hidden activations that are 0",
    "dead_units_share": "hidden units that are 0 for every image",
}


def sigmoid(x: ArrayLike, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Returns 1/(1 + exp(−x)), every step of it rounded to a type of floats."""
    one = np.asarray(1, dtype)
    return one / (one + np.exp(-np.asarray(x, dtype)))


def rounded_sigmoid(x: ArrayLike, dtype: DTypeLike = np.float64) -> np.ndarray:
    """Returns σ(x) of x ≥ 0 rounded once: 1 less its tail, which float64 holds."""
    tail = np.exp(-np.asarray(x, float))
    return np.asarray(1 - tail / (1 + tail)).astype(dtype)


def gradient(x: ArrayLike) -> np.ndarray:
    """Returns σ(1 − σ), without what rounding σ first would lose."""
    tail = np.exp(-np.abs(np.asarray(x, float)))
    return tail / (1 + tail) ** 2


def first_one(function: Callable[..., np.ndarray], dtype: DTypeLike) -> int:
    """Returns the first whole number at which a sigmoid is exactly 1."""
    return int(np.argmax(function(np.arange(100), dtype) == 1))


def by_input(inputs: Sequence[float] = INPUTS) -> pd.DataFrame:
    """Returns a row per x: σ in both types, how far from 1, and its gradient.

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
    """Returns a row per weight w: σ(255w) and σ(w), how far from 1, and gradients."""
    w = np.asarray(weights, float)
    table = pd.DataFrame({"w": w})
    for name, x in ((f"{SCALE}w", SCALE * w), ("w", w)):
        table[f"sigmoid({name})"] = sigmoid(x)
        table[f"1-sigmoid({name})"] = 1 - sigmoid(x)
        table[f"gradient({name})"] = gradient(x)
    return table


def shares(dataset: xr.Dataset) -> pd.DataFrame:
    """Returns a row per combination of the axes: the last ``SHARES``, over seeds."""
    last = dataset.isel(epoch=-1)
    rows = []
    for index in combinations(dataset):
        runs = last.isel(index)
        row = {name: runs[name].item() for name in index}
        rows.append(row | {name: float(runs[name].mean()) for name in SHARES})
    return pd.DataFrame(rows)


def tables(dataset: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Returns the sigmoid's tables and the shares of trained networks, by name."""
    return {
        "sigmoid": by_input(),
        "weights": by_weight(),
        "hint": by_weight(np.linspace(*HINT, 5).tolist()),
        "shares": shares(dataset),
    }


def sentences(dataset: xr.Dataset) -> list[str]:
    """Returns what the tables say."""
    return [*_of_the_sigmoid(), *_of_networks(dataset)]


def _of_the_sigmoid() -> list[str]:
    ones = {
        f: [first_one(f, d) for d in (np.float64, np.float32)]
        for f in (sigmoid, rounded_sigmoid)
    }
    (double, single), (rounded_double, rounded_single) = ones.values()
    left = 4 * gradient([SCALE * 0.02, 0.02])
    large, small = (np.ptp(sigmoid(np.multiply(f, HINT))) for f in (SCALE, 1))
    return [
        f"The sigmoid computed as 1/(1 + exp(-x)) is exactly 1 from x = {double} on in "
        f"float64 and from {single} on in float32 (rounded once: {rounded_double} and "
        f"{rounded_single}). That is rounding, not overflow; what learning would miss "
        "is its gradient, which fades long before.",
        f"At a weight of 0.02, sigmoid({SCALE}w) keeps {100 * left[0]:.1f} % of its "
        f"largest gradient and sigmoid(w) {100 * left[1]:.1f} %. But for weights from "
        f"{HINT[0]:g} to {HINT[1]:g} sigmoid({SCALE}w) varies by {large:.2g} and "
        f"sigmoid(w) by {small:.2g}: so close to 0 the large input tells more, not "
        "less.",
    ]


def _of_networks(dataset: xr.Dataset) -> list[str]:
    table = shares(dataset)
    names = [named(dataset, index) for index in combinations(dataset)]
    said = []
    for column, label in SHARES.items():
        values = pd.Series(100 * table[column].to_numpy(), names).dropna()
        if len(values):
            least, most = values.idxmin(), values.idxmax()
            said.append(
                f"{label} from {values[least]:.1f} % ({least}) to {values[most]:.1f} % "
                f"({most})"
            )
    if not said:
        return []
    start = "There is no sigmoid in these networks. What does saturate in them"
    return [f"{start}: {'; '.join(said)}."]
