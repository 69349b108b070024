"""The sigmoid and what saturates, as figures. Imports no jax."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fmnist_jax.analysis.saturation import SCALE, SHARES, first_one, gradient, sigmoid
from fmnist_jax.figures import plots
from fmnist_jax.figures.plots import COLOURS, GUESSING


def figures(dataset: xr.Dataset) -> dict[str, Figure]:
    """Returns the sigmoid, and the shares of trained networks by divisor."""
    return {
        "sigmoid": sigmoid_figure(),
        "shares": plots.shares_against(dataset, "divisor", SHARES),
    }


def sigmoid_figure() -> Figure:
    """Draws σ(255w) and σ(w), and their gradients, against the weight."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    value, slope = figure.subplots(1, 2)
    w = np.logspace(-6, 0, 400)
    for colour, scale, name in ((1, SCALE, f"σ({SCALE}w)"), (0, 1, "σ(w)")):
        value.plot(w, sigmoid(scale * w), color=COLOURS[colour], label=name)
        slope.plot(w, gradient(scale * w), color=COLOURS[colour])
        end = first_one(sigmoid, np.float32) / scale
        if end < w[-1]:
            for axes in (value, slope):
                axes.axvline(end, **GUESSING)
            slope.annotate(
                "from here on σ = 1 and gradient 0 in float32 ", (end, 3e-9), ha="right"
            )
    slope.set_yscale("log")
    slope.set_ylim(1e-9, 1)
    value.set_ylabel("value")
    slope.set_ylabel("gradient σ(1 − σ) (log scale)")
    for axes in (value, slope):
        axes.set_xscale("log")
        axes.set_xlabel("weight w (log scale)")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    value.legend(frameon=False)
    figure.suptitle(
        f"The sigmoid of a weighted pixel of {SCALE} and of 1: value and gradient\n"
        "arithmetic alone, no data and no training",
        fontsize=12,
    )
    return figure
