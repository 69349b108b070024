"""Predicts the memory of a program on a device from two small compilations of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import device_bytes as device_bytes
from fmnist_jax.sweeps.planning import Plan, with_widths
from fmnist_jax.sweeps.precompile import lower_programs

USABLE = 0.8  # of a device's memory is planned for
WIDTHS = (2, 4)  # a single run compiles to a program of another structure
# Choosing the fastest kernels would take most of the time, and needs no more memory.
OPTIONS: Mapping[str, dict[str, Any]] = {"gpu": {"xla_gpu_autotune_level": 0}}


class MemoryUse(NamedTuple):
    """Bytes on each device: ``fixed + width * per_run``."""

    fixed: float
    per_run: float


def fit_to_memory(plan: Plan, data: Data, limit: float) -> Plan:
    """Returns a plan with each program as wide as a device's memory holds.

    Nothing of the plan runs here, and only the shapes of the data are used. ``limit``
    is the bytes of each device.
    """
    configs = dict.fromkeys(group.config for group in plan.groups)
    return with_widths(plan, {c: _max_width(plan, c, data, limit) for c in configs})


def _max_width(plan: Plan, config: Config, data: Data, limit: float) -> int:
    num_runs = sum(len(g.runs) for g in plan.groups if g.config == config)
    if num_runs <= plan.num_devices:
        return 1  # no choice
    try:
        uses = memory_uses(plan, config, data)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        return 1
    widths = [(USABLE * limit - use.fixed) / use.per_run for use in uses]
    return max(1, int(min(widths)))


def is_exhausted(error: Exception) -> bool:
    """Whether an error of JAX means that a device is out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


def memory_uses(plan: Plan, config: Config, data: Data) -> list[MemoryUse]:
    """Returns the memory use of each compiled program of ``config``, the epoch's first.

    The programs are compiled for ``WIDTHS`` runs per device; their memory is linear in
    the width. It includes data, states, temporaries and the outputs of probes.
    """
    low, high = WIDTHS
    sizes = [
        [_bytes(program) for program in lower_programs(plan, config, data, width)]
        for width in WIDTHS
    ]
    slopes = [(a, (b - a) / (high - low)) for a, b in zip(*sizes, strict=True)]
    return [MemoryUse(a - low * slope, slope) for a, slope in slopes]


def _bytes(program: Any) -> int:
    platform = jax.local_devices()[0].platform
    stats = program.compile(OPTIONS.get(platform, {})).memory_analysis()
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
    )
