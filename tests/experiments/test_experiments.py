import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import experiments
from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.data import idx, load
from fmnist_jax.errors import UserError
from fmnist_jax.runner import (
    command_line,
    execution,
    flags,
    jobs,
)
from fmnist_jax.sweeps.engine import sweep

ROOT = Path(__file__).parents[2]
TINY = ["--dataset=synthetic", "--train_examples=96", "--test_examples=50"]


def options(*arguments: str) -> dict[str, Any]:
    return flags.parse(["program", *arguments])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,255,1000", (1.0, 255.0, 1000.0)),
        ("0.5", (0.5,)),
        ("1e-2:1e2:5", (1e-2, 1e-1, 1.0, 1e1, 1e2)),
        ("7,1:1e2:3", (7.0, 1.0, 10.0, 100.0)),
        (" 1 , 2", (1.0, 2.0)),
        ("3:9:1", (3.0,)),
    ],
)
def test_lists_of_numbers(text: str, values: tuple[float, ...]) -> None:
    assert options(f"--divisors={text}")["settings"]["divisor"] == values


def test_log_spaced_lists_equal_those_of_numpy() -> None:
    values = options("--learning_rates=1e-5:1:16")["settings"]["learning_rate"]
    np.testing.assert_allclose(values, np.logspace(-5, 0, 16), rtol=1e-11)


def test_other_lists() -> None:
    settings = options("--hidden_sizes=none,128,1000x10", "--batch_sizes", "32,64",
                    "--optimizers=sgd,adam")["settings"]  # fmt: skip
    assert settings == {
        "hidden_sizes": ((), (128,), (1000, 10)),
        "batch_size": (32, 64),
        "optimizer": ("sgd", "adam"),
    }


MISTAKES = [
    ("--divisors=", "--divisors is empty"),
    ("--divisors=0", "'0' is not allowed; expected a positive number"),
    ("--divisors=-1", "'-1' is not allowed; expected a positive number"),
    ("--divisors=nan", "'nan' is not allowed"),
    ("--divisors=inf", "'inf' is not allowed"),
    ("--divisors=abc", "'abc' is not allowed"),
    ("--divisors=1;2", "'1;2' is not allowed"),
    ("--divisors=1,,2", "'' is not allowed"),
    ("--divisors=1,1", "twice"),
    ("--divisors=1:2", "start:stop:count, such as"),
    ("--divisors=1e6,1000000.0001", "divisor has 1000000.0 twice"),
    ("--divisors=1e-40", "expected a positive number .from 1.2e-38 to 3.4e38"),
    ("--divisors=2 --divisors=3", "--divisors is given twice"),
    ("--out_dir=", "--out_dir is empty"),
    ("--preset= ", "--preset is empty"),
    ("--dry_run=maybe", "--dry_run is a switch"),
    ("--flagfile=/etc/hostname", "Unknown flag '--flagfile=/etc/hostname'"),
    ("--undefok=foo --foo=1", "Unknown flag '--undefok=foo'"),
    ("--num_seeds=99999999999", "--num_seeds: '99999999999' is not allowed"),
    ("--num_seeds=1000000", "6,000,000 runs; expected at most 1,000,000"),
    ("--hidden_sizes=0", "expected none, or sizes from 1 to 1,000,000"),
    ("--hidden_sizes=1000000x1000000", "this machine has .* GB"),
    ("--divisors=1:2:3:4", "start:stop:count"),
    ("--divisors=1:10:0", "'0' is not allowed; expected a whole number"),
    ("--divisors=1:10:200000", "at most 100000 values"),
    ("--learning_rates=-1:1:3", "'-1' is not allowed"),
    ("--batch_sizes=1.5", "'1.5' is not allowed; expected a whole number"),
    ("--hidden_sizes=10x", "'10x' is not allowed; expected none, or sizes"),
    ("--optimizers=adm", "'adm' is not allowed; expected one of sgd"),
    ("--losses=hinge", "expected one of softmax, clipped"),
    ("--epochs=0", "--epochs: '0' is not allowed; expected a whole number from 1"),
    ("--num_seeds=0", "--num_seeds: '0' is not allowed"),
    (
        "--preset=bok",
        "Unknown preset 'bok'; expected one of book, keras, lab. Did you mean",
    ),
    ("--divisor=3", "Unknown flag --divisor. Did you mean --divisors?"),
    ("--momenta=0.5", r"\(--momenta\) has no effect here: it needs .*--optimizers"),
    (
        "--plateau_patiences=0",
        r"--plateau_patiences.* schedule \(--schedules\) plateau\. ",
    ),
    ("--min_learning_rates=0", r"has no effect .*\(--schedules\) plateau or cosine\. "),
    ("--schedules=cosine --plateau_factors=0.5", r"--plateau_factors\) has no effect"),
    ("--plateau_patiences=0.5", "'0.5' is not allowed; expected a whole number"),
    ("--dropout_rates=1", "'1' is not allowed; expected a number from 0 to below 1"),
    ("--target_accuracies=80", "'80' is not allowed; .* to 1, or inf for never"),
    ("--batch_norms=yes", "'yes' is not allowed; expected one of off, on, frozen"),
    ("stray", "Stray argument 'stray'"),
    ("--overwrite=maybe", "overwrite"),
    ("--dataset=fashon_mnist", "Unknown dataset 'fashon_mnist'.*fashion_mnist"),
    ("--dataset=fashion_mnist", "Fashion-MNIST"),
    ("--dataset=idx", "--data_dir"),
    ("--data_dir=/no/such/folder", "/no/such/folder"),
    ("--train_examples=60001", "only 60,000"),
    ("--batch_sizes=97", "--batch_sizes=97 is larger than the training set"),
]


def split(arguments: str) -> list[str]:
    return re.split(" (?=--)", arguments)


@pytest.mark.parametrize(("argument", "message"), MISTAKES, ids=lambda m: m[:24])
def test_mistakes_are_one_line_before_any_training(
    argument: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def no_training(*_: object) -> None:
        raise AssertionError("training began")

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(execution, "_train", no_training)
    common_flags = [flag for flag in TINY if flag[:9] != argument[:9]]
    with pytest.raises(SystemExit) as caught:
        command_line.main(EXPERIMENT, ["program", *common_flags, *split(argument)])
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert re.search(message, captured.err), captured.err
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.nc"))
    assert not (tmp_path / "runs").exists()


def test_damaged_data_files_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = load("synthetic", train_examples=20, test_examples=10)
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = getattr(data, split)
        header = b"\0\0\x08\x03" + np.array(images.shape, ">i4").tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = b"\0\0\x08\x01" + np.array(labels.shape, ">i4").tobytes()
        labels = labels.astype(np.uint8)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    whole = ["program", "--dataset=idx", f"--data_dir={tmp_path}", "--dry_run"]
    with pytest.raises(SystemExit) as caught:
        command_line.main(EXPERIMENT, whole)
    assert caught.value.code == 0
    path = tmp_path / idx.FILES["train_images"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SystemExit) as caught:
        command_line.main(EXPERIMENT, whole)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert path.name in error
    assert error.count("\n") == 1


def test_flags_override_axes_and_axes_override_the_preset() -> None:
    job = jobs.make_job(EXPERIMENT, options("--preset=book", "--divisors=7"))
    assert job.axes["divisor"] == (7.0,)  # an axis even with one value
    assert job.axes["loss"] == ("clipped", "softmax")  # overrides softmax of the preset
    assert list(job.axes) == ["divisor", "loss", "seed"]
    (variant,) = job.variants
    assert variant.config.hidden_sizes == (1000,)
    assert variant.config.optimizer == "sgd"
    assert variant.hparams.learning_rate == 1e-2
    job = jobs.make_job(
        EXPERIMENT,
        options(
            "--learning_rates=1,2",
            "--optimizers=rmsprop",
            "--epochs=3",
            "--num_seeds=4",
            "--eps=1e-3",
        ),
    )
    assert list(job.axes) == ["divisor", "loss", "learning_rate", "seed"]
    (variant,) = job.variants
    assert variant.config.optimizer == "rmsprop"
    assert variant.config.num_epochs == 3
    assert job.axes["seed"] == range(4)
    assert variant.hparams.eps == 1e-3


@pytest.mark.slow
def test_every_setting_reaches_the_results(tmp_path: Path) -> None:
    arguments = [
        "--divisors=255", "--losses=softmax", "--hidden_sizes=4", "--optimizers=sgd",
        "--dropout_rates=0,.25", "--target_accuracies=.8,inf", "--schedules=plateau",
        "--plateau_patiences=0", "--batch_norms=frozen", "--penalized=kernels",
        "--l1s=1e-4", "--orders=file", "--epochs=2", "--num_seeds=1",
    ]  # fmt: skip
    job = jobs.make_job(EXPERIMENT, options(*arguments))
    data = load("synthetic", train_examples=64, test_examples=50)
    (variant,) = job.variants
    dataset = sweep(job.axes, data, variant.config, variant.hparams)
    results.save(dataset, tmp_path, {})
    dataset = results.load(tmp_path)
    coordinates = {name: dataset[name].values.tolist() for name in dataset.coords}
    assert coordinates == {
        "divisor": [255], "loss": ["softmax"], "dropout_rate": [0, 0.25],
        "target_accuracy": [0.8, np.inf], "batch_norm": "frozen", "seed": [0],
        "epoch": [1, 2], "hidden_sizes": "4", "optimizer": "sgd", "learning_rate": 1e-3,
        "schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.1,
        "plateau_threshold": 1e-4, "min_learning_rate": 0, "penalized": "kernels",
        "l1": 1e-4, "l2": 0, "l2_squared": 0, "order": "file", "initializer": "keras",
        "batch_size": 32, "num_epochs": 2, "evaluate_train": "True",
        "evaluate_dropout": "False", "precision": "float32", "first_kernel_scale": 1,
        "first_kernel_rate": 1,
    }  # fmt: skip
    assert np.isfinite(dataset.test_loss).all()
    assert (dataset.train_penalty > 0).all()
    assert dataset.stopped_epoch.dims == dataset.status.dims


def test_default_batch_sizes_are_capped_with_a_notice() -> None:
    job = jobs.make_job(EXPERIMENT, options())
    capped = jobs._cap_batch_sizes(job, 20)
    assert capped.variants[0].config.batch_size == 20
    assert "capped at the 20" in capped.notices[0]
    assert jobs._cap_batch_sizes(job, 32) is job
    axis = jobs.make_job(EXPERIMENT, {**options(), "settings": {}})
    axis = dataclasses.replace(axis, axes={"batch_size": (8, 32, 99)})
    assert jobs._cap_batch_sizes(axis, 20).axes["batch_size"] == (8, 20)
    job = jobs.make_job(EXPERIMENT, options("--batch_sizes=21"))
    with pytest.raises(UserError, match="larger than the training set"):
        jobs._cap_batch_sizes(job, 20)


def command(*arguments: str, module: str = "experiments.scale_sweep") -> Any:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True,
        cwd=ROOT, env=os.environ, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_whole_experiment_from_the_shell(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "é"
    flags = [*TINY, "--divisors=1,255", "--num_seeds=2", "--epochs=2"]
    done = command(*flags, f"--out_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {
        "results.nc", "summary.csv", "config.json", "curves.png", "final.png"
    }  # fmt: skip
    dataset = results.load(folder)
    assert dataset.test_loss.dims == ("divisor", "loss", "seed", "epoch")
    assert dataset.test_loss.shape == (2, 2, 2, 2)
    assert np.isfinite(dataset.test_loss).all()
    settings = json.loads((folder / "config.json").read_text())
    assert settings["datasets"][0]["name"] == "synthetic"
    assert settings["settings"]["learning_rate"] == 1e-3
    assert settings["command"][2:6] == ["experiments.scale_sweep", *TINY]
    for text in ("synthetic data", "8 runs in 2 programs", "÷255", "Best test",
                 "loss clipped: ", str(folder / "curves.png")):  # fmt: skip
        assert text in done.stdout
    before = (folder / "results.nc").read_bytes()
    again = command(*flags, f"--out_dir={folder}")
    assert again.returncode == 2
    assert "xarray.open_dataset" in again.stderr
    assert again.stderr.count("\n") == 1
    assert (folder / "results.nc").read_bytes() == before
    # The same bytes on the same machine, since there is no time stamp.
    assert command(*flags, f"--out_dir={folder}", "--overwrite").returncode == 0
    assert (folder / "results.nc").read_bytes() == before


def test_dry_run_and_help_write_nothing_and_do_not_import_jax(tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('JAX' if 'jax' in sys.modules else 'no JAX'))\n"
        "from experiments.scale_sweep import EXPERIMENT, main\n"
        "main(EXPERIMENT, sys.argv)\n"
    )
    for flag, expected in {
        "--dry_run": "18 runs in 2 programs", "--help": "--b1s", "-h": "--b1s"
    }.items():  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, *TINY, flag, f"--out_dir={tmp_path / 'out'}"],
            capture_output=True, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
        assert expected in done.stdout
        assert done.stdout.endswith("no JAX\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_data_checks_answer_without_jax(tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('JAX' if 'jax' in sys.modules else 'no JAX'))\n"
        "from experiments.data_checks import EXPERIMENT, main\n"
        "main(EXPERIMENT, sys.argv)\n"
    )
    folder = tmp_path / "out"

    def check(*more: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", code, *TINY, f"--out_dir={folder}", *more],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip

    planned = check("--dry_run")
    assert "Data set: synthetic data" in planned.stdout
    assert not folder.exists()
    done = check()
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("no JAX\n")
    for text in ("Data set: synthetic data", "96 training and 50 test", "T-shirt",
                 "Shuffled? ", "Split? ", "Scaled? No", "Balanced? ",
                 str(folder / "samples.png")):  # fmt: skip
        assert text in done.stdout
    facts = json.loads((folder / "config.json").read_text())
    assert facts["datasets"][0]["name"] == "synthetic"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", *facts["tables"], *facts["figures"]
    }  # fmt: skip
    assert facts["command"][2:6] == ["experiments.data_checks", *TINY]
    again = check()
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert f"open {folder / 'config.json'}" in again.stderr
    assert check("--overwrite").returncode == 0


def test_data_checks_take_only_the_flags_that_they_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = find_experiments()["data_checks"]
    used = "dataset, --data_dir, --train_examples, --test_examples, --out_dir"
    for flag in ("--divisors=1", "--epochs=2", "--preset=book", "--num_seeds=1"):
        with pytest.raises(UserError, match="has no effect: data_checks") as error:
            flags.parse(["program", flag], [checks])
        assert used in str(error.value)
        parsed = flags.parse(["program", flag, "--overwrite"], [checks, EXPERIMENT])
        assert parsed["overwrite"]
        for typed in ([flag], flag.split("=")):
            argv = ["program", *typed, "--out_dir", "x", "--overwrite"]
            arguments = flags.experiment_arguments(argv, checks, Path("y"))
            assert arguments == ["--out_dir=y"]
            arguments = flags.experiment_arguments(argv, EXPERIMENT, Path("y"))
            assert arguments == [flag, "--out_dir=y"]
    with pytest.raises(SystemExit) as caught:
        command_line.main(checks, ["program", "--help"])
    output = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--train_examples" in output
    assert "--epochs" not in output
    assert "--divisors" not in output


def test_commands_are_rebuilt_with_the_same_meaning() -> None:
    """The argument after a flag without a value is its value, whatever it is."""
    for argv in (["--out_dir", "-x", "--epochs", "2"], ["-epochs", "2", "--out_dir=y"],
                 ["--epochs", "2", "--out_dir", "--overwrite", "--"]):  # fmt: skip
        assert options(*argv)["epochs"] == 2
        assert not options(*argv)["overwrite"]
        rebuilt = flags.command([EXPERIMENT], ["program", *argv], Path("-x"))
        assert rebuilt == "python -m experiments.scale_sweep --epochs=2 --out_dir=-x"
        assert flags.without(["program", *argv], ["out_dir", "epochs"]) == []


@pytest.mark.slow
def test_unusable_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        done = command(*TINY, f"--out_dir={folder}")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: --out_dir=")
        assert done.stderr.count("\n") == 1


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
        assert row in (ROOT / "README.md").read_text(), f"README.md lacks {row}"
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
    "trainability_map": ["--divisors=1:1e3:3", "--learning_rates=1e-3:1e-1:2"],
}
TRAINED = {n: e for n, e in find_experiments().items() if e.trains}


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
    axes = [*TRAINED[name].variants, *plane, *(TRAINED[name].axes or ())]
    assert list(dataset.status.dims) == [*axes, "seed"]
    assert (tmp_path / "out" / "config.json").exists()
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert drawn
    output = capsys.readouterr().out
    assert TRAINED[name].question in output
    assert all(name in output for name in drawn)


def test_a_flag_for_a_setting_of_the_variants_is_refused() -> None:
    regularization = TRAINED["regularization"]
    with pytest.raises(UserError, match=r"--l1s: .* compares fixed settings"):
        jobs.make_job(regularization, options("--l1s=1e-3"))
    job = jobs.make_job(regularization, options("--learning_rates=.5"))
    assert {v.hparams.learning_rate for v in job.variants} == {0.5}
    assert [v.label for v in job.variants][:2] == ["none", "L1"]
    assert [v.hparams.l1 for v in job.variants][:2] == [None, 1e-4]


def test_the_dataset_flag_replaces_the_compared_data_sets() -> None:
    mixup = TRAINED["dataset_mixup"]
    both = jobs.make_job(mixup, options()).variants
    assert [v.dataset for v in both] == ["mnist", "fashion_mnist"]
    (one,) = jobs.make_job(mixup, options("--dataset=synthetic")).variants
    assert (one.label, one.dataset) == ("synthetic", "synthetic")


def test_settings_of_an_experiment_override_the_preset_but_not_flags() -> None:
    annealing = TRAINED["annealing"]
    (variant,) = jobs.make_job(annealing, options("--preset=keras")).variants
    assert variant.config.num_epochs == 30
    assert variant.hparams.plateau_factor == 0.5
    arguments = options("--plateau_factors=.1", "--epochs=4")
    (variant,) = jobs.make_job(annealing, arguments).variants
    assert (variant.config.num_epochs, variant.hparams.plateau_factor) == (4, 0.1)


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
    assert "from the first on (default: 500)" in capsys.readouterr().out.replace(
        "\n", " "
    )
