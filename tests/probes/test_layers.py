"""Sizes of signals, gradients and steps, against NumPy in float64."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.layers import layer_probes, signal_scales, step_sizes
from fmnist_jax.sweeps.sweep import sweep

CONFIG = Config(hidden_sizes=(7,), initializer="pytorch", optimizer="sgd")
HPARAMS = Hparams(divisor=30.0, learning_rate=0.5)


@pytest.fixture(scope="module")
def state() -> training.State:
    return training.init(CONFIG, HPARAMS, jax.random.key(3), (4, 5), 3)


@pytest.fixture(scope="module")
def batch() -> Dataset:
    images = np.random.RandomState(0).randint(0, 256, (9, 4, 5)).astype(np.uint8)
    return Dataset(images, np.arange(9, dtype=np.int32) % 3)


def by_numpy(state: training.State, batch: Dataset) -> dict[str, Any]:
    """Returns signals, gradients and parameters; the formulas are derived by hand."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    x = batch.images.reshape(9, -1) / 30.0
    inputs = x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
    hidden = np.maximum(inputs, 0)
    logits = hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]
    e = np.exp(logits)
    g = (e / e.sum(1, keepdims=True) - np.eye(3)[batch.labels]) / 9
    back = (g @ p["Dense_1"]["kernel"].T) * (inputs > 0)
    gradients = {
        "w1": x.T @ back,
        "b1": back.sum(0),
        "w2": hidden.T @ g,
        "b2": g.sum(0),
    }
    values = [p[layer][name] for layer in p for name in ("kernel", "bias")]
    return {
        "signals": {"preactivation_scale_1": inputs, "logit_scale": logits},
        "gradients": gradients,
        "values": dict(zip(gradients, values, strict=True)),
    }


@pytest.mark.slow
def test_signals_are_root_mean_squares(state: training.State, batch: Dataset) -> None:
    scales = jax.jit(signal_scales, static_argnums=0)(
        CONFIG, HPARAMS, state, jax.random.key(0), batch
    )
    signals = by_numpy(state, batch)["signals"]
    expected = {name: np.sqrt((z**2).mean()) for name, z in signals.items()}
    assert scales == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_step_sizes_equal_those_of_the_optimizer(
    optimizer: str, state: training.State, batch: Dataset
) -> None:
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    hparams = dataclasses.replace(HPARAMS, eps=0.0, first_kernel_rate=0.1)
    initial = training.init(config, hparams, jax.random.key(3), (4, 5), 3)
    sizes = jax.jit(step_sizes, static_argnums=0)(
        config, hparams, initial, jax.random.key(0), batch
    )
    numpy = by_numpy(state, batch)
    for name, gradient in numpy["gradients"].items():
        norm = np.linalg.norm(gradient)
        assert sizes[f"gradient_norm_{name}"] == pytest.approx(norm, rel=1e-4)
        # Adam's first step is the learning rate against the sign of each gradient.
        step = norm if optimizer != "adam" else np.sqrt((gradient != 0).sum())
        learning_rate = 0.5 * (0.1 if name == "w1" else 1)
        ratio = learning_rate * step / np.linalg.norm(numpy["values"][name])
        if optimizer != "adam" or (gradient != 0).all():
            assert sizes[f"update_ratio_{name}"] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.slow
def test_the_ratio_of_biases_of_zero_is_nan(batch: Dataset) -> None:
    config = dataclasses.replace(CONFIG, initializer="keras")
    initial = training.init(config, HPARAMS, jax.random.key(3), (4, 5), 3)
    sizes = step_sizes(config, HPARAMS, initial, jax.random.key(0), batch)
    missing = {name for name, value in sizes.items() if np.isnan(value)}
    assert missing == {"update_ratio_b1", "update_ratio_b2"}


@pytest.mark.slow
def test_a_sweep_records_the_layers_of_users_networks(small: Data) -> None:
    class Tanh(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = x.reshape(x.shape[0], -1)
            return nn.Dense(10)(jnp.tanh(nn.Dense(4, name="first")(x)))

    config = Config(model=Tanh(), num_epochs=1, batch_size=100)
    results = sweep({"seed": [0]}, small, config, probes=layer_probes())
    assert "preactivation_scale_1" not in results
    for name in ("logit_scale", "gradient_norm_first_kernel", "update_ratio_w1"):
        assert results[name].dims == ("seed", "epoch")
        assert results[name].values > 0
    config = dataclasses.replace(config, model=None)
    axes = {"hidden_sizes": [(), (5,)]}
    results = sweep(axes, small, config, probes=layer_probes())
    assert np.isnan(results.preactivation_scale_1.sel(hidden_sizes="none")).all()
    assert (results.preactivation_scale_1.sel(hidden_sizes="5") > 0).all()
