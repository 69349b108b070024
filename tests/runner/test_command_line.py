"""Commands: mistakes get one line, and whole experiments write their files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.data import idx, load
from fmnist_jax.runner import command_line, execution
from tests.command_lines import ROOT, TINY, command

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
    ("--divisors=1:2", "has no number of values: give start:stop:count"),
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
    (
        "--dropout_rates=1",
        "'1' is not allowed; expected a number of at least 0 and less than 1",
    ),
    ("--target_accuracies=80", "'80' is not allowed; .* to 1, or inf for never"),
    ("--batch_norms=yes", "'yes' is not allowed; expected one of off, on, frozen"),
    ("stray", "Stray argument 'stray'"),
    ("--overwrite=maybe", "overwrite"),
    ("--dataset=fashon_mnist", "Unknown dataset 'fashon_mnist'.*fashion_mnist"),
    ("--dataset=fashion_mnist", "Fashion-MNIST"),
    ("--dataset=idx", "--data_dir"),
    ("--data_dir=/no/such/folder", "/no/such/folder"),
    ("--train_examples=60001", "from 1 to 60,000"),
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


@pytest.mark.slow
def test_a_whole_experiment_from_the_shell(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "é"
    flags = [*TINY, "--divisors=1,255", "--num_seeds=2", "--epochs=2"]
    done = command(*flags, f"--out_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {
        "results.nc", "summary.csv", "config.json", "curves.png", "final.png",
        "report.html",
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
def test_unusable_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        done = command(*TINY, f"--out_dir={folder}")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: --out_dir=")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_no_time_is_promised_for_an_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The estimate is from this processor's speed, which says nothing about a GPU."""
    monkeypatch.setattr(execution, "accelerator", lambda: "NVIDIA H100")
    argv = ["x", *TINY, "--divisors=255", "--epochs=1", "--losses=softmax"]
    command_line.execute([EXPERIMENT], [*argv, f"--out_dir={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if "in 1 program; " in line)
    memory = r"expected: \d+ MB\."
    assert re.search(f"NVIDIA H100, whose speed is not estimated; {memory}", line)
