"""What the experiments are to show, on whole data sets; the slowest tests of all."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from fmnist_jax.config import PRESETS
from fmnist_jax.data import Data, load
from fmnist_jax.diagnostics import Probe
from fmnist_jax.losses import CLIP
from fmnist_jax.sweeping import sweep
from fmnist_jax.training import forward


def below_clip(data: Data) -> Probe:
    def function(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        images = jnp.asarray(data.test.images)
        logits, _ = forward(config, hparams, state, None, images, False)
        chosen = jax.nn.softmax(logits)[jnp.arange(len(images)), data.test.labels]
        return {"below_clip": jnp.mean(chosen < CLIP, dtype=jnp.float32)}

    return Probe(function)


def scale_sweep(data: Data, num_seeds: int, num_epochs: int) -> xr.Dataset:
    config, hparams = PRESETS["keras"]
    config = dataclasses.replace(config, num_epochs=num_epochs, evaluate_train=False)
    axes = {
        "divisor": [1.0, 255.0, 1000.0],
        "loss": ["clipped", "softmax"],
        "seed": range(num_seeds),
    }
    found = sweep(axes, data, config, hparams, probes=[below_clip(data)])
    return found.isel(epoch=-1)


def test_the_synthetic_set_behaves_like_the_real_one() -> None:
    found = scale_sweep(load("synthetic"), num_seeds=2, num_epochs=5)
    assert found.attrs["dataset_title"] == "synthetic stand-in"
    accuracy = found.test_accuracy.sel(divisor=255)
    assert ((accuracy > 0.80) & (accuracy < 0.93)).all()
    loss = found.test_loss.mean("seed")
    for name in ("clipped", "softmax"):
        assert loss.sel(divisor=255, loss=name) < loss.sel(divisor=1000, loss=name)
    assert loss.sel(divisor=1, loss="clipped") > 8
    assert loss.sel(divisor=1, loss="softmax") > loss.sel(divisor=255, loss="softmax")


def test_unscaled_fashion_mnist_freezes_under_the_clipped_loss_alone(
    real_dir: Path,
) -> None:
    """Published: the rows scale-keras-1 and scale-keras-1-logits."""
    data = load("fashion_mnist", real_dir)
    found = scale_sweep(data, num_seeds=2, num_epochs=3)
    clipped = found.sel(divisor=1, loss="clipped")
    assert (clipped.test_loss > 11).all()
    assert (clipped.status == "frozen").all()
    np.testing.assert_allclose(
        clipped.test_loss, -np.log(CLIP) * clipped.below_clip, atol=0.01
    )
    softmax = found.sel(divisor=1, loss="softmax")
    assert (softmax.test_loss < 0.8).all()
    assert (softmax.status == "trained").all()
