"""Checks and times sweeps on a GPU or TPU, in at most ten minutes.

    python -m benchmarks.accelerator --out=FILE --data_dir=FOLDER
    python -m benchmarks.accelerator --out=FILE --small    # two minutes on a CPU

Compares losses with those of the CPU; times large sweeps, and compares them with the
time that their memory traffic needs at least; compares fmnist_jax with a plain vmap,
with PyTorch and with a loop of single runs; times the parts of a step; and runs a plan
that does not fit into memory. Prints tables, and writes all numbers as JSON.

It needs neither a network nor other packages than jax, flax, optax, numpy, xarray,
pandas and lazy_loader, and downloads no data: without --data_dir it looks where
experiments look, and uses synthetic images if there are none. PyTorch is compared if it
is installed.

Each section has a process and one device of its own. The sections run in the order of
their importance; those for which too little time is left are left out.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scripts
from fmnist_jax.errors import UserError, unknown

ROOT = Path(__file__).parents[1]
# Section -> the minimum time that is worth its start, in seconds.
MIN_SECONDS: Mapping[str, int] = {
    "correctness": 15,
    "adam": 40,
    "sgd": 150,
    "plain": 40,
    "torch": 30,
    "parts": 30,
    "counts": 20,
    "out_of_memory": 30,
    "precisions": 30,
}
# PyTorch has the GPU to itself. Little memory is soon full.
ENVIRONMENT: dict[str, dict[str, str]] = {
    "torch": {"JAX_PLATFORMS": "cpu"},
    "out_of_memory": {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".05"},
}
RESERVE = 5  # seconds, for the end of the command
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def measure(command: Sequence[str], env: Mapping[str, str], seconds: float) -> Any:
    """Runs a section in a process; returns its status, reason, device and rows.

    Args:
      command: prints a JSON object per line; see ``serve``.
      env: environment variables beside those of this process.
      seconds: after which the process is ended; its rows so far are kept.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=output, stderr=log
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
        for stream in (output, log):
            stream.seek(0)
        lines, messages = output.read().splitlines(keepends=True), log.read()
    answers = [json.loads(line) for line in lines if line.endswith("\n")]
    section = {"status": "done", "reason": "", "device": ""}
    for answer in answers:
        section |= answer if "name" not in answer else {}
    if code is None:
        reason = f"it was ended after {seconds:.0f} s"
        section |= {"status": "stopped", "reason": reason}
    elif code:
        message = messages.strip().splitlines() or [f"exit status {code}"]
        section |= {"status": "failed", "reason": message[-1]}
    return section | {"rows": [answer for answer in answers if "name" in answer]}


def serve(name: str, data_dir: str | None, is_small: bool) -> None:
    """Runs one section in this process; prints its device and rows as JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries goes to the log

    def answer(**values: Any) -> None:
        print(json.dumps(values, default=float), file=answers, flush=True)

    from benchmarks import accelerator_jobs as jobs
    from benchmarks.accelerator_sections import SECTIONS
    from fmnist_jax import load
    from fmnist_jax.devices import use_compilation_cache

    use_compilation_cache()
    data = load("auto", data_dir, **(jobs.SMALL_EXAMPLES if is_small else {}))
    bench = jobs.Bench(data, jobs.SMALL if is_small else jobs.Sizes())
    if "JAX_PLATFORMS" not in ENVIRONMENT.get(name, {}):
        answer(device=jobs.device_name())
    try:
        for row in SECTIONS[name](bench):
            answer(**row._asdict())
    except jobs.LeftOutError as reason:
        answer(status="left out", reason=str(reason))


def table(name: str, section: Mapping[str, Any]) -> str:
    """Returns a section as text: its status, and a line for each row."""
    parts = [section["status"], section["reason"], section["device"]]
    title = "; ".join(filter(None, parts))
    lines = [f"{name}: {title}; {section['seconds']:.0f} s"]
    for row in section["rows"]:
        value = row["value"]
        number = f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
        verdict = {True: "met", False: "not met", None: ""}[row["is_met"]]
        goal = f"({row['goal']}: {verdict})" if row["goal"] else ""
        line = f"  {row['name']:<48}{number:>10} {row['unit']} {goal}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def environment(data_dir: str | None) -> dict[str, Any]:
    """Returns the data set, this machine and the versions of its libraries.

    Raises:
      UserError: for a folder without data.
    """
    from fmnist_jax.data import load

    data, versions = load("auto", data_dir), {}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "data": data.notice or f"{data.title}, from {data.source}",
    }


def run(options: argparse.Namespace, names: Sequence[str], cache: str) -> None:
    """Runs the sections in order; prints and saves the results of each."""
    end = time.monotonic() + 60 * options.minutes - RESERVE
    results: dict[str, Any] = environment(options.data_dir)
    results |= {"minutes": options.minutes, "small": options.small, "sections": {}}
    print(results["data"])
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    env = {"CUDA_VISIBLE_DEVICES": device, "JAX_COMPILATION_CACHE_DIR": cache}
    command = [sys.executable, "-m", "benchmarks.accelerator"]
    command += ["--small"] if options.small else []
    command += [f"--data_dir={options.data_dir}"] if options.data_dir else []
    for name in names:
        start, needed = time.monotonic(), MIN_SECONDS[name]
        left = max(0.0, end - start)
        print(f"\n{name}: {left:.0f} s are left …", flush=True)
        if left < needed:
            reason = f"{left:.0f} s are left, and it needs {needed} s"
            section: dict[str, Any] = {"status": "left out", "reason": reason}
            section |= {"device": "", "rows": []}
        else:
            variables = env | ENVIRONMENT.get(name, {})
            section = measure([*command, f"--serve={name}"], variables, left)
        section["seconds"] = time.monotonic() - start
        results["sections"][name] = section
        print(table(name, section), flush=True)
        Path(options.out).write_text(json.dumps(results, indent=1))


def _check(options: argparse.Namespace) -> list[str]:
    """Returns the sections to run.

    Raises:
      UserError: for an unknown section, and if the file cannot be written.
    """
    names = options.sections.split(",")
    for name in names:
        if name not in MIN_SECONDS:
            raise unknown("value of --sections", name, MIN_SECONDS)
    if not options.out:
        raise UserError("--out is missing; give it the name of a file.")
    if not Path(options.out).resolve().parent.is_dir():
        raise UserError(f"--out={options.out}: its folder does not exist.")
    return [name for name in MIN_SECONDS if name in names]


def main() -> None:
    """Checks, measures, prints the tables and writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="JSON file for all results")
    parser.add_argument("--data_dir", help="folder with the files of the data set")
    parser.add_argument("--minutes", type=float, default=10, help="for everything")
    parser.add_argument("--sections", default=",".join(MIN_SECONDS))
    parser.add_argument("--small", action="store_true", help="a trial of the command")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.data_dir, options.small)
        return
    names = _check(options)
    os.environ["FMNIST_JAX_OFFLINE"] = "1"  # a download would take part of the time
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder
        run(options, names, cache)


if __name__ == "__main__":
    scripts.run(main)
