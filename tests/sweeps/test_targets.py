"""Runs that stop at a target accuracy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset, Splits
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import engine, programs
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.step import init
from tests.sweeps.runs import CONFIG, DATA, HPARAMS, SEED, shuffled

STOPPING = dataclasses.replace(CONFIG, schedule="cosine", batch_norm="on")
LEARNING_RATES = [1e-4, 1e-2, 3e-2, 0.1]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of runs in each call of an epoch's program."""
    original, counted = programs.train_epoch_of_runs, []

    def counting(program: Any, state: Any, inputs: Any, *args: Any) -> Any:
        counted.append(len(inputs.hparams.divisor))
        return original(program, state, inputs, *args)

    monkeypatch.setattr(programs, "train_epoch_of_runs", counting)
    return counted


@pytest.mark.slow
def test_runs_stop_at_their_targets_and_change_no_other(
    widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped runs are removed from their program, unless a probe needs all runs."""
    monkeypatch.setattr(engine, "seconds_left", lambda *_: 1e9)  # at any price
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
                config, run_hparams, state, key, DATA.splits, order
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
        config, hparams, state, jax.random.key(1), Splits(data, data), np.arange(1000)
    )
    assert metrics["train_accuracy_running"] == pytest.approx(1, abs=1e-6)
    assert metrics["stopped"] == 1
