"""Kills the processes of a sweep on workers, at random times.

    python -m benchmarks.worker_kills worker [--times=30]
    python -m benchmarks.worker_kills workers|scheduler|client [--times=3]

``worker`` kills one of two workers, ``workers`` both: the sweep has to end by itself.
``scheduler`` kills a scheduler that was started separately, and ``client`` the command:
the sweep has to resume. The results must have the bytes of a single process, and no
process may be left.
"""

import argparse
import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.survival import ROOT, SMALL, results_in, run_job

JOB = [
    "experiments.scale_sweep", *SMALL, "--hidden_sizes=16,8", "--divisors=1:1e6:7",
    "--num_seeds=1", "--epochs=150",
]  # fmt: skip
WORKERS = "--workers=2"
VICTIMS = ("worker", "workers", "scheduler", "client")


def start(out_dir: Path, flag: str) -> subprocess.Popen[str]:
    """Starts the sweep with a flag that names its workers."""
    command = [sys.executable, "-m", *JOB, flag, f"--out_dir={out_dir}"]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def worker_processes(pid: int) -> list[psutil.Process]:
    """Returns the worker processes that a command has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
        return [c for c in children if "spawn_main" in " ".join(_command(c))]
    return []


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return list(process.cmdline())
    return []


def _start_dask(command: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command}", *flags], cwd=ROOT,
        text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextlib.contextmanager
def scheduler_and_workers(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Starts a scheduler and two workers on loopback; yields its file and process."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    place = [f"--scheduler-file={file}", "--host=127.0.0.1", "--no-dashboard"]
    more = [f"--nthreads={os.cpu_count()}", "--memory-limit=0", "--death-timeout=20"]
    scheduler = _start_dask("scheduler", *place, "--port=0")
    while not file.exists():
        time.sleep(0.1)
    workers = [_start_dask("worker", *place, *more) for _ in range(2)]
    try:
        yield str(file), scheduler
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            process.wait()


def ends_by_itself(
    out_dir: Path, victim: str, seconds: float, rng: random.Random
) -> str:
    """Kills workers of a command after a random time; returns what happened."""
    running = start(out_dir, WORKERS)
    kill_time = time.monotonic() + rng.uniform(2, seconds)
    while time.monotonic() < kill_time and running.poll() is None:
        time.sleep(0.05)
    targets = worker_processes(running.pid)
    targets = (
        targets if victim == "workers" else rng.sample(targets, min(1, len(targets)))
    )
    for target in targets:
        with contextlib.suppress(psutil.NoSuchProcess):
            target.kill()
    _, text = running.communicate(timeout=600)
    if running.returncode:
        sys.exit(f"exit {running.returncode}\n{text}")
    return f"killed {len(targets)} of the workers; it ended by itself"


def resumes(
    out_dir: Path, victim: str, seconds: float, rng: random.Random, folder: Path
) -> str:
    """Kills the scheduler or the command, and resumes; returns what happened."""
    with contextlib.ExitStack() as stack:
        flag, scheduler = WORKERS, None
        if victim == "scheduler":
            file, scheduler = stack.enter_context(scheduler_and_workers(folder))
            flag = f"--scheduler={file}"
        running = start(out_dir, flag)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(5, seconds))
        left = worker_processes(running.pid)
        (scheduler or running).send_signal(signal.SIGKILL)
        _, text = running.communicate(timeout=300)
        lines = [line for line in text.splitlines() if line.startswith("Error")]
    deadline = time.monotonic() + 60
    while any(p.is_running() and p.status() != "zombie" for p in left):
        if time.monotonic() > deadline:
            sys.exit(f"worker processes are left: {left}")
        time.sleep(0.2)
    saved = len(list(out_dir.rglob("*.part")))
    if not (out_dir / "results.nc").exists() or (out_dir / "parts").exists():
        run_job([*JOB, WORKERS], out_dir)
    return f"killed the {victim} ({' '.join(lines)}); resumed from {saved} checkpoints"


def main() -> None:
    """Kills and compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("victim", choices=VICTIMS)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_job(JOB, folder / "alone")
        expected = results_in(folder / "alone")
        seconds = run_job([*JOB, WORKERS], folder / "whole")
        print(f"{shlex.join(JOB)}, uninterrupted on two workers: {seconds:.1f} s")
        for number in range(args.times):
            out_dir = folder / f"sweep-{number}"
            more = (args.victim, seconds, rng)
            if args.victim in ("worker", "workers"):
                line = ends_by_itself(out_dir, *more)
            else:
                line = resumes(out_dir, *more, folder)
            is_same = results_in(out_dir) == expected
            print(
                f"{number + 1}: {line}; results "
                f"{'the same bytes' if is_same else 'DIFFER'}",
                flush=True,
            )
            if not is_same:
                sys.exit(1)


if __name__ == "__main__":
    main()
