"""Runs with a rescaled first layer against runs with divided pixels. No jax."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fmnist_jax.figures import style

Pairs = Mapping[str, str]
# Pixels as they are, divided pixels, and the former with a rescaled first layer.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.COLOURS[1]},
    {"color": style.COLOURS[4], "linewidth": 6, "alpha": 0.6},
    {"color": "black", "linestyle": (0, (4, 3)), "linewidth": 1.4},
)


def figure(dataset: xr.Dataset, axis: str, pairs: Pairs) -> Figure:
    """Draws three lines for each optimizer: a run, and both runs of a pair.

    They are the first run that belongs to no pair, if any, and the first pair. The
    arguments are those of ``analysis.rescaled.table``.
    """
    runs = dataset.rename({axis: "label"})
    optimizers = dict.fromkeys(runs.optimizer.sel(label=list(pairs)).values.tolist())
    figure, panels = style.grid_of_panels(2, len(optimizers), sharex=True, sharey="row")
    both = [*pairs, *pairs.values()]
    largest = 0.0
    for (loss, accuracy), optimizer in zip(panels.T, optimizers, strict=True):
        part = runs.isel(label=runs.optimizer.values == optimizer)
        labels = part["label"].values.tolist()
        rescaled = next(label for label in labels if label in pairs)
        shown = [label for label in labels if label not in both][:1]
        shown += [pairs[rescaled], rescaled]
        for label, look in zip(shown, LOOKS[-len(shown) :], strict=True):
            name = label.removeprefix(f"{optimizer} ").partition(" as ")[0]
            name += ",\nfirst layer rescaled" if label == rescaled else ""
            kwargs = {"label": name, **look}
            line = part.sel(label=label)
            style.draw_seeds(loss, part.epoch.values, line.train_loss, **kwargs)
            style.draw_seeds(accuracy, part.epoch.values, line.test_accuracy, **kwargs)
        losses = part.train_loss.sel(label=[rescaled, pairs[rescaled]]).astype(float)
        largest = max(largest, float(np.ptp(losses.values, axis=0).max()))
        loss.set_title(optimizer, fontsize=10)
        loss.set_yscale("log")
        style.log_ticks(loss.yaxis)
        accuracy.set_ylim(0, 1)
        accuracy.yaxis.set_major_formatter(style.PER_CENT)
        style.epoch_axis(accuracy, part.epoch.values)
    panels[0, 0].set_ylabel("training loss (log scale)")
    panels[1, 0].set_ylabel("test accuracy")
    style.add_legend(figure, panels[0, 0].get_legend_handles_labels()[0])
    outcome = f"differ by at most {largest:.2g}" if largest else "are equal bit for bit"
    subject = "A rescaled first layer equals divided pixels: "
    style.title(figure, dataset, f"{subject}training losses {outcome}")
    return figure
