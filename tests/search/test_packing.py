"""Halving if the runs that continue make more groups than before, and its probes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.probe import Probe
from fmnist_jax.search.halving import halving
from fmnist_jax.search.rungs import Rungs, survivors
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep
from tests.search.test_halving import HELD_OUT, NINE
from tests.sweeps.runs import HPARAMS

RATES = [0.1, 0.01, 0.001, 0.0001, 0.03, 0.003, 0.0003]


EXPENSIVE = 10**12  # epochs


@pytest.mark.parametrize(
    ("num_epochs", "groups"),
    [(EXPENSIVE, [(0,), (1,), (2,)]), (1, [(0, 1), (2,)])],
    ids=["another program", "an empty slot"],
)
def test_runs_that_continue_take_the_cheaper_groups(
    num_epochs: int, groups: list[tuple[int, ...]]
) -> None:
    """Three runs fill three groups of one, or leave a slot of two groups empty."""
    before = plan({"learning_rate": RATES[:4]}, NINE, HPARAMS, 1, max_width=2)
    checkpoints = {}
    for index, group in enumerate(before.groups):
        losses = np.asarray(group.runs, np.float32)
        last = Part(index, group.runs, 1, {"validation_loss": losses})
        state = [np.asarray(group.runs) * 10]
        checkpoints[index] = Checkpoint([last], np.arange(2), state)
    rungs = Rungs((1, 2), 0.75)
    after, starts = survivors(before, checkpoints, HELD_OUT, rungs, num_epochs)
    assert len(before.groups) == 2
    assert [group.runs for group in after.groups] == groups
    width = after.groups[0].width
    states = [[10 * run for run in runs + runs][:width] for runs in groups]
    assert [start.leaves[0].tolist() for start in starts.values()] == states


def test_losses_decide_between_equal_accuracies() -> None:
    before = plan({"learning_rate": RATES[:4]}, NINE, HPARAMS, 1, max_width=4)
    values = {
        "validation_accuracy": np.array([0.5, 0.75, 0.75, np.nan]),
        "validation_loss": np.array([0.1, 3.0, 2.0, 0.2]),
    }
    last = Part(0, before.groups[0].runs, 1, values)
    checkpoints = {0: Checkpoint([last], np.arange(4), [np.arange(4)])}
    for by, kept in (("validation_accuracy", [2]), ("validation_loss", [0])):
        rungs = Rungs((1, 2), 0.25, by)
        after, _ = survivors(before, checkpoints, HELD_OUT, rungs, 1)
        assert [run for group in after.groups for run in group.runs] == kept


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1e9])
@pytest.mark.parametrize("keep", [0.45, 0.75, 0.9])
def test_every_share_of_any_width_gives_the_runs_of_a_sweep(
    keep: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_jax.search.rungs.slot_seconds", lambda *_: seconds)
    axes: dict[str, Any] = {"learning_rate": RATES, "hidden_sizes": [(4,), (9,)]}
    config = dataclasses.replace(NINE, num_epochs=3)
    full = sweep(axes, HELD_OUT, config, HPARAMS)
    width: dict[str, Any] = {"max_width": 2}
    results = halving(axes, HELD_OUT, config, HPARAMS, (1, 2, 3), keep, **width)
    stays = np.isnan(results.pruned_epoch)
    assert 0 < stays.sum() < 14
    for name in ("test_loss", "final_train_loss", "final_train_accuracy"):
        ours, others = results[name].where(stays), full[name].where(stays)
        np.testing.assert_allclose(ours, others, rtol=2e-5, atol=2e-5)
        last = results[name].isel(epoch=-1) if "epoch" in ours.dims else results[name]
        assert (last.isnull() == ~stays).all()


def norm(
    config: Any, hparams: Any, state: Any, key: Any, batch: Dataset
) -> dict[str, Any]:
    return {"norm": abs(state.params["Dense_0"]["kernel"]).sum()}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["init", "epoch", "end"])
def test_probes_record_as_in_a_sweep(when: Any) -> None:
    axes = {"learning_rate": RATES[:4], "seed": range(2)}
    config = dataclasses.replace(NINE, num_epochs=3)
    probes = [Probe(norm, when=when)]
    full = sweep(axes, HELD_OUT, config, HPARAMS, probes, 1)
    results = halving(
        axes, HELD_OUT, config, HPARAMS, (1, 3), 0.5, probes=probes, max_width=1
    )
    stays = np.isnan(results.pruned_epoch)
    expected = full.norm
    if when == "epoch":
        expected = expected.where(~(full.epoch > results.pruned_epoch))
    if when == "end":
        expected = expected.where(stays)
    expected = expected.transpose(*full.norm.dims)
    np.testing.assert_array_equal(results.norm, expected)
