"""Commands where the modules and functions of POSIX are absent, as on Windows."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# filelock has means of its own on Windows, so it is loaded first, as it is here.
WITHOUT_POSIX = """
import os, runpy, signal, sys
import filelock

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ImportError(f"No module named {name!r}")

ABSENT = {"fcntl", "resource", "pwd", "grp", "termios"}
for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGKILL"):
    delattr(signal, name)
for name in ("sysconf", "sched_getaffinity", "fork", "getuid", "geteuid"):
    delattr(os, name)

open_any = os.open

def open_file(path, flags, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return open_any(path, flags, *arguments, **options)

fsync_any = os.fsync

def fsync(number):
    os.write(number, b"")  # raises for a file that is open for reading only
    fsync_any(number)

os.open, os.fsync = open_file, fsync
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
COMMAND = (
    *("experiments.scale_sweep", "--dataset=synthetic", "--train_examples=200"),
    *("--test_examples=100", "--divisors=1,255", "--num_seeds=1", "--epochs=1"),
    "--hidden_sizes=8",
)


@pytest.mark.slow
def test_a_sweep_runs_without_the_modules_and_functions_of_posix(
    tmp_path: Path,
) -> None:
    def run(*how: str) -> str:
        done = subprocess.run(
            [sys.executable, *how], capture_output=True, text=True, cwd=ROOT
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    here, there = tmp_path / "here", tmp_path / "there"
    script = ("-c", WITHOUT_POSIX, *COMMAND, f"--out_dir={there}")
    assert "4 runs in 2 programs" in run(*script, "--dry_run")
    assert not there.exists()
    run(*script)
    run("-m", *COMMAND, f"--out_dir={here}")
    names = {path.name for path in here.iterdir()}
    assert {"results.nc", "summary.csv", "config.json", "curves.png"} <= names
    assert {path.name for path in there.iterdir()} == names
    same = (path / "results.nc" for path in (here, there))
    assert len({path.read_bytes() for path in same}) == 1
