"""The time that the main job takes before, during and after training.

    python -m benchmarks.startup --data_dir=FOLDER

Two fresh processes run ``experiments.scale_sweep``: the first compiles all programs,
the second loads the programs from disk. The flags are those of the experiment. Prints a
table.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import scripts

ROOT = Path(__file__).parents[1]


class Seconds(NamedTuple):
    """Elapsed time, and the processor time of all threads."""

    wall: float
    cpu: float

    def since(self, other: "Seconds") -> "Seconds":
        """Returns the time since ``other``."""
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def times(self, factor: float) -> "Seconds":
        """Returns the time multiplied by ``factor``."""
        return Seconds(self.wall * factor, self.cpu * factor)


def _now() -> Seconds:
    return Seconds(time.time(), time.process_time())


def serve(start: float, argv: Sequence[str]) -> None:
    """Runs the experiment and prints the time of each stage as one line of JSON."""
    from experiments.scale_sweep import EXPERIMENT
    from fmnist_jax import data
    from fmnist_jax.analysis import report
    from fmnist_jax.figures import curves
    from fmnist_jax.runner.command_line import execute
    from fmnist_jax.sweeps import engine

    del curves, report  # imported so that their time counts as import time
    marks: list[tuple[str, Seconds]] = [("started", Seconds(start, 0.0))]
    marks.append(("imported", _now()))
    load, run_groups_resumably = data.load, engine.run_groups_resumably

    def timed_load(*args: Any, **options: Any) -> Any:
        marks.append(("loading", _now()))
        loaded = load(*args, **options)
        marks.append(("loaded", _now()))
        return loaded

    def timed_steps(group: int, steps: Any) -> Iterator[Any]:
        for part, batch in steps:
            if part.epoch is not None:
                marks.append((f"group {group}", _now()))
            yield part, batch

    def timed_groups(*args: Any) -> Iterator[Any]:
        marks.append(("running", _now()))
        for group, steps in run_groups_resumably(*args):
            yield group, timed_steps(group, steps)
        marks.append(("run", _now()))

    vars(data)["load"], vars(engine)["run_groups_resumably"] = timed_load, timed_groups
    execute([EXPERIMENT], ["scale_sweep", *argv])
    print("\n" + json.dumps(marks))


def stages(marks: Sequence[tuple[str, Seconds]], total: Seconds) -> dict[str, Seconds]:
    """Returns the time of each stage from the output of ``serve`` and the total time.

    The first epoch of a group is assumed to train as long as the others; the remaining
    time is compilation.
    """
    at = dict(marks)
    by_group: dict[str, list[Seconds]] = defaultdict(list)
    for name, when in marks:
        if name.startswith("group "):
            by_group[name].append(when)
    training = Seconds(0.0, 0.0)
    for ends in by_group.values():
        group = ends[-1].since(ends[0]).times(len(ends) / (len(ends) - 1))
        training = Seconds(training.wall + group.wall, training.cpu + group.cpu)
    start_up = {
        "Python and imports": at["imported"].since(at["started"]),
        "data": at["loaded"].since(at["loading"]),
        "tracing and compilation": at["run"].since(at["running"]).since(training),
    }
    before = Seconds(*(sum(column) for column in zip(*start_up.values(), strict=True)))
    return {
        **start_up,
        "start-up and compilation": before,
        "training": training,
        "the rest: table, files, figures": total.since(before).since(training),
        "all": total,
    }


def measure(argv: Sequence[str], cache: Path) -> dict[str, Seconds]:
    """Returns the stages of the experiment in a fresh process.

    Args:
      argv: the flags of the experiment.
      cache: the folder for compiled programs.

    Raises:
      SystemExit: if the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        used, start = _children(), time.time()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.startup", f"--serve={start}", *argv,
             f"--out_dir={folder}/out"],
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
            cwd=ROOT, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        if done.returncode:  # its message is on the terminal
            sys.exit(done.returncode)
        total = Seconds(time.time() - start, _children() - used)
    marks = json.loads(done.stdout.splitlines()[-1])
    return stages([(name, Seconds(*when)) for name, when in marks], total)


def _children() -> float:
    """Returns the processor time of all child processes, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(first: dict[str, Seconds], second: dict[str, Seconds]) -> str:
    """Returns the stages of both processes as Markdown."""
    lines = ["| seconds (of processor time) | first | second |", "|---|---|---|"]
    for name in first:
        cells = [f"{s.wall:.1f} ({s.cpu:.1f})" for s in (first[name], second[name])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(*argv: str) -> None:
    """Measures twice and prints the table."""
    if argv and argv[0].startswith("--serve="):
        serve(float(argv[0].partition("=")[2]), argv[1:])
        return
    with tempfile.TemporaryDirectory() as cache:
        print(table(*(measure(argv, Path(cache)) for _ in range(2))))


if __name__ == "__main__":
    scripts.run(main, __doc__)
