"""A user's loops around the pure functions give what ``train`` gives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fmnist_jax
from fmnist_jax import Config, Data, Dataset, Hparams, State
from fmnist_jax.errors import UserError
from tests.sweeps.runs import make_data

SEED = 3
DATA = Data(make_data(50, 0), make_data(30, 1))  # the last batch has 2 examples
CONFIG = Config(hidden_sizes=(6,), batch_size=16, num_epochs=4, optimizer="sgd")
HPARAMS = Hparams(divisor=100.0, learning_rate=0.05)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "constant": ({}, {"dropout_rate": 0.2}),
    "cosine": ({"schedule": "cosine"}, {"min_learning_rate": 1e-3}),
    "plateau": (
        {"schedule": "plateau"},
        {"plateau_patience": 0, "plateau_threshold": 9.0},
    ),
    "frozen batch norm": ({"batch_norm": "frozen"}, {}),
    "target": ({}, {"target_accuracy": 0.36}),
    "target and plateau": (
        {"schedule": "plateau"},
        {"target_accuracy": 0.36, "plateau_patience": 0, "plateau_threshold": 9.0},
    ),
}
Epoch = Callable[..., tuple[State, Any]]


def epoch_by_steps(
    config: Config, hparams: Hparams, state: State, key: Any, order: np.ndarray
) -> tuple[State, Any]:
    before, correct = state, []
    step = jax.jit(fmnist_jax.train_step, static_argnums=0)
    for index, start in enumerate(range(0, len(order), config.batch_size)):
        rows = order[start : start + config.batch_size]
        batch = Dataset(*(array[rows] for array in DATA.train))
        step_key = jax.random.fold_in(key, index)
        state, metrics = step(config, hparams, state, step_key, batch)
        correct.append(metrics["accuracy"] * len(rows))
    evaluate = jax.jit(fmnist_jax.evaluate, static_argnums=0)
    loss = evaluate(config, hparams, state, DATA.test)["loss"]
    metrics = {"train_accuracy_running": sum(correct) / len(order), "test_loss": loss}
    return fmnist_jax.end_epoch(config, hparams, before, state, metrics, loss)


def epoch_by_train_epoch(
    config: Config, hparams: Hparams, state: State, key: Any, order: np.ndarray
) -> tuple[State, Any]:
    epoch = jax.jit(fmnist_jax.train_epoch, static_argnums=0)
    after, means = epoch(config, hparams, state, key, DATA.train, order)
    evaluate = jax.jit(fmnist_jax.evaluate, static_argnums=0)
    loss = evaluate(config, hparams, after, DATA.test)["loss"]
    metrics = {"train_accuracy_running": means["accuracy"], "test_loss": loss}
    return fmnist_jax.end_epoch(config, hparams, state, after, metrics, loss)


def epoch_by_run_epoch(
    config: Config, hparams: Hparams, state: State, key: Any, order: np.ndarray
) -> tuple[State, Any]:
    epoch = jax.jit(fmnist_jax.run_epoch, static_argnums=0)
    return epoch(config, hparams, state, key, DATA.splits, order)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "run", [epoch_by_steps, epoch_by_train_epoch, epoch_by_run_epoch]
)
def test_own_loops_equal_train(case: str, run: Epoch) -> None:
    static, traced = CASES[case]
    config = dataclasses.replace(CONFIG, **static)
    hparams = dataclasses.replace(HPARAMS, **traced)
    expected, metrics = fmnist_jax.train(config, hparams, SEED, DATA)
    init_key, epochs_key, _ = fmnist_jax.run_keys(SEED)
    shapes = DATA.image_shape, DATA.num_classes
    state = fmnist_jax.init(config, hparams, init_key, *shapes)
    for number in range(1, config.num_epochs + 1):
        key = jax.random.fold_in(epochs_key, number)
        order = fmnist_jax.example_order(config, SEED, number, DATA.train.labels)
        state, values = run(config, hparams, state, key, order)
        for name, value in values.items():
            np.testing.assert_allclose(
                value, metrics[name][number - 1], rtol=2e-5, err_msg=name
            )
    assert int(state.epoch) == int(expected.epoch) <= config.num_epochs
    progress = [
        (s.params, s.schedule, s.stopping and s.stopping.stopped)
        for s in (state, expected)
    ]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), *progress
    )
    if "target" in case:  # it stopped before the last epoch
        assert int(state.epoch) < config.num_epochs
    if case == "plateau":
        learning_rates = metrics["epoch_learning_rate"]
        assert len(np.unique(learning_rates)) > 1


def test_a_target_without_the_running_accuracy_is_refused() -> None:
    hparams = dataclasses.replace(HPARAMS, target_accuracy=0.5)
    state = fmnist_jax.init(CONFIG, hparams, jax.random.key(0), (10,), 3)
    with pytest.raises(UserError, match="target_accuracy needs the metric 'train_acc"):
        fmnist_jax.end_epoch(CONFIG, hparams, state, state, {}, jnp.zeros(()))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.arange(51), "positions from 0 to 50; expected 0 to 49 for 50 examples"),
        (jnp.arange(-1, 9), "positions from -1 to 8; expected 0 to 49"),
        (np.arange(4.0), r"order is float32 \[4\]; expected int \[M\]"),
        (np.zeros((2, 4), int), r"\[2, 4\]; expected int \[M\]"),
        (np.zeros(0, int), r"\[0\]; expected int \[M\]"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(order: Any, message: str) -> None:
    state = fmnist_jax.init(CONFIG, HPARAMS, jax.random.key(0), (10,), 3)
    arguments = CONFIG, HPARAMS, state, jax.random.key(1)
    with pytest.raises(UserError, match=message):
        fmnist_jax.train_epoch(*arguments, DATA.train, order)
    with pytest.raises(UserError, match=message):
        fmnist_jax.run_epoch(*arguments, DATA, order)
