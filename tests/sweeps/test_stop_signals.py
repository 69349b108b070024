import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fmnist_jax.runner.command_line import run_command
from fmnist_jax.sweeps.stop_signals import STOP_SIGNALS, stop_signals

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--dataset=synthetic", "--train_examples=96", "--test_examples=50"),
    *("--divisors=255", "--losses=clipped", "--num_seeds=1", "--hidden_sizes=8"),
    "--epochs=3000",
)


@pytest.fixture(autouse=True)
def _restored() -> Any:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_signals_of_schedulers_stop_a_sweep_and_no_others_handlers() -> None:
    names = {signal.Signals(number).name for number in STOP_SIGNALS}
    assert names == {"SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"}
    calls = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signal.signal(signal.SIGUSR1, lambda *_: calls.append("the user's"))
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    with stop_signals() as is_stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not is_stopped()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert is_stopped()
    assert calls == ["the user's"]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_a_command_ignores_the_signals_that_nohup_ignores() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    with pytest.raises(SystemExit) as caught:
        run_command(lambda _: os.kill(os.getpid(), signal.SIGHUP), [])
    assert caught.value.code == 0
    with pytest.raises(SystemExit) as caught:
        run_command(lambda _: os.kill(os.getpid(), signal.SIGUSR1), [])
    assert caught.value.code == 130


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_sweep_ends_like_after_sigterm(tmp_path: Path, name: str) -> None:
    argv = [sys.executable, "-m", "experiments.scale_sweep", *FLAGS]
    pipe = subprocess.PIPE
    argv.append(f"--out_dir={tmp_path}")
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("To resume: "):
        assert process.poll() is None
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopping after this epoch" in errors
    assert errors.splitlines()[-1].startswith("To resume: python -m experiments.scale")
