"""Figures of the sources' rows: what was published on top of what was measured."""

import textwrap
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reproduction.judging import values
from experiments.reproduction.references import Row
from fmnist_jax.figures.plots import COLOURS, PER_CENT

STYLES = {"train": "--", "test": "-"}
WIDE = 8  # greatest over least loss from which on a log scale shows more
DECADES = 1e3  # from which on only powers of ten are ticks
LETTERS = 100  # of a line of the title
MARKS = {"train": "o", "test": "s"}


def _band(axes: Axes, runs: xr.Dataset, name: str, part: str, colour: str) -> None:
    measured = values(runs, name, runs.sizes["epoch"])
    finite = np.where(np.isfinite(measured), measured, np.nan)
    epochs = np.arange(1, measured.shape[1] + 1)
    axes.plot(epochs, finite.mean(0), STYLES[part], color=colour, linewidth=1.3)
    low, high = finite.min(0), finite.max(0)
    axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)


def _published(axes: Axes, row: Row, kind: str) -> None:
    for metric, published in row.published.items():
        if kind not in metric:
            continue
        part = metric.split("_")[0]
        epochs = np.arange(1, len(published) + 1)
        axes.errorbar(
            epochs, published, yerr=row.reading_error[metric], linestyle="none",
            marker=MARKS[part], markersize=5, color="black", elinewidth=1, capsize=2,
            markerfacecolor="white" if part == "train" else "black", zorder=3,
        )  # fmt: skip


def _loss_scale(axes: Axes) -> None:
    """Chooses a log scale where losses differ by much."""
    low, high = axes.dataLim.intervaly
    axes.set_ylabel("loss in nats")
    if low > 0 and high / low > WIDE:
        axes.set_yscale("log")
        steps = (1, 2, 5) if high / low < DECADES else (1,)
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_ylabel("loss in nats (log scale)")
    axes.yaxis.set_major_formatter("{x:g}")


def row_figure(name: str, row: Row, runs: Mapping[str, xr.Dataset]) -> Figure:
    """Draws loss and accuracy: bands over our seeds, marks for the published run."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    first = next(iter(runs.values()))
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for colour, each in zip(COLOURS, runs.values(), strict=False):
            shown = each.isel(epoch=slice(row.num_epochs))
            for part in ("train", "test"):
                has_penalty = "train_loss_and_penalty" in row.published
                train_loss = "train_loss_and_penalty" if has_penalty else "train_loss"
                metric = train_loss if (part, kind) == ("train", "loss") else ""
                _band(axes, shown, metric or f"{part}_{kind}", part, colour)
                if f"{part}_{kind}_with_dropout" in row.published:
                    noisy = f"{part}_{kind}_with_dropout"
                    _band(axes, shown, noisy, part, COLOURS[1])
        _published(axes, row, kind)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, row.num_epochs + 0.5)
        axes.xaxis.set_major_locator(
            mpl.ticker.MaxNLocator(integer=True, steps=[1, 2, 5, 10])
        )
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if kind == "loss":
            _loss_scale(axes)
        else:
            axes.set_ylabel("accuracy")
            axes.yaxis.set_major_formatter(PER_CENT)
    figure.legend(
        handles=_handles(row, runs), loc="outside right center", frameon=False
    )
    seeds = first.sizes["seed"]
    on = dict.fromkeys(each.attrs["dataset_title"] for each in runs.values())
    title = f"{name}: {' and '.join(on)}, mean and range of {seeds} seeds"
    config = textwrap.fill(row.config, LETTERS)
    figure.suptitle(f"{title}\n{config}", fontsize=11)
    return figure


def _handles(row: Row, runs: Mapping[str, xr.Dataset]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, label=name if len(runs) > 1 else "ours")
        for colour, name in zip(COLOURS, runs, strict=False)
    ]
    if any(metric.endswith("_with_dropout") for metric in row.published):
        handles.append(Line2D([], [], color=COLOURS[1], label="ours, with dropout on"))
    handles += [
        Line2D([], [], color="0.3", linestyle="--", label="training"),
        Line2D([], [], color="0.3", linestyle="-", label="test"),
    ]
    for part in MARKS:
        if any(metric.startswith(part) for metric in row.published):
            fill = "white" if part == "train" else "black"
            label = f"published, {'training' if part == 'train' else 'test'}"
            mark = Line2D(
                [], [], linestyle="none", label=label, marker=MARKS[part],
                markerfacecolor=fill, color="black",
            )  # fmt: skip
            handles.append(mark)
    return handles
