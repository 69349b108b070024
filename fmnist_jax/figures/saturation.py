"""The sigmoid, and saturation in trained networks, as figures. No jax."""

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fmnist_jax.analysis.saturation import SCALE, SHARES, first_one, gradient, sigmoid
from fmnist_jax.config import axis_label
from fmnist_jax.figures import style
from fmnist_jax.figures.curves import draw_final, set_x_axis


def figures(dataset: xr.Dataset) -> dict[str, Figure]:
    """Returns the sigmoid, and the shares of trained networks by divisor."""
    return {
        "sigmoid": sigmoid_figure(),
        "shares": shares_against(dataset, "divisor", SHARES),
    }


def shares_against(dataset: xr.Dataset, x: str, shares: Mapping[str, str]) -> Figure:
    """Draws shares in 0…1, after the last epoch, against an axis of any sweep.

    ``shares`` maps the name of a variable to the title of its panel. Every combination
    of the other axes' values gets a colour.
    """
    columns = math.ceil(len(shares) / 2)
    figure, panels = style.grid_of_panels(2, columns, sharex=True, sharey="row")
    for panel, (name, heading) in zip(panels.flat, shares.items(), strict=False):
        handles = draw_final(panel, dataset.isel(epoch=-1), x, name)
        panel.set_title(heading, fontsize=10)
        panel.set_ylim(-0.03, 1.03)
        panel.yaxis.set_major_formatter(style.PER_CENT)
    set_x_axis(panels[1, 0], dataset, x)
    for panel in panels[1, 1:]:
        panel.set_xlabel(panels[1, 0].get_xlabel())
    style.add_legend(figure, handles)
    subject = f"Saturation after epoch {int(dataset.epoch[-1])}, by {axis_label(x)}"
    style.title(figure, dataset, subject, seeds="a mark for each of")
    return figure


def sigmoid_figure() -> Figure:
    """Draws σ(255w) and σ(w), and their gradients, against the weight."""
    figure, ((value, slope),) = style.grid_of_panels(1, 2)
    w = np.logspace(-6, 0, 400)
    for colour, scale, name in ((1, SCALE, f"σ({SCALE}w)"), (0, 1, "σ(w)")):
        value.plot(w, sigmoid(scale * w), color=style.COLOURS[colour], label=name)
        slope.plot(w, gradient(scale * w), color=style.COLOURS[colour])
    end = first_one(sigmoid, np.float32) / SCALE
    text = f"beyond: σ({SCALE}w) = 1 and \ngradient 0 in float32 "
    slope.annotate(text, (end, 2e-9), ha="right")
    for panel in (value, slope):
        panel.axvline(end, **style.BASELINE)
        panel.set(xscale="log", xlabel="weight w (log scale)")
    slope.set(yscale="log", ylim=(1e-9, 1), ylabel="gradient σ(1 − σ) (log scale)")
    value.set_ylabel("value")
    value.legend(frameon=False)
    figure.suptitle(
        f"Sigmoid of a weight times a pixel of {SCALE} and of 1: value and gradient\n"
        "(computed, not measured: no data and no training)",
        fontsize=12,
    )
    return figure
