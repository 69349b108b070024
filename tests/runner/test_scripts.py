"""The scripts that measure what the documentation says: a user's mistakes."""

import ast
import importlib.metadata
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import frozen_loss
from fmnist_jax import devices
from fmnist_jax.errors import UserError
from fmnist_jax.runner import scripts

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    ("docs/predictions.py", "predict"),
    ("docs/predictions.py", "measure"),
    ("docs/remedies.py",),
    ("docs/scaling.py",),
    ("docs/tiny_batch_norm.py",),
    ("benchmarks/frozen_loss.py",),
)

RUN = [
    path
    for folder in ("docs", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
]


@pytest.mark.parametrize("command", SCRIPTS, ids=" ".join)
def test_a_wrong_data_folder_gets_one_line(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(devices, "num_cpu_cores", lambda: len(jax.devices("cpu")))
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(sys, "argv", [*command, missing])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ")
    assert missing in line


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_help_is_what_the_script_says_of_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    said = capsys.readouterr()
    assert (ast.get_docstring(ast.parse(path.read_text())) or "?") in said.out
    assert said.err == ""


def test_a_script_that_is_interrupted_says_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(folder: str) -> None:
        raise KeyboardInterrupt

    for given, code, words in (
        (["x", "folder"], 130, "\nInterrupted.\n"),
        (["x", "--help"], 0, ""),
    ):
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as stopped:
            scripts.run(main, "What it is.")
        assert (stopped.value.code, capsys.readouterr().err) == (code, words)
    for given in (["x"], ["x", "folder", "another"]):
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit, match=r"^What it is\.$"):
            scripts.run(main, "What it is.")


def test_what_predictions_are_to_do_is_one_of_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "predct", "folder"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "docs/predictions.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert "expected one of measure, predict. Did you mean predict?" in (
        capsys.readouterr().err
    )


def test_without_keras_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(frozen_loss, "load", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"^Keras is not installed; pip install -r \S+"):
        frozen_loss.main("anywhere")


def _child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda _, **how: run([sys.executable, "-c", code], **how)
    )


def test_a_backend_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    _child(monkeypatch, "import sys; print('before'); sys.exit('no such library')")
    with pytest.raises(SystemExit, match=r"Keras on torch failed:\nno such library"):
        frozen_loss.measured("torch", "anywhere")


def test_only_lines_of_results_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["a result of", "result logits 1.5 0.5", "result softmax 14 0.1"]
    _child(monkeypatch, f"print(*{lines}, sep='\\n')")
    found = frozen_loss.measured("jax", "anywhere")
    assert found == {"softmax": [[14.0, 0.1]], "logits": [[1.5, 0.5]]}
