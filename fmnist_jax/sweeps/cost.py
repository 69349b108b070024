"""Estimates the time and the memory of a plan. Imports no jax."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fmnist_jax.devices import host_bytes, num_cpu_cores
from fmnist_jax.errors import UserError
from fmnist_jax.sweeps.model_size import (
    SLOTS,
    forward_flops,
    has_convolutions,
    num_parameters,
    state_bytes,
)
from fmnist_jax.sweeps.planning import SECONDS_PER_PROGRAM

if TYPE_CHECKING:
    from fmnist_jax.config import Config
    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.planning import Group, Plan

# Passes over the parameters in memory per step, in addition to the matrix products.
STREAMS = {
    "sgd": 4,
    "momentum": 6,
    "nesterov": 6,
    "rmsprop": 6,
    "adagrad": 6,
    "adam": 11,
    "adamw": 12,
    "lion": 6,
}
CONVOLUTION = 7.0  # times as slow as matrix products with as many operations
EFFICIENCY = 0.7  # of the speed that arithmetic and memory traffic allow
SECONDS_TO_START = 4.0
# A core's time per parameter, training example and epoch, with the usual evaluations.
SECONDS_PER_PARAMETER = 5e-11


def _measured_speed() -> tuple[float, float]:
    """Returns one core's float32 GEMM in FLOP/s and its cache traffic in bytes/s.

    The fastest of many repetitions, so that other load on the machine hardly matters.
    """
    size = 64  # small enough for NumPy's BLAS to stay on one core
    small, out = np.ones((2, size, size), np.float32)
    large, sums = np.ones((2, 512, 512), np.float32)

    def fastest(work: Callable[[], object]) -> float:
        times = []
        for _ in range(60):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    gemm = fastest(lambda: np.matmul(small, small, out=out))
    add = fastest(lambda: np.add(large, large, out=sums))
    return 2 * size**3 / gemm, 3 * large.nbytes / add


def expected_seconds(plan: "Plan", data: "Data", share: float = 1.0) -> float:
    """Returns a rough estimate of a sweep's time on this machine's cores.

    The time for arithmetic and memory traffic, at speeds measured within milliseconds,
    divided by the usual efficiency; plus start-up and compilation. If there are more
    cores than devices in use, they count as the square root of their number. ``share``
    is that of the epochs that are trained.
    """
    flops_per_second, bytes_per_second = _measured_speed()
    train_examples, test_examples = len(data.train.labels), len(data.test.labels)
    validation_examples = 0 if data.validation is None else len(data.validation.labels)
    start, total = SECONDS_TO_START + SECONDS_PER_PROGRAM * plan.num_programs, 0.0
    cores_per_device = max(1, num_cpu_cores() / plan.num_devices)
    efficiency = EFFICIENCY * math.sqrt(cores_per_device)
    for group in plan.groups:
        config = group.config
        parameters = num_parameters(config, data)
        evaluated = test_examples + train_examples * config.evaluate_train
        evaluated *= 1 + config.evaluate_dropout
        evaluated += validation_examples
        steps = math.ceil(train_examples / config.batch_size)
        if config.record_every:
            records = math.ceil(steps / config.record_every)
            evaluated += records * (test_examples + validation_examples)
        probed = 0.0
        for probe in plan.probes:
            size = min(probe.num_examples(config), train_examples)
            gradients = probe.gradients * size
            probed += gradients / (1 if probe.when == "epoch" else config.num_epochs)
        # As many backward for each of two gradients as forward.
        flops = forward_flops(config, data) * (
            3 * (train_examples + probed) + evaluated
        )
        streams = STREAMS.get(config.optimizer, STREAMS["adam"])
        traffic = 4 * parameters * streams * steps
        seconds = flops / flops_per_second + traffic / bytes_per_second
        seconds *= CONVOLUTION if has_convolutions(config, data) else 1
        total += group.width * config.num_epochs * seconds / efficiency
    return start + share * total


def slot_seconds(config: "Config", data: "Data", num_epochs: int) -> float:
    """Returns a very rough estimate of the time of a run, the same on every machine.

    Infinity for a user's network, whose layers may use a parameter many times.
    """
    if config.model is not None:
        return math.inf
    work = num_parameters(config, data) * len(data.train.labels)
    return SECONDS_PER_PARAMETER * work * num_epochs


def seconds_left(plan: "Plan", group: "Group", data: "Data", epoch: int) -> float:
    """Returns the time that a slot takes after an epoch, in all groups of a program."""
    seconds = slot_seconds(group.config, data, group.config.num_epochs - epoch)
    return plan.programs[group.config, group.width] * seconds


def memory_bytes(plan: "Plan", data: "Data") -> int:
    """Returns a rough estimate of the memory of the plan's widest group.

    It excludes what probes compute, which is unknown until JAX has started.
    """
    return max(
        run_memory_bytes(g.config, data, g.width * plan.num_devices, plan.num_devices)
        for g in plan.groups
    )


def run_memory_bytes(
    config: "Config", data: "Data", num_runs: int = 1, num_devices: int = 1
) -> int:
    """Returns a rough estimate of the memory of simultaneous runs and their data."""
    state = state_bytes(config, data)
    runs = num_runs * state
    parts = [part for part in data.splits if part is not None]
    arrays = sum(array.nbytes for part in parts for array in part)
    if config.normalization == "whiten":  # copies in float32
        arrays += sum(4 * part.images.size for part in parts)
    return 2 * runs + (1 + num_devices) * arrays


def kept_state_bytes(plan: "Plan", data: "Data") -> int:
    """Returns the memory of the trained states of a plan's runs.

    More than this machine has is refused.
    """
    total = 0
    for group in plan.groups:
        arrays = 1 + SLOTS.get(group.config.optimizer, SLOTS["adam"])
        parameters = num_parameters(group.config, data)
        total += 4 * arrays * parameters * len(group.runs)
    if total > host_bytes():
        raise UserError(
            f"The trained states of {plan.num_distinct_runs:,} runs need "
            f"{total / 1e9:,.0f} GB, but this machine has "
            f"{host_bytes() / 1e9:,.0f} GB of memory; divide the "
            "sweep into smaller ones. (keep_states='best' needs as much as 'all': the "
            "best setting is known only at the end.)"
        )
    return total


def check_memory(config: "Config", data: "Data") -> None:
    """Raises UserError if a run needs more memory than this machine has."""
    expected = run_memory_bytes(config, data)
    available = host_bytes()
    if expected > available:
        raise UserError(
            f"A run needs about {expected / 1e9:,.0f} GB, but this machine has "
            f"{available / 1e9:,.0f} GB; choose smaller --hidden_sizes."
        )
