"""Validation metric of each setting during successive halving. No jax."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fmnist_jax.analysis.report import describe_combination
from fmnist_jax.analysis.results import combinations
from fmnist_jax.figures import style

MAX_LABELLED = 8  # settings in the legend, the best first


def figure(dataset: xr.Dataset) -> Figure:
    """Draws each setting's validation metric until it is pruned or training ends."""
    drawing, panels = style.grid_of_panels(1, 1)
    axes = panels[0, 0]
    name = str(dataset.attrs["rungs_by"])
    losses = dataset[name].mean("seed", skipna=False)
    index = combinations(dataset)
    last = [float(losses.isel(i).isel(epoch=-1)) for i in index]
    sign = 1 if name.endswith("loss") else -1
    order = np.argsort([sign * v if np.isfinite(v) else np.inf for v in last])
    stays = [n for n in order.tolist() if np.isfinite(last[n])]
    labelled = stays[:MAX_LABELLED]
    epochs = dataset.epoch.values
    for number, at in enumerate(index):
        if number not in labelled:
            values = losses.isel(at).values
            axes.plot(epochs, values, color="0.75", linewidth=0.8, marker=".")
    for number, colour in zip(labelled, style.colours(len(labelled)), strict=True):
        label = describe_combination(dataset, index[number])
        runs = dataset[name].isel(index[number])
        style.draw_seeds(axes, epochs, runs, color=colour, label=label, marker=".")
    rungs = list(np.atleast_1d(dataset.attrs["rungs"]))
    for epoch in rungs[:-1]:
        axes.axvline(epoch, **style.BASELINE)
    axes.set_yscale("log" if sign == 1 else "linear")
    axes.set_ylabel(f"{name.replace('_', ' ')}{' (log scale)' if sign == 1 else ''}")
    style.epoch_axis(axes, epochs)
    handles, _ = axes.get_legend_handles_labels()
    handles.append(style.legend_line("pruned", color="0.75", marker="."))
    if len(stays) > len(labelled):
        handles[-1].set_label("pruned, or not among the best")
    handles.append(style.legend_line("rung", **style.BASELINE))
    style.add_legend(drawing, handles)
    count = len(index)
    subject = f"Successive halving: {len(stays)} of {count} settings reached the end"
    style.title(drawing, dataset, subject)
    return drawing
