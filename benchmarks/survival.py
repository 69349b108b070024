"""Kills a sweep at random moments until it is done; is it the undisturbed one's?

    python -m benchmarks.survival kill --times=50
    python -m benchmarks.survival full
    python -m benchmarks.survival soak --minutes=60
    python -m benchmarks.survival stall

``kill``: SIGKILL, then the same command, again and again. ``full``: a disk (a tmpfs of
its own, in a user namespace) that is full at every write point in turn. ``soak``: small
sweeps in one process, with its memory and file handles. ``stall``: downloads from a
server on this machine that stalls in one way or another, with the limits as they are.
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
from experiments import scripts

ROOT = Path(__file__).parents[1]
# Four programs of a group each.
SWEEP = [
    "--dataset=synthetic", "--train_examples=500", "--test_examples=100",
    "--hidden_sizes=16,8", "--divisors=1:1e6:7",
    "--num_seeds=1", "--epochs=60",
]  # fmt: skip


def command(out_dir: Path) -> list[str]:
    """Returns the command line of the sweep that is disturbed."""
    return [
        sys.executable, "-m", "experiments.scale_sweep", *SWEEP, f"--out_dir={out_dir}"
    ]  # fmt: skip


def started(out_dir: Path) -> subprocess.Popen[bytes]:
    """Starts the sweep."""
    return subprocess.Popen(
        command(out_dir), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )


def finished(out_dir: Path) -> float:
    """Runs the sweep to its end; returns its seconds."""
    start = time.monotonic()
    if code := started(out_dir).wait():
        sys.exit(f"exit {code}: {shlex.join(command(out_dir))}")
    return time.monotonic() - start


def kill(times: int, seed: int) -> None:
    """Kills the sweep so many times, in as many sweeps as that takes."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        finished(whole)
        shutil.rmtree(whole)
        seconds = finished(whole)  # its programs compiled
        expected = (whole / "results.nc").read_bytes()
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        killed = sweeps = redone = 0
        while killed < times:
            out_dir = Path(folder) / f"sweep-{sweeps}"
            killed_here = _kill_until_done(out_dir, seconds, times - killed, rng)
            same = (out_dir / "results.nc").read_bytes() == expected
            killed, sweeps = killed + killed_here[0], sweeps + 1
            redone += killed_here[1]
            print(
                f"sweep {sweeps}: killed {killed_here[0]} times, then done; results "
                f"{'the same bytes' if same else 'DIFFER'}; groups lost that had been "
                f"kept: {killed_here[1]}",
                flush=True,
            )
            if not same or redone:
                sys.exit(1)
            shutil.rmtree(out_dir)
        print(f"{killed} of {times} resumed, in {sweeps} sweeps")


def _kill_until_done(
    out_dir: Path, seconds: float, most: int, rng: random.Random
) -> tuple[int, int]:
    """Returns how often a sweep was killed, and how many finished groups that lost."""
    killed, lost, there = 0, 0, dict[str, int]()
    while killed < most:
        running = started(out_dir)
        try:
            running.wait(rng.uniform(0, seconds))
            break
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            killed += 1
        now = {p.name: p.stat().st_mtime_ns for p in out_dir.glob("parts/*.part")}
        if (out_dir / "parts" / "plan.json").exists():  # else it was about to end
            lost += sum(now.get(name) != written for name, written in there.items())
            there = now
    if not (out_dir / "results.nc").exists() or (out_dir / "parts").exists():
        finished(out_dir)
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
    from experiments import common
    from experiments.scale_sweep import EXPERIMENT

    flags = ["--dataset=synthetic", "--train_examples=96", "--test_examples=50"]
    flags += ["--hidden_sizes=8", "--epochs=3", f"--num_seeds={num_seeds}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            common.main(EXPERIMENT, ["x", *flags, f"--out_dir={out_dir}"])
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    given = parser.parse_args(argv)
    if given.what == "kill":
        kill(given.times, given.seed)
    elif given.what == "full":
        full()
    elif given.what == "soak":
        soak(given.minutes)
    else:
        stall()


if __name__ == "__main__":
    scripts.run(main)
