"""Processes that train on request and return the time that it takes.

``python -m benchmarks.workers`` reads a job, then numbers of steps, one JSON value per
line. It answers the job with the fastest variant and each number with the time in
seconds (or the rates of the machine).
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

from benchmarks import scripts
from benchmarks.jobs import Job, timed
from benchmarks.peers import MACHINE, PEERS, Peer

ROOT = Path(__file__).parents[1]
_SELF_TIMED = ("ours", "machine")  # modules whose functions measure the time


class WorkerError(RuntimeError):
    """A worker has stopped; the message is the last line of its log."""


class Worker:
    """A process of a peer."""

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
        """Sends a request, whose answer ``receive`` returns."""
        assert self._process.stdin
        try:
            print(json.dumps(value), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._stopped() from None

    def receive(self) -> Any:
        """Waits for an answer and returns it."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise self._stopped()
        return json.loads(line)

    def _stopped(self) -> WorkerError:
        self.close()
        lines = self._log.read_text().strip().splitlines() or ["no message"]
        return WorkerError(lines[-1])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def fastest(
    variants: Mapping[str, Callable[[int], Any]], steps: int
) -> tuple[dict[str, Any], Callable[[int], Any]]:
    """Warms up all variants and chooses the fastest.

    Variants that fail are left out, for instance if no compiler works.

    Returns:
      A dict and the function of the fastest variant. The dict contains its name as
      "variant", the times of all variants as "seconds" and errors as "failed".
    """
    few, seconds, failed = max(1, steps // 4), {}, {}
    if len(variants) == 1:
        seconds = dict.fromkeys(variants, 0.0)
    else:
        for name, run in variants.items():
            try:
                run(few)
                # The median: a variant must be fast on a busy machine too.
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
    """Executes one job until the requests end."""

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
    """Serves standard input and output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries goes to the log
    serve(sys.stdin, answers)


if __name__ == "__main__":
    scripts.run(main, __doc__)
