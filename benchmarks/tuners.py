"""Compares searches for the best setting: ours, Optuna's and Keras Tuner's.

    python -m benchmarks.tuners DATA_DIR --out=tuners.jsonl [--dataset=mnist] …

All contestants get the same arrays, search space and time: normalization × optimizer ×
batch size × learning rate, of a 784-128-10 ReLU network, for at most 9 epochs. Each
search has a process of its own, whose start and compilation are part of the time. The
contestants take turns. What they recommend is judged by its accuracy in the search, and
after training for 9 epochs with other seeds, by fmnist_jax for all contestants.

Results are appended to --out, and a repeated command resumes from them. A contestant
that is not installed is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scripts, tuner_table, tuner_task
from benchmarks.peers import Peer, missing
from benchmarks.tuner_contestants import CONTESTANTS, DEFAULT
from benchmarks.tuner_task import Task
from benchmarks.workers import ROOT
from fmnist_jax import UserError, load

MODULE = "benchmarks.tuner_contestants"
RETRAINING_SEEDS = range(10, 15)  # no search trains with these
GRACE = 120.0  # seconds after the budget until a process is ended


def parse() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", nargs="?")
    parser.add_argument("--out", type=Path, required=True, help="JSON-lines file")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--train_examples", type=int)
    parser.add_argument("--validation_examples", type=int, default=10_000)
    parser.add_argument(
        "--contestants", nargs="+", choices=list(CONTESTANTS), default=list(DEFAULT)
    )
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[120, 300], help="in seconds"
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--by", choices=list(tuner_task.SIGNS), default=next(iter(tuner_task.SIGNS))
    )
    parser.add_argument(
        "--divisor", type=float, default=1.0, help="of pixels without a normalization"
    )
    return parser.parse_args()


def run_process(peer: Peer, job: Mapping[str, Any], timeout: float | None) -> Any:
    """Returns the answer of a fresh process to a job.

    Raises:
      RuntimeError: if it fails; the message is the last line of its log.
    """
    cpu_only = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", MODULE], input=json.dumps(job), text=True, cwd=ROOT,
            capture_output=True, env={**os.environ, **cpu_only, **quiet, **peer.env},
            timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"did not end within {timeout:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(lines[-1])
    return json.loads(done.stdout.splitlines()[-1])


def schedule(given: argparse.Namespace) -> Iterator[tuple[str, float, int]]:
    """Yields contestants, budgets and seeds; the contestants take turns."""
    for seed in range(given.repetitions):
        for budget in given.budgets:
            # Another contestant begins in each repetition.
            first = seed % len(given.contestants)
            for name in given.contestants[first:] + given.contestants[:first]:
                yield name, budget, seed


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the records of an earlier command; an incomplete last line is left."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            print(f"Note: an incomplete line of {path} is ignored.", file=sys.stderr)
    return records


def append(path: Path, records: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Appends a record to the list and to the file."""
    records.append(record)
    is_cut = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * is_cut + json.dumps(record) + "\n")


def job_of(folder: str, name: str, budget: float, seed: int, **options: Any) -> Any:
    """Returns the arguments of a ``Task`` that starts now, for JSON."""
    return vars(Task(name, folder, budget, seed, **options))


def compare(given: argparse.Namespace, common: dict[str, Any], folder: str) -> None:
    """Runs the searches and the retraining that the file lacks."""
    records = read(given.out)
    options = {"by": given.by, "divisor": given.divisor}

    def absent(key: dict[str, Any]) -> bool:
        return not any(key.items() <= record.items() for record in records)

    for name, budget, seed in schedule(given):
        key = common | {"contestant": name, "budget": budget, "seed": seed}
        peer = CONTESTANTS[name]
        if missing(peer) or not absent(key):
            continue
        print(f"{name}, {budget:g} s, repetition {seed}", file=sys.stderr, flush=True)
        load_average = os.getloadavg()[0]
        job = {"search": job_of(folder, name, budget, seed, **options)}
        try:
            answer = run_process(peer, job, budget + GRACE)
        except RuntimeError as error:
            print(f"Note: {name} failed: {error}", file=sys.stderr)
            continue
        append(given.out, records, key | {"load": load_average, **answer})
    for setting in tuner_table.settings(records, common):
        key = common | {"retrained": setting, "seeds": list(RETRAINING_SEEDS)}
        if absent(key):
            print(f"retraining {setting}", file=sys.stderr, flush=True)
            task = job_of(folder, "", 0, 0, **options)
            job = {"retrain": task, "setting": setting, "seeds": key["seeds"]}
            accuracies = run_process(CONTESTANTS["ours"], job, None)
            append(given.out, records, key | {"accuracies": accuracies})
    print(tuner_table.markdown(records, common, CONTESTANTS))


def main() -> None:
    """Prints the tables."""
    given = parse()
    if not given.out.resolve().parent.is_dir():
        raise UserError(f"--out={given.out}: its folder does not exist.")
    data = load(given.dataset, given.data_dir, train_examples=given.train_examples)
    data = data.with_validation(given.validation_examples)
    common = {
        "dataset": data.name, "train_examples": len(data.train.labels),
        "validation_examples": given.validation_examples,
        "by": given.by, "divisor": given.divisor,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tuner_task.save_data(Path(folder), data)
        compare(given, common, folder)
    for line in left_out(given.contestants):
        print(line)


def left_out(names: Sequence[str]) -> list[str]:
    """Returns a note for each contestant that is not installed."""
    absent = {name: missing(CONTESTANTS[name]) for name in names}
    return [
        f"Left out: {CONTESTANTS[name].title}: not installed: {', '.join(libraries)}."
        for name, libraries in absent.items()
        if libraries
    ]


if __name__ == "__main__":
    scripts.run(main)
