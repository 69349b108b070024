"""Dropout in sweeps, in a run alone, and in evaluations."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.loop import run_keys
from tests.sweeps.runs import CONFIG, DATA, HPARAMS, SEED

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
            if name.startswith("validation"):
                assert name not in runs
                continue
            run = runs[name].sel(dropout_rate=rate)
            values = values if "epoch" in run.dims else values[-1]
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
