"""The largest stable rates, against optax's optimizers on a quadratic."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax.config import OPTIMIZERS, Config, Hparams
from fmnist_jax.errors import UserError
from fmnist_jax.stability import GAINS, stable_rate, stable_sharpness
from fmnist_jax.training.optimizers import make_optimizer

CURVATURE, NUM_STEPS = 7.0, 400
START = 1e-100  # so that w stays far below 1, however it grows
DIVISOR = 1.5  # what the gradients are divided by, where they are
OTHERS = {"momentum": 0.6, "b1": 0.7, "weight_decay": 0.3}
CASES: list[tuple[str, dict[str, float]]] = [(name, {}) for name in GAINS] + [
    (name, own)
    for name in GAINS
    if (own := {s: v for s, v in OTHERS.items() if s in OPTIMIZERS[name]})
]


def frozen(state: Any) -> Any:
    """An optimizer's state with a second moment that is old, and far above what comes.

    The squares of those no longer change it; nor does the correction for its start.
    """
    if hasattr(state, "nu"):
        state = state._replace(nu=jnp.full_like(state.nu, DIVISOR**2))
        if "count" in state._fields:
            state = state._replace(count=jnp.int32(10**9))
    return state


def growth(name: str, hparams: Hparams) -> float:
    """How much larger w is after many steps on ½ λ w²."""
    optimizer = make_optimizer(Config(optimizer=name), hparams)
    w = jnp.full((), START)
    states = jax.tree.map(frozen, optimizer.init(w), is_leaf=lambda s: hasattr(s, "nu"))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        w, state = carry
        updates, state = optimizer.update(CURVATURE * w, state, w)
        return (optax.apply_updates(w, updates), state), None

    (last, _), _ = jax.lax.scan(step, (w, states), length=NUM_STEPS)
    return abs(float(last)) / START


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_an_optimizer_is_stable_just_below_its_rate_and_not_above(
    name: str, settings: dict[str, float]
) -> None:
    adaptive = "eps" in OPTIMIZERS[name]
    slow = {s: 1 - 1e-7 for s in ("b2", "decay") if s in OPTIMIZERS[name]}
    sharpness = CURVATURE / DIVISOR if adaptive else CURVATURE
    rate = stable_rate(name, sharpness, settings)
    with jax.enable_x64(True):
        factors = [
            growth(name, Hparams(learning_rate=f * rate, **settings, **slow))
            for f in (0.99, 1.01)
        ]
    edge = stable_sharpness(name, rate, settings)
    assert edge == pytest.approx(sharpness)
    assert factors[0] < 1e-2
    assert factors[1] > 1e2


def test_the_published_rates() -> None:
    assert stable_rate("sgd", 4.0) == 0.5
    assert stable_rate("momentum", 1.0) == pytest.approx(3.8)
    assert stable_rate("nesterov", 1.0) == pytest.approx(3.8 / 2.8)
    assert stable_rate("adam", 1.0) == pytest.approx(38)
    assert stable_rate("adam", 1.0, {"b1": 0.0}) == 2


def test_curvature_that_does_not_limit_the_rate() -> None:
    found = stable_rate("sgd", [-1.0, 0.0, 2.0, np.nan])
    np.testing.assert_array_equal(found, [math.inf, math.inf, 1, math.nan])
    assert stable_rate("adamw", 0.0, {"weight_decay": 0.5}) == 4


@pytest.mark.parametrize("name", sorted({*OPTIMIZERS} - {*GAINS}))
def test_some_optimizers_have_none(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*expected one of adam, adamw"):
        stable_rate(name, 1.0)
