"""Maps over a plane of two settings that a browser draws and recolours. No jax."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.models import (
    ColumnDataSource,
    CrosshairTool,
    CustomJS,
    CustomJSHover,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
)
from bokeh.models.annotations import ColorBar, Legend, LegendItem

from fmnist_jax.analysis.results import combinations, sweep_axes
from fmnist_jax.analysis.trainability import (
    ACTIVATION,
    LEARNING_RATE,
    activation_rate,
    geometric_mean,
    stability_multiples,
)
from fmnist_jax.config import axis_label, show
from fmnist_jax.figures import style
from fmnist_jax.figures.interactive import Control, Interactive, plot
from fmnist_jax.figures.interactive_cuts import curve_figure, cuts
from fmnist_jax.figures.map_points import (
    MAX_CURVES,
    MAX_SEEDS,
    accuracy_range,
    columns,
    loss_range,
)
from fmnist_jax.figures.maps import LIGHT, STATUS_COLOURS, edges
from fmnist_jax.values import STATUS, parse_criterion

MAX_TOGETHER = 128  # points in each direction of maps that share a page
# Row of the tooltip -> the function of the page that fills it.
TOOLTIPS = {"accuracy": "test accuracy", "loss": "training loss", "status": "status"}


def map_pages(dataset: xr.Dataset, command: str = "") -> dict[str, Interactive]:
    """Returns what each page of a map draws, by the end of its name; "" is the first.

    The first two axes span the plane. Maps of further axes stand side by side, or on
    a page each if they are large. ``command`` trains a single point; it has "{x}" and
    "{y}" for the values.
    """
    axes = sweep_axes(dataset)
    panels = combinations(dataset, *axes[:2])
    if max(dataset.sizes[axis] for axis in axes[:2]) <= MAX_TOGETHER:
        return {"": _page(dataset, panels, command)}
    names = [
        "_".join(str(dataset[a].values[i].item()) for a, i in p.items()) for p in panels
    ]
    return {
        name if number else "": _page(dataset, [panel], command)
        for number, (name, panel) in enumerate(zip(names, panels, strict=True))
    }


def _page(
    dataset: xr.Dataset, panels: Sequence[Mapping[str, int]], command: str
) -> Interactive:
    x, y = sweep_axes(dataset)[:2]
    labels = [style.panel_title(dataset, index) or "map" for index in panels]
    figures: dict[str, Any] = {}
    parts = []
    for number, (index, label) in enumerate(zip(panels, labels, strict=True)):
        runs = dataset.isel(index).transpose(y, x, ...)
        part = _panel(runs, label, number)
        drawn = _figure(dataset, runs, number, figures[labels[0]] if number else None)
        _add_legends(drawn, part)
        figures[label] = drawn
        parts.append(part)
    texts = {
        f"Map: {label}" if label != "map" else "Map": f for label, f in figures.items()
    }
    texts |= cuts(dataset, labels)
    if "curves" in parts[0]:
        texts["Learning curve of the point last clicked"] = curve_figure(labels)
    data = {
        "panels": parts,
        "x": _axis(dataset, x),
        "y": _axis(dataset, y),
        "statuses": [
            {"name": n, "colour": c, "meaning": str(dataset.status.attrs.get(n, ""))}
            for n, c in STATUS_COLOURS.items()
        ],
        "scale": [_rgb(c) for c in LIGHT(np.linspace(0, 1, 64))],
        "accuracies": accuracy_range(dataset),
        "losses": loss_range(dataset),
        "is_learning_rate_on": "x" if x == LEARNING_RATE else "y",
        "command": command if dataset.sizes[x] <= MAX_SEEDS >= dataset.sizes[y] else "",
    }
    controls = _controls(dataset, labels, parts)
    return Interactive("map", texts, controls, data, ("map_", "map."))


def _rgb(colour: Any) -> list[int]:
    return [round(255 * part) for part in colour[:3]]


def _axis(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": axis_label(name),
        "values": dataset[name].values.astype(float).tolist(),
        "isLog": style.scale(dataset, name) == "log",
        "isEven": _is_even(dataset, name),
    }


def _is_even(dataset: xr.Dataset, name: str) -> bool:
    """Whether the values of an axis are equally far apart on its scale."""
    sides = edges(dataset, name)
    sides = np.log(sides) if style.scale(dataset, name) == "log" else sides
    return bool(np.ptp(np.diff(sides)) < 1e-3 * np.diff(sides).mean())


def _side(dataset: xr.Dataset, name: str) -> tuple[str, tuple[float, float]]:
    """Returns the scale of an axis and its ends.

    Values that are not equally far apart are drawn at their positions: 0, 1, 2, …
    """
    if _is_even(dataset, name):
        low, *_, high = edges(dataset, name).tolist()
        return style.scale(dataset, name), (low, high)
    return "linear", (-0.5, dataset.sizes[name] - 0.5)


def _label_positions(drawn: Any, dataset: xr.Dataset, axes: tuple[str, str]) -> None:
    """Labels positions with the values of axes that are not evenly spaced."""
    for name, axis in zip(axes, (drawn.xaxis, drawn.yaxis), strict=True):
        if not _is_even(dataset, name):
            texts = [show(name, value) for value in dataset[name].values.tolist()]
            axis.ticker = list(range(len(texts)))
            axis.major_label_overrides = dict(enumerate(texts))


def _controls(
    dataset: xr.Dataset, labels: Sequence[str], parts: Sequence[Mapping[str, Any]]
) -> list[Control]:
    """Returns what the colours show, which maps, the criterion and the multiple."""
    shown = {"accuracy": "test accuracy", "loss": "training loss", "status": "status"}
    shown |= {"trains": "what trains"} if parts[0]["has_bar"] else {}
    maps = {"all": "all"} | {str(i): label for i, label in enumerate(labels)}
    losses = dataset.loss.values.tolist() if "loss" in dataset.dims else []
    is_clip = len(labels) > 1 and {"clipped", "softmax"} <= {*losses}
    clip = {"both": "both", "clipped": "on", "softmax": "off"} if is_clip else {}
    controls = [
        Control("clip", "Clip the loss", clip),
        Control("colour", "Colours", shown),
        Control("maps", "Maps", maps if len(labels) > 1 + bool(clip) else {}),
    ]
    if parts[0]["has_bar"]:
        span = (0, 1, 0.005, round(_threshold(dataset), 3))
        text = "What trains: training accuracy of at least"
        controls.append(Control("criterion", text, span=span))
    if any(part["stable"] for part in parts):
        multiple = "Multiple of the stable learning rate in the dashed line"
        controls.append(Control("multiple", multiple, span=(0.1, 20, 0.1, 1)))
    return [control for control in controls if control.choices or control.span]


def _threshold(dataset: xr.Dataset) -> float:
    """Returns the training accuracy from which a run counts as trained."""
    criterion = dataset.attrs.get("criterion", STATUS)
    if criterion != STATUS and criterion.startswith("accuracy"):
        return parse_criterion(criterion)[1]
    return (1 + float(dataset.attrs["largest_class_share"])) / 2


def _panel(runs: xr.Dataset, label: str, number: int) -> dict[str, Any]:
    """Returns the theory of a map, and what else JSON holds of it."""
    x, y = sweep_axes(runs)[1], sweep_axes(runs)[0]
    other = next((name for name in (x, y) if name != LEARNING_RATE), x)
    part: dict[str, Any] = {"label": label, "number": number}
    part["values"] = {
        str(n): c.item()
        for n, c in runs.coords.items()
        if not c.ndim and c.dtype.kind == "U"
    }
    theory = {"stable": "stable_rate", "sharpness": "sharpness"}
    for key, name in theory.items():
        part[key] = _along(geometric_mean(runs[name]), other) if name in runs else []
    part["activation"] = (
        _along(activation_rate(runs), other) if ACTIVATION in runs else []
    )
    optimizer = str(runs.optimizer.item()) if "optimizer" in runs.coords else ""
    part["limit"] = next(iter(stability_multiples(optimizer).values()))
    part["has_bar"] = "final_train_accuracy" in runs
    if runs.sizes["epoch"] > 1 and runs.test_accuracy.size <= MAX_CURVES:
        part["curves"] = True
    return part


def _along(values: xr.DataArray, axis: str) -> list[float | None]:
    """Returns theory along an axis; empty if it depends on the other one too."""
    if values.dims != (axis,):
        return []
    return [float(v) if np.isfinite(v) else None for v in values.values]


def _figure(dataset: xr.Dataset, runs: xr.Dataset, number: int, first: Any) -> Any:
    """Returns a map, which shares the ranges of the first."""
    x, y = sweep_axes(dataset)[:2]
    (x_scale, (x0, x1)), (y_scale, (y0, y1)) = _side(dataset, x), _side(dataset, y)
    options: dict[str, Any] = {
        "x_axis_type": x_scale,
        "y_axis_type": y_scale,
        "x_range": first.x_range if first else (x0, x1),
        "y_range": first.y_range if first else (y0, y1),
        "height": 470,
    }
    labels = axis_label(x), axis_label(y)
    drawn = plot(f"map-{number}", *labels, **options)
    _label_positions(drawn, dataset, (x, y))
    drawn.grid.visible = False
    arrays = {name: [values] for name, values in columns(runs).items()}
    blank = np.zeros((runs.sizes[y], runs.sizes[x]), np.uint32)
    source = ColumnDataSource({**arrays, "image": [blank]}, tags=["map", number])
    place = {"x": x0, "y": y0, "dw": x1 - x0, "dh": y1 - y0}
    image = drawn.image_rgba("image", source=source, **place)
    for name, colour, dash in (
        ("stable", "black", "dashed"),
        ("activation", "#7A1FA2", "solid"),
    ):
        line = ColumnDataSource({"x": [], "y": []}, tags=[name, number])
        for above, width in (("white", 4), (colour, 2)):
            look = {"color": above, "line_width": width, "line_dash": dash}
            drawn.line("x", "y", source=line, **look, name=name)
    formatters: dict[str, Any] = {
        f"@{key}": CustomJSHover(
            code=f"return tooltip({number}, '{key}', special_vars)"
        )
        for key in TOOLTIPS
    }
    rows: list[Any] = [(text, f"@{key}{{custom}}") for key, text in TOOLTIPS.items()]
    for key, text, shown in zip("xy", labels, ("agree", "image"), strict=True):
        code = f"return tooltip({number}, '{key}', special_vars)"
        formatters[f"@{shown}"] = CustomJSHover(code=code)
        rows.insert("xy".index(key), (text, f"@{shown}{{custom}}"))
    hover = HoverTool(renderers=[image], tooltips=rows, formatters=formatters)
    drawn.add_tools(hover, CrosshairTool(line_alpha=0.5))
    for event in ("mousemove", "tap"):
        code = f"pointer({number}, cb_obj, {str(event == 'tap').lower()})"
        drawn.js_on_event(event, CustomJS(code=code))
    return drawn


def _add_legends(drawn: Any, part: Mapping[str, Any]) -> None:
    """Adds the names of the lines and the scale of the colours, which scripts set."""
    lines = {"stable": part["limit"], "activation": "activation stability"}
    items = [
        LegendItem(
            label=label,
            renderers=[line for line in drawn.renderers if line.name == name],
            name=name,
        )
        for name, label in lines.items()
        if part[name]
    ]
    look: dict[str, Any] = {
        "background_fill_alpha": 0,
        "border_line_alpha": 0,
        "margin": 0,
    }
    if items:
        look |= {"orientation": "horizontal", "location": "top_left", "spacing": 16}
        legend = Legend(items=items, **look)
        drawn.add_layout(legend, "below")
    palette = ["#" + bytes(_rgb(c)).hex() for c in LIGHT(np.linspace(0, 1, 64))]
    bar = ColorBar(
        color_mapper=LinearColorMapper(palette=palette, low=0, high=1),
        ticker=FixedTicker(ticks=[0, 0.5, 1]),
        height=10,
        padding=2,
        background_fill_alpha=0,
    )
    drawn.add_layout(bar, "below")
