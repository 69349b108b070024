"""Tests of what all figures share."""

import matplotlib.pyplot as plt
import pytest

from fmnist_jax.figures import style


@pytest.mark.parametrize(
    ("low", "high"), [(1e-6, 10), (0.3, 40), (0.02, 0.11), (870, 1155), (6.4, 9.9)]
)
def test_every_log_axis_has_several_ticks(low: float, high: float) -> None:
    figure, axes = plt.subplots()
    axes.loglog([low, high], [low, high])
    axes.set_xlim(low, high)
    style.log_ticks(axes.xaxis)
    figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    inside = [label for label in labels if low <= label.get_position()[0] <= high]
    assert 3 <= len(inside) <= 9
    for label in inside:
        number = float(label.get_text().replace("−", "-"))
        assert number == pytest.approx(label.get_position()[0])
    plt.close(figure)
