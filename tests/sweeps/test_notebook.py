"""Habits of a notebook: a progress bar, Ctrl-C, a second call."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from fmnist_jax import SweepInterrupted, sweep
from fmnist_jax.sweeps import programs
from fmnist_jax.sweeps import sweep as sweep_module
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

SMALL = dataclasses.replace(CONFIG, num_epochs=3)
AXES: dict[str, Any] = {"optimizer": ["sgd", "adam"], "seed": range(2)}


def test_progress_is_shown_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = sweep(AXES, DATA, SMALL, HPARAMS)
    assert capsys.readouterr() == ("", "")
    shown = sweep(AXES, DATA, SMALL, HPARAMS, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "12/12" in captured.err  # epochs of runs
    assert plain.equals(shown)


def test_an_interrupted_sweep_keeps_what_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complete = sweep(AXES, DATA, SMALL, HPARAMS)
    run_groups = sweep_module.run_groups

    def interrupted(*args: Any) -> Any:
        for number, part in enumerate(run_groups(*args)):
            if number == 4:  # in the second epoch of the second program
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(sweep_module, "run_groups", interrupted)
    with pytest.raises(SweepInterrupted, match="2 of 4 runs are finished") as caught:
        sweep(AXES, DATA, SMALL, HPARAMS)
    assert isinstance(caught.value, KeyboardInterrupt)
    results = caught.value.results
    sgd, adam = (results.sel(optimizer=name) for name in ("sgd", "adam"))
    expected = complete.sel(optimizer="sgd")
    np.testing.assert_array_equal(sgd.test_loss, expected.test_loss)
    np.testing.assert_array_equal(sgd.status, expected.status)
    np.testing.assert_array_equal(
        adam.test_loss[:, 0], complete.sel(optimizer="adam").test_loss[:, 0]
    )
    assert np.isnan(adam.test_loss[:, 1:]).all()
    assert (adam.status == "missing").all()


def test_other_values_do_not_compile_again() -> None:
    """Nor another number of values, if the runs per device stay the same."""
    axes = {"divisor": [1.0, 255.0], "seed": range(2)}
    sweep(axes, DATA, SMALL, HPARAMS, max_width=2)
    compiled: Any = programs.train_epoch_of_runs
    sizes = compiled._cache_size()
    for divisors in ([3.0, 7.0], [3.0, 7.0, 9.0]):
        other = {"divisor": divisors, "seed": range(2)}
        sweep(other, DATA, SMALL, HPARAMS, max_width=2)
    assert compiled._cache_size() == sizes
    sweep(axes, DATA, dataclasses.replace(SMALL, batch_size=8), HPARAMS, max_width=2)
    assert compiled._cache_size() == sizes + 1
