"""Kills a sweep at random moments until it is done; is it the undisturbed one's?

    python -m benchmarks.survival kill --times=50 [--several]
    python -m benchmarks.survival full
    python -m benchmarks.survival soak --minutes=60
    python -m benchmarks.survival stall

``kill``: SIGKILL, then the same command, again and again; ``--several``: of several
experiments at once. ``full``: a disk (a tmpfs of its own, in a user namespace) that is
full at every write point in turn. ``soak``: small sweeps in one process, with its
memory and file handles. ``stall``: downloads from a server on this machine that stalls
in one way or another, with the limits as they are.
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

from benchmarks.stalling import stall
from fmnist_jax.runner import scripts

ROOT = Path(__file__).parents[1]
SMALL = ["--dataset=synthetic", "--train_examples=500", "--test_examples=100"]
# Four programs of a group each; and three experiments, one of which trains nothing.
SWEEP = [
    "experiments.scale_sweep", *SMALL, "--hidden_sizes=16,8", "--divisors=1:1e6:7",
    "--num_seeds=1", "--epochs=60",
]  # fmt: skip
SELECTION = [
    "experiments", "--only=scale_sweep,data_checks,learning_rate_sweep", *SMALL,
    "--num_seeds=1", "--epochs=20",
]  # fmt: skip


def started(job: Sequence[str], out_dir: Path) -> subprocess.Popen[bytes]:
    """Starts what is disturbed."""
    command = [sys.executable, "-m", *job, f"--out_dir={out_dir}"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )


def finished(job: Sequence[str], out_dir: Path) -> float:
    """Runs it to its end; returns its seconds."""
    start = time.monotonic()
    if code := started(job, out_dir).wait():
        sys.exit(f"exit {code}: {shlex.join(job)}")
    return time.monotonic() - start


def results_in(out_dir: Path) -> dict[str, bytes]:
    """Returns the results there, by the path of their files."""
    paths = out_dir.rglob("results.nc")
    return {str(path.relative_to(out_dir)): path.read_bytes() for path in paths}


def kill(job: Sequence[str], times: int, seed: int) -> None:
    """Kills it so many times, progress as often as that takes."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        finished(job, whole)
        shutil.rmtree(whole)
        seconds = finished(job, whole)  # its programs compiled
        expected = results_in(whole)
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        killed = progress = 0
        while killed < times:
            out_dir = Path(folder) / f"progress-{progress}"
            here, lost = _kill_until_done(job, out_dir, seconds, times - killed, rng)
            same = results_in(out_dir) == expected
            killed, progress = killed + here, progress + 1
            print(
                f"time {progress}: killed {here} times, then done; results "
                f"{'the same bytes' if same else 'DIFFER'}; groups lost that had been "
                f"kept: {lost}",
                flush=True,
            )
            if not same or lost:
                sys.exit(1)
            shutil.rmtree(out_dir)
        print(f"{killed} of {times} resumed, progress {progress} times")


def _kill_until_done(
    job: Sequence[str], out_dir: Path, seconds: float, most: int, rng: random.Random
) -> tuple[int, int]:
    """Returns how often it was killed, and how many finished groups that lost."""
    killed, lost, there = 0, 0, dict[Path, int]()
    while killed < most:
        running = started(job, out_dir)
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
            for path, written in there.items()
            if (path.parent / "plan.json").exists()  # else it was about to end
        )
        there = now
    names = ("index.html",) if job is SELECTION else ("results.nc", "config.json")
    if (out_dir / "parts").exists() or not all((out_dir / n).exists() for n in names):
        finished(job, out_dir)
    return killed, lost


def full() -> None:
    """Has a disk that grows by a page at a time, the same command on each."""
    if "SURVIVAL_INSIDE" not in os.environ:
        inside = ["unshare", "-rm", sys.executable, "-m", "benchmarks.survival", "full"]
        os.execvpe("unshare", inside, {**os.environ, "SURVIVAL_INSIDE": "1"})
    with tempfile.TemporaryDirectory() as folder:
        disk, whole = Path(folder) / "disk", Path(folder) / "whole"
        disk.mkdir()
        tmpfs = ["-t", "tmpfs", "tmpfs", str(disk)]
        subprocess.run(["mount", "-o", "size=4k", *tmpfs], check=True)
        code, said = _small(whole, 3)
        if code:
            sys.exit(said)
        lines: dict[str, int] = {}
        for pages in range(1, 1000):
            size = f"remount,size={4 * pages}k"
            subprocess.run(["mount", "-o", size, str(disk)], check=True)
            code, said = _small(disk / "out", 3)
            if code == 0:
                break
            if code != 2 or not said.startswith("Error: ") or said.count("\n") > 2:
                sys.exit(f"{4 * pages} KiB: exit {code}\n{said}")
            line = said.splitlines()[0].replace(str(disk), "DISK")
            lines[line] = lines.get(line, 0) + 1
        same = [(each / "results.nc").read_bytes() for each in (disk / "out", whole)]
        subprocess.run(["umount", str(disk)], check=True)
    for line, count in lines.items():
        print(f"{count} times: {line}")
    print(f"done with {4 * pages} KiB; results the same bytes: {same[0] == same[1]}")


def _small(out_dir: Path, num_seeds: int) -> tuple[int, str]:
    """Runs a small sweep in this process; returns its exit status and last words."""
    from experiments.scale_sweep import EXPERIMENT
    from fmnist_jax.runner import command_line

    flags = ["--dataset=synthetic", "--train_examples=96", "--test_examples=50"]
    flags += ["--hidden_sizes=8", "--epochs=3", f"--num_seeds={num_seeds}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            command_line.main(EXPERIMENT, ["x", *flags, f"--out_dir={out_dir}"])
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    return 0, ""


def soak(minutes: float) -> None:
    """Runs small sweeps for so long, and prints what the process holds."""
    start, count = time.monotonic(), 0
    pages = resource.getpagesize()
    now = 0.0
    while now < 60 * minutes:
        with tempfile.TemporaryDirectory() as folder:
            code, said = _small(Path(folder) / "out", 3)
        if code:
            sys.exit(said)
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
    """Does what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kill", "full", "soak", "stall"])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--several", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    given = parser.parse_args(argv)
    if given.what == "kill":
        kill(SELECTION if given.several else SWEEP, given.times, given.seed)
    elif given.what == "full":
        full()
    elif given.what == "soak":
        soak(given.minutes)
    else:
        stall()


if __name__ == "__main__":
    scripts.run(main)
