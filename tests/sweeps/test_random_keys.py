"""Optimizers whose states hold random keys: saved, resumed, continued, halved."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import xarray as xr

from fmnist_jax import Hparams, halving, sweep
from fmnist_jax.sweeps import resuming
from fmnist_jax.sweeps.random_keys import with_keys, without_keys
from fmnist_jax.sweeps.state_files import load_states, save_states
from tests.sweeps.runs import CONFIG, DATA


def noisy_sgd(hparams: Hparams) -> optax.GradientTransformation:
    """Gradients with random noise (Neelakantan et al. 2015, arXiv 1511.06807)."""
    noise = optax.add_noise(eta=0.01, gamma=0.55, key=jax.random.key(7))
    return optax.chain(noise, optax.sgd(hparams.learning_rate))


AXES: dict[str, Any] = {"learning_rate": [0.001, 0.01], "seed": range(2)}
LONG = dataclasses.replace(CONFIG, optimizer=noisy_sgd, num_epochs=3)
SHORT = dataclasses.replace(LONG, num_epochs=2)


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    """Three epochs that nothing interrupts."""
    results: xr.Dataset = sweep(AXES, DATA, LONG)
    without_noise = dataclasses.replace(LONG, optimizer="sgd")
    assert not results.test_loss.equals(sweep(AXES, DATA, without_noise).test_loss)
    return results


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_keys_are_numbers_and_keys_again(implementation: str) -> None:
    keys = jax.random.split(jax.random.key(1, impl=implementation), 3)
    tree = {"key": keys, "count": np.arange(3)}
    like = jax.eval_shape(lambda: tree)
    again = with_keys(jax.tree.map(np.asarray, without_keys(tree)), like)
    assert again["key"].dtype == keys.dtype
    draw = jax.vmap(jax.random.normal)
    np.testing.assert_array_equal(draw(again["key"]), draw(keys))


@pytest.mark.slow
def test_an_interrupted_sweep_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: xr.Dataset
) -> None:
    run_sweeps = resuming.run_sweeps

    def interrupted(*args: Any) -> Any:
        parts = run_sweeps(*args)
        yield next(parts)
        yield next(parts)  # after a checkpoint of the first epoch
        raise KeyboardInterrupt

    monkeypatch.setattr(resuming, "run_sweeps", interrupted)
    monkeypatch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0.0)
    with pytest.raises(KeyboardInterrupt):
        sweep(AXES, DATA, LONG, folder=tmp_path)
    monkeypatch.undo()
    xr.testing.assert_identical(sweep(AXES, DATA, LONG, folder=tmp_path), expected)


@pytest.mark.slow
def test_saved_states_are_continued(tmp_path: Path, expected: xr.Dataset) -> None:
    results, states = sweep(AXES, DATA, SHORT, keep_states="all")
    save_states(states, tmp_path / "states")
    earlier = results, load_states(tmp_path / "states", LONG)
    more = sweep(AXES, DATA, LONG, continue_from=earlier)
    xr.testing.assert_identical(more, expected)
    kept = [s.sel(learning_rate=0.01, seed=1).state for s in (states, earlier[1])]
    jax.tree.map(np.testing.assert_array_equal, *map(without_keys, kept))
    trained = sweep(AXES, DATA, LONG, keep_states="all")[1]
    state = trained.sel(learning_rate=0.01, seed=1).state
    types = [jax.tree.map(lambda x: x.dtype, s.opt_state) for s in (state, kept[0])]
    assert types[0] == types[1]


@pytest.mark.slow
def test_halving_continues_the_best_settings() -> None:
    on = DATA.with_validation(16)
    left = halving(AXES, on, LONG, rungs=(1, 3), keep=1 / 2, max_width=1)
    whole = sweep(AXES, on, LONG, max_width=1)
    is_left = (left.status != "pruned").all("seed")
    assert is_left.sum() == 1
    np.testing.assert_array_equal(
        left.test_loss.where(is_left, drop=True),
        whole.test_loss.where(is_left, drop=True),
    )
