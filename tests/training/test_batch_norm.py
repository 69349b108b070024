"""Batch norm and dropout of the MLP, against NumPy in float64."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax.config import Config, Hparams
from fmnist_jax.networks.layers import dropout
from fmnist_jax.networks.mlp import MLP
from fmnist_jax.training.step import State, forward, init
from tests.networks.linen_calls import apply_model

IMAGE_SHAPE, NUM_CLASSES, SIZE = (5, 4), 3, 6
DIVISORS = (1.0, 255.0)
# Batches of 8, 8 and 5 images.
BATCHES = [
    jnp.asarray(np.random.RandomState(i).randint(0, 256, (size, *IMAGE_SHAPE)), "uint8")
    for i, size in enumerate((8, 8, 5))
]


def unstacked(stacked: Any) -> list[Any]:
    return [jax.tree.map(operator.itemgetter(i), stacked) for i in range(len(DIVISORS))]


# Each turns a function of one run's settings into a function of several runs'.
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda f: lambda hparams: list(map(f, unstacked(hparams))),
    "jitted": lambda f: lambda hparams: list(map(jax.jit(f), unstacked(hparams))),
    "vmapped": lambda f: lambda hparams: unstacked(jax.jit(jax.vmap(f))(hparams)),
}


def initial_state(config: Config, epoch: int) -> State:
    """Returns a state with random batch norm parameters and statistics."""
    state = init(config, Hparams(), jax.random.key(0), IMAGE_SHAPE, NUM_CLASSES)
    random = np.random.RandomState(7)
    variables = {"params": state.params, **state.model_state}
    values = jax.tree.map(
        lambda x: jnp.asarray(random.uniform(0.2, 1.5, x.shape) - 0.5 * (x.ndim > 1)),
        variables,
    )
    values = jax.tree.map(lambda x: x.astype(jnp.float32), values)
    return dataclasses.replace(
        state, params=values.pop("params"), model_state=values, epoch=jnp.int32(epoch)
    )


def normalised_64(
    variables: Any, images: Any, divisor: float, by_batch: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns logits of one batch, and the running statistics after the batch."""
    params, statistics = variables["params"], variables["batch_stats"]["BatchNorm_0"]
    first, norm, second = (params[n] for n in ("Dense_0", "BatchNorm_0", "Dense_1"))
    pixels = np.asarray(images, np.float64).reshape(len(images), -1)
    x = pixels / divisor @ first["kernel"] + first["bias"]
    mean, var = statistics["mean"], statistics["var"]
    if by_batch:
        mean, var = x.mean(0), x.var(0)
        unbiased = x.var(0, ddof=1)
        statistics = {
            "mean": 0.9 * statistics["mean"] + 0.1 * mean,
            "var": 0.9 * statistics["var"] + 0.1 * unbiased,
        }
    hidden = (x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    return np.maximum(hidden, 0) @ second["kernel"] + second["bias"], statistics


def variables_64(state: State) -> Any:
    variables = {"params": state.params, **state.model_state}
    return jax.tree.map(lambda x: np.asarray(x, np.float64), variables)


# Whether training normalises by the batch, for each setting and completed epochs.
BATCH_NORMS = pytest.mark.parametrize(
    ("batch_norm", "epoch", "by_batch"),
    [("on", 0, True), ("on", 1, True), ("frozen", 0, True), ("frozen", 1, False)],
)


@pytest.mark.slow
@BATCH_NORMS
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_batch_norm_equals_numpy(
    batch_norm: str, epoch: int, by_batch: bool, transform: str
) -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm=batch_norm)
    state = initial_state(config, epoch)

    def batches(hparams: Hparams) -> Any:
        """Returns logits and statistics of training, and those of an evaluation."""
        logits, current = [], state
        for images in BATCHES:
            output, model_state = forward(config, hparams, current, None, images, True)
            logits.append(output)
            current = dataclasses.replace(current, model_state=model_state)
        evaluated, after = forward(config, hparams, current, None, BATCHES[0], False)
        return logits, model_state, evaluated, after

    runs = TRANSFORMS[transform](batches)(Hparams(divisor=jnp.asarray(DIVISORS)))
    for divisor, run in zip(DIVISORS, runs, strict=True):
        logits, model_state, evaluated, after = run
        variables = variables_64(state)
        for images, actual in zip(BATCHES, logits, strict=True):
            expected, statistics = normalised_64(variables, images, divisor, by_batch)
            variables["batch_stats"] = {"BatchNorm_0": statistics}
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
        for name, values in statistics.items():
            actual = model_state["batch_stats"]["BatchNorm_0"][name]
            np.testing.assert_allclose(actual, values, rtol=1e-5)
        expected, _ = normalised_64(variables, BATCHES[0], divisor, False)
        np.testing.assert_allclose(evaluated, expected, rtol=1e-4, atol=1e-4)
        # Evaluation does not change the statistics, nor does training if frozen.
        jax.tree.map(np.testing.assert_array_equal, after, model_state)
        if not by_batch:
            jax.tree.map(np.testing.assert_array_equal, after, state.model_state)


@pytest.mark.slow
@BATCH_NORMS
def test_gradients_through_batch_norm_equal_finite_differences(
    batch_norm: str, epoch: int, by_batch: bool
) -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm=batch_norm)
    state, images = initial_state(config, epoch), BATCHES[0]
    weights = np.random.RandomState(3).standard_normal((len(images), NUM_CLASSES))

    def total(params: Any) -> jax.Array:
        trial = dataclasses.replace(state, params=params)
        logits, _ = forward(config, Hparams(divisor=50.0), trial, None, images, True)
        return jnp.sum(logits * weights.astype(np.float32))

    def total_64(params: Any) -> float:
        variables = {**variables_64(state), "params": params}
        logits, _ = normalised_64(variables, images, 50.0, by_batch)
        return np.sum(weights * logits)

    gradient = jax.jit(jax.grad(total))(state.params)
    params = variables_64(state)["params"]
    random = np.random.RandomState(4)
    for _ in range(3):
        step = jax.tree.map(lambda p: 1e-6 * random.standard_normal(p.shape), params)
        above = total_64(jax.tree.map(np.add, params, step))
        below = total_64(jax.tree.map(np.subtract, params, step))
        products = jax.tree.map(lambda g, s: np.sum(np.asarray(g) * s), gradient, step)
        slope = sum(jax.tree.leaves(products))
        np.testing.assert_allclose(slope, (above - below) / 2, rtol=1e-4)


def test_a_batch_of_one_is_normalised_to_zero() -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm="on")
    state = initial_state(config, 0)
    logits, model_state = forward(config, Hparams(), state, None, BATCHES[0][:1], True)
    params = variables_64(state)["params"]
    hidden = np.maximum(params["BatchNorm_0"]["bias"], 0)
    expected = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(model_state))


# Dropout.


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_a_share_and_preserves_the_mean(rate: float) -> None:
    x = 1 + jnp.arange(40_000.0) / 40_000
    actual = np.asarray(dropout(jax.random.key(3), rate, x))
    share = np.mean(actual == 0)
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(share - rate) < 4 * deviation
    rest = actual != 0
    np.testing.assert_allclose(actual[rest], x[rest] / (1 - rate), rtol=1e-6)
    np.testing.assert_allclose(
        actual.mean(), x.mean(), rtol=5 * np.sqrt(rate / (1 - rate) / x.size)
    )


@pytest.mark.slow
def test_dropout_at_traced_dropout_rates_equals_single_calls() -> None:
    x = jax.random.normal(jax.random.key(0), (50, 20))
    rates = jnp.array([0.0, 0.25, 0.9])

    def with_gradient(rate: Any) -> Any:
        def total(x: Any) -> Any:
            return jnp.sum(dropout(jax.random.key(1), rate, x) ** 2) / 2

        return dropout(jax.random.key(1), rate, x), jax.grad(total)(x)

    many = jax.jit(jax.vmap(with_gradient))(rates)
    for run, rate in enumerate((0.0, 0.25, 0.9)):
        for actual, single in zip(many, with_gradient(rate), strict=True):
            np.testing.assert_allclose(actual[run], single, rtol=1e-6, atol=1e-6)
    values, gradients = many
    np.testing.assert_array_equal(values[0], x)  # a dropout rate of 0 drops nothing
    np.testing.assert_array_equal(gradients[0], x)
    # The masks are nested: a higher dropout rate also drops all inputs of a lower one.
    assert np.all((values[1] == 0) <= (values[2] == 0))
    np.testing.assert_array_equal(gradients[2] == 0, values[2] == 0)


def identities(config: Config) -> State:
    """Returns a network whose layers are identities."""
    state = init(config, Hparams(), jax.random.key(0), (50,), 50)
    params = jax.tree.map(lambda p: jnp.eye(50) if p.ndim > 1 else 0 * p, state.params)
    return dataclasses.replace(state, params=params)


@pytest.mark.slow
def test_dropout_precedes_every_layer_in_training_only() -> None:
    """Each of three layers drops half of its inputs and doubles the rest."""
    config = Config(hidden_sizes=(50, 50))
    state, images = identities(config), np.full((400, 50), 2, np.uint8)

    def logits(divisor: Any, rate: Any, train: bool) -> Any:
        hparams = Hparams(divisor=divisor, dropout_rate=rate)
        key = jax.random.key(5)
        return forward(config, hparams, state, key, jnp.asarray(images), train)[0]

    actual = np.asarray(logits(2.0, 0.5, True))
    assert set(np.unique(actual)) == {0, 8}
    assert abs(np.mean(actual == 8) - 1 / 8) < 0.01
    np.testing.assert_array_equal(logits(2.0, 0.5, False), 1)
    np.testing.assert_array_equal(logits(2.0, 0.0, True), 1)
    np.testing.assert_array_equal(logits(2.0, None, True), 1)
    # Only the key decides the mask, so that runs that differ in other axes are paired.
    many = jax.vmap(lambda divisor: logits(divisor, 0.5, True))(jnp.array([2.0, 4.0]))
    np.testing.assert_array_equal(many == 0, [actual == 0] * 2)


@pytest.mark.slow
def test_each_layer_has_a_different_mask() -> None:
    state = identities(Config(hidden_sizes=(50, 50)))
    model = MLP(50, (50, 50), dropout_rate=0.5)
    variables, x, key = {"params": state.params}, jnp.ones((400, 50)), jax.random.key(0)
    _, sown = apply_model(model, variables, key, x, True, ("intermediates",))
    shares = [np.mean(hidden != 0) for hidden in sown["intermediates"]["hidden"]]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 4], atol=0.02)
