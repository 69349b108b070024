"""The checks of a data set, from the shell."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, flags, rebuilt
from tests.command_lines import ROOT, TINY


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
        "config.json", "report.html", *facts["tables"], *facts["figures"]
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
    used = "--train_examples, --test_examples, --subset, --out_dir"
    for flag in ("--divisors=1", "--epochs=2", "--preset=book", "--num_seeds=1"):
        with pytest.raises(UserError, match="has no effect: data_checks") as error:
            flags.parse(["program", flag], [checks])
        assert used in str(error.value)
        parsed = flags.parse(["program", flag, "--overwrite"], [checks, EXPERIMENT])
        assert parsed["overwrite"]
        for typed in ([flag], flag.split("=")):
            given = flags.read(["program", *typed, "--out_dir", "x", "--overwrite"])
            arguments = rebuilt.experiment_arguments(given, checks, Path("y"))
            assert arguments == ["--out_dir=y"]
            arguments = rebuilt.experiment_arguments(given, EXPERIMENT, Path("y"))
            assert arguments == [flag, "--out_dir=y"]
    with pytest.raises(SystemExit) as caught:
        command_line.main(checks, ["program", "--help"])
    output = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--train_examples" in output
    assert "--epochs" not in output
    assert "--divisors" not in output
