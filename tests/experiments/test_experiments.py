"""Every experiment: its listing, its name, its run on the synthetic data set."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path

import pytest

import experiments
from docs import generated
from experiments.__main__ import find_experiments
from experiments.normalization import BUNDLES
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line
from tests.command_lines import ROOT, TINY, command


@pytest.mark.slow
def test_experiments_are_listed_and_selected(tmp_path: Path) -> None:
    by_name = find_experiments()
    assert "scale_sweep" in by_name
    listed = command(module="experiments")
    assert listed.returncode == 0
    for name, experiment in by_name.items():
        assert name in listed.stdout
        assert experiment.question in listed.stdout
        path = ROOT / "experiments" / f"{name}.py"
        lines = path.read_text().splitlines()
        _, _, code = path.read_text().split('"""', 2)
        assert len([line for line in code.splitlines() if line]) <= 40
        assert lines[0].strip('"') == experiment.question
        assert lines[2].startswith(f"    python -m experiments.{name}")
        row = f"| `{name}` | {experiment.question} | `{lines[2].strip()}` |\n"
        assert row in generated.experiments_table()
    wrong = command("--only=scale_swep", module="experiments")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "Did you mean scale_sweep" in wrong.stderr
    one = command("--only=scale_sweep", *TINY, "--dry_run", module="experiments")
    assert "18 runs" in one.stdout


def test_an_experiment_needs_the_name_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "mine.py"
    text = (ROOT / "experiments" / "scale_sweep.py").read_text()
    copy.write_text(text)
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "experiments.mine", raising=False)
    with pytest.raises(UserError, match=r"mine\.py: .* named 'scale_sweep'; "):
        find_experiments()
    copy.write_text(text.replace('name="scale_sweep"', 'name="mine"'))
    monkeypatch.delitem(sys.modules, "experiments.mine")
    importlib.invalidate_caches()
    assert find_experiments().keys() == {"mine"}


# Flags that make an experiment small, beside those that all share.
SMALLER = {
    "optimizer_sweep": ["--optimizers=sgd,adam", "--learning_rates=1e-3,1e-2"],
    "depth_sweep": ["--hidden_sizes=none,5x4"],
    "learning_rate_sweep": ["--divisors=255"],
    "sigmoid_saturation": ["--divisors=1,255", "--losses=softmax"],
    "scale_sweep": ["--divisors=255", "--losses=softmax"],
    "batch_norm": ["--divisors=255"],
    "early_stopping": ["--target_accuracies=.01,inf"],
    "batch_size_sweep": ["--batch_sizes=20,50"],
    "normalization": ["--learning_rates=1e-3,1e-2"],
    "trainability_map": ["--divisors=1:1e3:3", "--learning_rates=1e-3:1e-1:2"],
}


# Those with a search of their own have their own tests.
TRAINED = {n: e for n, e in find_experiments().items() if e.trains and not e.search}
COMPARED = ("sgd: ÷255", "sgd: whiten", "adam: ÷255")
TRAINED["normalization"] = dataclasses.replace(
    TRAINED["normalization"],
    axes={
        **(TRAINED["normalization"].axes or {}),
        "input": {label: BUNDLES[label] for label in COMPARED},
    },
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_every_experiment_runs_on_the_synthetic_set(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [
        "--dataset=synthetic", "--train_examples=100", "--test_examples=40",
        "--epochs=2", "--num_seeds=2", f"--out_dir={tmp_path / 'out'}",
        *SMALLER.get(name, []),
    ]  # fmt: skip
    if name not in ("depth_sweep",):
        arguments.append("--hidden_sizes=6")
    if name != "batch_size_sweep":
        arguments.append("--batch_sizes=50")
    command_line.execute([TRAINED[name]], [name, *arguments])
    dataset = results.load(tmp_path / "out")
    assert dataset.sizes["epoch"] == 2
    assert dataset.sizes["seed"] == 2
    assert (dataset.status != "missing").all()
    plane = TRAINED[name].plane or ()
    compared = ["dataset"] if TRAINED[name].datasets else []
    axes = [*compared, *plane, *(TRAINED[name].axes or ())]
    assert list(dataset.status.dims) == [*axes, "seed"]
    assert (tmp_path / "out" / "config.json").exists()
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert drawn
    output = capsys.readouterr().out
    assert TRAINED[name].question in output
    assert all(name in output for name in drawn)


@pytest.mark.slow
def test_an_experiment_may_choose_a_small_training_set(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    both = [TRAINED["edge_of_stability"], EXPERIMENT]
    argv = ["program", "--dataset=synthetic", "--test_examples=50", "--dry_run",
            f"--out_dir={tmp_path}"]  # fmt: skip
    command_line.execute(both, argv)
    output = capsys.readouterr().out
    assert [int(n) for n in re.findall(r"(\d+) training and 50", output)] == [
        500,
        60000,
    ]
    command_line.execute(both, [*argv, "--train_examples=70"])
    assert capsys.readouterr().out.count(" 70 training and 50 test") == 2
    command_line.execute(both[:1], ["program", "--help"])
    assert "examples (default: 500)" in capsys.readouterr().out.replace("\n", " ")
