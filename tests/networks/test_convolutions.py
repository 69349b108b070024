"""Convolutions in the layout that is fast in loops: same results, all of them moved."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from examples.models.cnn import CNN
from fmnist_jax import Config, Data, Dataset, Hparams, plan, sweep
from fmnist_jax.networks.convolutions import fast_in_loops
from fmnist_jax.probes.batch_sharpness import batch_sharpness
from fmnist_jax.probes.sharpness import preconditioned_sharpness, sharpness
from fmnist_jax.training import gradients, init

RNG = np.random.default_rng(0)
FAST = (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
IMAGES = RNG.integers(0, 256, (80, 8, 6)).astype(np.uint8)
DATA = Data(
    Dataset(IMAGES[:60], np.arange(60) % 10), Dataset(IMAGES[60:], np.arange(20) % 10)
)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
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
    assert jax.jit(fast)(1.0) == pytest.approx(np.sin(2))


@pytest.mark.parametrize(
    "function", [gradients, sharpness, preconditioned_sharpness, batch_sharpness]
)
def test_every_convolution_of_steps_and_probes_is_in_the_fast_layout(
    function: Callable[..., Any],
) -> None:
    hparams = Hparams(learning_rate=0.01)
    state = init(CONFIG, hparams, jax.random.key(0), (8, 6), 10)
    batch = Dataset(jnp.asarray(IMAGES[:8]), jnp.arange(8))
    step = lambda state: function(CONFIG, hparams, state, jax.random.key(1), batch)  # noqa: E731
    layouts = convolutions_of(jax.make_jaxpr(step)(state).jaxpr)
    assert len(layouts) >= 4  # two forward; two kernels and one input backward
    assert {*layouts} == {FAST}


@pytest.mark.slow
def test_networks_with_convolutions_train_one_run_per_core() -> None:
    axes = {"learning_rate": [0.001, 0.01, 0.1, 1.0], "seed": [0, 1]}
    planned = plan(axes, CONFIG, Hparams(), 2, data=DATA)
    assert [group.width for group in planned.groups] == [1] * 4
    others = plan(axes, Config(), Hparams(), 2, data=DATA)
    assert [group.width for group in others.groups] == [4]
    alone, together = (sweep(axes, DATA, CONFIG, max_width=w) for w in (None, 4))
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(alone[name], together[name], rtol=2e-4)
