"""The figures of the rows show what the tables say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.reproduction.figures import row_figure
from experiments.reproduction.references import load
from fmnist_jax.analysis import results

KEPT = Path(__file__).parents[2] / "docs" / "reproduction"


def draw(row: str, configuration: str) -> Any:
    runs = results.load(KEPT / f"{configuration}.seeds0-9.nc")
    return runs, row_figure(row, load().rows[row], {configuration: runs})


def test_bands_are_prediction_intervals_and_rings_are_around_what_disagrees() -> None:
    runs, figure = draw("lr-1e-3-unscaled", "lr-1e-3-unscaled")
    loss, accuracy = figure.axes
    # As docs/reproduction_rows.md says: "Outside: …".
    rings = [line.get_xydata()[0] for line in accuracy.lines if line.get_ms() == 11]
    np.testing.assert_allclose(
        sorted(map(tuple, rings)), [(1, 0.763), (1, 0.779), (3, 0.86)]
    )
    rings = [line.get_xydata()[0] for line in loss.lines if line.get_ms() == 11]
    np.testing.assert_allclose(rings, [(1, 0.766)])
    values = runs.test_accuracy.transpose("seed", "epoch").values[:, 4].astype(float)
    half = stats.t.ppf(0.975, 9) * values.std(ddof=1) * np.sqrt(1.1)
    band = accuracy.collections[1].get_paths()[0].vertices
    ends = band[band[:, 0] == 5, 1]
    mean = values.mean()
    assert (ends.min(), ends.max()) == pytest.approx((mean - half, mean + half))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "does not agree" in labels


def test_accuracies_span_five_points_and_rows_that_agree_have_no_ring() -> None:
    _, figure = draw("lr-.1-unscaled", "lr-.1-unscaled")
    low, high = figure.axes[1].get_ylim()
    assert high - low == pytest.approx(0.05)
    assert low < 0.1 < high
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "does not agree" not in labels
