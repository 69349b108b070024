"""Training on x/d equals training on x with a rescaled first kernel."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.scale_equivalence import OPTIMIZERS as EXPERIMENT
from experiments.scale_equivalence import rescaled_settings
from fmnist_jax import training
from fmnist_jax.config import OPTIMIZERS, Config, Hparams, UserError
from fmnist_jax.data.dataset import Data
from fmnist_jax.networks.mlp import make_model
from fmnist_jax.training.optimizers import make_optimizer, scale_first_kernel

STEPS, BATCH = 100, 8
# The powers of the divisor in the learning rate and in epsilon, derived by hand.
POWERS = {
    "sgd": (2, None), "momentum": (2, None), "nesterov": (2, None), "lion": (1, None),
    "adam": (1, 1), "adamw": (1, 1), "rmsprop": (1, 2), "adagrad": (1, 2),
}  # fmt: skip
NEUTRAL = {f"first_kernel_{name}": 1.0 for name in ("scale", "rate", "eps")}


def rescaled(name: str, divisor: Any) -> dict[str, Any]:
    """Returns settings of the first kernel that compensate for a divisor."""
    rate_power, eps_power = POWERS[name]
    settings = {
        "first_kernel_scale": 1 / divisor,
        "first_kernel_rate": divisor**-rate_power,
        "first_kernel_eps": 1.0 if eps_power is None else divisor**eps_power,
    }
    if "weight_decay" in OPTIMIZERS[name]:  # it breaks the equivalence
        settings["weight_decay"] = 0.0
    if "eps" in OPTIMIZERS[name]:  # so large that it matters
        settings["eps"] = 1e-3
    return settings


def trained(
    name: str, hparams: Hparams, data: Data, options: Any = None, dtype: Any = None
) -> tuple[dict[str, Any], jax.Array]:
    """Returns the parameters after an epoch of 100 steps, and the mean loss."""
    config = Config(optimizer=name, hidden_sizes=(8,), batch_size=BATCH)
    state = training.init(config, hparams, jax.random.key(0), (28, 28), 10)
    if dtype is not None:
        params = jax.tree.map(lambda p: p.astype(dtype), state.params)
        opt_state = make_optimizer(config, hparams).init(params)
        state = dataclasses.replace(state, params=params, opt_state=opt_state)
    order = np.random.RandomState(0).randint(0, len(data.train.labels), STEPS * BATCH)
    epoch = jax.jit(training.train_epoch, static_argnums=0, compiler_options=options)
    state, metrics = epoch(config, hparams, state, jax.random.key(1), data.train, order)
    return jax.tree.map(np.asarray, state.params), metrics["loss"]


def assert_equivalent(
    scaled: Any, unscaled: Any, divisor: float, atol: float = 0
) -> None:
    (params, loss), (others, other_loss) = scaled, unscaled
    others = scale_first_kernel(others, divisor)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), params, others
    )
    assert abs(loss - other_loss) <= atol
    assert loss < 2.31  # the networks have learnt something


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_divisor_256_is_equivalent_to_the_bit_in_float32(
    name: str, small: Data
) -> None:
    """In one program, because programs with other fusions round differently."""
    settings = rescaled(name, 256.0)
    scaled = Hparams(**(settings | NEUTRAL), divisor=256.0)
    unscaled = Hparams(**settings, divisor=1.0)
    assert_equivalent(trained(name, scaled, small), trained(name, unscaled, small), 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENT)
def test_divisor_256_is_equivalent_to_the_bit_without_first_kernel_settings(
    name: str, small: Data
) -> None:
    """The settings of the experiment, in two programs without optimisation."""
    options = {"xla_backend_optimization_level": 0}
    settings: dict[str, Any] = rescaled_settings(name, 1.0, 256.0)
    assert settings.pop("optimizer") == name
    hparams = Hparams(divisor=256.0, learning_rate=settings["learning_rate"])
    scaled = trained(name, hparams, small, options)
    unscaled = trained(name, Hparams(**settings), small, options)
    assert_equivalent(scaled, unscaled, 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_divisor_255_is_equivalent_to_1e_12_in_float64(name: str, small: Data) -> None:
    with jax.enable_x64(True):
        settings = rescaled(name, np.float64(255))
        others = {k: v for k, v in settings.items() if k not in NEUTRAL}
        hparams = Hparams(**others, divisor=np.float64(255))
        scaled = trained(name, hparams, small, dtype=jnp.float64)
        hparams = Hparams(**settings, divisor=np.float64(1))
        unscaled = trained(name, hparams, small, dtype=jnp.float64)
        assert scaled[0]["Dense_0"]["kernel"].dtype == np.float64
        assert scaled[1].dtype == jnp.float64
        assert_equivalent(scaled, unscaled, 255, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_every_setting_is_necessary_for_the_equivalence(name: str, small: Data) -> None:
    settings = rescaled(name, 256.0)
    scaled = trained(name, Hparams(**(settings | NEUTRAL), divisor=256.0), small)
    used = [n for n in NEUTRAL if n != "first_kernel_eps" or POWERS[name][1]]
    for setting in used:
        hparams = Hparams(**(settings | {setting: 1.0}), divisor=1.0)
        _, loss = trained(name, hparams, small)
        assert not abs(loss - scaled[1]) < 1e-5, setting


@pytest.mark.slow
def test_the_initial_scale_changes_only_the_first_kernel() -> None:
    config = Config(hidden_sizes=(4, 3), initializer="pytorch")
    for sizes in ((), (4, 3)):
        config = dataclasses.replace(config, hidden_sizes=sizes)
        states = [
            training.init(config, hparams, jax.random.key(0), (5,), 3)
            for hparams in (Hparams(), Hparams(first_kernel_scale=0.25))
        ]
        plain, scaled = (jax.tree.map(np.asarray, s.params) for s in states)
        plain["Dense_0"]["kernel"] = plain["Dense_0"]["kernel"] / 4
        jax.tree.map(np.testing.assert_array_equal, plain, scaled)


@pytest.mark.parametrize("setting", NEUTRAL)
def test_a_users_network_has_no_first_kernel(setting: str) -> None:
    config = Config(model=make_model(Config(), Hparams(), 3))
    with pytest.raises(UserError, match=f"{setting}.* has no effect here: .*built-in"):
        training.init(config, Hparams(**{setting: 2.0}), jax.random.key(0), (5,), 3)
