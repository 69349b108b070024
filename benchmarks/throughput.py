"""Compares the speed of fmnist_jax with that of alternatives.

    python -m benchmarks.throughput --data_dir=FOLDER --out=throughput.json

All peers train 784-H-10 ReLU networks on shuffled batches of 32 Fashion-MNIST images,
on the processor. Each peer has a separate process. In every round the peers train one
after the other, so that changes of the speed of the machine affect all peers.
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
    """Writes the training set for the workers; returns its title and origin."""
    from fmnist_jax.data import load

    data = load("auto", data_dir)
    images, labels = data.train
    if len(labels) < steps * BATCH_SIZE:
        limit = len(labels) // BATCH_SIZE
        raise UserError(
            f"--steps={steps} is too large: {data.title} has {limit} batches."
        )
    save_data(folder, images, labels)
    return {"title": data.title, "source": data.source, "notice": data.notice}


def start(name: str, peer: Peer, job: Job) -> tuple[list[Worker], dict[str, Any]]:
    """Starts the workers of a peer; returns the workers and the fastest variant.

    Raises:
      WorkerError: if the peer cannot run here; the message states the cause.
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
    """Lets all workers of a peer train; returns the time of the slowest."""
    for worker in workers:
        worker.send(steps)
    return max(worker.receive() for worker in workers)


def _close(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.close()


def compare(
    names: Sequence[str], width: int, optimizer: str, steps: int, rounds: int, data: str
) -> dict[str, Any]:
    """Times the peers alternately and measures the peak speeds in every round."""
    peers = {"machine": MACHINE, **{name: PEERS[name] for name in names}}
    workers: dict[str, list[Worker]] = {}
    times: dict[str, list[Any]] = {}
    choices, left_out, load = {}, {}, []
    try:
        for name, peer in peers.items():
            runs = num_runs(peer, width)
            job = Job(name, width, optimizer, runs, steps, data)
            try:
                workers[name], choices[name] = start(name, peer, job)
                times[name] = []
            except WorkerError as error:
                left_out[name] = str(error)
                continue
            for variant, cause in choices[name]["failed"].items():
                _log(f"{peer.title}: left out {variant}: {cause}")
        for number in range(rounds):
            load.append(os.getloadavg()[0])
            _log(f"{width} units, {optimizer}: round {number + 1} of {rounds}")
            for name, group in workers.items():
                times[name].append(turn(group, steps))
    finally:
        for group in workers.values():
            _close(group)
    rates = times.pop("machine")
    results = table.cell(width, optimizer, steps, times, rates, choices)
    return {**results, "left_out": left_out, "load": load}


def _log(line: str) -> None:
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
    """Compares the peers as the flags require; prints and saves the results."""
    with tempfile.TemporaryDirectory() as folder:
        data = _prepare_data(Path(folder), values.data_dir, values.steps)
        results: dict[str, Any] = {"data": data, **_environment(), "cells": []}
        _log(data["notice"] or f"{data['title']}, from {data['source']}")
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
    """Runs a command line and returns its exit status."""
    try:
        values = parse(argv)
        if values.help:
            print(f"{__doc__}\n{values.module_help(parse.__module__)}")
            return 0
        run(values)
    except UserError as error:
        _log(f"error: {error}")
        return 2
    except WorkerError as error:
        _log(f"error: a peer stopped: {error}")
        return 1
    except KeyboardInterrupt:
        _log("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
