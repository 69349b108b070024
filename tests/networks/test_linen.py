"""Calls of users' modules of Flax Linen."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Config, Hparams, UserError
from fmnist_jax.networks.linen import has_switch
from fmnist_jax.training.step import hidden_values, init
from tests.networks.linen_calls import apply_model, init_variables


class WithoutTrain(nn.Module):
    """A user's module with no ``train`` argument."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(x)


class WithEverything(nn.Module):
    """A user's module with batch norm and dropout."""

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dropout(0.5, deterministic=not train)(x)


@pytest.mark.parametrize("train", [False, True])
def test_a_module_without_train_is_called_without_it(train: bool) -> None:
    model, x = WithoutTrain(), jnp.arange(8.0).reshape(2, 4)
    variables = init_variables(model, jax.random.key(0), x)
    dense = variables["params"]["Dense_0"]
    logits, model_state = apply_model(model, variables, jax.random.key(1), x, train)
    expected = np.asarray(x) @ np.asarray(dense["kernel"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert model_state == {}


@pytest.mark.slow
def test_batch_statistics_are_updated_in_training_only() -> None:
    model = WithEverything()
    x = jnp.asarray(np.random.RandomState(0).standard_normal((200, 4)) * 3 + 1, "f4")
    variables = init_variables(model, jax.random.key(0), x)
    start = variables["batch_stats"]["BatchNorm_0"]
    np.testing.assert_array_equal(start["mean"], 0)
    np.testing.assert_array_equal(start["var"], 1)

    logits, model_state = apply_model(model, variables, None, x, False)
    np.testing.assert_allclose(logits, x / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-5)
    jax.tree.map(
        np.testing.assert_array_equal,
        model_state,
        {"batch_stats": variables["batch_stats"]},
    )

    _, model_state = apply_model(model, variables, jax.random.key(1), x, True)
    after = model_state["batch_stats"]["BatchNorm_0"]
    assert set(model_state) == {"batch_stats"}
    np.testing.assert_allclose(after["mean"], 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(after["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)


@pytest.mark.slow
def test_dropout_follows_the_key_in_training_only() -> None:
    model, x = WithEverything(), jnp.ones((50, 4)) * jnp.array([[1.0], [-1.0]] * 25)
    variables = init_variables(model, jax.random.key(0), x)

    def logits(seed: int, train: bool) -> np.ndarray:
        return np.asarray(
            apply_model(model, variables, jax.random.key(seed), x, train)[0]
        )

    first = logits(1, True)
    assert 0.35 < np.mean(first != 0) < 0.65
    np.testing.assert_allclose(np.abs(first[first != 0]), 2, rtol=1e-4)
    np.testing.assert_array_equal(first, logits(1, True))
    assert np.any(first != logits(2, True))
    np.testing.assert_array_equal(logits(1, False), logits(2, False))
    assert np.all(logits(1, False) != 0)


def test_a_module_that_sows_nothing_has_no_hidden_values() -> None:
    config, x = Config(model=WithEverything()), jnp.ones((2, 4))
    state = init(config, Hparams(), jax.random.key(0), (4,), 4)
    _, hidden = hidden_values(config, Hparams(), state, x)
    assert hidden == ()


class Noisy(nn.Module):
    """Dropout, and a stream of another name, in training."""

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = nn.Dropout(0.5, deterministic=not train)(x)
        noise = jax.random.normal(self.make_rng("noise"), x.shape) if train else 0
        return nn.Dense(3)(x), x, noise


def test_other_streams_are_drawn_without_changing_dropout() -> None:
    model, x = Noisy(), jnp.ones((20, 4))
    variables = init_variables(model, jax.random.key(0), x)
    outputs = {}
    for seed in (1, 2):
        (_, dropped, noise), _ = apply_model(
            model, variables, jax.random.key(seed), x, True
        )
        rngs = {"dropout": jax.random.key(seed), "noise": jax.random.key(9)}
        alone: Any = model.apply(variables, x, True, rngs=rngs)
        np.testing.assert_array_equal(dropped, alone[1])
        outputs[seed] = np.asarray(noise)
    assert not np.isclose(outputs[1], outputs[2]).any()
    assert abs(np.corrcoef(outputs[1].ravel(), np.asarray(dropped).ravel())[0, 1]) < 0.4
    (_, _, noise), _ = apply_model(model, variables, None, x, False)
    assert noise == 0


def test_an_argument_takes_precedence_over_an_attribute() -> None:
    class Both(nn.Module):
        deterministic: bool | None = None

        @nn.compact
        def __call__(self, x: Any, deterministic: bool | None = None) -> Any:
            name, value = "deterministic", deterministic
            merged = nn.merge_param(name, self.deterministic, value)
            return nn.Dropout(0.5, deterministic=merged)(x)

    x = jnp.ones((4, 5))
    evaluated, _ = apply_model(Both(), {}, None, x, False)
    np.testing.assert_array_equal(evaluated, x)
    trained, _ = apply_model(Both(), {}, jax.random.key(0), x, True)
    assert set(np.unique(trained)) == {0, 2}
    assert has_switch(Both())
    assert not has_switch(nn.Dense(3))


def test_a_module_without_call_is_refused() -> None:
    with pytest.raises(UserError, match="The module Empty has no method __call__"):
        init_variables(
            type("Empty", (nn.Module,), {})(), jax.random.key(0), jnp.ones(1)
        )
