"""Habits of a notebook: a progress bar, Ctrl-C, a second call."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import Notice, SweepInterrupted, UserError, sweep
from fmnist_jax.sweeps import programs, resuming
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.folder_lock import locked
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
    run_sweeps = resuming.run_sweeps

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        for number, part in enumerate(run_sweeps(*args, **kwargs)):
            yield part
            if number == 3:  # after the first epoch of the second program
                raise KeyboardInterrupt

    monkeypatch.setattr(resuming, "run_sweeps", interrupted)
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


def test_a_folder_resumes_what_ctrl_c_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = sweep(AXES, DATA, SMALL, HPARAMS, keep_states="all")
    trained: list[Part] = []
    run_sweeps = resuming.run_sweeps

    def pressing(*args: Any) -> Any:
        for part in run_sweeps(*args):
            trained.append(part)
            if len(trained) == 5:  # in the first epoch of the second program
                os.kill(os.getpid(), signal.SIGINT)
            yield part

    monkeypatch.setattr(resuming, "run_sweeps", pressing)
    handler = signal.getsignal(signal.SIGINT)
    folder = str(tmp_path / "new" / "sweep")
    how: dict[str, Any] = {"folder": folder, "keep_states": "all"}
    with pytest.raises(SweepInterrupted, match="To resume, repeat the same") as caught:
        sweep(AXES, DATA, SMALL, HPARAMS, **how)
    assert signal.getsignal(signal.SIGINT) == handler
    finished = np.isfinite(caught.value.results.test_loss).sum("epoch")
    np.testing.assert_array_equal(finished, [[3, 3], [1, 1]])
    resumed = sweep(AXES, DATA, SMALL, HPARAMS, **how)
    assert len(trained) == 8  # no epoch is trained twice; each program's states
    again = sweep(AXES, DATA, SMALL, HPARAMS, **how)
    assert len(trained) == 8
    for results, states in (resumed, again):
        xr.testing.assert_identical(results, complete[0])
        for settings in complete[1].settings:
            pair = (s.sel(**settings).state for s in (states, complete[1]))
            jax.tree.map(np.testing.assert_array_equal, *pair)


def test_a_folder_is_not_mixed_up(tmp_path: Path) -> None:
    sweep(AXES, DATA, SMALL, HPARAMS, folder=tmp_path)
    other = dataclasses.replace(SMALL, num_epochs=4)
    settings = "a sweep with other settings: num_epochs is 3 in the saved sweep and 4"
    with pytest.raises(UserError, match=settings) as caught:
        sweep(AXES, DATA, other, HPARAMS, folder=tmp_path)
    assert f"or delete {tmp_path / 'parts'}." in str(caught.value)
    with locked(tmp_path), pytest.raises(UserError, match="is in use by another"):
        sweep(AXES, DATA, SMALL, HPARAMS, folder=tmp_path)
    (tmp_path / "parts" / "0-1.part").write_bytes(b"cut off")
    with pytest.warns(Notice, match="damaged"):
        again = sweep(AXES, DATA, SMALL, HPARAMS, folder=tmp_path)
    xr.testing.assert_identical(again, sweep(AXES, DATA, SMALL, HPARAMS))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        sweep(AXES, DATA, SMALL, HPARAMS, folder=tmp_path / "file")


@pytest.mark.parametrize("folder", [123, b"x", "", "a\0b"])
def test_what_is_no_folder_is_refused(folder: Any) -> None:
    with pytest.raises(UserError, match="expected the path of a folder"):
        sweep(AXES, DATA, SMALL, HPARAMS, folder=folder)


def test_a_folder_may_be_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sweep({"seed": [0]}, DATA, SMALL, HPARAMS, folder="~/mine")
    assert (tmp_path / "mine" / "parts" / "plan.json").exists()


@pytest.mark.slow
def test_a_folder_without_states_says_so(tmp_path: Path) -> None:
    axes = {"seed": [0]}
    sweep(axes, DATA, SMALL, HPARAMS, folder=tmp_path)
    probes = "keep_states is off in the saved sweep and on now"
    with pytest.raises(UserError, match=probes):
        sweep(axes, DATA, SMALL, HPARAMS, folder=tmp_path, keep_states="all")


def test_ctrl_c_in_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        yield Part(0, (0,), None, {"w": np.zeros(1)})  # of a probe at "init"
        raise KeyboardInterrupt

    monkeypatch.setattr(resuming, "run_sweeps", interrupted)
    with pytest.raises(SweepInterrupted, match="No epoch was finished") as caught:
        sweep({"seed": [0]}, DATA, SMALL, HPARAMS)
    assert caught.value.results is None
