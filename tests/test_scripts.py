"""The scripts of docs and benchmarks: help, mistakes of the user, interruptions."""

import ast
import importlib.metadata
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import frozen_loss, scripts
from fmnist_jax import devices
from fmnist_jax.errors import UserError

ROOT = Path(__file__).parents[1]
SCRIPTS = (
    ("docs/predictions.py", "predict"),
    ("docs/predictions.py", "measure"),
    ("docs/catapult.py",),
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
def test_help_is_the_docstring_of_the_script(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    output = capsys.readouterr()
    assert (ast.get_docstring(ast.parse(path.read_text())) or "?") in output.out
    assert output.err == ""


def test_an_interrupted_script_prints_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(folder: str) -> None:
        raise KeyboardInterrupt

    for argv, code, text in (
        (["x", "folder"], 130, "\nInterrupted.\n"),
        (["x", "--help"], 0, ""),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as stopped:
            scripts.run(main, "The usage.")
        assert (stopped.value.code, capsys.readouterr().err) == (code, text)
    for argv in (["x"], ["x", "folder", "another"]):
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit, match=r"^The usage\.$"):
            scripts.run(main, "The usage.")


def test_the_command_of_predictions_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "predct", "folder"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "docs/predictions.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert "expected one of measure, predict. Did you mean predict?" in (
        capsys.readouterr().err
    )


def test_without_keras_the_message_is_the_pip_command(
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


def test_the_error_of_a_failed_backend_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _child(monkeypatch, "import sys; print('before'); sys.exit('no such library')")
    with pytest.raises(SystemExit, match=r"Keras on torch failed:\nno such library"):
        frozen_loss.measured("torch", "anywhere")


def test_only_lines_of_results_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["a result of", "result logits 1.5 0.5", "result probabilities 14 0.1"]
    _child(monkeypatch, f"print(*{lines}, sep='\\n')")
    scores = frozen_loss.measured("jax", "anywhere")
    assert scores == {"probabilities": [[14.0, 0.1]], "logits": [[1.5, 0.5]]}
