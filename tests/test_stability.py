"""The largest stable learning rates, against optax's optimizers on a quadratic."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax.config import OPTIMIZERS, Config, Hparams
from fmnist_jax.errors import UserError
from fmnist_jax.stability import (
    GAINS,
    has_stability_limit,
    stable_rate,
    stable_sharpness,
)
from fmnist_jax.training.optimizers import make_optimizer

CURVATURE, NUM_STEPS = 7.0, 400
START = 1e-100  # so that w stays far below 1 even if it grows
DIVISOR = 1.5  # of the gradients, for optimizers that divide by their size
OTHERS = {"momentum": 0.6, "b1": 0.7, "weight_decay": 0.3}
LIMITED = [name for name in OPTIMIZERS if has_stability_limit(name)]
CASES: list[tuple[str, dict[str, float]]] = [(name, {}) for name in LIMITED] + [
    (name, settings)
    for name in LIMITED
    if (settings := {s: v for s, v in OTHERS.items() if s in OPTIMIZERS[name]})
]


def frozen(state: Any) -> Any:
    """An optimizer state with a large second moment from many earlier steps.

    Neither new squared gradients nor the bias correction change it.
    """
    if hasattr(state, "nu"):
        state = state._replace(nu=jnp.full_like(state.nu, DIVISOR**2))
        if "count" in state._fields:
            state = state._replace(count=jnp.int32(10**9))
    return state


def growth(name: str, hparams: Hparams) -> float:
    """Returns the growth of w over many steps on ½ λ w²."""
    optimizer = make_optimizer(Config(optimizer=name), hparams)
    w = jnp.full((), START)
    states = jax.tree.map(frozen, optimizer.init(w), is_leaf=lambda s: hasattr(s, "nu"))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        w, state = carry
        updates, state = optimizer.update(CURVATURE * w, state, w)
        return (optax.apply_updates(w, updates), state), None

    (last, _), _ = jax.lax.scan(step, (w, states), length=NUM_STEPS)
    return abs(float(last)) / START


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_an_optimizer_is_stable_just_below_its_limit_and_not_above(
    name: str, settings: dict[str, float]
) -> None:
    adaptive = "eps" in OPTIMIZERS[name]
    slow = {s: 1 - 1e-7 for s in ("b2", "decay") if s in OPTIMIZERS[name]}
    sharpness = CURVATURE / DIVISOR if adaptive else CURVATURE
    limit = stable_rate(name, sharpness, settings)
    with jax.enable_x64(True):
        factors = [
            growth(name, Hparams(learning_rate=f * limit, **settings, **slow))
            for f in (0.99, 1.01)
        ]
    edge = stable_sharpness(name, limit, settings)
    assert edge == pytest.approx(sharpness)
    assert factors[0] < 1e-2
    assert factors[1] > 1e2


def test_the_published_limits() -> None:
    assert stable_rate("sgd", 4.0) == 0.5
    assert stable_rate("momentum", 1.0) == pytest.approx(3.8)
    assert stable_rate("nesterov", 1.0) == pytest.approx(3.8 / 2.8)
    assert stable_rate("adam", 1.0) == pytest.approx(38)
    assert stable_rate("adam", 1.0, {"b1": 0.0}) == 2


def test_curvature_that_does_not_limit_the_learning_rate() -> None:
    limits = stable_rate("sgd", [-1.0, 0.0, 2.0, np.nan])
    np.testing.assert_array_equal(limits, [math.inf, math.inf, 1, math.nan])
    assert stable_rate("adamw", 0.0, {"weight_decay": 0.5}) == 4


def test_every_optimizer_has_an_entry() -> None:
    """A new optimizer needs its gain, or None if it has no stability limit."""
    assert GAINS.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", sorted({*OPTIMIZERS} - {*LIMITED}))
def test_some_optimizers_have_no_limit(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*expected one of adam, adamw"):
        stable_rate(name, 1.0)
