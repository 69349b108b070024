"""The main results of the experiments on whole data sets; the slowest tests."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from docs.scaling import below_clip_probe
from fmnist_jax.config import PRESETS
from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.losses import CLIP


def scale_sweep(data: Data, divisors: list[float], num_epochs: int) -> xr.Dataset:
    config, hparams = PRESETS["keras"]
    config = dataclasses.replace(config, num_epochs=num_epochs, evaluate_train=False)
    axes = {
        "divisor": divisors,
        "loss": ["clipped", "softmax"],
        "seed": range(2),
    }
    results = sweep(axes, data, config, hparams, probes=[below_clip_probe(data)])
    return results.isel(epoch=-1)


@pytest.mark.slow
def test_the_synthetic_set_behaves_like_the_real_one() -> None:
    final = scale_sweep(load("synthetic"), [1.0, 255.0, 1000.0], num_epochs=3)
    assert final.attrs["dataset_title"] == "synthetic data, not Fashion-MNIST"
    accuracy = final.test_accuracy.sel(divisor=255)
    assert ((accuracy > 0.80) & (accuracy < 0.93)).all()
    loss = final.test_loss.mean("seed")
    for name in ("clipped", "softmax"):
        assert loss.sel(divisor=255, loss=name) < loss.sel(divisor=1000, loss=name)
    assert loss.sel(divisor=1, loss="clipped") > 8
    assert loss.sel(divisor=1, loss="softmax") > loss.sel(divisor=255, loss="softmax")


@pytest.mark.slow
def test_unscaled_fashion_mnist_freezes_only_under_the_clipped_loss(
    real_dir: Path,
) -> None:
    """Published in the rows scale-keras-1 and scale-keras-1-logits."""
    data = load("fashion_mnist", real_dir)
    final = scale_sweep(data, [1.0], num_epochs=3).squeeze("divisor")
    clipped = final.sel(loss="clipped")
    assert (clipped.test_loss > 9).all()
    # A run whose predictions still move between classes is not frozen.
    assert set(clipped.status.values) <= {"frozen", "not trained"}
    assert ((clipped.status == "frozen") | (clipped.test_accuracy > 0.15)).all()
    assert (clipped.zero_gradient_share > 0.5).all()
    np.testing.assert_allclose(
        clipped.test_loss, -np.log(CLIP) * clipped.below_clip_share, atol=0.02
    )
    softmax = final.sel(loss="softmax")
    assert (softmax.test_loss < 0.8).all()
    assert (softmax.status == "trained").all()
