"""Activation stability, against float64 and finite differences."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import activation_stability_probe, sweep, training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError
from fmnist_jax.probes.activation import IMAGES, activation_stability

SHAPE, CLASSES, SIZE, BATCHES = (2, 3), 4, 16, 3
NEEDED = BATCHES * SIZE + IMAGES
STEP = 1e-6  # of the finite differences


@pytest.fixture(scope="module")
def batch() -> Dataset:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (NEEDED + 50, *SHAPE)).astype(np.uint8)
    labels = random.randint(0, CLASSES, len(images)).astype(np.int32)
    return Dataset(images, labels)


def preactivations_64(layers: Any, x: np.ndarray) -> list[np.ndarray]:
    """Returns the inputs of the ReLUs, and the logits as the last."""
    values = []
    for kernel, bias, *batch_norm in layers:
        x = x @ kernel + bias
        if batch_norm:
            scale, shift = batch_norm
            x = scale * (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) + shift
        values.append(x)
        x = np.maximum(x, 0)
    return values


def loss_64(layers: Any, x: np.ndarray, labels: np.ndarray) -> float:
    z = preactivations_64(layers, x)[-1]
    z = z - z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean())


def expected_rate(
    layers: Any, batch: Dataset, divisor: float, kernel_rate: float
) -> float:
    """Returns the rate from finite differences of float64 functions alone."""
    x = np.asarray(batch.images, np.float64).reshape(len(batch.labels), -1) / divisor
    probed = x[BATCHES * SIZE : NEEDED]
    h = preactivations_64(layers, probed)[:-1]
    log_ratios = []
    for k in range(BATCHES):
        rows = slice(k * SIZE, (k + 1) * SIZE)

        def loss(layers: Any, rows: slice = rows) -> float:
            return loss_64(layers, x[rows], batch.labels[rows])

        grads = [
            [gradient(loss, layers, i, j) for j in range(len(layer))]
            for i, layer in enumerate(layers)
        ]
        grads[0][0] = grads[0][0] * kernel_rate
        moved = [
            [[p + sign * STEP * g for p, g in zip(layer, grad, strict=True)]
            for layer, grad in zip(layers, grads, strict=True)]
            for sign in (1, -1)
        ]  # fmt: skip
        up, down = (preactivations_64(m, probed)[:-1] for m in moved)
        log_ratios.append(
            [
                np.log(rms(a) / rms((b - c) / (2 * STEP)))
                for a, b, c in zip(h, up, down, strict=True)
            ]
        )
    return float(np.exp(np.mean(log_ratios, axis=0).min()))


def gradient(loss: Any, layers: Any, layer: int, array: int) -> np.ndarray:
    """Returns the gradient with respect to one array, by central differences."""
    grads = np.zeros_like(layers[layer][array])
    for index in np.ndindex(grads.shape):
        values = []
        for sign in (1, -1):
            moved = [[p.copy() for p in pair] for pair in layers]
            moved[layer][array][index] += sign * STEP
            values.append(loss(moved))
        grads[index] = (values[0] - values[1]) / (2 * STEP)
    return grads


def rms(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "divisor", "kernel_rate", "batch_norm"),
    [
        ((5,), 255.0, None, "off"),
        ((5, 7), 60.0, None, "off"),
        ((5, 7), 255.0, 0.01, "off"),
        ((6,), 255.0, None, "on"),
    ],
)
def test_the_rate_equals_finite_differences_plain_jitted_and_vmapped(
    sizes: tuple[int, ...],
    divisor: float,
    kernel_rate: float | None,
    batch_norm: str,
    batch: Dataset,
) -> None:
    config = Config(
        hidden_sizes=sizes, optimizer="sgd", batch_size=SIZE, batch_norm=batch_norm
    )
    hparams = Hparams(divisor=divisor, first_kernel_rate=kernel_rate)
    state = training.init(config, hparams, jax.random.key(0), SHAPE, CLASSES)
    layers = []
    for i in range(len(sizes) + 1):
        arrays = [state.params[f"Dense_{i}"][name] for name in ("kernel", "bias")]
        if batch_norm == "on" and i < len(sizes):
            arrays += [state.params[f"BatchNorm_{i}"][n] for n in ("scale", "bias")]
        layers.append([np.asarray(array, np.float64) for array in arrays])
    expected = expected_rate(layers, batch, divisor, kernel_rate or 1.0)

    def rate(hparams: Hparams, batch: Dataset) -> Any:
        key = jax.random.key(1)
        values = activation_stability(config, hparams, state, key, batch, BATCHES)
        return values["activation_stable_rate"]

    np.testing.assert_allclose(rate(hparams, batch), expected, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(rate)(hparams, batch), expected, rtol=1e-4)
    stacked = jax.tree.map(lambda v: jnp.array([v, v]), hparams)
    stacked = dataclasses.replace(stacked, divisor=jnp.array([divisor, 3 * divisor]))
    both = jax.jit(jax.vmap(rate, in_axes=(0, None)))(stacked, batch)
    np.testing.assert_allclose(both[0], expected, rtol=1e-4)
    assert both[1] != both[0] or batch_norm == "on"


def test_too_few_images_are_refused(batch: Dataset) -> None:
    config = Config(batch_size=SIZE)
    state = training.init(config, Hparams(), jax.random.key(0), SHAPE, CLASSES)
    few = Dataset(*(array[: NEEDED - 1] for array in batch))
    with pytest.raises(UserError, match=f"needs {NEEDED} training examples .3 batches"):
        activation_stability(config, Hparams(), state, jax.random.key(0), few, BATCHES)


@pytest.mark.slow
def test_a_sweep_records_it_for_its_batch_sizes(batch: Dataset) -> None:
    data = Data(batch, Dataset(255 - batch.images, batch.labels))
    config = Config(hidden_sizes=(5,), num_epochs=1, optimizer="sgd")
    sizes = [8, SIZE]
    axes = {"batch_size": sizes, "divisor": [10.0, 255.0]}
    probes = [activation_stability_probe(batches=BATCHES)]
    results = sweep(axes, data, config, probes=probes)
    assert results.activation_stable_rate.dims == ("batch_size", "divisor", "seed")
    state = training.init(config, Hparams(), training.run_keys(0)[0], SHAPE, CLASSES)
    for size in sizes:
        alone = activation_stability(
            dataclasses.replace(config, batch_size=size),
            Hparams(divisor=255.0),
            state,
            jax.random.key(0),
            batch,
            BATCHES,
        )
        swept = results.activation_stable_rate.sel(batch_size=size, divisor=255.0)
        np.testing.assert_allclose(
            swept.item(), alone["activation_stable_rate"], rtol=1e-5
        )
    small = dataclasses.replace(config, batch_size=8)
    too_many = activation_stability_probe(batches=640)
    with pytest.raises(UserError, match=r"needs 5,376 .*640 batches of 8"):
        sweep({}, data, small, probes=[too_many])
    assert activation_stability_probe() == activation_stability_probe()


@pytest.mark.slow
def test_without_sown_preactivations_it_is_nan_and_with_them_it_is_known(
    batch: Dataset,
) -> None:
    class Own(nn.Module):
        sows: bool

        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Dense(5, name="Dense_0")(x.reshape(len(x), -1))
            if self.sows:
                self.sow("intermediates", "preactivation", x)
            return nn.Dense(CLASSES, name="Dense_1")(nn.relu(x))

    def rate(config: Config) -> float:
        config = dataclasses.replace(config, batch_size=SIZE, optimizer="sgd")
        state = training.init(config, Hparams(), jax.random.key(0), SHAPE, CLASSES)
        key = jax.random.key(1)
        values = activation_stability(config, Hparams(), state, key, batch, BATCHES)
        return float(values["activation_stable_rate"])

    assert np.isnan(rate(Config(hidden_sizes=())))
    assert np.isnan(rate(Config(model=Own(False))))
    assert rate(Config(model=Own(True))) > 0
