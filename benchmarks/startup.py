"""How long the main job takes before, beside and after its training.

    python -m benchmarks.startup --data_dir=FOLDER

Two fresh processes run ``experiments.scale_sweep``: the first compiles all programs,
the second finds them on disk. Flags are the experiment's own. Prints a table.
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

from fmnist_jax.runner import scripts

ROOT = Path(__file__).parents[1]


class Seconds(NamedTuple):
    """Time gone by, and what all threads of the processor worked in it."""

    wall: float
    cpu: float

    def since(self, other: "Seconds") -> "Seconds":
        """Returns the time between."""
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def times(self, factor: float) -> "Seconds":
        """Returns so many times as much."""
        return Seconds(self.wall * factor, self.cpu * factor)


def _now() -> Seconds:
    return Seconds(time.time(), time.process_time())


def serve(began: float, argv: Sequence[str]) -> None:
    """Runs the experiment, and prints when it came to what as a line of JSON."""
    from experiments.scale_sweep import EXPERIMENT
    from fmnist_jax import data
    from fmnist_jax.analysis import report
    from fmnist_jax.figures import plots
    from fmnist_jax.runner.command_line import execute
    from fmnist_jax.sweeps import engine

    del plots, report  # are imported here, not when they are wanted
    marks: list[tuple[str, Seconds]] = [("began", Seconds(began, 0.0))]
    marks.append(("imported", _now()))
    load, run_groups_resumably = data.load, engine.run_groups_resumably

    def timed_load(*args: Any, **options: Any) -> Any:
        marks.append(("loading", _now()))
        loaded = load(*args, **options)
        marks.append(("loaded", _now()))
        return loaded

    def timed_steps(group: int, steps: Any) -> Iterator[Any]:
        for part, seats in steps:
            if part.epoch is not None:
                marks.append((f"group {group}", _now()))
            yield part, seats

    def timed_groups(*args: Any) -> Iterator[Any]:
        marks.append(("running", _now()))
        for group, steps in run_groups_resumably(*args):
            yield group, timed_steps(group, steps)
        marks.append(("run", _now()))

    vars(data)["load"], vars(engine)["run_groups_resumably"] = timed_load, timed_groups
    execute([EXPERIMENT], ["scale_sweep", *argv])
    print("\n" + json.dumps(marks))


def stages(marks: Sequence[tuple[str, Seconds]], total: Seconds) -> dict[str, Seconds]:
    """Returns the time of each stage, from what ``serve`` said and the whole.

    The first epoch of a group is taken to train for as long as its others; what it
    takes beyond that is compilation.
    """
    at = dict(marks)
    by_group: dict[str, list[Seconds]] = defaultdict(list)
    for name, when in marks:
        if name.startswith("group "):
            by_group[name].append(when)
    training = Seconds(0.0, 0.0)
    for ends in by_group.values():
        own = ends[-1].since(ends[0]).times(len(ends) / (len(ends) - 1))
        training = Seconds(training.wall + own.wall, training.cpu + own.cpu)
    found = {
        "Python and imports": at["imported"].since(at["began"]),
        "data": at["loaded"].since(at["loading"]),
        "tracing and compilation": at["run"].since(at["running"]).since(training),
    }
    before = Seconds(*(sum(column) for column in zip(*found.values(), strict=True)))
    return {
        **found,
        "start-up and compilation": before,
        "training": training,
        "the rest: table, files, figures": total.since(before).since(training),
        "all": total,
    }


def measure(argv: Sequence[str], cache: Path) -> dict[str, Seconds]:
    """Returns the stages of the experiment in a fresh process.

    Args:
      argv: the experiment's flags.
      cache: where compiled programs are kept.

    Raises:
      SystemExit: where that process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        worked, began = _children(), time.time()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.startup", f"--serve={began}", *argv,
             f"--out_dir={folder}/out"],
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)},
            cwd=ROOT, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        if done.returncode:  # it has said why
            sys.exit(done.returncode)
        total = Seconds(time.time() - began, _children() - worked)
    said = json.loads(done.stdout.splitlines()[-1])
    return stages([(name, Seconds(*when)) for name, when in said], total)


def _children() -> float:
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
    """Measures twice, and prints."""
    if argv and argv[0].startswith("--serve="):
        serve(float(argv[0].partition("=")[2]), argv[1:])
        return
    with tempfile.TemporaryDirectory() as cache:
        print(table(*(measure(argv, Path(cache)) for _ in range(2))))


if __name__ == "__main__":
    scripts.run(main, __doc__)
