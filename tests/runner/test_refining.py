"""``--refine`` and ``--zoom_from`` on command lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments.trainability_map import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.data import load
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, jobs
from fmnist_jax.search.refinement import Refinement
from fmnist_jax.search.refining import refined_map
from tests.runner.test_extension import epochs  # noqa: F401 - a fixture
from tests.sweeps.test_resuming import failing_at

SMALL = [
    *("--dataset=synthetic", "--train_examples=200", "--test_examples=50"),
    *("--hidden_sizes=6", "--batch_sizes=16"),
]
FILES = ("results.nc", "summary.csv", "criteria.csv", "trained.png")


def run(out_dir: Path, *arguments: str) -> xr.Dataset:
    argv = ["trainability_map", *SMALL, *arguments, f"--out_dir={out_dir}"]
    command_line.execute([EXPERIMENT], argv)
    return results.load(out_dir)


def job(*arguments: str) -> Any:
    parsed = flags.parse(["program", *arguments], [EXPERIMENT])
    return jobs.make_job(EXPERIMENT, parsed)


@pytest.mark.slow
def test_the_command_is_the_function(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = run(tmp_path, "--refine=17", "--optimizers=sgd,adam")
    printed = capsys.readouterr().out
    assert "Adaptive map of 289 points: 28 % of them are trained first" in printed
    share = 100 * dataset.is_trained.mean().item()
    assert f"{share:.1f} % of 289 points were run; the others are" in printed
    plane = {
        name: dataset[name].values.tolist() for name in ("divisor", "learning_rate")
    }
    same = job(*SMALL, "--refine=17", "--optimizers=sgd,adam")
    config, hparams = same.config, same.hparams
    expected = refined_map(
        plane,
        {"optimizer": ["sgd", "adam"]},
        load("synthetic", train_examples=200, test_examples=50),
        *(config, hparams),
        step=2,
    )
    assert 0.28 < dataset.is_trained.mean() < 1
    for name in ("is_trained", "status", "test_loss", "final_train_accuracy"):
        np.testing.assert_array_equal(dataset[name], expected[name])
    assert dataset.sharpness.sizes["divisor"] == 17
    assert (tmp_path / "trained.png").exists()


@pytest.mark.slow
def test_a_killed_map_resumes_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--refine=33", "--criterion=accuracy>=0.4"]
    run(tmp_path / "whole", *arguments)
    for save in range(3):
        out_dir = tmp_path / f"killed-{save}"
        with (
            failing_at(save, KeyboardInterrupt(), monkeypatch),
            pytest.raises(KeyboardInterrupt),
        ):
            run(out_dir, *arguments)
        if save:  # something is saved
            other = r"map is step 4, by accuracy"
            with pytest.raises(UserError, match=other):
                run(out_dir, "--refine=33")
        run(out_dir, *arguments)
        for name in FILES:
            paths = out_dir / name, tmp_path / "whole" / name
            assert paths[0].read_bytes() == paths[1].read_bytes(), name
        assert not (out_dir / "parts").exists()


@pytest.mark.slow
def test_a_zoom_keeps_the_points_that_a_finished_map_trained(
    tmp_path: Path,
    epochs: list[int],  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = run(tmp_path / "map", "--refine=33")
    epochs.clear()
    arguments = ["--refine=33", "--zoom=1:3e4,1e-3:100"]
    arguments.append(f"--zoom_from={tmp_path / 'map'}")
    finer = run(tmp_path / "finer", *arguments)
    windows = {"divisor": slice(1, 3e4), "learning_rate": slice(1e-3, 100)}
    before = first.sel(windows)
    index = {name: before[name] for name in windows}
    assert finer.sizes["divisor"] == 2 * before.sizes["divisor"] - 1
    kept = before.is_trained
    assert 0 < kept.mean() < 1
    assert finer.is_trained.sel(index).where(kept, True).all()
    for name in ("status", "train_loss", "test_accuracy", "final_train_loss"):
        both = finer[name].sel(index), before[name]
        np.testing.assert_array_equal(*(v.values[kept.values] for v in both))
    steps = np.diff(np.log(finer.divisor.values))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    num_new = int(finer.is_trained.sum() - kept.sum())
    theory = finer.sizes["divisor"]  # sharpness; too few images for activations
    assert sum(epochs) == num_new + theory
    with (
        failing_at(2, KeyboardInterrupt(), monkeypatch),
        pytest.raises(KeyboardInterrupt),
    ):
        run(tmp_path / "killed", *arguments)
    run(tmp_path / "killed", *arguments)
    paths = (tmp_path / name / "results.nc" for name in ("killed", "finer"))
    assert len({path.read_bytes() for path in paths}) == 1
    for changed, line in (
        ("--batch_sizes=20", "reused by --zoom_from: .* batch_size was 16 and is now"),
        ("--train_examples=190", "reused by --zoom_from: the results are from other"),
    ):
        name = changed.split("=")[0]
        smaller = [changed if flag.startswith(name) else flag for flag in SMALL]
        monkeypatch.setattr("tests.runner.test_refining.SMALL", smaller)
        with pytest.raises(UserError, match=line):
            run(tmp_path / "refused", *arguments)
    monkeypatch.undo()
    with pytest.raises(UserError, match="results are from an adaptive map"):
        run(tmp_path / "map", "--num_seeds=2", "--extend")


def test_the_step_suits_the_number_of_values() -> None:
    for size, step in ((17, 2), (32, 2), (33, 4), (64, 4), (65, 8), (512, 8)):
        refined = job(f"--refine={size}", "--criterion=loss<=1")
        assert refined.search == Refinement(step, "loss<=1")
        assert (
            len(refined.axes["divisor"]) == len(refined.axes["learning_rate"]) == size
        )
    ranges = ["--divisors=1:1e3", "--learning_rates=1e-4:1"]
    axes = job("--refine=17", *ranges).axes
    np.testing.assert_allclose(axes["divisor"], np.logspace(0, 3, 17))
    np.testing.assert_allclose(axes["learning_rate"], np.logspace(-4, 0, 17))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--refine=8", "--refine: '8' is not allowed; expected a whole number from 17"),
        ("--refine=32 --halving", "--halving cannot be used with trainability_map"),
        ("--refine=32 --keep_states=all", "--keep_states and --refine cannot be"),
        ("--refine=32 --extend", "--extend and --refine cannot be combined"),
        ("--refine=32 --num_shards=2", "--num_shards and --refine cannot be"),
        ("--refine=32 --sample=3", "--sample cannot be used with trainability_map"),
        ("--refine=32 --zoom_from=x", "--zoom_from requires --refine and --zoom"),
        ("--zoom=1:2,1:2 --zoom_from=x", "--zoom_from requires --refine and --zoom"),
        ("--refine=32 --zoom=1:2,1:2 --zoom_from=x", "There are no results at x"),
        ("--divisors=1:10", "needs the number of values; give start:stop:count"),
        ("--refine=32 --momenta=.1:.9 --optimizers=momentum", "no number of values"),
    ],
)
def test_mistakes_are_explained(arguments: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        job(*arguments.split())
