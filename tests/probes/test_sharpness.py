"""The largest eigenvalue of the Hessian, against dense matrices in float64."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.sharpness import (
    TOLERANCE,
    largest_eigenvalue,
    preconditioned_sharpness,
    preconditioned_sharpness_probe,
    sharpness,
    sharpness_probe,
)
from fmnist_jax.sweeps.sweep import sweep

SHAPE, CLASSES = (2, 3), 4
jit_sharpness = jax.jit(sharpness, static_argnums=0)
jit_preconditioned = jax.jit(preconditioned_sharpness, static_argnums=0)


@pytest.fixture(scope="module")
def batch() -> Dataset:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (40, *SHAPE)).astype(np.uint8)
    return Dataset(images, random.randint(0, CLASSES, 40).astype(np.int32))


def key() -> jax.Array:
    """Returns a new key object, because a key is used once."""
    return jax.random.key(5)


def make_state(config: Config, seed: int = 0) -> training.State:
    return training.init(config, Hparams(), jax.random.key(seed), SHAPE, CLASSES)


def derivatives(
    state: training.State, loss: str, divisor: float, batch: Dataset, size: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the Hessian and the gradient of each mini-batch, in float64."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), state.params)
        flat, unravel = ravel_pytree(params)

        def mean_loss(flat: jax.Array, rows: slice) -> jax.Array:
            labels = np.asarray(batch.labels)[rows]
            x = np.asarray(batch.images, np.float64)[rows].reshape(len(labels), -1)
            z = jnp.asarray(x / divisor)
            layers = list(unravel(flat).values())
            for number, layer in enumerate(layers):
                z = z @ layer["kernel"] + layer["bias"][None, :]
                z = jnp.where(z > 0, z, 0) if number < len(layers) - 1 else z
            e = jnp.exp(z - jnp.max(z, axis=1, keepdims=True))
            numbers = jnp.arange(len(labels))
            p = (e / jnp.sum(e, axis=1, keepdims=True))[numbers, labels]
            is_clipped = (p < 1e-7) | (p > 1 - 1e-7)
            if loss == "clipped":
                p = jnp.where(is_clipped, jax.lax.stop_gradient(p), p)
            return -jnp.mean(jnp.log(p))

        last = len(batch.labels) - size
        batches = [slice(i, i + size) for i in range(0, last + 1, size)]
        all_rows = slice(0, batches[-1].stop)
        hessian = np.asarray(jax.hessian(mean_loss)(flat, all_rows))
        grads = np.stack([jax.grad(mean_loss)(flat, rows) for rows in batches])
    return (hessian + hessian.T) / 2, grads


def dense(state: training.State, loss: str, divisor: float, batch: Dataset) -> float:
    """Returns the largest of all eigenvalues of the Hessian."""
    return np.linalg.eigvalsh(derivatives(state, loss, divisor, batch)[0])[-1]


def dense_preconditioned(
    state: training.State, divisor: float, batch: Dataset, size: int, name: str
) -> float:
    """Returns the largest eigenvalue of P^-1 H where P is not 0; eps is 1e-8."""
    hessian, grads = derivatives(state, "softmax", divisor, batch, size)
    square = (grads**2).mean(0)
    is_moved = square > 0
    p = np.sqrt(square) + 1e-8 if name == "adam" else np.sqrt(square + 1e-8)
    assert not hessian[~is_moved].any()
    quotient = hessian[is_moved][:, is_moved] / p[is_moved][:, None]
    return np.linalg.eigvals(quotient).real.max()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["softmax", "clipped"])
@pytest.mark.parametrize("sizes", [(), (5,), (5, 6)])
def test_sharpness_equals_the_dense_hessian_plain_jitted_and_vmapped(
    sizes: tuple[int, ...], loss: str, batch: Dataset
) -> None:
    config = Config(hidden_sizes=sizes, loss=loss)
    divisors = [10.0, 255.0, 1e4]
    states = [make_state(config, seed) for seed in range(3)]
    expected = [
        dense(state, loss, divisor, batch)
        for state, divisor in zip(states, divisors, strict=True)
    ]
    for function in (sharpness, jit_sharpness):
        hparams = Hparams(divisor=divisors[1])
        values = function(config, hparams, states[1], key(), batch)
        np.testing.assert_allclose(values["sharpness"], expected[1], rtol=1e-4)
        assert values["sharpness_residual"] < 2 * TOLERANCE
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *states)
    vmapped = jax.jit(
        jax.vmap(functools.partial(sharpness, config), in_axes=(0, 0, None, None))
    )(Hparams(divisor=jnp.array(divisors)), stacked, key(), batch)
    np.testing.assert_allclose(vmapped["sharpness"], expected, rtol=1e-4)
    assert (vmapped["sharpness_residual"] < 2 * TOLERANCE).all()


@pytest.mark.slow
def test_saturated_examples_of_the_clipped_loss_have_no_curvature(
    batch: Dataset,
) -> None:
    config = Config(hidden_sizes=(5,), loss="clipped")
    state = make_state(config)
    hparams = Hparams(divisor=1.0)  # some examples are saturated, some are not
    actual = jit_sharpness(config, hparams, state, key(), batch)["sharpness"]
    np.testing.assert_allclose(actual, dense(state, "clipped", 1.0, batch), rtol=1e-4)
    assert abs(dense(state, "softmax", 1.0, batch) / actual - 1) > 0.1


def matrix(eigenvalues: Any) -> np.ndarray:
    """Returns a symmetric matrix with the given eigenvalues."""
    size = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.RandomState(0).standard_normal((size, size)))
    return ((q * np.asarray(eigenvalues, float)) @ q.T).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "eigenvalues",
    [
        [3, 1, 0.5, 0, -2],
        [1, 0.1, 0, 0, -100],
        [-1, -2, -3],
        [-1, -1, -1, -1],
        [2, 2, 2, 2, 1, 1],
        [5],
        [0, 0, 0],
        [1e-12, 3e-12, 2e-12],
        np.linspace(-1, 1, 300),
    ],
)
def test_the_largest_eigenvalue_of_any_matrix(eigenvalues: Any) -> None:
    a = matrix(eigenvalues)
    start = jax.random.normal(key(), (len(a),))
    product = functools.partial(jnp.matmul, a)
    value, residual = jax.jit(lambda: largest_eigenvalue(product, start))()
    expected = np.linalg.eigvalsh(a.astype(float))[-1]
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    if len(a) < 300:
        assert residual < 1e-4
    else:  # the eigenvalues are too close for 60 steps; the residual shows it
        assert TOLERANCE < residual < 1e-2


@pytest.mark.slow
def test_the_sharpness_of_softmax_regression_is_that_of_its_inputs(
    batch: Dataset,
) -> None:
    """At weights of 0 the Hessian is (I/C - 1/C²) ⊗ mean of x xᵀ, with a 1 in x."""
    config = Config(hidden_sizes=())
    state = make_state(config)
    state = dataclasses.replace(
        state, params=jax.tree.map(jnp.zeros_like, state.params)
    )
    actual = []
    for divisor in (1.0, 16.0):
        x = np.asarray(batch.images, float).reshape(40, -1) / divisor
        x = np.hstack([x, np.ones((40, 1))])
        expected = np.linalg.eigvalsh(x.T @ x / 40)[-1] / CLASSES
        hparams = Hparams(divisor=divisor)
        actual.append(jit_sharpness(config, hparams, state, key(), batch)["sharpness"])
        np.testing.assert_allclose(actual[-1], expected, rtol=1e-4)
    # 1/d² except for the bias
    assert actual[0] / actual[1] == pytest.approx(16**2, rel=0.01)


@pytest.mark.slow
def test_sharpness_is_0_without_gradients_and_nan_if_not_finite(
    batch: Dataset,
) -> None:
    config = Config(hidden_sizes=(5,), loss="clipped")
    state = make_state(config)

    def with_bias(layer: str, bias: jax.Array) -> dict[str, float]:
        params = {**state.params, layer: {**state.params[layer], "bias": bias}}
        changed = dataclasses.replace(state, params=params)
        values = jit_sharpness(config, Hparams(), changed, key(), batch)
        return {name: float(value) for name, value in values.items()}

    saturated = with_bias("Dense_1", 1e4 * jnp.arange(CLASSES, dtype=jnp.float32))
    assert saturated == {"sharpness": 0, "sharpness_residual": 0}
    for value in (jnp.nan, jnp.inf):
        assert all(map(np.isnan, with_bias("Dense_0", jnp.full(5, value)).values()))


@pytest.mark.slow
def test_a_diverged_run_does_not_change_other_runs(batch: Dataset) -> None:
    config = Config(hidden_sizes=(5,))
    state = make_state(config)
    nans = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), state.params)
    diverged = dataclasses.replace(state, params=nans)
    both = jax.tree.map(lambda *v: jnp.stack(v), diverged, state)
    over_runs = jax.vmap(functools.partial(sharpness, config), (None, 0, None, None))
    actual = jax.jit(over_runs)(Hparams(), both, key(), batch)["sharpness"]
    alone = jit_sharpness(config, Hparams(), state, key(), batch)["sharpness"]
    np.testing.assert_allclose(actual, [np.nan, alone], rtol=1e-5)


@pytest.mark.slow
def test_sharpness_ignores_dropout_penalties_and_precision(batch: Dataset) -> None:
    config = Config(hidden_sizes=(5,))
    state = make_state(config)
    expected = jit_sharpness(config, Hparams(), state, key(), batch)["sharpness"]
    hparams = Hparams(dropout_rate=0.5, l2_squared=3.0)
    assert jit_sharpness(config, hparams, state, key(), batch)["sharpness"] == expected
    rounded = dataclasses.replace(config, precision="bf16")
    assert (
        jit_sharpness(rounded, Hparams(), state, key(), batch)["sharpness"] == expected
    )


@pytest.mark.slow
def test_with_batch_norm_sharpness_does_not_depend_on_the_divisor(
    batch: Dataset,
) -> None:
    config = Config(hidden_sizes=(5,), batch_norm="on")
    state = make_state(config)
    first, second = (
        jit_sharpness(config, Hparams(divisor=d), state, key(), batch)["sharpness"]
        for d in (1.0, 8.0)
    )
    assert first == pytest.approx(float(second), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["init", "epoch"])
def test_a_sweep_records_sharpness(when: str, small: Data) -> None:
    config = Config(hidden_sizes=(3,), num_epochs=1, batch_size=100)
    probes = [
        sharpness_probe(when, examples=50),
        preconditioned_sharpness_probe(when, examples=50),
    ]
    results = sweep({"divisor": [10, 255], "seed": [3]}, small, config, probes=probes)
    dims = ("divisor", "seed", "epoch")[: 2 if when == "init" else 3]
    assert results.sharpness.dims == results.sharpness_residual.dims == dims
    assert results.preconditioned_sharpness.dims == dims
    assert (results.preconditioned_sharpness_residual < 2 * TOLERANCE).all()
    hparams = Hparams(divisor=10.0)
    init_key, epochs_key, _ = training.run_keys(3)
    state = training.init(config, hparams, init_key, (28, 28), 10)
    if when == "epoch":
        order = jnp.asarray(training.epoch_order(3, 1, 200))
        epoch_key = jax.random.fold_in(epochs_key, 1)
        state, _ = training.train_epoch(
            config, hparams, state, epoch_key, small.train, order
        )
    first = Dataset(*(array[:50] for array in small.train))
    # The key only decides the start of the iteration.
    alone = jit_sharpness(config, hparams, state, key(), first)["sharpness"]
    np.testing.assert_allclose(results.sharpness[0].squeeze(), alone, rtol=1e-4)


@pytest.fixture(scope="module")
def partly_blank(batch: Dataset) -> Dataset:
    """Returns images with two pixels that are 0 and one that is 0 except once."""
    images = batch.images.copy()
    images[:, 0, 0] = images[:, 1, 2] = images[1:, 1, 1] = 0
    return Dataset(images, batch.labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "rmsprop"])
@pytest.mark.parametrize("size", [16, 40])  # 16: two mini-batches; 8 images are omitted
def test_preconditioned_sharpness_equals_the_dense_matrices(
    size: int, name: str, partly_blank: Dataset
) -> None:
    config = Config(hidden_sizes=(5,), optimizer=name, batch_size=size)
    divisors, state = [10.0, 255.0], make_state(config)
    params = dict(state.params)
    params["Dense_0"] = {  # one unit is dead
        **params["Dense_0"],
        "bias": params["Dense_0"]["bias"].at[2].set(-1e4),
    }
    state = dataclasses.replace(state, params=params)
    expected = [
        dense_preconditioned(state, d, partly_blank, size, name) for d in divisors
    ]
    over_runs = jax.vmap(
        functools.partial(preconditioned_sharpness, config), (0, None, None, None)
    )
    runs = Hparams(divisor=jnp.array(divisors), eps=jnp.full(2, 1e-8))
    values = jax.jit(over_runs)(runs, state, key(), partly_blank)
    np.testing.assert_allclose(values["preconditioned_sharpness"], expected, rtol=1e-4)
    assert (values["preconditioned_sharpness_residual"] < 2 * TOLERANCE).all()
    hparams = Hparams(divisor=255.0, eps=0.0)  # 0/0 where there is no gradient
    alone = jit_preconditioned(config, hparams, state, key(), partly_blank)
    if name == "adam":
        np.testing.assert_allclose(
            alone["preconditioned_sharpness"], expected[1], rtol=1e-3
        )


def preconditioned(config: Config, hparams: Hparams, batch: Dataset) -> float:
    state = training.init(config, hparams, jax.random.key(0), SHAPE, CLASSES)
    values = jit_preconditioned(config, hparams, state, key(), batch)
    return float(values["preconditioned_sharpness"])


@pytest.mark.slow
def test_preconditioned_sharpness_without_preconditioner(batch: Dataset) -> None:
    """It is the sharpness for SGD, and NaN for optimizers without a limit."""
    for name in ("sgd", "momentum", "nesterov"):
        config = Config(hidden_sizes=(5,), optimizer=name, batch_size=40)
        plain = jit_sharpness(config, Hparams(), make_state(config), key(), batch)
        actual = preconditioned(config, Hparams(), batch)
        assert actual == pytest.approx(float(plain["sharpness"]), rel=1e-4)
    for name in ("lion", "adagrad"):
        assert np.isnan(preconditioned(Config(optimizer=name), Hparams(), batch))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_preconditioned_sharpness_of_unscaled_pixels_with_a_rescaled_kernel(
    name: str, batch: Dataset
) -> None:
    d, eps = 64.0, 1e-3
    powers = {"sgd": (2, None), "adam": (1, 1), "rmsprop": (1, 2)}
    rate_power, eps_power = powers[name]
    rescaled = Hparams(
        divisor=1.0,
        eps=eps,
        first_kernel_scale=1 / d,
        first_kernel_rate=1 / d**rate_power,
        first_kernel_eps=d**eps_power if eps_power else None,
    )
    config = Config(hidden_sizes=(5,), optimizer=name, batch_size=10)
    scaled = preconditioned(config, Hparams(divisor=d, eps=eps), batch)
    assert preconditioned(config, rescaled, batch) == pytest.approx(scaled, rel=1e-4)
    without = dataclasses.replace(rescaled, first_kernel_rate=None)
    assert preconditioned(config, without, batch) != pytest.approx(scaled, rel=1e-2)


@pytest.mark.slow
def test_the_eigenvalue_of_many_runs_does_not_call_lapack() -> None:
    """LAPACK's eigh of several matrices deadlocks with several devices."""
    a = matrix(np.linspace(-1, 1, 80))
    starts = jax.random.normal(key(), (4, len(a)))
    single = functools.partial(largest_eigenvalue, functools.partial(jnp.matmul, a))
    assert "lapack" not in jax.jit(jax.vmap(single)).lower(starts).as_text()
