"""Figures that a browser draws, as data for a page without a server. No jax."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bokeh.document import Document
from bokeh.models import CustomJSTickFormatter, Plot
from bokeh.models.annotations import Title
from bokeh.plotting import figure
from bokeh.resources import Resources

# Plain numbers from 0.001 to 99,999, and others as 1e5.
NUMBER = """
const number = Number(tick.toPrecision(6)), size = Math.abs(number);
return size && (size >= 1e5 || size < 1e-3)
  ? number.toExponential().replace("e+", "e") : number.toString();
"""


class Control(NamedTuple):
    """A control of the page, which scripts read by its name."""

    name: str  # its key in the page's address
    label: str  # in words
    choices: Mapping[str, str] = {}  # value to text; empty for a slider
    span: Sequence[float] = ()  # minimum, maximum, step and value of a slider


class Interactive(NamedTuple):
    """What a page draws: figures, the controls over them, and data for its script."""

    script: str  # name of the function that updates the figures
    figures: Mapping[str, Plot]  # by their description in words
    controls: Sequence[Control]  # in the order of the page
    data: Mapping[str, Any]  # anything that JSON can hold
    covers: tuple[str, ...] = ()  # beginnings of names of the PNG files it replaces


def library() -> str:
    """Returns the JavaScript library that draws the figures."""
    script: str = Resources(mode="inline", components=["bokeh"]).js_raw[0]
    return script.replace("</script", "<\\/script")


def as_json(value: Any) -> str:
    """Returns JSON that can stand inside a ``script`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def document(figures: Sequence[Plot]) -> Any:
    """Returns figures as Bokeh embeds them, with ids that depend on them alone."""
    page = Document(title="")
    for drawn in figures:
        page.add_root(drawn)
    return _renumbered(page.to_json(deferred=False), {})


def _renumbered(value: Any, ids: dict[str, str]) -> Any:
    """Returns JSON whose ids of models are numbered in the order of appearance."""
    if isinstance(value, list | tuple):
        return [_renumbered(part, ids) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: ids.setdefault(part, f"m{len(ids)}")
        if key == "id" and isinstance(part, str)
        else _renumbered(part, ids)
        for key, part in value.items()
    }


def titled(page: Interactive, title: str) -> None:
    """Gives every figure of a page a title, which downloads keep."""
    for drawn in page.figures.values():
        drawn.title = Title(text=title, text_font_size="11px")


def plot(name: str, x: str, y: str, **options: Any) -> Any:
    """Returns an empty figure that is as wide as the page, with labelled axes."""
    settings: dict[str, Any] = {
        "name": name,
        "tools": "pan,box_zoom,wheel_zoom,reset",
        "sizing_mode": "stretch_width",
        "height": 380,
        "x_axis_label": x,
        "y_axis_label": y,
        "toolbar_location": "above",
    }
    drawn = figure(**{**settings, **options})
    drawn.toolbar.logo = None
    for axis, scale in ((drawn.xaxis, "x_axis_type"), (drawn.yaxis, "y_axis_type")):
        if options.get(scale) == "log":
            axis.formatter = CustomJSTickFormatter(code=NUMBER)
    return drawn
