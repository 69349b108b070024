"""Convolutions in the layout that is fast in loops: same results, all of them moved."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree

from examples.models.cnn import CNN
from fmnist_jax import Config, Data, Dataset, Hparams, plan, sweep
from fmnist_jax.networks.convolutions import fast_in_loops
from fmnist_jax.probes.activation import activation_stability
from fmnist_jax.probes.batch_sharpness import batch_sharpness
from fmnist_jax.probes.sharpness import preconditioned_sharpness, sharpness
from fmnist_jax.training import gradients, init, step

RNG = np.random.default_rng(0)
FAST = (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
IMAGES = RNG.integers(0, 256, (80, 8, 6)).astype(np.uint8)
DATA = Data(
    Dataset(IMAGES[:60], np.arange(60) % 10), Dataset(IMAGES[60:], np.arange(20) % 10)
)
BATCH = Dataset(IMAGES, np.arange(80) % 10)
CONFIG = Config(model=CNN(features=2), batch_size=8, num_epochs=2)

Call = Callable[[Any, Any], Any]
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], Call]] = {
    "NHWC": (
        (2, 6, 5, 3),
        (3, 3, 3, 4),
        lambda x, w: lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
    ),
    "NCHW": ((2, 3, 6, 5), (4, 3, 3, 2), lambda x, w: lax.conv(x, w, (2, 1), "VALID")),
    "dilated, groups": (
        (2, 4, 7, 6),
        (6, 2, 2, 3),
        lambda x, w: lax.conv_general_dilated(
            x, w, (1, 2), ((1, 0), (2, 1)), (2, 1), (1, 2), feature_group_count=2
        ),
    ),
    "transposed": (
        (2, 5, 4, 3),
        (2, 3, 3, 4),
        lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"),
    ),
    "one axis": (
        (2, 9, 3),
        (4, 3, 5),
        lambda x, w: lax.conv_general_dilated(
            x, w, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        ),
    ),
}


def convolutions_of(jaxpr: Any) -> list[Any]:
    """Returns the dimension numbers of all convolutions, also of functions within."""
    layouts = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            layouts.append(tuple(equation.params["dimension_numbers"]))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            layouts += convolutions_of(inner) if hasattr(inner, "eqns") else []
    return layouts


QUICK = "NCHW"


@pytest.mark.parametrize(
    "name",
    [QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n != QUICK)],
)
def test_values_and_gradients_are_those_of_the_function(name: str) -> None:
    x_shape, w_shape, call = CASES[name]
    x, w = (RNG.normal(size=shape).astype(np.float32) for shape in (x_shape, w_shape))

    def value_and_gradients(x: Any, w: Any) -> Any:
        loss = lambda x, w: jnp.sum(jnp.sin(jax.jit(call)(x, w)))  # noqa: E731
        return jax.value_and_grad(loss, (0, 1))(x, w)

    expected = value_and_gradients(x, w)
    fast = fast_in_loops(value_and_gradients)
    for result in (fast(x, w), jax.jit(fast)(x, w)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5),
            result,
            expected,
        )
    two = jax.vmap(fast)(np.stack([x, -x]), np.stack([w, w]))
    np.testing.assert_allclose(two[1][1][0], expected[1][1], rtol=2e-5, atol=2e-5)


def test_a_convolution_equals_sums_of_products_in_numpy() -> None:
    x, w = RNG.normal(size=(2, 3, 6, 5)), RNG.normal(size=(4, 3, 3, 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), (2, 3))
    expected = np.einsum("bihwkl,oikl->bohw", windows, w)
    call = jax.jit(fast_in_loops(lambda x, w: lax.conv(x, w, (1, 1), "VALID")))
    result = call(x.astype(np.float32), w.astype(np.float32))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_derivatives_that_a_user_defines_are_used() -> None:
    vjp = jax.custom_vjp(jnp.sin)
    vjp.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (7 * g,))
    jvp = jax.custom_jvp(jnp.sin)
    jvp.defjvp(lambda x, t: (jnp.sin(x[0]), 3 * t[0]))
    for call, slope in ((vjp, 7), (jvp, 3)):
        fast = fast_in_loops(lambda x, call=call: call(2 * x))
        for gradient in (jax.grad(fast), jax.jit(fast_in_loops(jax.grad(fast)))):
            assert gradient(1.0) == 2 * slope
    # In forward mode through a gradient, as probes of curvature need it.
    square = jax.custom_jvp(lambda x: x**2)
    square.defjvp(lambda x, t: (x[0] ** 2, 5 * x[0] * t[0]))
    curvature = jax.jit(
        lambda x: jax.jvp(fast_in_loops(jax.grad(square)), (x,), (1.0,))
    )
    assert curvature(3.0) == (15, 5)
    assert jax.jit(fast)(1.0) == pytest.approx(np.sin(2))


class Sowing(nn.Module):
    """A CNN, and a network without convolutions, that sow what they rectify."""

    is_cnn: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(2, (3, 3))(x[..., None]) if self.is_cnn else nn.Dense(3)(x)
        self.sow("intermediates", "preactivation", x)
        x = nn.Conv(2, (3, 3))(nn.relu(x)) if self.is_cnn else nn.relu(x)
        return nn.Dense(10)(x.reshape(len(x), -1))


HPARAMS = Hparams(divisor=255.0, learning_rate=0.01)
PROBES = (
    *(sharpness, preconditioned_sharpness, batch_sharpness),
    functools.partial(activation_stability, batches=1),
)


def probed(function: Callable[..., Any], model: nn.Module) -> tuple[Any, Any]:
    """Returns a function of the state alone, and a state."""
    config = dataclasses.replace(CONFIG, model=model)
    state = init(config, HPARAMS, jax.random.key(0), (8, 6), 10)
    batch = Dataset(*(jnp.asarray(np.tile(a, (4, *[1] * (a.ndim - 1)))) for a in BATCH))
    key = jax.random.key(1)
    return lambda state: function(config, HPARAMS, state, key, batch), state


@pytest.mark.parametrize("function", [gradients, *PROBES])
def test_every_convolution_of_steps_and_probes_is_in_the_fast_layout(
    function: Callable[..., Any],
) -> None:
    measure, state = probed(function, Sowing())
    layouts = convolutions_of(jax.make_jaxpr(measure)(state).jaxpr)
    assert len(layouts) >= 4  # two forward; two kernels and one input backward
    assert {*layouts} == {FAST}


@pytest.mark.slow
def test_the_sharpness_of_a_cnn_is_that_of_its_hessian() -> None:
    measure, state = probed(sharpness, Sowing())
    flat, unravel = ravel_pytree(state.params)
    images, labels = jnp.asarray(IMAGES, jnp.float32) / 255, np.arange(80) % 10

    def loss(flat: Any) -> Any:
        logits: Any = Sowing().apply({"params": unravel(flat)}, images)
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(80), labels])

    expected = np.linalg.eigvalsh(np.asarray(jax.hessian(loss)(flat), np.float64))[-1]
    assert measure(state)["sharpness"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("function", PROBES)
def test_networks_without_convolutions_have_the_same_bits(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, state = probed(function, Sowing(is_cnn=False))
    values = jax.jit(measure)(state)
    monkeypatch.setattr(step, "fast_in_loops", lambda function: function)
    measure, _ = probed(function, Sowing(is_cnn=False))
    assert jax.jit(measure)(state) == values


AXES: Any = {"learning_rate": [0.001, 0.01, 0.1, 1.0], "seed": [0, 1]}


def test_networks_with_convolutions_train_one_run_per_core() -> None:
    planned = plan(AXES, CONFIG, Hparams(), 2, data=DATA)
    assert [group.width for group in planned.groups] == [1] * 4
    others = plan(AXES, Config(), Hparams(), 2, data=DATA)
    assert [group.width for group in others.groups] == [4]


@pytest.mark.slow
def test_one_run_per_core_is_each_run_of_a_batch() -> None:
    alone, together = (sweep(AXES, DATA, CONFIG, max_width=w) for w in (None, 4))
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(alone[name], together[name], rtol=2e-4)
