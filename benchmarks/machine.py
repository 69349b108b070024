"""The peak speed of the machine, and the minimum time of a step at this speed."""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.jobs import BATCH_SIZE, NUM_CLASSES, NUM_INPUTS, Job

# Memory passes over the parameters per step. SGD reads gradients and parameters and
# writes both; Adam also reads and writes two moments and the update.
STREAMS = {"sgd": 4, "adam": 11}
GEMM_SIZE = 2048
BYTES_PER_CORE = 4e6  # streamed; more than an L2 cache, less than an L3


@dataclasses.dataclass(frozen=True)
class Rates:
    """The peak speeds of the machine with all cores.

    Attributes:
      flops: float32 GEMM, FLOP/s.
      bandwidth: float32 streams in the last-level cache, bytes/s.
    """

    flops: float
    bandwidth: float


def num_parameters(width: int) -> int:
    """Returns the number of parameters of a 784-H-10 network."""
    return (NUM_INPUTS + 1) * width + (width + 1) * NUM_CLASSES


def gemm_flops(width: int) -> int:
    """Returns the FLOPs of the matrix products of a step, without a gradient of x."""
    first, second = NUM_INPUTS * width, width * NUM_CLASSES
    return 2 * BATCH_SIZE * (2 * first + 3 * second)


def peak_seconds(width: int, rates: Rates) -> float:
    """Returns the time of the matrix products of a step at the peak, in seconds."""
    return gemm_flops(width) / rates.flops


def floor_seconds(width: int, optimizer: str, rates: Rates) -> float:
    """Returns the time of products and memory traffic of a step at the peaks."""
    traffic = 4 * STREAMS[optimizer] * num_parameters(width)
    return peak_seconds(width, rates) + traffic / rates.bandwidth


def _fastest(work: Callable[[], object], times: int) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(seconds() for _ in range(times))


def _streamed(arrays: tuple[Any, ...], times: int) -> None:
    a, b, out = arrays
    for _ in range(times):
        np.add(a, b, out=out)


def rates(_: Job) -> dict[str, Callable[[int], tuple[float, float]]]:
    """Returns a function that measures the ``Rates``: the best of several tries."""
    import jax
    import jax.numpy as jnp

    from fmnist_jax.devices import num_cpu_cores

    cores = num_cpu_cores()
    x = np.random.default_rng(0).normal(size=(GEMM_SIZE, GEMM_SIZE)).astype(np.float32)
    x_jax, multiply = jnp.asarray(x), jax.jit(jnp.matmul)
    pool = ThreadPoolExecutor(cores)
    size, times = int(BYTES_PER_CORE / 12), 100
    streams = [tuple(np.ones((3, size), np.float32)) for _ in range(cores)]

    def measure(_: int) -> tuple[float, float]:
        gemm = min(
            _fastest(lambda: x @ x, 3),
            _fastest(lambda: multiply(x_jax, x_jax).block_until_ready(), 3),
        )
        stream = _fastest(
            lambda: list(pool.map(_streamed, streams, [times] * cores)), 5
        )
        return 2 * GEMM_SIZE**3 / gemm, cores * times * 12 * size / stream

    return {"": measure}
