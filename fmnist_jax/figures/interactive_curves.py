"""Learning curves and final values that a browser draws. No jax."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import BasicTicker, ColumnDataSource, FixedTicker, HoverTool

from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.config import axis_label, show
from fmnist_jax.figures import style
from fmnist_jax.figures.interactive import Control, Interactive, plot

SPLITS = {"test": "test", "train": "training", "validation": "validation"}
QUANTITIES = {"accuracy": "accuracy", "loss": "loss"}
LOSS = "loss"
CURVES, FINAL = "curves", "final"  # what a figure shows
MAX_SETTINGS = 100  # more are a map, or too many to be told apart
MAX_ENTRIES = 12  # of a legend with an entry for each setting
LOG_TICKS = [digit * 10.0**power for power in range(-12, 13) for digit in (1, 2, 5)]
MAX_LEVEL = 8  # characters of names that stand side by side below an axis
DASHES = ("solid", "dashed", "dotted", "dashdot", "dotdash")
SHAPES = ("circle", "square", "triangle", "diamond", "inverted_triangle")
TOOLTIPS = [
    ("setting", "@setting"),
    ("seed", "@seed"),
    ("epoch", "@epoch"),
    ("value", "@y{0.000000}"),
    ("status", "@status"),
]


def curves(
    dataset: xr.Dataset,
    line: str = "",
    x: str = "",
    rescaled: Mapping[str, str] | None = None,
) -> Interactive | None:
    """Returns learning curves, and the values after an epoch against a setting.

    None if there are no curves, or too many of them to be told apart.

    Args:
      dataset: results of a grid.
      line: the axis with a colour for each value; the first axis by default.
      x: the axis along the bottom of the values after an epoch; ``line`` by default.
      rescaled: value of ``line`` with a rescaled first layer to the value that it
        replaces; a switch shows these, or the values without either.
    """
    settings, axes = combinations(dataset), sweep_axes(dataset)
    metrics = _metrics(dataset)
    if not metrics or not axes or len(settings) > MAX_SETTINGS:
        return None
    line = line or max(axes, key=lambda axis: dataset.sizes[axis])
    x = x or line
    figures = _figures(dataset, x)
    colours = style.colours(dataset.sizes[line])
    others = combinations(dataset, line)
    for index in settings:
        rest = {axis: i for axis, i in index.items() if axis != line}
        number = others.index(rest) % len(DASHES)
        few = len(settings) <= MAX_ENTRIES
        label = _label(dataset, index if few else {line: index[line]})
        sources = _sources(dataset.isel(index), metrics, _label(dataset, index), x)
        for name, drawn in figures.items():
            is_final = name.startswith(FINAL)
            look = {} if is_final else {"legend_label": label}
            look["color"] = _hex(colours[index[line]])
            columns = ("x", "final") if is_final else ("epoch", "y")
            _draw(drawn, sources, columns, look, number)
    _finish(figures)
    by_text = {_caption(name, x): drawn for name, drawn in figures.items()}
    covers = ("curves.", "final.")
    switches, shown = _switches(dataset, line, rescaled or {})
    controls = [*switches, *_controls(dataset, metrics)]
    return Interactive("curves", by_text, controls, {"shown": shown}, covers)


def _caption(name: str, x: str) -> str:
    subject, _, scale = name.partition("-")
    if subject == CURVES:
        return f"Learning curves ({scale} scale)"
    return (
        f"Values after an epoch, by {axis_label(x)} ({scale} scale; large marks: means)"
    )


def _switches(
    dataset: xr.Dataset, line: str, rescaled: Mapping[str, str]
) -> tuple[list[Control], dict[str, dict[str, list[str]]]]:
    """Returns switches, and the labels of the settings that each choice shows."""
    controls, values = [], {}
    losses = dataset[LOSS].values.tolist() if LOSS in dataset.dims else []
    if {"clipped", "softmax"} <= set(losses):
        choices = {"both": "both", "on": "on", "off": "off"}
        controls.append(Control("clip", "Clip the loss", choices))
        values["clip"] = LOSS, {"on": ["clipped"], "off": ["softmax"]}
    if rescaled:
        choices = {"off": "off", "on": "on"}
        controls.append(Control("rescale", "Rescale the first layer", choices))
        names = dataset[line].values.tolist()
        plain = [name for name in names if name not in rescaled]
        pairs = [*rescaled, *rescaled.values()]
        values["rescale"] = line, {"off": plain, "on": pairs}
    settings = combinations(dataset)
    shown = {
        name: {
            choice: [
                _label(dataset, index)
                for index in settings
                if dataset[axis].values[index[axis]] in chosen
            ]
            for choice, chosen in choices.items()
        }
        for name, (axis, choices) in values.items()
    }
    return controls, shown


def _metrics(dataset: xr.Dataset) -> list[str]:
    names = [f"{split}_{quantity}" for split in SPLITS for quantity in QUANTITIES]
    present = [
        name for name in names if "epoch" in getattr(dataset.get(name), "dims", ())
    ]
    return [name for name in present if np.isfinite(dataset[name]).any()]


def _label(dataset: xr.Dataset, index: Mapping[str, int]) -> str:
    values = {a: dataset[a].values[i].item() for a, i in index.items()}
    return ", ".join(
        show(a, v)
        if a == "divisor" or isinstance(v, str)
        else f"{axis_label(a)} {show(a, v)}"
        for a, v in values.items()
    )


def _hex(colour: Any) -> str:
    if isinstance(colour, str):
        return "#7f7f7f" if colour == "#000000" else colour  # visible on dark pages
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def _controls(dataset: xr.Dataset, metrics: Sequence[str]) -> list[Control]:
    """Returns the switches of quantity, split, runs and scale, and the epoch."""
    splits = {s: t for s, t in SPLITS.items() if any(m.startswith(s) for m in metrics)}
    quantities = {
        q: t for q, t in QUANTITIES.items() if any(m.endswith(q) for m in metrics)
    }
    shown = {"seeds": "single seeds", "bands": "mean and range"}
    epochs = dataset.sizes["epoch"]
    controls = [
        Control("quantity", "Quantity", quantities),
        Control("split", "Measured on", splits),
        Control("runs", "Show", shown if dataset.sizes["seed"] > 1 else {}),
        Control("scale", "Vertical axis", {"linear": "linear", "log": "log"}),
        Control("epoch", "Values after epoch", span=(1, epochs, 1, epochs)),
    ]
    return [c for c in controls if c.choices or (c.span and epochs > 1)]


def _figures(dataset: xr.Dataset, x: str) -> dict[str, Any]:
    unit = dataset.epoch.attrs.get("long_name", "epoch")
    values = dataset[x].values
    label = axis_label(x)
    if values.dtype.kind in "iuf":
        label = style.scaled_label(dataset, x)
        options: dict[str, Any] = {"x_axis_type": style.scale(dataset, x)}
    else:
        options = {"x_range": [str(value) for value in values.tolist()]}
    figures = {}
    for subject, text, more in ((CURVES, unit, {}), (FINAL, label, options)):
        for scale in ("linear", "log"):
            drawn = plot(f"{subject}-{scale}", text, "", y_axis_type=scale, **more)
            drawn.tags = [scale]
            if scale == "log":
                drawn.yaxis.ticker = FixedTicker(ticks=LOG_TICKS)
            figures[drawn.name] = drawn
    names = options.get("x_range", [])
    if max(map(len, names), default=0) > MAX_LEVEL:
        for scale in ("linear", "log"):
            figures[f"{FINAL}-{scale}"].xaxis.major_label_orientation = math.pi / 6
    return figures


def _sources(
    runs: xr.Dataset, metrics: Sequence[str], label: str, x: str
) -> Mapping[str, Any]:
    """Returns the runs, the mean and the band of a setting, as columns.

    Runs follow one another, with a gap after the last epoch of a run. ``y`` and
    ``final`` are what is drawn of the metrics; the page sets them.
    """
    values = {
        name: runs[name].transpose("seed", "epoch").values.astype(float)
        for name in metrics
    }
    statuses, seeds = runs.status.values.tolist(), runs.seed.values.tolist()
    epochs = runs.epoch.values.astype(float)
    position = runs[x].item() if runs[x].dtype.kind in "iuf" else str(runs[x].item())
    columns: dict[str, dict[str, Any]] = {"seeds": {}, "mean": {}, "bands": {}}
    for name, array in values.items():
        mean, low, high = style.mean_and_range(runs[name])
        columns["seeds"][name] = _with_gaps(array)
        columns["mean"][name] = _with_gaps(mean[None])
        columns["bands"][name] = _with_gaps(np.concatenate([low, high[::-1]])[None])
    rows = {"seeds": (seeds, statuses), "mean": (
        [f"mean of {len(seeds)}"], [", ".join(dict.fromkeys(statuses))])}  # fmt: skip
    for group, (names, texts) in rows.items():
        count = len(epochs) + 1
        columns[group] |= {
            "epoch": np.tile([*epochs, np.nan], len(names)),
            "setting": [label] * (count * len(names)),
            "seed": np.repeat(names, count).tolist(),
            "status": np.repeat(texts, count).tolist(),
            "x": [position] * (count * len(names)),
        }
    outline = np.array([*epochs, *epochs[::-1], np.nan])
    columns["bands"] |= {"epoch": outline, "setting": [label] * len(outline)}
    first = metrics[0]
    return {
        name: ColumnDataSource({**c, "y": c[first], "final": c[first]}, tags=[name])
        for name, c in columns.items()
    }


def _with_gaps(rows: np.ndarray) -> np.ndarray:
    """Returns rows one after the other, each followed by NaN; NaN if not finite."""
    finite = np.where(np.isfinite(rows), rows, np.nan)
    return np.pad(finite, ((0, 0), (0, 1)), constant_values=np.nan).ravel()


def _draw(
    drawn: Any,
    sources: Mapping[str, Any],
    columns: tuple[str, str],
    look: Mapping[str, Any],
    number: int,
) -> None:
    """Draws runs, mean and band of a setting; ``number`` decides dashes and marks."""
    if columns[0] == "epoch":
        drawn.patch(*columns, source=sources["bands"], alpha=0.25, line_width=0, **look)
        for name in ("seeds", "mean"):
            dash = {"line_dash": DASHES[number], "line_width": 1.5}
            drawn.line(*columns, source=sources[name], **dash, **look)
    for name, size, fill in (("seeds", 6, 0.7), ("mean", 10, 0)):
        marks = {"marker": SHAPES[number], "size": size, "fill_alpha": fill}
        drawn.scatter(*columns, source=sources[name], **marks, **look)


def _finish(figures: Mapping[str, Any]) -> None:
    """Adds what shows on hover, and the legends."""
    for name, drawn in figures.items():
        marks = [r for r in drawn.renderers if hasattr(r.glyph, "marker")]
        drawn.add_tools(HoverTool(renderers=marks, tooltips=TOOLTIPS))
        if name.startswith(FINAL):
            continue
        drawn.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
        (legend,) = drawn.legend
        legend.update(
            click_policy="hide",
            orientation="horizontal",
            ncols=3,
            background_fill_alpha=0,
            border_line_alpha=0,
            label_text_font_size="11px",
            spacing=4,
            margin=0,
        )
        drawn.add_layout(legend, "below")
