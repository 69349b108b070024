"""Times fmnist_jax against what a user would run instead.

    python -m benchmarks.throughput --data_dir=FOLDER --out=throughput.json

All peers train 784-H-10 ReLU networks on shuffled batches of 32 Fashion-MNIST images,
on the processor. Each waits in a process of its own until its turn comes: a round is a
turn for each, so that all see the machine as it is at the time.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import table
from benchmarks.jobs import BATCH_SIZE, Job, save_data
from benchmarks.options import parse
from benchmarks.peers import MACHINE, PEERS, Peer, missing, num_runs
from benchmarks.workers import Worker, WorkerError
from fmnist_jax.errors import UserError

LIBRARIES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "torch", "keras", "tensorflow-cpu",
    "tensorflow",
)  # fmt: skip


def _prepare_data(folder: Path, data_dir: str | None, steps: int) -> dict[str, str]:
    """Writes the training set for the workers; returns what it is."""
    from fmnist_jax.data import load

    data = load("auto", data_dir)
    images, labels = data.train
    if len(labels) < steps * BATCH_SIZE:
        most = len(labels) // BATCH_SIZE
        raise UserError(f"--steps={steps} is more than the {most} of {data.title}.")
    save_data(folder, images, labels)
    return {"title": data.title, "source": data.source, "notice": data.notice}


def start(name: str, peer: Peer, job: Job) -> tuple[list[Worker], dict[str, Any]]:
    """Starts a peer's workers and returns them with the variant that one chose.

    Raises:
      WorkerError: where it cannot be had here; the message says why.
    """
    if absent := missing(peer):
        raise WorkerError(f"not installed: {', '.join(absent)}")
    log = Path(job.data)
    workers: list[Worker] = []
    try:
        for i in range(peer.processes):
            path = log / f"{name}-{i}.log"
            workers.append(Worker(peer, job, path))
        choices = [worker.receive() for worker in workers]
        return workers, choices[0]
    except BaseException:
        _close(workers)
        raise


def turn(workers: Sequence[Worker], steps: int) -> Any:
    """Has a peer's workers train side by side; returns the last one's seconds."""
    for worker in workers:
        worker.send(steps)
    return max(worker.receive() for worker in workers)


def _close(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.close()


def compare(
    names: Sequence[str], width: int, optimizer: str, steps: int, rounds: int, data: str
) -> dict[str, Any]:
    """Times peers in turns, with the machine's own rates in every round."""
    everyone = {"machine": MACHINE, **{name: PEERS[name] for name in names}}
    workers: dict[str, list[Worker]] = {}
    times: dict[str, list[Any]] = {}
    choices, left_out, load = {}, {}, []
    try:
        for name, peer in everyone.items():
            runs = num_runs(peer, width)
            job = Job(name, width, optimizer, runs, steps, data)
            try:
                workers[name], choices[name] = start(name, peer, job)
                times[name] = []
            except WorkerError as error:
                left_out[name] = str(error)
                continue
            for variant, why in choices[name]["failed"].items():
                _say(f"{peer.title}: left out {variant}: {why}")
        for number in range(rounds):
            load.append(os.getloadavg()[0])
            _say(f"{width} units, {optimizer}: round {number + 1} of {rounds}")
            for name, its_workers in workers.items():
                times[name].append(turn(its_workers, steps))
    finally:
        for its_workers in workers.values():
            _close(its_workers)
    rates = times.pop("machine")
    results = table.cell(width, optimizer, steps, times, rates, choices)
    return {**results, "left_out": left_out, "load": load}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _environment() -> dict[str, Any]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"when": when, "platform": platform.platform(), "versions": versions}


def run(values: flags.FlagValues) -> None:
    """Compares all that the flags ask for, and prints and saves it."""
    with tempfile.TemporaryDirectory() as folder:
        data = _prepare_data(Path(folder), values.data_dir, values.steps)
        results: dict[str, Any] = {"data": data, **_environment(), "cells": []}
        _say(data["notice"] or f"{data['title']}, from {data['source']}")
        for width in map(int, values.widths):
            for optimizer in values.optimizers:
                cell = compare(
                    values.peers, width, optimizer, values.steps, values.rounds, folder
                )
                results["cells"].append(cell)
                print(table.markdown(cell), flush=True)
                if values.out:
                    Path(values.out).write_text(json.dumps(results, indent=1))


def main(argv: Sequence[str]) -> int:
    """Returns the exit status of a command line."""
    try:
        values = parse(argv)
        if values.help:
            print(f"{__doc__}\n{values.module_help(parse.__module__)}")
            return 0
        run(values)
    except UserError as error:
        _say(f"error: {error}")
        return 2
    except WorkerError as error:
        _say(f"error: a peer stopped: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
