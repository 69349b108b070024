"""The memory traffic of a training step, and the bandwidth of a device.

The floor of a sweep is the time in which its device moves the bytes that every step
must move, at the bandwidth of a large triad or copy. The model, for each run:

- gather: reads the pixels of a batch (1 byte each), its labels and its positions in the
  training set (4 bytes each), and writes the network's inputs, float32;
- products: read the inputs twice (forward, and for the gradient of the first kernel)
  and the parameters once, and write the gradients;
- optimizer: reads the gradients, and reads and writes the parameters and its state.

Gather, products and optimizer are separate kernels, and thousands of runs do not stay
in a cache. Activations, losses and evaluations are not counted: the floor is low.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from fmnist_jax.config import Config
from fmnist_jax.sweeps.model_size import NUM_INPUTS, SLOTS, mlp_parameters

FLOAT = 4  # bytes; also of a label and of a position
ROUNDS, PASSES = 5, 10


def step_bytes(config: Config, num_inputs: int = NUM_INPUTS) -> dict[str, int]:
    """Returns the bytes that a step of one run moves, by part of the step."""
    parameters = FLOAT * mlp_parameters(config.hidden_sizes, num_inputs)
    pixels = config.batch_size * num_inputs
    return {
        "gather": pixels + FLOAT * (2 * config.batch_size + pixels),
        "products": 2 * FLOAT * pixels + 2 * parameters,
        "optimizer": parameters + 2 * (1 + SLOTS[config.optimizer]) * parameters,
    }


def floor_seconds(
    config: Config, runs: int, examples: int, num_inputs: int, bandwidth: float
) -> float:
    """Returns the minimum time of a sweep.

    Args:
      config: of all runs.
      runs: number of runs.
      examples: of the training set.
      num_inputs: pixels of an image.
      bandwidth: of the device, in bytes per second.
    """
    steps = config.num_epochs * examples / config.batch_size
    return runs * steps * sum(step_bytes(config, num_inputs).values()) / bandwidth


def bandwidth(size: int) -> dict[str, float]:
    """Returns the bytes per second of a copy and of a triad, read and written.

    Args:
      size: bytes of an array; several times those of a cache.
    """
    import jax
    import jax.numpy as jnp

    a, b = (jnp.full(size // FLOAT, value, jnp.float32) for value in (1.0, 2.0))
    copy = jax.jit(lambda a, b: a + 1.0)  # a plain copy would return the same buffer
    triad = jax.jit(lambda a, b: a + 0.5 * b)
    return {
        "copy": 2 * a.nbytes / _seconds(copy, a, b),
        "triad": 3 * a.nbytes / _seconds(triad, a, b),
    }


def _seconds(function: Callable[[Any, Any], Any], a: Any, b: Any) -> float:
    """Returns the time of a call, of several that a device executes in succession."""
    times = []
    for _ in range(ROUNDS + 1):  # the first compiles
        start, x = time.perf_counter(), a
        for _ in range(PASSES):
            x = function(x, b)
        x.block_until_ready()
        times.append((time.perf_counter() - start) / PASSES)
    return statistics.median(times[1:])
