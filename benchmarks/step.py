"""The time of a training step by kind of kernel, on one or more cores.

    python -m benchmarks.step
    python -m benchmarks.step --cores=2

The process uses the given number of cores, with one JAX device per core, and the
profiler of XLA times every kernel of an epoch. Other work on the machine has little
effect on the median over the steps and on the processor time of the epoch. With more
than one core, kernels use each other's threads, and only the processor time is valid.
"""

import argparse
import collections
import math
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import scripts
from benchmarks.jobs import BATCH_SIZE, DIVISOR, NUM_CLASSES, NUM_INPUTS
from benchmarks.machine import STREAMS, gemm_flops, num_parameters
from fmnist_jax.devices import use_cpu_cores

TEST_EXAMPLES = 500
GEMM_SIZE = 512  # in larger products, the threads of NumPy wait for each other
PARTS = ("products", "optimizer", "batch", "other kernels")


class Step(NamedTuple):
    """The cost of a step, in microseconds per run.

    Attributes:
      width: number of runs at once.
      parts: time of the kernels that run in every step, by ``PARTS``.
      whole: processor time of all cores, including evaluation and gaps.
    """

    width: int
    parts: dict[str, float]
    whole: float


def part_of(elements: int, has_dot: bool, hidden: int, width: int) -> str:
    """Returns the part of a step that a kernel belongs to.

    Args:
      elements: number of elements of its output.
      has_dot: whether it computes a matrix product.
      hidden: units of the hidden layer.
      width: number of runs at once.
    """
    if has_dot:
        return "products"
    if elements in (width * NUM_INPUTS * hidden, width * hidden * NUM_CLASSES):
        return "optimizer"
    return "batch" if elements == width * BATCH_SIZE * NUM_INPUTS else "other kernels"


def kernels(hlo: str) -> Iterator[tuple[str, int, bool]]:
    """Yields the name, the size of the first output and whether it is a product.

    Args:
      hlo: the text of a compiled program, in which callees precede callers.
    """
    with_dot, computation = set(), ""
    for line in hlo.splitlines():
        if opened := re.match(r"(?:ENTRY )?(%[\w.-]+) .*{$", line):
            computation = opened.group(1)
        kernel = re.match(r"  (?:ROOT )?%([\w.-]+) = \(?\w+\[([\d,]*)\]", line)
        if kernel:
            calls = re.search(r"calls=(%[\w.-]+)", line)
            has_dot = " dot(" in line or bool(calls and calls.group(1) in with_dot)
            with_dot |= {computation} if has_dot else set()
            name, shape = kernel.groups()
            yield name, math.prod(int(n) for n in shape.split(",") if n), has_dot


def _durations(work: Callable[[], object]) -> dict[str, list[float]]:
    """Returns the times of all executions of XLA kernels in microseconds, by name."""
    import jax

    options = jax.profiler.ProfileOptions()
    options.python_tracer_level, options.host_tracer_level = 0, 2
    durations: dict[str, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            work()
        (path,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(path))
    for plane in profile.planes:
        for line in plane.lines:
            if "XLA" in line.name:
                for event in line.events:
                    durations[event.name].append(event.duration_ns / 1e3)
    return durations


def _epoch(
    hidden: int, optimizer: str, runs: int, steps: int
) -> tuple[Any, str, int, int]:
    """Returns a function that trains an epoch, its HLO, runs per device and devices."""
    import jax

    from benchmarks.epochs import prepare
    from fmnist_jax import Config, Data, Dataset, Hparams
    from fmnist_jax.sweeps import programs
    from fmnist_jax.sweeps.planning import plan

    rng = np.random.default_rng(0)
    count = steps * BATCH_SIZE
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, count).astype(np.int32)
    test = Dataset(images[:TEST_EXAMPLES], labels[:TEST_EXAMPLES])
    data = Data(Dataset(images, labels), test, "benchmark", tuple("0123456789"))
    config = Config(
        hidden_sizes=(hidden,), optimizer=optimizer, num_epochs=1, evaluate_train=False
    )
    devices = jax.devices()
    axes = {"seed": range(runs * len(devices))}
    run_plan = plan(axes, config, Hparams(divisor=DIVISOR), len(devices))
    program, state, inputs = prepare(run_plan, data, devices[: run_plan.num_devices])
    lowered = programs.train_epoch_of_runs.lower(program, state, *inputs)
    compiled = lowered.compile()

    def work() -> None:
        nonlocal state
        state, *_ = jax.block_until_ready(compiled(state, *inputs))

    hlo = compiled.as_text() or ""
    return work, hlo, run_plan.groups[0].width, run_plan.num_devices


def measure(hidden: int, optimizer: str, runs: int, steps: int, rounds: int) -> Step:
    """Returns the cost of a step of one network."""
    work, hlo, width, devices = _epoch(hidden, optimizer, runs, steps)
    work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    parts = dict.fromkeys(PARTS, 0.0)
    durations = _durations(work)
    for name, elements, has_dot in kernels(hlo):
        times_of_kernel = durations.get(name, [])
        if len(times_of_kernel) == steps * devices:
            part = part_of(elements, has_dot, hidden, width)
            parts[part] += statistics.median(times_of_kernel) / width
    return Step(width, parts, 1e6 * min(times) / steps / width / devices)


def gemm_peak(size: int, rounds: int) -> float:
    """Returns the FLOP/s of a core in a square product, the faster of NumPy and JAX."""
    import jax

    x = np.ones((size, size), np.float32)
    x_jax, multiply = jax.device_put(x), jax.jit(jax.numpy.matmul)
    times = []
    for _ in range(rounds + 1):
        for product in (lambda: x @ x, lambda: multiply(x_jax, x_jax)):
            start = time.process_time()
            jax.block_until_ready(product())
            times.append(time.process_time() - start)
    return 2 * size**3 / min(times)


def table(steps: Mapping[tuple[int, str], Step], peak: float) -> str:
    """Returns the parts of all steps as Markdown."""
    lines = [
        f"GEMM peak per core: {peak / 1e9:.0f} GFLOP/s; microseconds per run and step.",
        "",
        "| units | optimizer | runs at once | products | share of GEMM peak | update "
        "| update traffic | batch | other kernels | all kernels | processor time |",
        "|" + "--:|" * 11,
    ]
    for (hidden, optimizer), step in steps.items():
        products, update, batch, other = (step.parts[part] for part in PARTS)
        share = gemm_flops(hidden) / (products * 1e-6) / peak
        traffic = 4 * STREAMS[optimizer] * num_parameters(hidden) / (update * 1e-6)
        lines.append(
            f"| {hidden} | {optimizer} | {step.width} | {products:.1f} | {share:.0%} "
            f"| {update:.1f} | {traffic / 1e9:.0f} GB/s | {batch:.1f} | {other:.1f} "
            f"| {sum(step.parts.values()):.1f} | {step.whole:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", default="128,1000", help="units of hidden layers")
    parser.add_argument("--optimizers", default="sgd,adam")
    parser.add_argument("--runs", type=int, default=4, help="maximum per core")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--steps", type=int, default=500, help="per epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--gemm_size",
        type=int,
        default=GEMM_SIZE,
        help="size of the product for the peak",
    )
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)  # before JAX starts its threads
    use_cpu_cores(len(cores))
    peak = gemm_peak(options.gemm_size, options.rounds)
    steps = {}
    for hidden in map(int, options.widths.split(",")):
        for optimizer in options.optimizers.split(","):
            steps[hidden, optimizer] = measure(
                hidden, optimizer, options.runs, options.steps, options.rounds
            )
    print(table(steps, peak))


if __name__ == "__main__":
    scripts.run(main)
