"""``--halving`` on command lines."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import load
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, jobs
from fmnist_jax.runner.experiment import Job
from fmnist_jax.search.halving import halving
from fmnist_jax.search.rungs import Rungs
from fmnist_jax.sweeps.stages import Grid
from tests.sweeps.test_resuming import failing_at

SMALL = [
    *("--dataset=synthetic", "--train_examples=240", "--test_examples=50"),
    *("--num_seeds=2", "--hidden_sizes=6", "--losses=softmax"),
    *("--divisors=1,255,1000", "--learning_rates=1e-4,1e-2", "--halving"),
]


def run(out_dir: Path, *arguments: str) -> xr.Dataset:
    argv = ["scale_sweep", *SMALL, *arguments, f"--out_dir={out_dir}"]
    command_line.execute([EXPERIMENT], argv)
    return results.load(out_dir)


def job(*arguments: str, name: str = "scale_sweep") -> Job:
    experiment = find_experiments()[name]
    return jobs.make_job(experiment, flags.parse([name, *arguments], [experiment]))


@pytest.mark.slow
def test_the_command_is_the_function(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = run(tmp_path, "--rungs=1,2,4", "--keep_share=.5")
    printed = capsys.readouterr().out
    assert "200 training, 40 validation and 50 test images" in printed
    assert (
        "the best 50 % of the settings continue after epoch 1 and epoch 2; 46 % of all"
        in printed
    )
    assert "5 settings were pruned" in printed
    assert (tmp_path / "halving.png").exists()
    data = load("synthetic", train_examples=240, test_examples=50).with_validation(40)
    config = Config(hidden_sizes=(6,), loss="softmax")
    axes = {
        "divisor": [1.0, 255.0, 1000.0],
        "loss": ["softmax"],
        "learning_rate": [1e-4, 1e-2],
        "seed": range(2),
    }
    expected = halving(axes, data, config, Hparams(eps=1e-7), (1, 2, 4), 0.5)
    for name in ("test_loss", "validation_loss", "pruned_epoch"):
        np.testing.assert_array_equal(dataset[name], expected[name])
    assert (dataset.status == expected.status).all()
    assert (dataset.status == "pruned").sum() == 10


@pytest.mark.slow
@pytest.mark.parametrize("save", [1, 2])
def test_a_killed_command_resumes(
    save: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", "--rungs=1,3")
    with (
        failing_at(save, KeyboardInterrupt(), monkeypatch),
        pytest.raises(KeyboardInterrupt),
    ):
        run(tmp_path / "killed", "--rungs=1,3")
    other = "a sweep with other settings: rungs is 1,3 keep 0.333"
    with pytest.raises(UserError, match=other):
        run(tmp_path / "killed", "--rungs=2,3")
    resumed = run(tmp_path / "killed", "--rungs=1,3")
    xr.testing.assert_identical(resumed, whole)
    for name in ("results.nc", "summary.csv", "halving.png"):
        paths = tmp_path / "killed" / name, tmp_path / "whole" / name
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not (tmp_path / "killed" / "parts").exists()


def test_the_rungs_follow_the_epochs() -> None:
    for arguments, epochs in (
        (["--epochs=9"], (1, 3, 9)),
        (["--epochs=27"], (3, 9, 27)),
        (["--epochs=5"], (1, 5)),
        (["--rungs=2,4,8,16"], (2, 4, 8, 16)),
        (["--rungs=2,4", "--epochs=4"], (2, 4)),
    ):
        halved = job("--halving", *arguments)
        assert isinstance(halved.search, Rungs)
        assert halved.search.epochs == epochs
        assert halved.config.num_epochs == epochs[-1]
    assert job("--epochs=9").search == Grid()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--rungs=1,2"], "--rungs has no effect without --halving"),
        (["--keep_share=.5"], "--keep_share has no effect without --halving"),
        (["--halving", "--rungs=2,1"], r"rungs is \(2, 1\); expected ascending"),
        (["--halving", "--rungs=1,x"], "--rungs: 'x' is not allowed"),
        (["--halving", "--epochs=1"], "--halving has no effect with the only rung 1"),
        (["--halving", "--rungs=4"], "--halving has no effect with the only rung 4"),
        (["--halving", "--rungs=1,2", "--epochs=3"], "leave --epochs out"),
        (["--halving", "--keep_share=1"], "--keep_share: '1' is not allowed"),
        (["--halving", "--keep_states=all"], "--keep_states and --halving cannot"),
        (["--halving", "--num_shards=2"], "--num_shards and --halving cannot"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        job(*arguments)


def test_a_map_is_not_halved() -> None:
    with pytest.raises(UserError, match="trainability_map, which needs the last epoch"):
        job("--halving", name="trainability_map")


def test_settings_with_different_losses_are_ranked_by_accuracy() -> None:
    assert job("--halving").search.by == "validation_accuracy"  # type: ignore
    assert job("--halving", "--losses=softmax").search == Rungs((1, 5))
    assert "ranked by validation accuracy" in job("--halving").notices[-1]
