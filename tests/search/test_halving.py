"""Successive halving, against the rule applied to the curves of the full sweep."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.search.halving import halving
from fmnist_jax.search.rungs import Rungs
from fmnist_jax.sweeps import engine
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

HELD_OUT = DATA.with_validation(16)
NINE = dataclasses.replace(CONFIG, num_epochs=9)
CASES: dict[str, tuple[dict[str, Any], Config, Hparams]] = {
    "learning rates": (
        {"learning_rate": [1e-4, 1e-3, 0.01, 0.1, 1.0, 1e30], "seed": [0, 5]},
        NINE,
        HPARAMS,
    ),
    "optimizers": (
        {"optimizer": ["sgd", "adam"], "learning_rate": [0.001, 0.01, 0.1]},
        NINE,
        HPARAMS,
    ),
    "targets": (
        {"target_accuracy": [0.3, 0.4, 0.5, 0.9], "seed": range(3)},
        NINE,
        HPARAMS,
    ),
    "plateau": (
        {"divisor": [1.0, 10.0, 100.0, 1000.0], "seed": range(2)},
        dataclasses.replace(NINE, schedule="plateau", batch_norm="on"),
        dataclasses.replace(HPARAMS, dropout_rate=0.2, plateau_patience=0),
    ),
    "equal runs": (
        {"optimizer": ["sgd", "momentum"], "momentum": [0.1, 0.5, 0.9]},
        NINE,
        HPARAMS,
    ),
}


def expected_rungs(full: xr.Dataset, rungs: Rungs, distinct: list[int]) -> np.ndarray:
    """The rung at which each setting leaves, NaN if none, ``[settings]``."""
    losses, accuracies = (
        full[name].astype(float).mean("seed", skipna=False).values.reshape(-1, 9)
        for name in ("validation_loss", "validation_accuracy")
    )
    is_loss = rungs.by == "validation_loss"
    first, second = (losses, -accuracies) if is_loss else (-accuracies, losses)
    left = np.full(len(losses), np.nan)
    alive = list(distinct)
    for epoch in rungs.epochs[:-1]:
        scores = [values[alive, epoch - 1] for values in (second, first)]
        scores = [np.where(np.isfinite(s), s, np.inf) for s in scores]
        kept = np.lexsort(scores)[: max(1, int(len(alive) * rungs.keep))]
        left[[s for i, s in enumerate(alive) if i not in kept]] = epoch
        alive = [alive[i] for i in sorted(kept)]
    return left


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_settings_leave_by_the_rule_and_the_others_are_undisturbed(case: str) -> None:
    axes, config, hparams = CASES[case]
    width: dict[str, Any] = {"max_width": 1}  # of one run, whatever leaves
    full = sweep(axes, HELD_OUT, config, hparams, **width)
    rungs = Rungs((1, 3, 9), 0.5, "validation_loss")
    results = halving(axes, HELD_OUT, config, hparams, (1, 3, 9), 0.5, **width)
    seeds = full.sizes["seed"]
    planned = plan(axes, config, hparams)
    of_setting = planned.trained_runs[::seeds] // seeds
    left = expected_rungs(full, rungs, sorted({*of_setting.tolist()}))[of_setting]
    rung = results.pruned_epoch.values.reshape(-1, seeds)
    np.testing.assert_array_equal(rung, np.repeat(left[:, None], seeds, axis=1))
    has_left = ~np.isnan(results.pruned_epoch)
    assert 0 < has_left.mean() < 1
    for name in ("train_loss", "test_loss", "validation_loss", "test_accuracy"):
        trained = ~(full.epoch > results.pruned_epoch)
        expected = full[name].where(trained).transpose(*full[name].dims)
        np.testing.assert_array_equal(results[name], expected)
        assert np.isnan(results[name].values[..., -1][has_left.values]).all()
    stays = ~has_left.values
    np.testing.assert_array_equal(
        results.status.values[stays], full.status.values[stays]
    )
    expected_left = {"pruned", "diverged", "stopped"}
    assert {*results.status.values[has_left.values].tolist()} <= expected_left
    assert results.attrs["rungs"] == [1, 3, 9]
    first = np.unique(planned.trained_runs)
    trained = results.pruned_epoch.fillna(9).values.ravel()[first]
    share, _ = rungs.expectation([planned])
    assert trained.sum() == round(share * 9 * len(first))


@pytest.mark.slow
def test_the_validation_accuracy_may_judge() -> None:
    axes, config, hparams = CASES["optimizers"]
    full = sweep(axes, HELD_OUT, config, hparams)
    rungs = Rungs((2, 9), 0.4, "validation_accuracy")
    results = halving(axes, HELD_OUT, config, hparams, *rungs[:3])
    np.testing.assert_array_equal(
        results.pruned_epoch.values.ravel(), expected_rungs(full, rungs, [*range(6)])
    )


@pytest.mark.slow
def test_other_batches_change_no_more_than_rounding() -> None:
    axes, config, hparams = CASES["learning rates"]
    full = sweep(axes, HELD_OUT, config, hparams)
    results = halving(axes, HELD_OUT, config, hparams, (1, 3, 9), 0.5)
    stays = np.isnan(results.pruned_epoch)
    for name in ("train_loss", "test_loss", "validation_loss", "test_accuracy"):
        both = results[name].where(stays), full[name].where(stays)
        np.testing.assert_allclose(*both, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_one_rung_is_a_sweep() -> None:
    axes, config, hparams = CASES["optimizers"]
    full = sweep(axes, HELD_OUT, config, hparams)
    results = halving(axes, HELD_OUT, config, hparams, (9,))
    for name in full.data_vars:
        np.testing.assert_array_equal(results[name], full[name])
    assert "pruned_epoch" not in results


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3, 5, 7])
def test_an_interrupted_search_resumes_to_the_same_bits(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes, config, hparams = CASES["optimizers"]
    whole = halving(axes, HELD_OUT, config, hparams, (1, 3, 9), 0.5)
    original, calls = engine._train_epoch, []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(engine, "_train_epoch", failing)
    arguments: Any = (axes, HELD_OUT, config, hparams, (1, 3, 9), 0.5)
    with pytest.raises(SweepInterrupted) as caught:
        halving(*arguments, folder=tmp_path)
    assert (caught.value.results is None) == (after == 1)
    resumed = halving(*arguments, folder=tmp_path)
    xr.testing.assert_identical(resumed, whole)
    num_calls = len(calls)
    xr.testing.assert_identical(halving(*arguments, folder=tmp_path), whole)
    assert len(calls) == num_calls  # nothing was trained again
    with pytest.raises(UserError, match=r"rungs is 1,3,9 keep 0.5 by .* and 1,9 keep"):
        halving(axes, HELD_OUT, config, hparams, (1, 9), 0.5, folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rungs": (3, 1)}, r"rungs is \(3, 1\); expected ascending"),
        ({"rungs": 5}, "rungs is a int; expected a list of epochs"),
        ({"rungs": ()}, "expected ascending"),
        ({"rungs": (0, 3)}, "expected ascending"),
        ({"rungs": (1, 2.5)}, "expected ascending"),
        ({"keep": 1.0}, "keep .--keep_share. is 1.0; expected a number above 0"),
        ({"keep": "x"}, "keep .--keep_share. is 'x'"),
        ({"by": "test_loss"}, "Unknown by 'test_loss'; expected one of validation_"),
        (
            {"data": DATA},
            "Halving ranks settings on a validation set, but the data have",
        ),
    ],
)
def test_mistakes_are_explained(changes: dict[str, Any], line: str) -> None:
    given = {"axes": {"learning_rate": [0.1, 0.2]}, "data": HELD_OUT, **changes}
    with pytest.raises(UserError, match=line):
        halving(**given)


def test_losses_of_different_functions_are_not_compared() -> None:
    axes = {"loss": ["softmax", "clipped"], "learning_rate": [0.01, 0.1]}
    with pytest.raises(UserError, match="pass by='validation_accuracy'"):
        halving(axes, HELD_OUT, NINE)


def test_settings_that_continue_are_at_least_the_fewest() -> None:
    rungs = Rungs(fewest=4)
    assert [rungs.num_kept(n) for n in (3, 5, 12, 15)] == [3, 4, 4, 5]
