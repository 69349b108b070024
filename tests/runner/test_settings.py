"""Schedules, dropout, targets and orders: in sweeps and in a run alone."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import programs
from fmnist_jax.sweeps.engine import sweep
from fmnist_jax.training.loop import (
    epoch_order,
    example_order,
    run_keys,
    train_epoch,
)
from fmnist_jax.training.step import init

CONFIG = Config(hidden_sizes=(6,), batch_size=16, num_epochs=8)
HPARAMS = Hparams(divisor=100.0, learning_rate=0.01)
SEED = 2


def make_data(num_examples: int, seed: int) -> Dataset:
    """Images of noise with a brighter pixel at the position of the label."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, 3, num_examples).astype(np.int32)
    images = random.randint(0, 200, (num_examples, 10))
    images[np.arange(num_examples), labels] += 40
    return Dataset(images.astype(np.uint8), labels)


DATA = Data(make_data(64, 0), make_data(40, 1))
jit_epoch = jax.jit(train_epoch, static_argnums=0)


def epochs_by_hand(orders: Any, learning_rates: Any) -> list[float]:
    """Training losses of a plain run with an order and learning rate for each epoch."""
    init_key, epochs_key, _ = run_keys(SEED)
    state, losses = init(CONFIG, HPARAMS, init_key, (10,), 3), []
    epochs = zip(orders, learning_rates, strict=True)
    for epoch, (order, learning_rate) in enumerate(epochs, start=1):
        key = jax.random.fold_in(epochs_key, epoch)
        hparams = dataclasses.replace(HPARAMS, learning_rate=jnp.float32(learning_rate))
        state, metrics = jit_epoch(CONFIG, hparams, state, key, DATA.train, order)
        losses.append(float(metrics["loss"]))
    return losses


def shuffled() -> list[np.ndarray]:
    return [epoch_order(SEED, e, 64) for e in range(1, CONFIG.num_epochs + 1)]


# Schedules.


def plateau_32(run: xr.Dataset, threshold: float, minimum: float) -> np.ndarray:
    """Replays the plateau rule on a run's test losses, in float32."""
    current, best, bad_epochs = np.float32(run.learning_rate), np.float32(np.inf), 0
    learning_rates = []
    for loss in run.test_loss.values:
        learning_rates.append(current)
        if loss < best - np.float32(threshold):
            best, bad_epochs = loss, 0
        else:
            bad_epochs += 1
        if bad_epochs > run.plateau_patience:
            lower = max(current * np.float32(run.plateau_factor), np.float32(minimum))
            current, bad_epochs = (lower if current - lower > 1e-8 else current), 0
    return np.array(learning_rates)


@pytest.mark.slow
def test_annealed_runs_replay_from_their_test_losses() -> None:
    """Diverged runs follow the same rule and stay in the program."""
    config = dataclasses.replace(CONFIG, schedule="plateau")
    hparams = dataclasses.replace(
        HPARAMS, plateau_threshold=0.25, min_learning_rate=0.02
    )
    axes = {
        "learning_rate": [0.3, 1e30],
        "plateau_factor": [0.0, 0.5],
        "plateau_patience": [0, 1, 2],
        "seed": [SEED],
    }
    dataset = sweep(axes, DATA, config, hparams)
    assert dataset.plateau_threshold == 0.25
    flat = dataset.stack(run=list(dataset.status.dims)).transpose("run", "epoch")
    replayed = [
        plateau_32(flat.isel(run=i), 0.25, 0.02) for i in range(flat.sizes["run"])
    ]
    np.testing.assert_allclose(flat.epoch_learning_rate, replayed, rtol=1e-6)
    assert len(np.unique(replayed, axis=0)) == len(replayed)  # all 12 runs differ
    assert (dataset.status.sel(learning_rate=1e30) == "diverged").all()
    one = {"learning_rate": 0.3, "plateau_factor": 0.5, "plateau_patience": 0}
    run = dataset.sel(one).isel(seed=0)
    learning_rates = run.epoch_learning_rate.values
    assert learning_rates[0] == np.float32(0.3) > learning_rates[-1]
    by_hand = epochs_by_hand(shuffled(), learning_rates)
    # The rounding of float32 differs by processor: 1.002e-5 on one of them.
    np.testing.assert_allclose(run.train_loss, by_hand, rtol=2e-5)


@pytest.mark.slow
def test_a_cosine_schedule_is_epochs_at_its_learning_rates() -> None:
    config = dataclasses.replace(CONFIG, schedule="cosine")
    minima = [0.0, 0.004, 0.01]
    axes = {"min_learning_rate": minima, "seed": [SEED]}
    dataset = sweep(axes, DATA, config, HPARAMS).isel(seed=0)
    share = (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    for minimum in minima:
        run = dataset.sel(min_learning_rate=minimum)
        learning_rates = minimum + (0.01 - minimum) * share
        np.testing.assert_allclose(run.epoch_learning_rate, learning_rates, rtol=1e-5)
        by_hand = epochs_by_hand(shuffled(), learning_rates)
        np.testing.assert_allclose(run.train_loss, by_hand, rtol=1e-5)


# Orders.


def test_orders_are_shuffled_as_in_the_file_and_by_class() -> None:
    labels = np.array([2, 0, 1, 0, 2, 1], np.int32)
    orders = {
        order: example_order(Config(order=order), 5, 3, labels)
        for order in ("file", "sorted", "shuffled")
    }
    assert orders["file"].tolist() == [0, 1, 2, 3, 4, 5]
    assert orders["sorted"].tolist() == [1, 3, 2, 5, 0, 4]  # ties: as in the file
    np.testing.assert_array_equal(orders["shuffled"], epoch_order(5, 3, 6))
    assert {order.dtype for order in orders.values()} == {np.dtype(np.int32)}


@pytest.mark.slow
def test_a_sweep_over_orders_is_epochs_in_those_orders() -> None:
    labels = DATA.train.labels
    by_class = np.concatenate([np.flatnonzero(labels == c) for c in range(3)])
    orders = {"file": np.arange(64), "sorted": by_class}
    axes = {"order": list(orders), "seed": [SEED]}
    dataset = sweep(axes, DATA, CONFIG, HPARAMS)
    assert dataset.order.values.tolist() == list(orders)
    for order, rows in orders.items():
        by_hand = epochs_by_hand([rows.astype(np.int32)] * 8, [0.01] * 8)
        run = dataset.train_loss.sel(order=order).values[0]
        np.testing.assert_allclose(run, by_hand, rtol=1e-5)


# Dropout.


DROPOUT = dataclasses.replace(
    CONFIG, hidden_sizes=(), num_epochs=3, evaluate_dropout=True
)


@functools.cache
def with_dropout(rate: float | None) -> tuple[training.State, dict[str, jax.Array]]:
    """A run alone, compiled once for all dropout rates."""
    hparams = dataclasses.replace(HPARAMS, dropout_rate=rate)
    return jit_train(hparams)


jit_train = jax.jit(lambda hparams: training.train(DROPOUT, hparams, SEED, DATA))


@pytest.mark.slow
def test_a_dropout_rate_of_0_is_no_dropout_bit_for_bit() -> None:
    jax.tree.map(np.testing.assert_array_equal, with_dropout(0.0), with_dropout(None))


@pytest.mark.slow
def test_a_run_with_dropout_is_the_same_in_a_sweep() -> None:
    axes = {"divisor": [50.0, 100.0], "dropout_rate": [0.0, 0.4], "seed": [SEED]}
    runs = sweep(axes, DATA, DROPOUT, HPARAMS).sel(divisor=100).isel(seed=0)
    for rate in (0.0, 0.4):
        alone = with_dropout(rate)[1]
        assert "test_accuracy_with_dropout" in alone
        for name, values in alone.items():
            run = runs[name].sel(dropout_rate=rate)
            np.testing.assert_allclose(run, values, rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_evaluations_with_dropout_equal_those_by_hand() -> None:
    state, metrics = with_dropout(0.4)
    hparams = dataclasses.replace(HPARAMS, dropout_rate=0.4)
    epoch_key = jax.random.fold_in(run_keys(SEED)[1], DROPOUT.num_epochs)
    keys = jax.random.split(jax.random.fold_in(epoch_key, 2**31 - 1))
    evaluate = jax.jit(training.evaluate, static_argnums=0)
    on_train = evaluate(DROPOUT, hparams, state, DATA.train, key=keys[0])
    on_test = evaluate(DROPOUT, hparams, state, DATA.test, key=keys[1])
    off = evaluate(DROPOUT, hparams, state, DATA.test)
    expected = {
        "train_accuracy_with_dropout": on_train["accuracy"],
        "test_accuracy_with_dropout": on_test["accuracy"],
        "test_loss_with_dropout": on_test["loss"],
        "test_loss": off["loss"],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name][-1], value, rtol=1e-5, err_msg=name)
    assert on_test["loss"] != off["loss"]
    # A dropout rate of 0 gives the usual evaluation.
    _, none = with_dropout(0.0)
    for name in ("train_accuracy", "test_accuracy", "test_loss"):
        np.testing.assert_allclose(none[f"{name}_with_dropout"], none[name], rtol=1e-5)


# Targets.

STOPPING = dataclasses.replace(CONFIG, schedule="cosine", batch_norm="on")
LEARNING_RATES = [1e-4, 1e-2, 3e-2, 0.1]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of runs in each call of an epoch's program."""
    original, counted = programs.epoch, []

    def counting(program: Any, state: Any, inputs: Any, *args: Any) -> Any:
        counted.append(len(inputs.hparams.divisor))
        return original(program, state, inputs, *args)

    monkeypatch.setattr(programs, "epoch", counting)
    return counted


@pytest.mark.slow
def test_runs_stop_at_their_targets_and_change_no_other(widths: list[int]) -> None:
    """Stopped runs are removed from their program, unless a probe needs all runs."""
    axes = {"learning_rate": LEARNING_RATES, "seed": [SEED]}
    never = sweep(axes, DATA, STOPPING, HPARAMS)
    assert "stopped" not in never
    assert np.isinf(never.target_accuracy)
    never = never.drop_vars("target_accuracy")
    widths.clear()
    axes = {"target_accuracy": [0.3, 0.46, np.inf], **axes}
    compacted = sweep(axes, DATA, STOPPING, HPARAMS, max_width=6)
    assert widths == [12, 12, 6, 6, 6, 6, 6, 6]
    widths.clear()
    watch = Probe(lambda *_: {"one": jnp.ones(())}, when="end")
    complete = sweep(axes, DATA, STOPPING, HPARAMS, probes=[watch], max_width=6)
    assert widths == [12] * 8

    # The expected epochs, from the runs without a target.
    reached = never.train_accuracy_running >= compacted.target_accuracy
    first = reached.argmax("epoch")
    stops = reached.any("epoch")
    assert stops.sum("learning_rate").values.ravel().tolist() == [4, 3, 0]
    np.testing.assert_array_equal(compacted.stopped_epoch, (first + 1).where(stops))
    epochs = xr.DataArray(np.arange(8), dims="epoch")
    # The values of the last epoch are repeated.
    last = xr.where(stops, np.minimum(epochs, first), epochs)
    for name in never.data_vars:
        if "epoch" in never[name].dims:
            expected = never[name].isel(epoch=last).transpose(*compacted[name].dims)
            np.testing.assert_allclose(
                compacted[name], expected, rtol=1e-4, err_msg=name
            )
            np.testing.assert_allclose(
                complete[name], compacted[name], rtol=1e-4, err_msg=name
            )
    assert (compacted.stopped == (epochs >= first.where(stops, 8))).all()
    for name in ("stopped", "stopped_epoch", "status"):
        np.testing.assert_array_equal(complete[name], compacted[name])
    statuses = xr.where(stops, "stopped", never.status).transpose(
        *compacted.status.dims
    )
    np.testing.assert_array_equal(compacted.status, statuses)


@pytest.mark.slow
def test_a_stopped_run_does_not_change_by_a_bit() -> None:
    """Even while another run continues; keys and orders differ by epoch."""
    config = dataclasses.replace(
        CONFIG, hidden_sizes=(), schedule="plateau", evaluate_dropout=True
    )
    hparams = dataclasses.replace(
        HPARAMS, dropout_rate=0.2, plateau_patience=0, plateau_threshold=9.0, l1=1e-4
    )

    def run(target: Any) -> Any:
        run_hparams = dataclasses.replace(hparams, target_accuracy=target)
        state = init(config, run_hparams, jax.random.key(0), (10,), 3)

        def epoch(state: Any, key_and_order: Any) -> Any:
            key, order = key_and_order
            state, metrics = training.run_epoch(
                config, run_hparams, state, key, DATA.train, DATA.test, order
            )
            return state, (state, metrics)

        keys = jax.random.split(jax.random.key(1), 3)
        orders = jnp.asarray(np.stack(shuffled()[:3]))
        return jax.lax.scan(epoch, state, (keys, orders))[1]

    states, metrics = jax.jit(jax.vmap(run))(jnp.array([0.0, np.inf]))
    assert states.epoch.tolist() == [[1, 1, 1], [1, 2, 3]]
    assert metrics["stopped"].tolist() == [[1, 1, 1], [0, 0, 0]]
    for leaf in jax.tree.leaves((states, metrics)):
        np.testing.assert_array_equal(leaf[0, 1:], leaf[0, :1].repeat(2, 0))
    names = ("train_loss", "train_penalty", "test_loss", "test_loss_with_dropout")
    for name in names:
        assert len(np.unique(metrics[name][1])) == 3, name
    learning_rates = states.schedule.learning_rate[1]
    np.testing.assert_allclose(learning_rates, [1e-2, 1e-3, 1e-4], rtol=1e-6)
    # The first epoch is the same in both runs.
    for leaf in jax.tree.leaves((states.params, states.opt_state)):
        np.testing.assert_array_equal(leaf[0, 0], leaf[1, 0])


@pytest.mark.slow
def test_an_epoch_without_a_mistake_reaches_a_target_of_1() -> None:
    """Its accuracy is a mean of ones, which may be rounded to 0.99999994."""
    config = Config(hidden_sizes=(), batch_size=32, evaluate_train=False)
    hparams = Hparams(divisor=1.0, learning_rate=0.0, target_accuracy=1.0)
    labels = np.arange(1000, dtype=np.int32) % 3
    data = Dataset(np.eye(3, dtype=np.uint8)[labels], labels)
    state = init(config, hparams, jax.random.key(0), (3,), 3)
    params = {"Dense_0": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}}
    state = dataclasses.replace(state, params=params)
    epoch = jax.jit(training.run_epoch, static_argnums=0)
    _, metrics = epoch(
        config, hparams, state, jax.random.key(1), data, data, np.arange(1000)
    )
    assert metrics["train_accuracy_running"] == pytest.approx(1, abs=1e-6)
    assert metrics["stopped"] == 1
