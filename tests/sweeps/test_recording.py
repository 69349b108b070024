"""Curves by step: what is recorded within an epoch, and that it changes no run."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from fmnist_jax import (
    Config,
    Hparams,
    Probe,
    UserError,
    evaluate,
    init,
    run_epoch,
    sweep,
    train_step,
)
from fmnist_jax.data.orders import example_order
from fmnist_jax.training import run_keys
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

HELD_OUT = DATA.with_validation(16)
STEPS = -(-len(HELD_OUT.train.labels) // CONFIG.batch_size)
EVERY = 2
EPOCHS = 2
RECORDED = dataclasses.replace(CONFIG, num_epochs=EPOCHS, record_every=EVERY)


def recorded_by_hand(hparams: Hparams, seed: int) -> dict[str, list[float]]:
    """Returns the records of a run, from a loop over its steps."""
    config, train = RECORDED, HELD_OUT.train
    init_key, epochs_key, _ = run_keys(seed)
    shapes = HELD_OUT.image_shape, HELD_OUT.num_classes
    state = init(config, hparams, init_key, *shapes)
    records: dict[str, list[float]] = {"steps": []}
    taken = 0
    for epoch in range(1, EPOCHS + 1):
        key = jax.random.fold_in(epochs_key, epoch)
        order = example_order(config, seed, epoch, np.asarray(train.labels))
        losses: list[float] = []
        sizes: list[int] = []
        for index in range(STEPS):
            rows = order[index * config.batch_size :][: config.batch_size]
            batch = type(train)(*(np.asarray(array)[rows] for array in train))
            step_key = jax.random.fold_in(key, index)
            state, metrics = train_step(config, hparams, state, step_key, batch)
            losses.append(float(metrics["loss"]))
            sizes.append(len(rows))
            taken += 1
            if (index + 1) % EVERY and index + 1 < STEPS:
                continue
            values = {"train_loss": float(np.average(losses, weights=sizes))}
            for name in ("test", "validation"):
                held_out = evaluate(config, hparams, state, getattr(HELD_OUT, name))
                values |= {f"{name}_{k}": float(v) for k, v in held_out.items()}
            for name, value in values.items():
                records.setdefault(f"{name}_by_step", []).append(value)
            records["steps"].append(taken)
            losses, sizes = [], []
    return records


@pytest.mark.slow
def test_records_are_those_of_a_loop_by_hand() -> None:
    assert STEPS % EVERY  # the last record of an epoch is after fewer steps
    hparams = dataclasses.replace(HPARAMS, dropout_rate=0.2)
    axes = {"divisor": [1.0, 100.0], "seed": [0, 3]}
    results = sweep(axes, HELD_OUT, RECORDED, hparams)
    one = results.sel(divisor=100, seed=3)
    expected = recorded_by_hand(dataclasses.replace(hparams, divisor=100.0), 3)
    np.testing.assert_array_equal(results.step, expected.pop("steps"))
    assert len(expected) == 5
    for name, values in expected.items():
        np.testing.assert_allclose(one[name], values, rtol=1e-4, err_msg=name)
    assert results.test_loss_by_step.attrs == results.test_loss.attrs
    assert results.test_loss_by_step.dims == ("divisor", "seed", "step")


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3, 1000])
def test_recording_changes_no_run(every: int) -> None:
    """The last record of an epoch is the evaluation after it."""
    axes = {"divisor": [1.0, 100.0], "seed": range(2)}
    recorded = dataclasses.replace(RECORDED, record_every=every)
    plain = dataclasses.replace(recorded, record_every=0)
    expected, states = sweep(axes, HELD_OUT, plain, HPARAMS, keep_states="all")
    results, same = sweep(axes, HELD_OUT, recorded, HPARAMS, keep_states="all")
    for name in expected.data_vars:
        if name != "status":
            np.testing.assert_allclose(
                results[name], expected[name], rtol=1e-5, err_msg=str(name)
            )
    for settings in states.settings:
        pair = (s.sel(**settings).state.params for s in (states, same))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *pair)
    count = -(-STEPS // every)
    assert results.sizes["step"] == EPOCHS * count
    for name in ("test_loss", "validation_accuracy"):
        last = results[f"{name}_by_step"][..., count - 1 :: count]
        np.testing.assert_allclose(last, results[name], rtol=1e-6)


@pytest.mark.slow
def test_a_stopped_run_records_nothing_more() -> None:
    config = dataclasses.replace(RECORDED, num_epochs=6)
    hparams = dataclasses.replace(HPARAMS, target_accuracy=0.3)
    results = sweep({"seed": range(4)}, HELD_OUT, config, hparams)
    stopped = results.stopped_epoch.values
    assert (stopped < 6).any()
    count = results.sizes["step"] // 6
    for seed in range(4):
        is_trained = np.isfinite(results.test_loss_by_step[seed].values)
        last = 6 if np.isnan(stopped[seed]) else int(stopped[seed])
        np.testing.assert_array_equal(is_trained, np.arange(6 * count) < last * count)
    assert results.train_loss_by_step.attrs["units"] == "nats"


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [25, 29, 35])
def test_all_records_of_the_last_epoch_are_kept(epochs: int) -> None:
    """Whatever the number of epochs: the epoch of a record is a whole number."""
    config = dataclasses.replace(RECORDED, num_epochs=epochs)
    hparams = dataclasses.replace(HPARAMS, learning_rate=0.003)
    axes = {"target_accuracy": [0.4, 0.5, 0.6, 0.7, 0.8], "seed": range(4)}
    results = sweep(axes, DATA, config, hparams)
    count = results.sizes["step"] // epochs
    num_records = np.isfinite(results.test_loss_by_step).sum("step")
    expected = results.stopped_epoch.fillna(epochs) * count
    np.testing.assert_array_equal(num_records, expected)
    assert len({*results.stopped_epoch.values.ravel()}) > 3


@pytest.mark.parametrize("wrong", [[0, 1000], [-1, 0], [0.5, 1.0], []])
def test_the_order_is_checked(wrong: list[float]) -> None:
    state = init(RECORDED, HPARAMS, jax.random.key(0), DATA.image_shape, 3)
    order: Any = np.asarray(wrong, np.int32 if 0.5 not in wrong else np.float32)
    with pytest.raises(UserError, match="order"):
        run_epoch(RECORDED, HPARAMS, state, jax.random.key(0), DATA, order)


def test_step_is_a_dimension_of_the_results() -> None:
    probe = Probe(lambda *run: {"step": run[2].epoch})
    with pytest.raises(UserError, match="'step' has the same name as one of the res"):
        sweep({"seed": [0]}, DATA, RECORDED, HPARAMS, [probe])
    with pytest.raises(UserError, match="has the name 'step'"):
        sweep({"seed": [0]}, DATA, RECORDED, Hparams(extra={"step": 1.0}))


def test_what_cannot_be_recorded_is_refused() -> None:
    def refused(match: str, axes: dict[str, Any], every: Any = EVERY) -> None:
        with pytest.raises(UserError, match=match):
            sweep(axes, DATA, Config(record_every=every))

    refused("batch_size is an axis", {"batch_size": [8, 16]})
    refused("record_every must be the same in all runs", {"record_every": [1, 2]})
    refused("record_every is -1; expected a whole number", {"seed": [0]}, -1)
    refused("record_every is 2.5; expected a whole number", {"seed": [0]}, 2.5)
