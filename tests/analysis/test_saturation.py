import decimal
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis import saturation
from fmnist_jax.figures.saturation import shares_against, sigmoid_figure
from tests.analysis.test_results import make
from tests.figures.test_curves import texts_of


def exact(x: float) -> Decimal:
    """σ(x) to 60 digits."""
    with decimal.localcontext(prec=60):
        return 1 / (1 + (-Decimal(x)).exp())


def test_sigmoids_against_sixty_digits() -> None:
    published = {
        0: 0.5, 1: 0.7310585786300049, 2: 0.8807970779778823, 3: 0.9525741268224334,
        36: 0.9999999999999998, 0.01: 0.5024999791668749, 0.99: 0.7290879223493065,
    }  # fmt: skip
    for x, value in published.items():
        assert float(exact(x)) == pytest.approx(value, rel=3e-16)
        assert saturation.sigmoid(x) == pytest.approx(value, rel=3e-16)
    table = saturation.by_input()
    for x, double, single, slope in zip(
        table["x"], table["float64"], table["float32"], table["gradient"], strict=True
    ):
        right = float(exact(x))
        assert double == pytest.approx(right, rel=3e-16)
        assert single == pytest.approx(right, rel=2e-7)
        assert saturation.rounded_sigmoid(x) == pytest.approx(right, rel=2e-16)
        assert slope == pytest.approx(float(exact(x) * exact(-x)), rel=1e-12)
        assert saturation.rounded_sigmoid(x) == pytest.approx(
            float(exact(x)), rel=2e-16
        )
    assert table["float32"].dtype == np.float32


def test_where_the_sigmoid_becomes_one() -> None:
    """Published: 37 and 17 as computed; 38 and 18 correctly rounded."""
    first = saturation.first_one
    types = (np.float64, np.float32)
    assert [first(saturation.sigmoid, t) for t in types] == [37, 17]
    assert [first(saturation.rounded_sigmoid, t) for t in types] == [38, 18]
    assert float(exact(37)) < 1 == float(exact(38))  # Decimal rounds once, too


def test_the_table_of_weights_is_the_published_one() -> None:
    table = saturation.by_weight().set_index("w")
    large = [0.500637, 0.506375, 0.563407, 0.927574, 1, 1, 1, 1, 1]
    small = [0.500002, 0.500025, 0.500250, 0.502500, 0.524979, 0.549834, 0.598688,
             0.689974, 0.731059]  # fmt: skip
    np.testing.assert_allclose(table["sigmoid(255w)"], large, atol=6e-7)
    np.testing.assert_allclose(table["sigmoid(w)"], small, atol=6e-7)
    assert table.loc[0.1, "1-sigmoid(255w)"] == pytest.approx(8e-12, rel=0.06)
    assert (table["sigmoid(255w)"].iloc[-4:] == 1).all()
    w = table.index.to_numpy()
    step = 1e-6  # the gradient is the slope
    slopes = (saturation.sigmoid(w + step) - saturation.sigmoid(w - step)) / (2 * step)
    np.testing.assert_allclose(table["gradient(w)"], slopes, rtol=1e-8)


def shares() -> xr.Dataset:
    dataset = make()
    for offset, name in enumerate(saturation.SHARES):
        values = (dataset.test_accuracy + offset / 100).astype(np.float32)
        dataset[name] = values.assign_attrs(long_name=name)
    dataset["dead_units_share"][:] = np.nan  # as of a network without hidden layers
    return dataset


def test_sentences_are_about_the_hint_and_the_networks() -> None:
    rounding, hint, networks = saturation.sentences(shares())
    assert "x = 37 on in float64 and from 17 on in float32 (if only the" in rounding
    assert "result is rounded: 38" in rounding
    assert "keeps 2.4 % of its largest gradient and sigmoid(w) 100.0 %" in hint
    assert "varies by 0.00064 and sigmoid(w) by 2.5e-06" in hint
    assert "0 or 1 from 16.0 % (÷1 clipped) to 87.0 % (÷255 clipped);" in networks
    assert "p(true class) < 1e-7 from 17.0 % (÷1 clipped) to 88.0 %" in networks
    assert "every image" not in networks


@pytest.mark.slow
def test_shares_are_those_of_the_last_epoch() -> None:
    table = saturation.shares(shares())
    assert table.columns.tolist() == ["divisor", "loss", *saturation.SHARES]
    assert table["saturated_outputs_share"].tolist() == pytest.approx(
        [0.16, 0.81, 0.87, 0.86]
    )
    figure = shares_against(shares(), "divisor", saturation.SHARES)
    seeds: Any = [line.get_ydata() for line in figure.axes[1].lines[:3]]
    np.testing.assert_allclose(np.mean(seeds, axis=0), [0.17, 0.88], rtol=1e-6)
    for text in (*saturation.SHARES.values(), "÷255", "Fashion-MNIST", "epoch 2"):
        assert text in texts_of(figure)
    assert "σ(255w)" in texts_of(sigmoid_figure())
