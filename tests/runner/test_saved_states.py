"""The trained states that ``--keep_states`` saves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments import merge
from experiments.__main__ import find_experiments
from experiments.regularization import EXPERIMENT as REGULARIZATION
from experiments.scale_sweep import EXPERIMENT as SCALE_SWEEP
from fmnist_jax import States, UserError, load, load_states, predict
from fmnist_jax.runner import command_line
from tests.sweeps.test_resuming import FLAGS, execute, failing_at

SIZES = {"mnist": 96, "fashion_mnist": 64}  # training examples


def accuracies(states: States) -> dict[tuple[Any, ...], float]:
    """The accuracy of each state on the test set of ``FLAGS``, computed anew."""
    test = load("synthetic").first(train=96, test=50).test
    values = {}
    for settings in states.settings:
        logits = predict(*states.sel(**settings), test.images)
        is_correct = np.argmax(logits, axis=-1) == np.asarray(test.labels)
        values[(*settings.values(),)] = float(is_correct.mean())
    return values


def recorded(out_dir: Path, states: States) -> dict[tuple[Any, ...], float]:
    """The test accuracies of the same runs in ``results.nc``."""
    with xr.open_dataset(out_dir / "results.nc", engine="h5netcdf") as results:
        last = results.test_accuracy.isel(epoch=-1).load()
    return {
        (*settings.values(),): float(last.sel(settings)) for settings in states.settings
    }


@pytest.mark.slow
def test_states_are_saved_beside_the_results(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flag, whole = "--keep_states=all", tmp_path / "whole"
    execute(whole, flag)
    printed = capsys.readouterr().out
    assert "Its trained states need 0 MB more of memory and of disk." in printed
    assert str(whole / "states" / "states.json") in printed
    states = load_states(whole / "states")
    assert len(states) == 4
    assert accuracies(states) == pytest.approx(recorded(whole, states))

    # Killed and resumed, and by shards.
    killed, shards = tmp_path / "killed", tmp_path / "shards"
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(3, KeyboardInterrupt(), monkeypatch), interrupt:
        execute(killed, flag)
    execute(killed, flag)
    for index in (0, 1):
        execute(shards, flag, "--num_shards=2", f"--shard_index={index}")
    merge.run(["merge", str(shards)])
    for folder in (killed, shards):
        for path in (whole / "states").iterdir():
            assert (folder / "states" / path.name).read_bytes() == path.read_bytes()

    # States of an earlier run do not stay beside later results.
    execute(whole, "--overwrite")
    assert not list((whole / "states").iterdir())


@pytest.mark.slow
def test_each_bundle_has_its_states(tmp_path: Path) -> None:
    flags = [f for f in FLAGS if "divisors" not in f and "epochs" not in f]
    argv = ["regularization", *flags, "--epochs=1", "--keep_states=all"]
    command_line.execute([REGULARIZATION], [*argv, f"--out_dir={tmp_path / 'x'}"])
    with xr.open_dataset(tmp_path / "x" / "results.nc", engine="h5netcdf") as results:
        labels = results.penalty.values.tolist()
    states = load_states(tmp_path / "x" / "states")
    assert len(states) == len(labels) > 1
    assert states.sel(penalty="L2 squared").hparams.l2_squared == np.float32(1e-2)
    assert states.sel(penalty="weight decay").config.optimizer == "adamw"


@pytest.mark.slow
def test_each_compared_data_set_has_its_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load("synthetic")
    data = {name: whole.first(train=n, test=50) for name, n in SIZES.items()}
    monkeypatch.setattr(command_line, "_load", lambda jobs, options: data)
    flags = ["--epochs=1", "--num_seeds=1", "--hidden_sizes=4", "--keep_states=all"]
    argv = ["dataset_mixup", *flags, f"--out_dir={tmp_path / 'x'}"]
    command_line.execute([find_experiments()["dataset_mixup"]], argv)
    with xr.open_dataset(tmp_path / "x" / "results.nc", engine="h5netcdf") as results:
        assert results.dataset.values.tolist() == [*SIZES]
    for name in SIZES:
        states = load_states(tmp_path / "x" / "states" / name)
        assert states.data_fingerprint == data[name].fingerprint


@pytest.mark.slow
def test_states_of_the_user_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a sweep of which none is the best says so."""
    out_dir = tmp_path / "out"
    folder = out_dir / "states" / "mine"
    folder.mkdir(parents=True)
    (folder / "states.json").write_text("{}")
    diverging = ["--learning_rates=1e30", "--keep_states=best"]
    execute(out_dir, *diverging)
    assert "No states were kept: every setting has" in capsys.readouterr().out
    assert [path.name for path in (out_dir / "states").iterdir()] == ["mine"]
    (tmp_path / "new" / "states").mkdir(parents=True)
    (tmp_path / "new" / "states" / "states.json").write_text("{}")
    with pytest.raises(UserError, match="already contains results"):
        execute(tmp_path / "new")


@pytest.mark.slow
def test_several_experiments_are_not_finished_without_their_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [flag for flag in FLAGS if "divisors" not in flag]
    experiments = [SCALE_SWEEP, find_experiments()["depth_sweep"]]
    argv = ["experiments", *flags, f"--out_dir={tmp_path}", "--overwrite"]
    argv += ["--epochs=1"]
    argv.remove("--epochs=4")
    argv.remove("--hidden_sizes=8")
    command_line.execute(experiments, argv)
    assert "skipped" not in capsys.readouterr().out
    command_line.execute(experiments, [*argv, "--keep_states=best"])
    assert "skipped" not in capsys.readouterr().out
    files = {path.parts[-3] for path in tmp_path.glob("*/states/states.json")}
    assert files == {"scale_sweep", "depth_sweep"}
    command_line.execute(experiments, [*argv, "--keep_states=best"])
    assert capsys.readouterr().out.count("skipped") == 2


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(UserError, match="expected one of none, best, all"):
        command_line.execute([SCALE_SWEEP], ["x", *FLAGS, "--keep_states=some"])
