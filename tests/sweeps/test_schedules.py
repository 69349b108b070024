"""Schedules and orders of the examples, in sweeps and in a run alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax.config import Config
from fmnist_jax.data.orders import epoch_order, example_order
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.loop import run_keys, train_epoch
from fmnist_jax.training.step import init
from tests.sweeps.runs import CONFIG, DATA, HPARAMS, SEED, shuffled

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
