"""Training on x/d is training on x, the first kernel treated so."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.scale_equivalence import OPTIMIZERS as SHOWN
from experiments.scale_equivalence import side
from fmnist_jax import training
from fmnist_jax.config import OPTIMIZERS, Config, Hparams, UserError
from fmnist_jax.data.dataset import Data
from fmnist_jax.training.models import make_model
from fmnist_jax.training.optimizers import make_optimizer, scale_first_kernel

STEPS, BATCH = 100, 8
# The powers of the divisor in the rate and in epsilon, worked out on paper.
POWERS = {
    "sgd": (2, None), "momentum": (2, None), "nesterov": (2, None), "lion": (1, None),
    "adam": (1, 1), "adamw": (1, 1), "rmsprop": (1, 2), "adagrad": (1, 2),
}  # fmt: skip
NOTHING = {f"first_kernel_{name}": 1.0 for name in ("scale", "rate", "eps")}


def treated(name: str, divisor: Any) -> dict[str, Any]:
    """Settings of a first kernel that makes up for a divisor."""
    of_rate, of_eps = POWERS[name]
    found = {
        "first_kernel_scale": 1 / divisor,
        "first_kernel_rate": divisor**-of_rate,
        "first_kernel_eps": 1.0 if of_eps is None else divisor**of_eps,
    }
    if "weight_decay" in OPTIMIZERS[name]:  # it breaks the equivalence
        found["weight_decay"] = 0.0
    if "eps" in OPTIMIZERS[name]:  # so large that it matters
        found["eps"] = 1e-3
    return found


def trained(
    name: str, hparams: Hparams, data: Data, options: Any = None, dtype: Any = None
) -> tuple[dict[str, Any], jax.Array]:
    """The parameters after an epoch of a hundred steps, and the mean loss."""
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


def assert_twins(scaled: Any, twin: Any, divisor: float, atol: float = 0) -> None:
    (params, loss), (others, other_loss) = scaled, twin
    others = scale_first_kernel(others, divisor)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), params, others
    )
    assert abs(loss - other_loss) <= atol
    assert loss < 2.31  # they are not two networks that know nothing


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_by_256_the_twins_agree_to_the_bit_in_float32(name: str, small: Data) -> None:
    """In one program: two that are fused otherwise round otherwise."""
    settings = treated(name, 256.0)
    hparams = Hparams(**(settings | NOTHING), divisor=256.0)
    twin = Hparams(**settings, divisor=1.0)
    assert_twins(trained(name, hparams, small), trained(name, twin, small), 256)


@pytest.mark.parametrize("name", SHOWN)
def test_by_256_twins_agree_to_the_bit_with_a_run_that_has_no_such_settings(
    name: str, small: Data
) -> None:
    """The experiment's own settings, in two programs that are not optimised."""
    options = {"xla_backend_optimization_level": 0}
    settings = side(name, 1.0, 256.0)
    assert settings.pop("optimizer") == name
    hparams = Hparams(divisor=256.0, learning_rate=settings["learning_rate"])
    scaled = trained(name, hparams, small, options)
    assert_twins(scaled, trained(name, Hparams(**settings), small, options), 256)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_by_255_the_twins_agree_to_1e_12_in_float64(name: str, small: Data) -> None:
    with jax.enable_x64(True):
        settings = treated(name, np.float64(255))
        kept = {k: v for k, v in settings.items() if k not in NOTHING}
        hparams = Hparams(**kept, divisor=np.float64(255))
        scaled = trained(name, hparams, small, dtype=jnp.float64)
        twin = Hparams(**settings, divisor=np.float64(1))
        unscaled = trained(name, twin, small, dtype=jnp.float64)
        assert scaled[0]["Dense_0"]["kernel"].dtype == np.float64
        assert scaled[1].dtype == jnp.float64
        assert_twins(scaled, unscaled, 255, 1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_a_first_kernel_that_is_not_treated_so_is_no_twin(
    name: str, small: Data
) -> None:
    settings = treated(name, 256.0)
    scaled = trained(name, Hparams(**(settings | NOTHING), divisor=256.0), small)
    used = [n for n in NOTHING if n != "first_kernel_eps" or POWERS[name][1]]
    for left_out in used:
        hparams = Hparams(**(settings | {left_out: 1.0}), divisor=1.0)
        _, loss = trained(name, hparams, small)
        assert not abs(loss - scaled[1]) < 1e-5, left_out


def test_the_initial_scale_is_of_the_first_kernel_alone() -> None:
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


@pytest.mark.parametrize("setting", NOTHING)
def test_a_network_of_ones_own_has_no_first_kernel(setting: str) -> None:
    config = Config(model=make_model(Config(), Hparams(), 3))
    with pytest.raises(UserError, match=f"{setting}.* has no effect here: .*built-in"):
        training.init(config, Hparams(**{setting: 2.0}), jax.random.key(0), (5,), 3)
