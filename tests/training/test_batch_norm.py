"""Batch norm and dropout of the MLP, against NumPy's float64 and against each other."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax.config import Config, Hparams
from fmnist_jax.training.models import MLP, dropout
from fmnist_jax.training.step import State, forward, init

IMAGE_SHAPE, NUM_CLASSES, SIZE = (5, 4), 3, 6
DIVISORS = (1.0, 255.0)
# Batches of 8, 8 and 5 images.
BATCHES = [
    jnp.asarray(np.random.RandomState(i).randint(0, 256, (size, *IMAGE_SHAPE)), "uint8")
    for i, size in enumerate((8, 8, 5))
]


def unstacked(stacked: Any) -> list[Any]:
    return [jax.tree.map(operator.itemgetter(i), stacked) for i in range(len(DIVISORS))]


# Each makes a function of one run's settings one of several runs'.
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda f: lambda hparams: list(map(f, unstacked(hparams))),
    "jitted": lambda f: lambda hparams: list(map(jax.jit(f), unstacked(hparams))),
    "vmapped": lambda f: lambda hparams: unstacked(jax.jit(jax.vmap(f))(hparams)),
}


def initial_state(config: Config, epoch: int) -> State:
    """A state whose batch norm neither scales by 1 nor has seen nothing."""
    state = init(config, Hparams(), jax.random.key(0), IMAGE_SHAPE, NUM_CLASSES)
    random = np.random.RandomState(7)
    like = {"params": state.params, **state.model_state}
    drawn = jax.tree.map(
        lambda x: jnp.asarray(random.uniform(0.2, 1.5, x.shape) - 0.5 * (x.ndim > 1)),
        like,
    )
    drawn = jax.tree.map(lambda x: x.astype(jnp.float32), drawn)
    return dataclasses.replace(
        state, params=drawn.pop("params"), model_state=drawn, epoch=jnp.int32(epoch)
    )


def normalised_64(
    variables: Any, images: Any, divisor: float, by_batch: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns logits of one batch, and the running statistics after it."""
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


# Batch norm: which statistics normalise in training, by setting and epochs over.
BATCH_NORMS = pytest.mark.parametrize(
    ("batch_norm", "epoch", "by_batch"),
    [("on", 0, True), ("on", 1, True), ("frozen", 0, True), ("frozen", 1, False)],
)


@BATCH_NORMS
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_batch_norm_is_numpys(
    batch_norm: str, epoch: int, by_batch: bool, transform: str
) -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm=batch_norm)
    state = initial_state(config, epoch)

    def batches(hparams: Hparams) -> Any:
        """Logits of each batch in training, the statistics, and logits after it."""
        logits, now = [], state
        for images in BATCHES:
            found, model_state = forward(config, hparams, now, None, images, True)
            logits.append(found)
            now = dataclasses.replace(now, model_state=model_state)
        after, kept = forward(config, hparams, now, None, BATCHES[0], False)
        return logits, model_state["batch_stats"]["BatchNorm_0"], after, kept

    runs = TRANSFORMS[transform](batches)(Hparams(divisor=jnp.asarray(DIVISORS)))
    for divisor, (logits, statistics, after, kept) in zip(DIVISORS, runs, strict=True):
        variables = variables_64(state)
        for images, found in zip(BATCHES, logits, strict=True):
            expected, new = normalised_64(variables, images, divisor, by_batch)
            variables["batch_stats"] = {"BatchNorm_0": new}
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for name, values in new.items():
            np.testing.assert_allclose(statistics[name], values, rtol=1e-5)
        evaluated, _ = normalised_64(variables, BATCHES[0], divisor, False)
        np.testing.assert_allclose(after, evaluated, rtol=1e-4, atol=1e-4)
        # Evaluation keeps them, and so does training where they are frozen.
        jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"]["BatchNorm_0"],
                     statistics)  # fmt: skip
        if not by_batch:
            jax.tree.map(np.testing.assert_array_equal, kept, state.model_state)


@BATCH_NORMS
def test_gradients_through_batch_norm_are_finite_differences(
    batch_norm: str, epoch: int, by_batch: bool
) -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm=batch_norm)
    state, images = initial_state(config, epoch), BATCHES[0]
    weights = np.random.RandomState(3).standard_normal((len(images), NUM_CLASSES))

    def total(params: Any) -> jax.Array:
        now = dataclasses.replace(state, params=params)
        logits, _ = forward(config, Hparams(divisor=50.0), now, None, images, True)
        return jnp.sum(logits * weights.astype(np.float32))

    def total_64(params: Any) -> float:
        variables = {**variables_64(state), "params": params}
        logits, _ = normalised_64(variables, images, 50.0, by_batch)
        return np.sum(weights * logits)

    gradient = jax.jit(jax.grad(total))(state.params)
    params = variables_64(state)["params"]
    random = np.random.RandomState(4)
    for _ in range(3):
        way = jax.tree.map(lambda p: 1e-6 * random.standard_normal(p.shape), params)
        ahead = total_64(jax.tree.map(np.add, params, way))
        behind = total_64(jax.tree.map(np.subtract, params, way))
        parts = jax.tree.map(lambda g, w: np.sum(np.asarray(g) * w), gradient, way)
        slope = sum(jax.tree.leaves(parts))
        np.testing.assert_allclose(slope, (ahead - behind) / 2, rtol=1e-4)


def test_a_batch_of_one_is_its_own_mean() -> None:
    config = Config(hidden_sizes=(SIZE,), batch_norm="on")
    state = initial_state(config, 0)
    logits, model_state = forward(config, Hparams(), state, None, BATCHES[0][:1], True)
    params = variables_64(state)["params"]
    hidden = np.maximum(params["BatchNorm_0"]["bias"], 0)
    expected = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(model_state))


# Dropout.


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    x = 1 + jnp.arange(40_000.0) / 40_000
    found = np.asarray(dropout(jax.random.key(3), rate, x))
    share = np.mean(found == 0)
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(share - rate) < 4 * deviation
    kept = found != 0
    np.testing.assert_allclose(found[kept], x[kept] / (1 - rate), rtol=1e-6)
    np.testing.assert_allclose(
        found.mean(), x.mean(), rtol=5 * np.sqrt(rate / (1 - rate) / x.size)
    )


def test_dropout_at_traced_rates_is_the_same_as_alone() -> None:
    x = jax.random.normal(jax.random.key(0), (50, 20))
    rates = jnp.array([0.0, 0.25, 0.9])

    def with_gradient(rate: Any) -> Any:
        def total(x: Any) -> Any:
            return jnp.sum(dropout(jax.random.key(1), rate, x) ** 2) / 2

        return dropout(jax.random.key(1), rate, x), jax.grad(total)(x)

    many = jax.jit(jax.vmap(with_gradient))(rates)
    for run, rate in enumerate((0.0, 0.25, 0.9)):
        for found, alone in zip(many, with_gradient(rate), strict=True):
            np.testing.assert_allclose(found[run], alone, rtol=1e-6, atol=1e-6)
    values, gradients = many
    np.testing.assert_array_equal(values[0], x)  # a rate of 0 drops nothing
    np.testing.assert_array_equal(gradients[0], x)
    # One key, one draw for each input: what a lower rate drops, a higher one does too.
    assert np.all((values[1] == 0) <= (values[2] == 0))
    np.testing.assert_array_equal(gradients[2] == 0, values[2] == 0)


def identities(config: Config) -> State:
    """A network that passes on its inputs, layer for layer."""
    state = init(config, Hparams(), jax.random.key(0), (50,), 50)
    params = jax.tree.map(lambda p: jnp.eye(50) if p.ndim > 1 else 0 * p, state.params)
    return dataclasses.replace(state, params=params)


def test_dropout_is_before_every_layer_and_in_training_only() -> None:
    """Each of three layers drops half of its inputs and doubles the rest."""
    config = Config(hidden_sizes=(50, 50))
    state, images = identities(config), np.full((400, 50), 2, np.uint8)

    def logits(divisor: Any, rate: Any, train: bool) -> Any:
        hparams = Hparams(divisor=divisor, dropout_rate=rate)
        key = jax.random.key(5)
        return forward(config, hparams, state, key, jnp.asarray(images), train)[0]

    found = np.asarray(logits(2.0, 0.5, True))
    assert set(np.unique(found)) == {0, 8}
    assert abs(np.mean(found == 8) - 1 / 8) < 0.01
    np.testing.assert_array_equal(logits(2.0, 0.5, False), 1)
    np.testing.assert_array_equal(logits(2.0, 0.0, True), 1)
    np.testing.assert_array_equal(logits(2.0, None, True), 1)
    # The key alone decides what is dropped: runs that differ in other axes are paired.
    many = jax.vmap(lambda divisor: logits(divisor, 0.5, True))(jnp.array([2.0, 4.0]))
    np.testing.assert_array_equal(many == 0, [found == 0] * 2)


def test_each_layer_draws_a_mask_of_its_own() -> None:
    state = identities(Config(hidden_sizes=(50, 50)))
    model = MLP(50, (50, 50), dropout_rate=0.5)
    _, sown = model.apply(
        {"params": state.params}, jnp.ones((400, 50)), train=True,
        rngs={"dropout": jax.random.key(0)}, mutable=["intermediates"],
    )  # fmt: skip
    shares = [np.mean(hidden != 0) for hidden in sown["intermediates"]["hidden"]]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 4], atol=0.02)
