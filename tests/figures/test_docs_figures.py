"""Figures of the docs that scripts draw from kept tables."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks import scaling
from docs import predictions
from docs.predictions_figure import draw
from tests.figures.test_curves import texts_of


def test_every_case_has_a_symbol_and_its_ratio_below() -> None:
    table = pd.read_csv(predictions.MEASURED)
    known = table[table.criterion == "status"].dropna(subset="measured")
    figure = draw(table, predictions.TITLES)
    panels: list[Any] = figure.axes
    rules = list(predictions.RULES)
    for rule, panel, residuals in zip(rules, panels[:4], panels[4:], strict=True):
        marks = [line for line in panel.lines if line.get_marker() != "None"]
        positions = np.array([line.get_xydata()[0] for line in marks])
        np.testing.assert_allclose(positions, known[[rule, "measured"]])
        symbols = {(line.get_color(), line.get_marker()) for line in marks}
        assert len(symbols) == len(known) == 25
        ratios = [line.get_ydata()[0] for line in residuals.lines[1:]]
        np.testing.assert_allclose(ratios, known.measured / known[rule])
        low, high = panel.get_xlim()
        assert (low, high) == (known[rule].min() / 2, known[rule].max() * 2)
    assert set(known.case) <= set(texts_of(figure).split("\n"))


def test_the_cost_is_drawn_on_log_axes_with_its_ranges() -> None:
    panels: list[Any] = scaling.draw(pd.read_csv(scaling.TABLE)).axes
    for panel in panels:
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        assert len(panel.containers) == 4
        for line, _, _ in panel.containers:
            assert (np.diff(line.get_xdata()) > 0).all()
    line, _, (bars,) = panels[0].containers[0]
    # The first row of the kept table: 138.9 (109.5–144.4).
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (1, 138.9)
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [109.5, 144.4])
