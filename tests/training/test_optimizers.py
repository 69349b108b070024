"""Each optimizer against its formula in float64, its settings traced."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax.config import OPTIMIZERS, TRACED, Config, Hparams
from fmnist_jax.training.optimizers import make_optimizer

NUM_STEPS, SIZE = 15, 6
NAME = pytest.mark.parametrize("name", OPTIMIZERS)
# Far from the defaults, so that a setting that is not passed on is noticed.
OTHERS = {
    "learning_rate": 0.05,
    "momentum": 0.6,
    "decay": 0.7,
    "b1": 0.8,
    "b2": 0.95,
    "eps": 0.02,
    "initial_accumulator_value": 0.3,
    "weight_decay": 0.4,
}

Slopes = Callable[[Any], Any]
# The problem: ½ Σ c w² from w = START. Its gradients are neither constant nor zero.
CURVATURES = np.array([0.01, 0.1, 0.5, 1, 2, 5], np.float32)
START = np.array([1, -1, 0.5, -0.5, 0.3, -0.3], np.float32)


def used(name: str, values: dict[str, float]) -> dict[str, float]:
    """Returns the ``values`` that the optimizer uses."""
    return {setting: values[setting] for setting in OPTIMIZERS[name]}


def formula(name: str, h: dict[str, float]) -> np.ndarray:
    """Returns the parameters after each step, float64 ``[steps, size]``."""
    w, path = START.astype(np.float64), []
    m, v = np.zeros(SIZE), np.zeros(SIZE)
    total = np.full(SIZE, h.get("initial_accumulator_value", 0))
    eps, decay = h.get("eps", 0), h.get("weight_decay", 0)
    for t in range(1, NUM_STEPS + 1):
        g = CURVATURES * w
        if name == "sgd":
            step = g
        elif name in ("momentum", "nesterov"):
            m = h["momentum"] * m + g
            step = m if name == "momentum" else g + h["momentum"] * m
        elif name == "rmsprop":  # Hinton's, with eps inside the root
            v = h["decay"] * v + (1 - h["decay"]) * g**2
            step = g / np.sqrt(v + eps)
        elif name == "adagrad":  # Duchi et al. 2011, with eps inside the root
            total = total + g**2
            step = g / np.sqrt(total + eps)
        elif name in ("adam", "adamw"):  # Kingma & Ba 2015; Loshchilov & Hutter 2019
            m = h["b1"] * m + (1 - h["b1"]) * g
            v = h["b2"] * v + (1 - h["b2"]) * g**2
            corrected = m / (1 - h["b1"] ** t), v / (1 - h["b2"] ** t)
            step = corrected[0] / (np.sqrt(corrected[1]) + eps) + decay * w
        else:  # lion: Chen et al. 2023, algorithm 2
            step = np.sign(h["b1"] * m + (1 - h["b1"]) * g) + decay * w
            m = h["b2"] * m + (1 - h["b2"]) * g
        w = w - h["learning_rate"] * step
        path.append(w)
    return np.stack(path)


def optimize(name: str, hparams: Hparams, start: Any = START) -> Any:
    """Returns our parameters after each step, ``[steps, size]`` for each array."""
    optimizer = make_optimizer(Config(optimizer=name), hparams)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, opt_state = carry
        gradients = jax.tree.map(lambda w: jnp.asarray(CURVATURES) * w, params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), params

    start = jax.tree.map(jnp.asarray, start)
    return jax.lax.scan(step, (start, optimizer.init(start)), length=NUM_STEPS)[1]


jit_optimize = jax.jit(optimize, static_argnums=0)


@NAME
def test_given_settings_are_used(name: str) -> None:
    values = used(name, OTHERS)
    actual = jit_optimize(name, Hparams(**values))
    np.testing.assert_allclose(actual, formula(name, values), rtol=1e-5, atol=1e-6)


@NAME
def test_settings_of_none_are_the_defaults_of_the_optimizer(name: str) -> None:
    expected = formula(name, dict(OPTIMIZERS[name]))
    np.testing.assert_allclose(jit_optimize(name, Hparams()), expected, 1e-5, 1e-6)


@pytest.mark.slow
@NAME
def test_only_the_settings_of_the_optimizer_matter(name: str) -> None:
    values = used(name, OTHERS)
    base = jit_optimize(name, Hparams(**values))
    for setting in TRACED:
        if setting in values:
            other = Hparams(**(values | {setting: 0.9 * values[setting]}))
            changes = jnp.abs(jit_optimize(name, other) - base)
            assert jnp.max(changes) > 1e-4, setting
        else:
            other = Hparams(**(values | {setting: 1e3}))
            np.testing.assert_array_equal(jit_optimize(name, other), base)


@pytest.mark.slow
@NAME
def test_plain_jitted_and_vmapped_agree(name: str) -> None:
    factors = np.array([0.5, 0.8, 1.1])
    runs = [
        Hparams(**used(name, {key: factor * value for key, value in OTHERS.items()}))
        for factor in factors
    ]
    stacked = jax.tree.map(lambda *values: jnp.array(values), *runs)
    vmapped = jax.jit(jax.vmap(functools.partial(optimize, name)))(stacked)
    for run, hparams in enumerate(runs):
        plain = optimize(name, hparams)
        np.testing.assert_allclose(jit_optimize(name, hparams), plain, 1e-5, 1e-6)
        np.testing.assert_allclose(vmapped[run], plain, rtol=1e-5, atol=1e-6)


OPTAX_FUNCTIONS = {name: name for name in OPTIMIZERS} | {
    "momentum": "sgd",
    "nesterov": "sgd",
}


@NAME
def test_the_defaults_of_the_optimizers_equal_those_of_optax(name: str) -> None:
    parameters = inspect.signature(getattr(optax, OPTAX_FUNCTIONS[name])).parameters
    for setting, value in OPTIMIZERS[name].items():
        if setting not in ("learning_rate", "momentum"):  # optax has no default
            assert parameters[setting].default == value


@pytest.mark.slow
@NAME
def test_the_first_kernel_has_its_learning_rate_and_epsilon(name: str) -> None:
    values = used(name, OTHERS)
    multipliers = {"learning_rate": 0.3, "eps": 7.0, "initial_accumulator_value": 7.0}
    hparams = Hparams(**values, first_kernel_rate=0.3, first_kernel_eps=7.0)
    params = {"Dense_0": {"kernel": START, "bias": START}, "Dense_1": {"kernel": START}}
    path = jax.jit(optimize, static_argnums=0)(name, hparams, params)
    first_values = {s: v * multipliers.get(s, 1) for s, v in values.items()}
    first, others = formula(name, first_values), formula(name, values)
    kernel, bias = path["Dense_0"]["kernel"], path["Dense_0"]["bias"]
    np.testing.assert_allclose(kernel, first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bias, others, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(bias, path["Dense_1"]["kernel"])


@pytest.mark.slow
@NAME
def test_the_updates_are_those_of_optax_to_the_bit(name: str) -> None:
    function = getattr(optax, OPTAX_FUNCTIONS[name])
    options = {"nesterov": True} if name == "nesterov" else {}
    values = used(name, OTHERS)

    @functools.partial(jax.jit, static_argnums=0)
    def path(make: Callable[..., Any], values: dict[str, Any]) -> Any:
        optimizer = make(**values)

        def step(carry: Any, _: None) -> Any:
            w, opt_state = carry
            gradients = jnp.asarray(CURVATURES).at[0].set(0) * w
            updates, opt_state = optimizer.update(gradients, opt_state, w)
            return (w + updates, opt_state), updates

        w = jnp.asarray(START)
        (_, state), updates = jax.lax.scan(step, (w, optimizer.init(w)), length=9)
        return updates, jax.tree.leaves(state)

    def ours(**values: Any) -> Any:
        return make_optimizer(Config(optimizer=name), Hparams(**values))

    expected = path(functools.partial(function, **options), values)
    jax.tree.map(np.testing.assert_array_equal, path(ours, values), expected)


# At these values the derivatives of optax's updates are NaN if gradients are 0.
AT_ZERO: dict[str, dict[str, float]] = {
    "default epsilon": {"eps": 1e-8, "initial_accumulator_value": 0.0},
    "tiny epsilon": {"eps": 1e-30, "initial_accumulator_value": 0.0},
    "no average": dict.fromkeys(
        ("b1", "b2", "decay", "initial_accumulator_value"), 0.0
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", AT_ZERO)
@pytest.mark.parametrize("name", [n for n, h in OPTIMIZERS.items() if "eps" in h])
def test_derivatives_where_gradients_are_zero(
    name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 and both modes, against differences of the formula in float64."""
    curvatures = CURVATURES * (np.arange(SIZE) > 1)
    monkeypatch.setitem(globals(), "CURVATURES", curvatures)
    values = used(name, OTHERS | AT_ZERO[case])
    if name == "adagrad" and case == "no average":
        values["eps"] = 0.0
    weights = np.linspace(1, 2, SIZE, dtype=np.float32)

    @jax.jit
    def last(hparams: Hparams, start: Any) -> Any:
        return jnp.sum(weights * optimize(name, hparams, start)[-1])

    reverse, by_start = jax.grad(last, (0, 1))(Hparams(**values), START)
    forward = jax.jacfwd(last)(Hparams(**values), START)
    decay = values.get("weight_decay", 0) * values["learning_rate"]
    np.testing.assert_allclose(by_start[:2], weights[:2] * (1 - decay) ** 15, rtol=1e-5)
    assert np.isfinite(by_start).all()
    for setting, value in values.items():
        slope = getattr(reverse, setting)
        np.testing.assert_allclose(getattr(forward, setting), slope, 1e-3, 1e-4)
        if value > 1e-20:
            with np.errstate(invalid="ignore"):  # 0 / 0, for adagrad without epsilon
                above, below = (
                    formula(name, values | {setting: factor * value})[-1]
                    for factor in (1 + 1e-5, 1 - 1e-5)
                )
            difference = np.sum(weights * np.nan_to_num(above - below)) / (2e-5 * value)
            np.testing.assert_allclose(slope, difference, 2e-3, 1e-3, err_msg=setting)


def test_rmsprop_and_lion_equal_calculations_by_hand() -> None:
    """Two steps on w with gradient w."""
    # rmsprop, decay ¾, eps 0, learning rate 1: 2 - 2/√(4/4) = 0; then no change.
    hparams = Hparams(learning_rate=1.0, decay=0.75, eps=0.0)
    np.testing.assert_array_equal(two_steps("rmsprop", hparams, 2.0), [0, 0])
    # lion, no decay, learning rate ½: every step is ½ towards 0.
    hparams = Hparams(learning_rate=0.5, b1=0.5, b2=0.5, weight_decay=0.0)
    np.testing.assert_array_equal(two_steps("lion", hparams, 2.0), [1.5, 1])
    # lion with weight decay 1: 2 - ½ (1 + 2) = ½; ½ - ½ (1 + ½) = -¼.
    hparams = Hparams(learning_rate=0.5, b1=0.5, b2=0.5, weight_decay=1.0)
    np.testing.assert_array_equal(two_steps("lion", hparams, 2.0), [0.5, -0.25])


def two_steps(name: str, hparams: Hparams, start: float) -> list[float]:
    optimizer = make_optimizer(Config(optimizer=name), hparams)
    w = jnp.array(start)
    opt_state, path = optimizer.init(w), []
    for _ in range(2):
        updates, opt_state = optimizer.update(w, opt_state, w)
        w = w + updates
        path.append(float(w))
    return path
