"""``--extend``: more seeds and values in a finished folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.data import Data, load
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line
from fmnist_jax.runner.execution import _with_measurements
from fmnist_jax.sweeps import engine

SMALL = [
    *("--dataset=synthetic", "--train_examples=200", "--test_examples=50"),
    *("--epochs=2", "--hidden_sizes=6"),
]


def run(out_dir: Path, *arguments: str, name: str = "scale_sweep") -> xr.Dataset:
    argv = [name, *SMALL, *arguments, f"--out_dir={out_dir}"]
    command_line.execute([find_experiments()[name]], argv)
    return results.load(out_dir)


def test_measurements_that_extended_runs_had_before_stay() -> None:
    before = xr.Dataset(
        {"sharpness": ("seed", [2.0, np.nan]), "loss": ("seed", [1.0, 3.0])}
    )
    now = xr.Dataset(
        {"sharpness": ("seed", [2.5, 4.0]), "residual": ("seed", [0.1, 0.2])}
    )
    both = _with_measurements(before, now)
    assert both.sharpness.values.tolist() == [2.0, 4.0]
    assert both.residual.values.tolist() == [0.1, 0.2]
    assert both.loss.values.tolist() == [1.0, 3.0]


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of runs of each epoch that is trained."""
    trained: list[int] = []
    original = engine._train_epoch

    def counting(context, program, batch, epoch):  # type: ignore[no-untyped-def]
        trained.append(len({*batch.positions.tolist()}))
        return original(context, program, batch, epoch)

    monkeypatch.setattr(engine, "_train_epoch", counting)
    return trained


def compared_data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Data]:
    """Small data sets in place of those that ``dataset_mixup`` compares."""
    whole = load("synthetic")
    sizes = {"mnist": 96, "fashion_mnist": 64}
    data = {name: whole.first(train=n, test=50) for name, n in sizes.items()}
    monkeypatch.setattr(command_line, "_load", lambda jobs, options: data)
    monkeypatch.setattr("tests.runner.test_extension.SMALL", SMALL[3:])
    return data


def assert_kept(whole: xr.Dataset, before: xr.Dataset) -> None:
    """Every value of the earlier results is among the later ones, bit for bit."""
    index = {dim: before[dim] for dim in before.status.dims}
    for name in before.data_vars:
        same = whole[name].sel(index).transpose(*before[name].dims)
        np.testing.assert_array_equal(same.values, before[name].values, err_msg=name)


@pytest.mark.slow
def test_seeds_and_values_are_added(tmp_path: Path, epochs: list[int]) -> None:
    first = run(tmp_path, "--divisors=1,255", "--num_seeds=2")
    assert sum(epochs) == 2 * 8
    epochs.clear()
    more = run(tmp_path, "--divisors=1,255", "--num_seeds=3", "--extend")
    assert sum(epochs) == 2 * 4
    assert_kept(more, first)
    epochs.clear()
    flags = ["--divisors=1,16,255", "--num_seeds=3", "--optimizers=adam,sgd"]
    wider = run(tmp_path, *flags, "--extend")
    assert sum(epochs) == 2 * (36 - 12)
    assert_kept(wider.sel(optimizer="adam"), more)
    whole = run(tmp_path / "whole", *flags)
    for name in ("train_loss", "test_loss", "final_train_loss", "test_accuracy"):
        np.testing.assert_allclose(wider[name], whole[name], rtol=2e-5, atol=1e-6)
    assert (wider.status == whole.status).all()
    assert wider.coords.keys() == whole.coords.keys()


@pytest.mark.slow
def test_settings_of_a_new_optimizer_do_not_change_the_runs_of_another(
    tmp_path: Path, epochs: list[int]
) -> None:
    """Adam's settings, such as ``first_kernel_eps``, have no effect under SGD."""
    flags = ["--divisors=255", "--num_seeds=1"]
    first = run(tmp_path, *flags, "--optimizers=sgd")
    epochs.clear()
    more = run(tmp_path, *flags, "--optimizers=sgd,adam", "--extend")
    assert sum(epochs) == 2 * 2  # Adam's, with both losses
    assert_kept(more.sel(optimizer="sgd"), first)


@pytest.mark.slow
def test_points_are_added_and_nothing_else_is_trained(
    tmp_path: Path, epochs: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--divisors=1:1e4", "--learning_rates=1e-5:1", "--losses=softmax"]
    first = run(tmp_path, *flags, "--num_seeds=1", "--sample=4")
    epochs.clear()
    more = run(tmp_path, *flags, "--num_seeds=1", "--sample=7", "--extend")
    assert sum(epochs) == 2 * 3
    assert "7 runs (3 to be trained) in 1 program" in capsys.readouterr().out
    np.testing.assert_array_equal(more.test_loss[:4], first.test_loss)
    epochs.clear()
    again = run(tmp_path, *flags, "--num_seeds=1", "--sample=7", "--extend")
    assert epochs == []
    xr.testing.assert_identical(again, more)


@pytest.mark.slow
def test_an_interrupted_extension_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--losses=softmax", "--divisors=1,255", "--record_every=2"]
    flags += ["--target_accuracies=.2,inf"]
    run(tmp_path / "killed", *flags, "--num_seeds=1")
    run(tmp_path / "whole", *flags, "--num_seeds=1")
    extend = [*flags, "--num_seeds=2", "--extend", "--optimizers=adam,sgd"]
    whole = run(tmp_path / "whole", *extend)
    original, calls = engine._train_epoch, []

    def failing(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_train_epoch", failing)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", *extend)
    resumed = run(tmp_path / "killed", *extend)
    xr.testing.assert_identical(resumed, whole)
    assert resumed.test_loss_by_step.notnull().any()


@pytest.mark.slow
def test_probes_and_compared_data_sets_are_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    first = run(tmp_path / "a", "--num_seeds=1", name="regularization")
    more = run(tmp_path / "a", "--num_seeds=2", "--extend", name="regularization")
    assert_kept(more, first)
    assert more.near_zero_share.notnull().all()
    compared_data(monkeypatch)
    first = run(tmp_path / "b", "--num_seeds=1", name="dataset_mixup")
    epochs.clear()
    more = run(tmp_path / "b", "--num_seeds=2", "--extend", name="dataset_mixup")
    assert sum(epochs) == 2 * 4
    assert_kept(more, first)


@pytest.mark.slow
def test_what_cannot_be_extended_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--divisors=255", "--losses=softmax", "--num_seeds=1"]

    def line(*arguments: str, out_dir: Path | None = tmp_path / "x") -> str:
        place = [f"--out_dir={out_dir}"] if out_dir else []
        argv = ["scale_sweep", *SMALL, *flags, *arguments, "--extend", *place]
        with pytest.raises(UserError) as caught:
            command_line.execute([EXPERIMENT], argv)
        return str(caught.value)

    assert "There are no results at" in line()
    assert "--extend requires a single experiment and the --out_dir" in line(
        out_dir=None
    )
    run(tmp_path / "x", *flags)
    for flag in ("--halving", "--keep_states=all", "--overwrite"):
        assert f"{flag.split('=')[0]} and --extend cannot be combined" in line(flag)
    assert "none of these runs: batch_size was 32 and is now 50" in line(
        "--batch_sizes=50"
    )
    settings = json.loads((tmp_path / "x" / "config.json").read_text())
    settings["environment"]["jax"] = "0.0.1"
    (tmp_path / "x" / "config.json").write_text(json.dumps(settings))
    assert "cannot be extended: jax was 0.0.1 and is now" in line()
    smaller = [f.replace("200", "190") for f in SMALL]
    monkeypatch.setattr("tests.runner.test_extension.SMALL", smaller)
    settings["environment"]["jax"] = __import__("jax").__version__
    (tmp_path / "x" / "config.json").write_text(json.dumps(settings))
    assert "the results are from other data" in line()


@pytest.mark.slow
def test_runs_that_would_be_lost_are_named(tmp_path: Path) -> None:
    flags = ["--losses=softmax", "--num_seeds=2"]
    run(tmp_path, *flags, "--divisors=1,255")
    before = (tmp_path / "results.nc").read_bytes()
    for changed, lost in (
        (["--losses=softmax", "--num_seeds=1", "--divisors=1,255"], "seed 1"),
        ([*flags, "--divisors=255,1000"], "divisor 1"),
    ):
        with pytest.raises(UserError, match=f"runs with {lost}.*, which would be lost"):
            run(tmp_path, *changed, "--extend")
    assert (tmp_path / "results.nc").read_bytes() == before


@pytest.mark.slow
def test_runs_that_do_not_depend_on_an_axis_stay(
    tmp_path: Path, epochs: list[int]
) -> None:
    flags = ["--losses=softmax", "--divisors=255", "--num_seeds=2"]
    first = run(tmp_path, *flags, "--optimizers=adam")
    epochs.clear()
    both = ["--optimizers=adam,momentum", "--momenta=.5,.9"]
    second = run(tmp_path, *flags, *both, "--extend")
    assert sum(epochs) == 2 * 4  # not those of adam
    for momentum in (0.5, 0.9):
        adam = second.sel(optimizer="adam", momentum=momentum)
        np.testing.assert_array_equal(adam.test_loss, first.test_loss)
    epochs.clear()
    more = ["--optimizers=adam,momentum", "--momenta=.1,.5,.9"]
    third = run(tmp_path, *flags, *more, "--extend")
    assert sum(epochs) == 2 * 2
    assert_kept(third, second)


@pytest.mark.slow
def test_states_and_other_data_are_not_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "x", "--num_seeds=1", "--keep_states=all", "--divisors=255")
    with pytest.raises(UserError, match="has trained states, to which --extend cannot"):
        run(tmp_path / "x", "--num_seeds=2", "--divisors=255", "--extend")
    data = compared_data(monkeypatch)
    run(tmp_path / "b", "--num_seeds=1", name="dataset_mixup")
    data["mnist"] = data["mnist"].first(train=90)
    with pytest.raises(UserError, match="the results are from other data"):
        run(tmp_path / "b", "--num_seeds=2", "--extend", name="dataset_mixup")
