"""Tests that killed and failed sweeps recover with the same results.

    python -m benchmarks.survival kill --times=50 [--job=several|halving|map]
    python -m benchmarks.survival full
    python -m benchmarks.survival soak --minutes=60
    python -m benchmarks.survival stall

``kill`` repeats a command, stopped by SIGKILL at random times, until it finishes: a
sweep, several experiments, successive halving or an adaptive map. ``full`` runs a sweep
on a disk (a tmpfs in a user namespace) that is full at each write point in turn.
``soak`` runs small sweeps in one process and prints its memory and file handles.
``stall`` downloads from a local server that stalls in several ways, with the default
limits.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import scripts
from benchmarks.stalling import stall

ROOT = Path(__file__).parents[1]
SMALL = ["--dataset=synthetic", "--train_examples=500", "--test_examples=100"]
# Four programs with one group each; and three experiments, one without training.
SWEEP = [
    "experiments.scale_sweep", *SMALL, "--hidden_sizes=16,8", "--divisors=1:1e6:7",
    "--num_seeds=1", "--epochs=60",
]  # fmt: skip
SELECTION = [
    "experiments", "--only=scale_sweep,data_checks,learning_rate_sweep", *SMALL,
    "--num_seeds=1", "--epochs=20",
]  # fmt: skip
JOBS = {
    "sweep": SWEEP,
    "several": SELECTION,
    "halving": [*SWEEP, "--halving", "--rungs=5,20,60"],
    "map": ["experiments.trainability_map", *SMALL, "--hidden_sizes=16", "--refine=33"],
}


def start_job(job: Sequence[str], out_dir: Path) -> subprocess.Popen[bytes]:
    """Starts a command."""
    command = [sys.executable, "-m", *job, f"--out_dir={out_dir}"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )


def run_job(job: Sequence[str], out_dir: Path) -> float:
    """Runs a command to its end and returns its time in seconds."""
    start = time.monotonic()
    if code := start_job(job, out_dir).wait():
        sys.exit(f"exit {code}: {shlex.join(job)}")
    return time.monotonic() - start


def results_in(out_dir: Path) -> dict[str, bytes]:
    """Returns the bytes of all results.nc, by relative path."""
    paths = out_dir.rglob("results.nc")
    return {str(path.relative_to(out_dir)): path.read_bytes() for path in paths}


def kill(job: Sequence[str], times: int, seed: int) -> None:
    """Kills a command ``times`` times; starts it anew whenever it finishes."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        run_job(job, whole)
        shutil.rmtree(whole)
        seconds = run_job(job, whole)  # programs are compiled now
        expected = results_in(whole)
        print(f"uninterrupted: {seconds:.1f} s", flush=True)
        killed = sweeps = 0
        while killed < times:
            out_dir = Path(folder) / f"sweep-{sweeps}"
            kills, lost = _kill_until_done(job, out_dir, seconds, times - killed, rng)
            is_same = results_in(out_dir) == expected
            killed, sweeps = killed + kills, sweeps + 1
            print(
                f"sweep {sweeps}: killed {kills} times, then done; "
                f"results {'the same bytes' if is_same else 'DIFFER'}; "
                f"saved groups lost: {lost}",
                flush=True,
            )
            if not is_same or lost:
                sys.exit(1)
            shutil.rmtree(out_dir)
        print(f"resumed after each of {killed} kills ({sweeps} sweeps)")


def _kill_until_done(
    job: Sequence[str], out_dir: Path, seconds: float, limit: int, rng: random.Random
) -> tuple[int, int]:
    """Returns the number of kills, and of saved groups that they lost."""
    killed, lost, before = 0, 0, dict[Path, int]()
    while killed < limit:
        running = start_job(job, out_dir)
        try:
            running.wait(rng.uniform(0, seconds))
            break
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            killed += 1
        now = {path: path.stat().st_mtime_ns for path in out_dir.rglob("*.part")}
        lost += sum(
            now.get(path) != written
            for path, written in before.items()
            if (path.parent / "plan.json").exists()  # removed when a sweep ends
        )
        before = now
    names = ("index.html",) if job is SELECTION else ("results.nc", "config.json")
    if (out_dir / "parts").exists() or not all((out_dir / n).exists() for n in names):
        run_job(job, out_dir)
    return killed, lost


def full() -> None:
    """Repeats a command on a disk that grows by one page each time."""
    if "SURVIVAL_INSIDE" not in os.environ:
        inside = ["unshare", "-rm", sys.executable, "-m", "benchmarks.survival", "full"]
        os.execvpe("unshare", inside, {**os.environ, "SURVIVAL_INSIDE": "1"})
    with tempfile.TemporaryDirectory() as folder:
        disk, whole = Path(folder) / "disk", Path(folder) / "whole"
        disk.mkdir()
        tmpfs = ["-t", "tmpfs", "tmpfs", str(disk)]
        subprocess.run(["mount", "-o", "size=4k", *tmpfs], check=True)
        code, text = _small(whole, 3)
        if code:
            sys.exit(text)
        lines: dict[str, int] = {}
        for pages in range(1, 1000):
            size = f"remount,size={4 * pages}k"
            subprocess.run(["mount", "-o", size, str(disk)], check=True)
            code, text = _small(disk / "out", 3)
            if code == 0:
                break
            if code != 2 or not text.startswith("Error: ") or text.count("\n") > 2:
                sys.exit(f"{4 * pages} KiB: exit {code}\n{text}")
            line = text.splitlines()[0].replace(str(disk), "DISK")
            lines[line] = lines.get(line, 0) + 1
        is_same = results_in(disk / "out") == results_in(whole)
        subprocess.run(["umount", str(disk)], check=True)
    for line, count in lines.items():
        print(f"{count} times: {line}")
    print(f"done with {4 * pages} KiB; results the same bytes: {is_same}")


def _small(out_dir: Path, num_seeds: int) -> tuple[int, str]:
    """Runs a small sweep in this process; returns its exit status and error output."""
    from experiments.scale_sweep import EXPERIMENT
    from fmnist_jax.runner import command_line

    flags = ["--dataset=synthetic", "--train_examples=96", "--test_examples=50"]
    flags += ["--hidden_sizes=8", "--epochs=3", f"--num_seeds={num_seeds}"]
    text = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(text):
        try:
            command_line.main(EXPERIMENT, ["x", *flags, f"--out_dir={out_dir}"])
        except SystemExit as ended:
            return int(ended.code or 0), text.getvalue()
    return 0, ""


def soak(minutes: float) -> None:
    """Runs small sweeps for some minutes; prints memory, file handles and threads."""
    start, count = time.monotonic(), 0
    pages = resource.getpagesize()
    now = 0.0
    while now < 60 * minutes:
        with tempfile.TemporaryDirectory() as folder:
            code, text = _small(Path(folder) / "out", 3)
        if code:
            sys.exit(text)
        count += 1
        now = time.monotonic() - start
        if count & (count - 1) == 0 or count % 50 == 0 or now >= 60 * minutes:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * pages
            handles = len(os.listdir("/proc/self/fd"))
            threads = len(os.listdir("/proc/self/task"))
            print(
                f"{count} sweeps, {now / 60:.1f} min: {resident / 1e6:.0f} MB, "
                f"{handles} file handles, {threads} threads",
                flush=True,
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the test that the command line selects."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test", choices=["kill", "full", "soak", "stall"])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--job", choices=JOBS, default="sweep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args(argv)
    if options.test == "kill":
        kill(JOBS[options.job], options.times, options.seed)
    elif options.test == "full":
        full()
    elif options.test == "soak":
        soak(options.minutes)
    else:
        stall()


if __name__ == "__main__":
    scripts.run(main)
