"""Batch sharpness, against dense Hessians in float64."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.batch_sharpness import batch_sharpness, batch_sharpness_probe
from tests.probes.test_sharpness import CLASSES, SHAPE, derivatives, make_state


@pytest.fixture(scope="module")
def batch() -> Dataset:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (40, *SHAPE)).astype(np.uint8)
    return Dataset(images, random.randint(0, CLASSES, 40).astype(np.int32))


def expected(
    state: training.State, loss: str, divisor: float, batch: Dataset, size: int
) -> float:
    values = []
    for start in range(0, 40 - size + 1, size):
        part = Dataset(*(array[start : start + size] for array in batch))
        hessian, (grad,) = derivatives(state, loss, divisor, part, size)
        values.append(grad @ hessian @ grad / (grad @ grad))
    return float(np.mean(values))


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["softmax", "clipped"])
@pytest.mark.parametrize("size", [16, 40])  # 16: the last 8 images are left out
def test_batch_sharpness_equals_float64_plain_jitted_and_vmapped(
    size: int, loss: str, batch: Dataset
) -> None:
    config = Config(hidden_sizes=(5,), loss=loss, batch_size=size)
    state, divisors = make_state(config), [10.0, 255.0]
    values = [expected(state, loss, d, batch, size) for d in divisors]
    function = functools.partial(batch_sharpness, config)
    for f in (function, jax.jit(function)):
        actual = f(Hparams(divisor=divisors[1]), state, jax.random.key(0), batch)
        np.testing.assert_allclose(actual["batch_sharpness"], values[1], rtol=1e-4)
    over_runs = jax.jit(jax.vmap(function, in_axes=(0, None, None, None)))
    hparams = Hparams(divisor=jnp.array(divisors))
    both = over_runs(hparams, state, jax.random.key(0), batch)
    np.testing.assert_allclose(both["batch_sharpness"], values, rtol=1e-4)


def test_a_batch_without_gradient_counts_as_0(batch: Dataset) -> None:
    config = Config(hidden_sizes=(), loss="clipped", batch_size=40)
    state = make_state(config)
    params = {"Dense_0": {**state.params["Dense_0"]}}
    params["Dense_0"]["bias"] = 1e6 * jnp.arange(CLASSES, dtype=jnp.float32)
    saturated = training.State(
        params, {}, state.opt_state, state.epoch, None, None, CLASSES
    )
    value = batch_sharpness(config, Hparams(), saturated, jax.random.key(0), batch)
    assert value["batch_sharpness"] == 0


@pytest.mark.parametrize("count", [np.int64(9), jnp.int32(9), np.array(9)])
def test_the_number_of_examples_may_be_that_of_numpy_and_jax(count: Any) -> None:
    probe = batch_sharpness_probe(examples=count)
    assert probe == batch_sharpness_probe(examples=9)
    assert probe.num_examples(Config()) == 9
