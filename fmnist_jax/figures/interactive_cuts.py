"""Figures beside a map in a browser: its values along a line, and curves. No jax."""

from collections.abc import Sequence
from typing import Any

import xarray as xr
from bokeh.models import ColumnDataSource

from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.config import axis_label
from fmnist_jax.figures import style
from fmnist_jax.figures.interactive import plot


def cuts(dataset: xr.Dataset, labels: Sequence[str]) -> dict[str, Any]:
    """Returns the row and the column of the maps at the pointer."""
    x, y = sweep_axes(dataset)[:2]
    figures = {}
    for name, along, other in (("row", x, y), ("column", y, x)):
        options = {"x_axis_type": style.scale(dataset, along), "y_range": (0, 1)}
        label = axis_label(along)
        drawn = plot(name, label, "test accuracy", height=240, **options)
        _add_lines(drawn, labels, name)
        where = f"at the {axis_label(other)} of the pointer"
        text = f"Test accuracy by {axis_label(along)}, {where}"
        figures[text] = drawn
    return figures


def curve_figure(labels: Sequence[str]) -> Any:
    """Returns the learning curve of the point of each map that was clicked."""
    drawn = plot("curve", "epoch", "test accuracy", height=240, y_range=(0, 1))
    _add_lines(drawn, labels, "curve")
    return drawn


def _add_lines(drawn: Any, labels: Sequence[str], tag: str) -> None:
    """Adds an empty line for each map."""
    colours = style.colours(len(labels))
    for number, (label, colour) in enumerate(zip(labels, colours, strict=True)):
        source = ColumnDataSource({"x": [1], "y": [0]}, tags=[tag, number])
        look = (
            {"color": colour, "legend_label": label}
            if len(labels) > 1
            else {"color": colour}
        )
        drawn.line("x", "y", source=source, line_width=1.5, **look)
        drawn.scatter("x", "y", source=source, size=4, **look)
    if len(labels) > 1:
        (legend,) = drawn.legend
        legend.update(orientation="horizontal", ncols=2, click_policy="hide")
        legend.update(background_fill_alpha=0, border_line_alpha=0)
        legend.label_text_font_size = "11px"
        drawn.add_layout(legend, "below")
