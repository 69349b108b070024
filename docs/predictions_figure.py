"""The figure of docs.predictions: measured against predicted learning rates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fmnist_jax.figures import style

# A symbol for each case: of each colour, every marker.
SYMBOLS: list[dict[str, Any]] = [
    {"color": colour, "marker": marker, "linestyle": "none", "markersize": 6}
    for marker in "osDX"
    for colour in style.COLOURS
]


def draw(measured: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Draws measured against predicted learning rates, and their ratio, by rule.

    Each case has a symbol. ``titles`` are those of the rules, which are columns.
    """
    size, ratios = (10.5, 7.2), {"height_ratios": (3, 2)}
    options: dict[str, Any] = {"sharex": "col", "sharey": "row", **ratios}
    figure, panels = style.grid_of_panels(2, len(titles), size, **options)
    known = measured[measured.criterion == "status"].dropna(subset="measured")
    ends = np.array([1e-6, 1e3])
    for (panel, residuals), rule in zip(panels.T, titles, strict=True):
        logs = np.log10(known.measured / known[rule])
        panel.fill_between(ends, ends / 3, ends * 3, color="0.9", linewidth=0)
        panel.plot(ends, ends, color="0.3", linewidth=1)
        residuals.axhspan(1 / 3, 3, color="0.9", linewidth=0)
        residuals.axhline(1, color="0.3", linewidth=1)
        symbols = SYMBOLS[: len(known)]
        cases = zip(known[rule], known.measured, symbols, strict=True)
        for predicted, largest, symbol in cases:
            panel.plot(predicted, largest, **symbol)
            residuals.plot(predicted, largest / predicted, **symbol)
        median, worst = 10 ** logs.abs().median(), 10 ** logs.abs().max()
        factors = f"median factor {median:.2g}, worst {worst:.2g}"
        panel.set_title(f"{titles[rule]}\n{factors}", fontsize=9)
        low, high = known[rule].min() / 2, known[rule].max() * 2
        panel.set(xscale="log", yscale="log", xlim=(low, high))
        residuals.set(yscale="log", xlabel="predicted")
    panels[0, 0].set_ylim(known.measured.min() / 2, known.measured.max() * 2)
    panels[0, 0].set_ylabel("largest trainable learning rate")
    panels[1, 0].set_ylabel("measured ÷ predicted")
    style.log_ticks(panels[1, 0].yaxis)
    handles = [
        style.legend_line(case, **symbol)
        for case, symbol in zip(known.case, SYMBOLS[: len(known)], strict=True)
    ]
    style.add_legend(figure, handles, fontsize=8)
    figure.suptitle(
        f"Learning rates predicted before training, then measured: {len(known)} cases "
        "under SGD\n(line: equal; grey: within a factor of 3)"
    )
    return figure
