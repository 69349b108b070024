"""Settings and seeds that are scalars of NumPy and JAX, in the functions of one run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    UserError,
    epoch_order,
    evaluate,
    fit_normalization,
    init,
    train,
)
from fmnist_jax.config import TRACED
from fmnist_jax.effects import uses_setting
from fmnist_jax.training import run_epoch

RANDOM = np.random.default_rng(0)
IMAGES, LABELS = RANDOM.integers(0, 256, (6, 2, 2)).astype(np.uint8), np.arange(6) % 3
DATA = Data(Dataset(IMAGES, LABELS), Dataset(IMAGES, LABELS))
CONFIG = Config(hidden_sizes=(4,), batch_size=4, num_epochs=1)

pytestmark = pytest.mark.usefixtures("_unoptimised")

# Whole numbers, so that every type has them exactly.
NUMBERS = dict.fromkeys(TRACED, 1) | {"divisor": 200, "offset": 3}
NUMBERS |= dict.fromkeys(("decay", "b1", "b2", "dropout_rate", "plateau_patience"), 0)
# Together they use every setting.
CONFIGS = [
    dataclasses.replace(CONFIG, optimizer=optimizer, schedule=schedule)
    for optimizer, schedule in (
        ("momentum", "plateau"),
        ("rmsprop", "cosine"),
        ("adagrad", "constant"),
        ("adamw", "constant"),
    )
]
TYPES: dict[str, Callable[[int], Any]] = {
    "int": int,
    "np.int64": np.int64,
    "np.float64": np.float64,
    "np.float16": np.float16,
    "array of NumPy": np.array,
    "bfloat16 of NumPy": ml_dtypes.bfloat16,
    "jnp.float32": jnp.float32,
    "array of JAX": jnp.asarray,
}


def after_an_epoch(config: Config, hparams: Hparams) -> tuple[Any, Any, Any]:
    """Returns shapes and types of a run's state before and after an epoch."""
    key, order = jax.random.key(0), jnp.arange(6)

    def run() -> Any:
        state = init(config, hparams, key, (2, 2), 3)
        after, metrics = run_epoch(config, hparams, state, key, DATA.splits, order)
        return state, after, metrics

    return jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(run))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.optimizer)
def test_settings_may_be_any_scalars(config: Config) -> None:
    assert all(any(uses_setting(c, name) for c in CONFIGS) for name in TRACED)
    used = {name: v for name, v in NUMBERS.items() if uses_setting(config, name)}
    expected = after_an_epoch(config, Hparams(**{n: float(v) for n, v in used.items()}))
    assert expected[0] == expected[1]
    for kind, cast in TYPES.items():
        hparams = Hparams(**{name: cast(value) for name, value in used.items()})
        assert after_an_epoch(config, hparams) == expected, kind


@pytest.mark.slow
@pytest.mark.parametrize("cast", [np.float32, jnp.float32, np.array], ids=str)
def test_a_run_has_the_same_numbers_for_every_type_of_its_settings(cast: Any) -> None:
    numbers = {"divisor": 200.0, "learning_rate": 0.5, "eps": 0.25, "l2": 0.125}
    _, expected = train(CONFIG, Hparams(**numbers), 3, DATA)
    hparams = Hparams(**{name: cast(value) for name, value in numbers.items()})
    _, actual = train(CONFIG, hparams, 3, DATA)
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name)


def test_the_settings_of_a_config_are_those_of_python() -> None:
    expected = Config(
        hidden_sizes=(4, 5),
        batch_size=4,
        num_epochs=2,
        optimizer="sgd",
        evaluate_train=False,
        whitening_eps=0.125,
    )
    for lib in (np, jnp):
        sizes: Any
        for sizes in (
            lib.array([4, 5]),
            [lib.int32(4), lib.int32(5)],
            (lib.array(4), 5),
        ):
            config = Config(
                hidden_sizes=sizes,
                batch_size=lib.int32(4),
                num_epochs=lib.array(2),
                optimizer=np.str_("sgd"),
                evaluate_train=lib.bool_(False),
                whitening_eps=lib.float32(0.125),
            )
            assert config == expected
            assert hash(config) == hash(expected)
            assert repr(config) == repr(expected)  # its types are the same


def test_such_a_config_is_static_in_jit() -> None:
    sizes: Any = jnp.array([4])
    config = Config(
        hidden_sizes=sizes,
        batch_size=jnp.int32(4),
        normalization="whiten",
        whitening_eps=jnp.float32(0.5),
    )
    fitted = fit_normalization(config, DATA.train)
    classes: Any = jnp.asarray(LABELS).max() + 1
    state = init(config, Hparams(), jax.random.key(0), (2, 2), classes, fitted)
    values = jax.jit(evaluate, static_argnums=0)(config, Hparams(), state, DATA.test)
    expected = evaluate(config, Hparams(), state, DATA.test)
    np.testing.assert_allclose(values["loss"], expected["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    "seed", [np.int64(3), np.uint32(3), np.array(3), jnp.int32(3), jnp.arange(4)[3]]
)
def test_a_seed_may_be_any_whole_number(seed: Any) -> None:
    np.testing.assert_array_equal(epoch_order(seed, 1, 50), epoch_order(3, 1, 50))
    _, expected = train(CONFIG, Hparams(), 3, DATA)
    _, actual = train(CONFIG, Hparams(), seed, DATA)
    np.testing.assert_array_equal(actual["test_loss"], expected["test_loss"])


def test_the_largest_seed_is_that_of_sweeps() -> None:
    _, expected = train(CONFIG, Hparams(), 2**32 - 1, DATA)
    _, actual = train(CONFIG, Hparams(), np.uint32(2**32 - 1), DATA)
    np.testing.assert_array_equal(actual["test_loss"], expected["test_loss"])


@pytest.mark.parametrize("seed", [-1, 2**32, 3.0, np.float32(3), "3", jnp.arange(2)])
def test_other_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(UserError, match=r"^seed is .*; expected a whole number from 0"):
        epoch_order(seed, 1, 50)
