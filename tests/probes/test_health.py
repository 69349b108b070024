"""Statuses, and the probes of health and saturation, against NumPy."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.health import health, saturation
from fmnist_jax.probes.probe import Probe
from fmnist_jax.probes.status import STATUSES, status
from fmnist_jax.sweeps.sweep import sweep

SHARE = 0.1  # of the largest class; 55 % is half-way to 100 %


def _values(**changed: float) -> dict[str, np.ndarray]:
    """Returns two epochs of a run that trains, with changes to the last epoch."""
    values: dict[str, list[float]] = {
        "train_loss": [2.0, 0.5],
        "test_loss": [2.0, 0.5],
        "train_accuracy_running": [0.1, 0.8],
        "parameters_finite": [1, 1],
        "dead_layers": [0, 0],
        "zero_gradient_share": [0, 0],
    }
    final = changed.pop("final_train_accuracy", 0.85)
    for name, last in changed.items():
        values[name] = [values.get(name, [0])[0], last]
    arrays = {name: np.asarray([v], np.float32) for name, v in values.items()}
    return arrays | {"final_train_accuracy": np.asarray([final], np.float32)}


FROZEN = {"zero_gradient_share": 0.5, "train_accuracy_running": 0.1}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "trained"),
        ({"train_loss": 1e4}, "trained"),  # an awful start does not matter
        ({"final_train_accuracy": 0.5501}, "trained"),
        ({"final_train_accuracy": 0.5499}, "not trained"),
        ({"final_train_accuracy": 0.1, **FROZEN}, "frozen"),
        ({"final_train_accuracy": 0.119, **FROZEN}, "frozen"),
        ({"final_train_accuracy": 0.121, **FROZEN}, "not trained"),  # it has moved
        ({"final_train_accuracy": 0.079, **FROZEN}, "not trained"),
        (
            {"final_train_accuracy": 0.1, **FROZEN, "zero_gradient_share": 0.49},
            "not trained",
        ),
        (
            {
                "final_train_accuracy": 0.56,
                "zero_gradient_share": 1,
                "train_accuracy_running": 0.56,
            },
            "trained",
        ),
        ({"dead_layers": 1, **FROZEN, "final_train_accuracy": 0.1}, "dead"),
        ({"dead_layers": 1, "parameters_finite": 0}, "diverged"),
        ({"stopped": 1}, "stopped"),
        ({"stopped": 0}, "trained"),
        ({"stopped": 1, "dead_layers": 1, "final_train_accuracy": 0.1}, "stopped"),
        ({"stopped": 1, "parameters_finite": 0}, "diverged"),
        ({"train_loss": np.nan}, "diverged"),
        ({"test_loss": np.inf}, "diverged"),
    ],
)
def test_each_status_has_its_rule(changed: dict[str, float], expected: str) -> None:
    assert status(_values(**changed), SHARE).tolist() == [expected]


def test_the_threshold_depends_on_the_largest_class() -> None:
    values = _values(final_train_accuracy=0.94)
    assert status(values, 0.87).tolist() == ["trained"]
    assert status(values, 0.89).tolist() == ["not trained"]


def test_without_accuracy_a_run_is_finished() -> None:
    values = _values(dead_layers=0)
    del values["final_train_accuracy"]
    assert status(values, SHARE).tolist() == ["finished"]
    values = _values(train_loss=np.nan)
    del values["final_train_accuracy"]
    assert status(values, SHARE).tolist() == ["diverged"]


def test_one_infinite_loss_makes_a_run_diverged() -> None:
    values = _values()
    values["train_loss"][0, 0] = np.inf
    assert status(values, SHARE).tolist() == ["diverged"]


def _state(kernel: Any, bias: Any, hidden_bias: Any) -> training.State:
    """Returns a 2-2-2 network whose hidden values are its positive inputs."""
    config = Config(hidden_sizes=(2,))
    state = training.init(config, Hparams(), jax.random.key(0), (2,), 2)
    params = {
        "Dense_0": {
            "kernel": jnp.eye(2),
            "bias": jnp.asarray(hidden_bias, jnp.float32),
        },
        "Dense_1": {
            "kernel": jnp.asarray(kernel, jnp.float32),
            "bias": jnp.asarray(bias, jnp.float32),
        },
    }
    return dataclasses.replace(state, params=params)


def _health(state: training.State, loss: str) -> dict[str, float]:
    images = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    batch = Dataset(images, np.array([0, 1, 1, 1], np.int32))
    config = Config(hidden_sizes=(2,), loss=loss)
    values = health(config, Hparams(divisor=1.0), state, jax.random.key(0), batch)
    return {name: float(value) for name, value in values.items()}


@pytest.mark.slow
def test_health_counts_dead_layers_zero_gradients_and_infinite_parameters() -> None:
    healthy = _state(np.eye(2), [0, 0], [0, 0])
    expected = {"parameters_finite": 1, "dead_layers": 0, "zero_gradient_share": 0}
    assert _health(healthy, "clipped") == expected
    # Logits of ±100 saturate: the clipped loss has no gradient for any example; the
    # softmax loss has one for the wrong example.
    saturated = _state(200 * np.eye(2) - 100, [0, 0], [0, 0])
    assert _health(saturated, "clipped")["zero_gradient_share"] == 1
    assert _health(saturated, "softmax")["zero_gradient_share"] < 1
    dead = _state(np.eye(2), [0, 0], [-5, -5])
    assert _health(dead, "softmax")["dead_layers"] == 1
    half_dead = _state(np.eye(2), [0, 0], [-5, 0])
    assert _health(half_dead, "softmax")["dead_layers"] == 0
    broken = _state(np.eye(2), [0, np.inf], [0, 0])
    assert _health(broken, "softmax")["parameters_finite"] == 0


def test_a_run_without_values_is_missing() -> None:
    nothing = {name: np.full_like(value, np.nan) for name, value in _values().items()}
    assert status(nothing, SHARE).tolist() == ["missing"]


@pytest.mark.slow
def test_only_values_sown_as_hidden_count_as_dead() -> None:
    class Masked(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            self.sow("intermediates", "mask", jnp.zeros(3))
            self.sow("intermediates", "hidden", x + 1)
            return nn.Dense(2)(x)

    images = np.ones((4, 2), np.float32)
    config = Config(model=Masked())
    state = training.init(config, Hparams(), jax.random.key(0), (2,), 2)
    batch = Dataset(images, np.zeros(4, np.int32))
    values = health(config, Hparams(divisor=1.0), state, jax.random.key(1), batch)
    assert values["dead_layers"] == 0
    values = health(config, Hparams(divisor=-1.0), state, jax.random.key(1), batch)
    assert values["dead_layers"] == 1  # x + 1 = 0


@pytest.mark.slow
def test_statuses_of_trained_runs(small: Data) -> None:
    """Learning rates from far too small to far too large, and the clipped loss."""
    config = Config(hidden_sizes=(16,), num_epochs=15, batch_size=10, optimizer="sgd")
    axes = {"learning_rate": [1e-6, 0.1, 10, 1e30]}
    scaled = sweep(axes, small, config).status.isel(seed=0)
    assert scaled.values.tolist() == ["not trained", "trained", "dead", "diverged"]
    clipped = dataclasses.replace(config, loss="clipped")
    hparams = Hparams(divisor=1.0, learning_rate=1e-3)
    assert sweep({}, small, clipped, hparams).status.values.tolist() == ["frozen"]
    targets = {"target_accuracy": [0.2, np.inf]}
    stopping = sweep(targets, small, config, Hparams(learning_rate=0.1)).status
    assert stopping.isel(seed=0).values.tolist() == ["stopped", "trained"]
    names = "missing diverged stopped pruned dead frozen trained not_trained finished"
    assert list(STATUSES) == [name.replace("_", " ") for name in names.split()]


def _in_float64(params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns softmax outputs and all hidden values of a network of three layers."""
    w = [params[f"Dense_{i}"]["kernel"].astype(float) for i in range(3)]
    b = [params[f"Dense_{i}"]["bias"].astype(float) for i in range(3)]
    first = np.maximum(x @ w[0] + b[0], 0)
    second = np.maximum(first @ w[1] + b[1], 0)
    p = scipy.special.softmax(second @ w[2] + b[2], axis=1)
    return p, np.hstack([first, second])


@pytest.mark.slow
def test_saturation_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    config = Config(hidden_sizes=(12, 7))
    state = training.init(config, Hparams(), jax.random.key(0), (5,), 3)
    params = jax.tree.map(np.array, state.params)
    params["Dense_0"]["bias"][:4] = -1e6  # 4 of 12 units are always 0
    params["Dense_1"]["bias"][:1] = -1e6  # and 1 of 7
    params["Dense_2"]["kernel"] *= 30
    state = dataclasses.replace(state, params=params)
    images = rng.uniform(0, 2, (80, 5)).astype(np.float32)
    # float32 does not decide on which side of 1e-7 and 1 - 1e-7 some outputs are.
    p, _ = _in_float64(params, images / 0.5)
    rest = p.sum(1, keepdims=True) - p
    unclear = (np.abs(np.log10([p + 1e-30, np.abs(rest) + 1e-30]) + 7) < 0.7).any(
        (0, 2)
    )
    images = images[~unclear]
    labels = rng.integers(0, 3, len(images)).astype(np.int32)
    p, hidden = _in_float64(params, images / 0.5)
    expected = {
        "saturated_outputs_share": ((p < 1e-7) | (p > 1 - 1e-7)).mean(),
        "saturated_true_share": (p[np.arange(len(labels)), labels] < 1e-7).mean(),
        "inactive_share": (hidden == 0).mean(),
        "dead_units_share": (hidden == 0).all(0).mean(),
    }
    assert len(images) > 40
    assert all(0.1 < share < 0.9 for share in expected.values())
    batch = Dataset(images, labels)
    for function in (saturation, jax.jit(saturation, static_argnums=0)):
        shares = function(config, Hparams(divisor=0.5), state, jax.random.key(0), batch)
        assert shares.keys() == expected.keys()
        for name, share in expected.items():
            assert float(shares[name]) == pytest.approx(share, abs=1e-6), name


@pytest.mark.slow
def test_saturation_is_nan_without_finite_logits_or_hidden_layers(small: Data) -> None:
    config = Config(hidden_sizes=(), num_epochs=1, optimizer="sgd")
    axes = {"learning_rate": [1e-3, 1e37]}
    results = sweep(axes, small, config, probes=[Probe(saturation)]).isel(seed=0)
    assert results.saturated_outputs_share.dims == ("learning_rate", "epoch")
    values = results.saturated_outputs_share.values[:, 0]
    assert values[0] == 0
    assert np.isnan(values[1])
    assert np.isnan(results.dead_units_share.values).all()
    assert np.isnan(results.inactive_share.values).all()
