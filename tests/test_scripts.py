"""The scripts that measure what the documentation says: a user's mistakes."""

import importlib.metadata
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import frozen_loss
from fmnist_jax import devices
from fmnist_jax.kinds import UserError

ROOT = Path(__file__).parents[1]
SCRIPTS = (
    ("docs/predictions.py", "predict"),
    ("docs/predictions.py", "measure"),
    ("docs/remedies.py",),
    ("docs/scaling.py",),
    ("docs/tiny_batch_norm.py",),
    ("benchmarks/frozen_loss.py",),
)


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
