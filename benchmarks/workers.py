"""Processes that train when they are asked to, and say how long it took.

``python -m benchmarks.workers`` reads a job, then numbers of steps, one JSON value a
line, and answers each with one: the variant it chose, then seconds (or rates).
"""

import dataclasses
import importlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from benchmarks.jobs import Job, timed
from benchmarks.peers import MACHINE, PEERS, Peer
from fmnist_jax.runner import scripts

ROOT = Path(__file__).parents[1]
_SELF_TIMED = ("ours", "machine")  # modules whose functions return what they measured


class WorkerError(RuntimeError):
    """A worker has stopped; the message is the last line that it wrote."""


class Worker:
    """A peer in a process of its own."""

    def __init__(self, peer: Peer, job: Job, log: Path) -> None:
        self._log = log
        cpu_only = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workers"], text=True, cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **cpu_only, "TF_CPP_MIN_LOG_LEVEL": "2", **peer.env},
            )  # fmt: skip
        self.send(dataclasses.asdict(job))

    def send(self, value: Any) -> None:
        """Asks; ``receive`` waits for the answer."""
        assert self._process.stdin
        try:
            print(json.dumps(value), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._stopped() from None

    def receive(self) -> Any:
        """Returns the answer to what was sent."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._stopped()
        return json.loads(line)

    def _stopped(self) -> WorkerError:
        self.close()
        written = self._log.read_text().strip().splitlines() or ["it said nothing"]
        return WorkerError(written[-1])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def fastest(
    variants: Mapping[str, Callable[[int], Any]], steps: int
) -> tuple[dict[str, Any], Callable[[int], Any]]:
    """Warms up all variants and chooses the fastest.

    Those that fail are passed over, as where no compiler works.

    Returns:
      Its name as "variant", what the others took as "seconds" and why some "failed";
      and its function.
    """
    few, seconds, failed = max(1, steps // 4), {}, {}
    if len(variants) == 1:
        seconds = dict.fromkeys(variants, 0.0)
    else:
        for name, run in variants.items():
            try:
                run(few)
                # The median: what is fast only on an idle machine is no good choice.
                seconds[name] = statistics.median(run(few) for _ in range(3))
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                failed[name] = lines[0]
    if not seconds:
        raise WorkerError(f"every variant failed: {failed}")
    best = min(seconds, key=lambda name: seconds[name])
    variants[best](steps)
    return {"variant": best, "seconds": seconds, "failed": failed}, variants[best]


def serve(requests: TextIO, answers: TextIO) -> None:
    """Works for one job until there are no more requests."""

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    job = Job(**json.loads(requests.readline()))
    peer = PEERS.get(job.peer, MACHINE)
    module, function = peer.make.split(":")
    variants = getattr(importlib.import_module(f"benchmarks.{module}"), function)(job)
    if module not in _SELF_TIMED:
        variants = {name: timed(train) for name, train in variants.items()}
    choice, run = fastest(variants, job.steps)
    answer(choice)
    for line in requests:
        answer(run(json.loads(line)))


def main() -> None:
    """Serves on standard input and output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    serve(sys.stdin, answers)


if __name__ == "__main__":
    scripts.run(main, __doc__)
