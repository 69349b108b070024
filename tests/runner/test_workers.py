"""Commands with --workers: the same bytes, Ctrl-C, loopback only, nothing left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line
from tests.sweeps.test_resuming import FLAGS, ROOT, execute, undisturbed

__all__ = ["undisturbed"]

psutil = pytest.importorskip("psutil", reason="distributed needs it")
pytest.importorskip("distributed", reason="in requirements-workers.txt")
SECONDS_TO_END = 60


def tree_of(pid: int) -> list[Any]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@pytest.mark.slow
def test_a_command_with_workers_is_stopped_and_resumed_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    flags = [flag for flag in FLAGS if flag != "--epochs=4"] + ["--epochs=900"]
    alone, out_dir = tmp_path / "alone", tmp_path / "out"
    command_line.execute([EXPERIMENT], ["x", *flags, f"--out_dir={alone}"])
    flags += ["--workers=2", f"--out_dir={out_dir}"]
    command = [sys.executable, "-m", "experiments.scale_sweep", *flags]
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    signal.signal(signal.SIGINT, original)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("To resume: "):
            break
    time.sleep(5)  # the workers train now
    processes = tree_of(process.pid)
    connections = [c for p in processes for c in p.net_connections("inet")]
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, for workers, too
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert listening == {"127.0.0.1"}
    assert "Interrupted. Completed work is saved." in errors
    assert "Traceback" not in errors
    _, left = psutil.wait_procs(processes[1:], timeout=SECONDS_TO_END)
    assert left == []
    command_line.execute([EXPERIMENT], ["x", *flags])
    first, second = (folder / "results.nc" for folder in (alone, out_dir))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_if_the_command_is_killed_its_workers_end(
    undisturbed: bytes, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "experiments.scale_sweep", *FLAGS, "--workers=2"]
    process = subprocess.Popen(
        [*command, f"--out_dir={tmp_path / 'out'}"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("To resume: "):
            break
    processes = tree_of(process.pid)
    process.kill()
    process.communicate(timeout=60)
    _, left = psutil.wait_procs(processes[1:], timeout=SECONDS_TO_END)
    assert left == []
    execute(tmp_path / "out")
    assert (tmp_path / "out" / "results.nc").read_bytes() == undisturbed


def test_a_scheduler_that_does_not_answer_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_jax.runner.workers.SECONDS_TO_CONNECT", 1)
    for place, message in (
        ("tcp://127.0.0.1:1", "--scheduler=tcp://127.0.0.1:1: no scheduler answers"),
        (str(tmp_path / "missing.json"), "no scheduler answers .* or a scheduler file"),
        ("http://127.0.0.1:1", "no scheduler answers"),
    ):
        argv = ["x", *FLAGS, f"--scheduler={place}", f"--out_dir={tmp_path / 'out'}"]
        with pytest.raises(UserError, match=message) as error:
            command_line.execute([EXPERIMENT], argv)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
