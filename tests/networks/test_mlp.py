"""Initial weights, matrix products, and the forward pass."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fmnist_jax import training
from fmnist_jax.config import INITIALIZERS, Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.networks.matmul import matmul
from fmnist_jax.networks.mlp import MLP, make_model
from fmnist_jax.training.step import hidden_values, init
from tests.networks.linen_calls import apply_model, init_variables

NUM_INPUTS, NUM_CLASSES = 300, 10

jit_init = jax.jit(init_variables, static_argnums=0)


def initial_params(initializer: str, hidden_sizes: tuple[int, ...], seed: int) -> Any:
    config = Config(hidden_sizes=hidden_sizes, initializer=initializer)
    model = make_model(config, Hparams(), NUM_CLASSES)
    images = jnp.zeros((1, 15, NUM_INPUTS // 15))
    variables = jit_init(model, jax.random.key(seed), images)
    return jax.tree.map(np.asarray, variables["params"])


def assert_uniform(values: np.ndarray, bound: float) -> None:
    """Asserts that 10,000 values or more are uniform in ±bound."""
    assert values.size >= 10_000
    assert np.all(np.abs(values) <= bound * (1 + 1e-6))
    np.testing.assert_allclose(
        [values.min(), values.max()], [-bound, bound], rtol=0.005
    )
    quantiles = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])
    expected = bound * np.array([-0.8, -0.5, 0, 0.5, 0.8])
    np.testing.assert_allclose(quantiles, expected, atol=0.05 * bound)
    np.testing.assert_allclose(values.var(), bound**2 / 3, rtol=0.05)


def test_every_initializer_is_tested() -> None:
    assert set(INITIALIZERS) == {"flax", "keras", "pytorch"}


@pytest.mark.slow
def test_keras_initialises_kernels_glorot_uniform_and_biases_to_zero() -> None:
    params = initial_params("keras", (100, 120), 0)
    sizes = [(NUM_INPUTS, 100), (100, 120), (120, NUM_CLASSES)]
    for layer, (inputs, outputs) in enumerate(sizes):
        kernel = params[f"Dense_{layer}"]["kernel"]
        assert kernel.shape == (inputs, outputs)
        if layer < 2:
            assert_uniform(kernel, (6 / (inputs + outputs)) ** 0.5)
        np.testing.assert_array_equal(params[f"Dense_{layer}"]["bias"], 0)


@pytest.mark.slow
def test_pytorch_initialises_kernels_and_biases_by_the_inputs() -> None:
    params = initial_params("pytorch", (100, 10_000), 0)
    assert_uniform(params["Dense_0"]["kernel"], NUM_INPUTS**-0.5)
    assert_uniform(params["Dense_1"]["kernel"], 100**-0.5)
    assert_uniform(params["Dense_1"]["bias"], 100**-0.5)
    assert_uniform(params["Dense_2"]["kernel"], 10_000**-0.5)
    assert np.all(np.abs(params["Dense_2"]["bias"]) <= 10_000**-0.5)


@pytest.mark.slow
def test_flax_initialises_kernels_lecun_normal_and_biases_to_zero() -> None:
    params = initial_params("flax", (100, 120), 0)
    for layer, inputs in enumerate((NUM_INPUTS, 100)):
        kernel = params[f"Dense_{layer}"]["kernel"]
        np.testing.assert_allclose(kernel.var(), 1 / inputs, rtol=0.05)
        # A normal truncated at two standard deviations, which are larger than that of
        # the truncated distribution.
        cut = 2 * inputs**-0.5 / 0.87962566103423978
        assert 0.97 * cut < np.abs(kernel).max() <= cut
        np.testing.assert_array_equal(params[f"Dense_{layer}"]["bias"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_weights_differ_between_layers_and_between_seeds(initializer: str) -> None:
    first, again, other = (
        initial_params(initializer, (50, 50, 50), seed) for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernels = [
        params[f"Dense_{layer}"]["kernel"].ravel()
        for params in (first, other)
        for layer in (1, 2)
    ]
    correlations = np.corrcoef(kernels)[~np.eye(4, dtype=bool)]
    assert np.all(np.abs(correlations) < 0.1)


def forward_64(params: Any, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns logits and hidden layers of an MLP, in float64."""
    h, hidden = x.reshape(len(x), -1).astype(np.float64), []
    for layer in range(len(params)):
        dense = params[f"Dense_{layer}"]
        h = h @ dense["kernel"].astype(np.float64) + dense["bias"]
        if layer < len(params) - 1:
            h = np.maximum(h, 0)
            hidden.append(h)
    return h, hidden


@pytest.mark.slow
@pytest.mark.parametrize("hidden_sizes", [(), (128,), (16, 8)])
def test_the_mlp_equals_numpy(hidden_sizes: tuple[int, ...]) -> None:
    params = initial_params("pytorch", hidden_sizes, 0)
    sizes = (NUM_INPUTS, *hidden_sizes, NUM_CLASSES)
    assert {name: dense["kernel"].shape for name, dense in params.items()} == {
        f"Dense_{i}": sizes[i : i + 2] for i in range(len(sizes) - 1)
    }
    x = np.random.RandomState(0).random_sample((7, 15, NUM_INPUTS // 15))
    x = (255 * x).astype(np.float32)
    model, x_device = MLP(NUM_CLASSES, hidden_sizes), jnp.asarray(x)
    logits, model_state = apply_model(model, {"params": params}, None, x_device, True)
    expected, expected_hidden = forward_64(params, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
    assert model_state == {}

    config = Config(hidden_sizes=hidden_sizes)
    state = init(config, Hparams(), jax.random.key(0), x.shape[1:], NUM_CLASSES)
    state = dataclasses.replace(state, params=params)
    logits, hidden = hidden_values(config, Hparams(divisor=1.0), state, x_device)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
    for ours, theirs in zip(hidden, expected_hidden, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def products(function: Any, x: Any, w: Any, g: Any) -> Any:
    """Returns ``x @ w`` and the gradients of x and w for the cotangent ``g``."""
    y, backward = jax.vjp(function, x, w)
    return y, *backward(g)


def test_the_gradient_of_matmul_equals_that_of_jnp_matmul() -> None:
    random = np.random.RandomState(0)
    shapes = ((6, 30), (30, 20), (6, 20))  # [B, I], [I, O], [B, O]
    arrays = [random.standard_normal((3, *s)).astype(np.float32) for s in shapes]
    vmapped = jax.vmap(lambda *a: products(matmul, *a))(*arrays)
    shared = jax.vmap(lambda x: products(matmul, x, arrays[1][0], arrays[2][0]))
    shared_w = shared(arrays[0])  # with one w for all
    for run in range(3):
        x, w, g = (array[run] for array in arrays)
        ours, theirs = products(matmul, x, w, g), products(jnp.matmul, x, w, g)
        exact = (x @ w, g @ w.T, x.T @ g)
        for a, b, c, d in zip(ours, theirs, exact, vmapped, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(d[run], b, rtol=1e-5, atol=1e-5)
        x, w, g = arrays[0][run], arrays[1][0], arrays[2][0]
        for a, b in zip(shared_w, (x @ w, g @ w.T, x.T @ g), strict=True):
            np.testing.assert_allclose(a[run], b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("_unoptimised")
@pytest.mark.parametrize("batch_norm", ["off", "on"])
def test_forward_mode_and_second_derivatives_equal_reverse_mode(
    batch_norm: str,
) -> None:
    """Of the losses, the MLP, an evaluation and an epoch of training."""
    config = Config(
        hidden_sizes=(5, 4), batch_size=8, optimizer="sgd", batch_norm=batch_norm
    )
    hparams = Hparams(divisor=50.0, learning_rate=0.1)
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (20, 6)).astype(np.uint8)
    data = Dataset(images, random.randint(0, 3, 20).astype(np.int32))
    state = init(config, hparams, jax.random.key(0), (6,), 3)
    flat, unravel = ravel_pytree(state.params)

    def evaluated(loss: str, flat: Any) -> Any:
        changed = dataclasses.replace(state, params=unravel(flat))
        of_loss = dataclasses.replace(config, loss=loss)
        return training.evaluate(of_loss, hparams, changed, data)["loss"]

    def trained(flat: Any) -> Any:
        changed = dataclasses.replace(state, params=unravel(flat))
        key, order = jax.random.key(1), jnp.arange(16)
        after, _ = training.train_epoch(config, hparams, changed, key, data, order)
        return training.evaluate(config, hparams, after, data)["loss"]

    direction = jax.random.normal(jax.random.key(2), flat.shape)
    functions: list[Callable[[Any], Any]] = [
        functools.partial(evaluated, loss) for loss in ("softmax", "clipped")
    ]
    for function in (*functions, trained):

        @jax.jit
        def derivatives(flat: Any) -> Any:
            _, along = jax.jvp(function, (flat,), (direction,))  # noqa: B023
            _, linear = jax.linearize(function, flat)  # noqa: B023
            forward, reverse = jax.jacfwd(function), jax.grad(function)  # noqa: B023
            return forward(flat), reverse(flat), along, linear(direction)

        forward, reverse, along, linear = derivatives(flat)
        np.testing.assert_allclose(forward, reverse, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(along, reverse @ direction, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(linear, along, rtol=1e-4, atol=1e-6)
    hessian = jax.jit(jax.hessian(functions[0]))(flat)  # forward over reverse
    twice = jax.jit(jax.jacrev(jax.jacrev(functions[0])))(flat)
    np.testing.assert_allclose(hessian, twice, rtol=1e-3, atol=1e-5)


def tf32(x: np.ndarray) -> np.ndarray:
    """Returns float32 rounded to 10 bits of mantissa, ties to even, bit by bit."""
    bits = x.astype(np.float32).view(np.uint32)
    even = (bits >> 13) & 1
    return ((bits + 0xFFF + even) & ~np.uint32(0x1FFF)).view(np.float32)


def bf16(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda f: f,
    "jitted": jax.jit,
    "vmapped": lambda f: (
        lambda *a: [y[1] for y in jax.vmap(f)(*(jnp.stack([0 * v, v]) for v in a))]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("precision", "rounded"),
    [("float32", lambda x: x), ("tf32", tf32), ("bf16", bf16)],
)
def test_products_equal_those_of_rounded_operands(
    precision: str, rounded: Callable[[np.ndarray], np.ndarray], transform: str
) -> None:
    random = np.random.RandomState(0)
    shapes = ((6, 300), (300, 40), (6, 40))  # [B, I], [I, O], [B, O]
    x, w, g = (random.standard_normal(s).astype(np.float32) for s in shapes)
    x[0, :4] = 1 + np.array([8, 24, 1, 3]) / 2048  # ties, in both precisions

    def ours(x: Any, w: Any, g: Any) -> Any:
        return products(lambda x, w: matmul(x, w, precision), x, w, g)

    actuals = TRANSFORMS[transform](ours)(x, w, g)
    a, b, c = (rounded(array).astype(np.float64) for array in (x, w, g))
    for actual, expected in zip(actuals, (a @ b, c @ b.T, a.T @ c), strict=True):
        assert actual.dtype == jnp.float32
        # One bit of mantissa more or less would change the products 100 times as much.
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.slow
def test_the_gradient_of_the_mlp_equals_that_of_flax_layers() -> None:
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
            return nn.Dense(NUM_CLASSES)(x)

    params = initial_params("keras", (16,), 0)
    x = jnp.asarray(np.random.RandomState(0).random_sample((7, NUM_INPUTS)), "float32")

    def slope(model: nn.Module) -> Any:
        def total(p: Any) -> Any:
            return jnp.sum(jnp.sin(model.apply({"params": p}, x)))  # type: ignore[arg-type]

        return jax.grad(total)(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        slope(MLP(NUM_CLASSES, (16,))),
        slope(Plain()),
    )


def test_a_users_module_replaces_the_mlp() -> None:
    module = nn.Dense(3)
    assert make_model(Config(model=module), Hparams(), NUM_CLASSES) is module
    built_in = make_model(Config(), Hparams(), NUM_CLASSES)
    assert built_in == MLP(NUM_CLASSES, (128,), "keras")


@pytest.mark.slow
def test_sown_values_are_not_part_of_the_model_state() -> None:
    model, x = MLP(NUM_CLASSES), jnp.ones((2, 4))
    variables = init_variables(model, jax.random.key(0), x)
    assert set(variables) == {"params"}
    _, model_state = apply_model(model, variables, None, x, True)
    assert model_state == {}
