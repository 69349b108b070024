"""The memory that a program needs on a device, read off two small ones of its kind."""

from typing import Any, NamedTuple

import jax

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.sweeps.planning import Plan, with_widths
from fmnist_jax.sweeps.precompile import lowered

HEAD_ROOM = 0.8  # of a device's memory is planned for
WIDTHS = (2, 4)  # a run alone makes a program of another shape, which tells too little


class Need(NamedTuple):
    """Bytes on each device: ``fixed + width * per_run``."""

    fixed: float
    per_run: float


def device_bytes(device: jax.Device) -> int | None:
    """Returns the memory of an accelerator; None on a CPU, and where it is not said."""
    stats = None if device.platform == "cpu" else device.memory_stats()
    return (stats or {}).get("bytes_limit")


def fitted(plan: Plan, data: Data, limit: float) -> Plan:
    """Returns a plan with each program as wide as a device's memory holds.

    Args:
      plan: what is to run; nothing of it is run.
      data: training and test set, of which only the shapes are used.
      limit: bytes of each device.
    """
    configs = dict.fromkeys(group.config for group in plan.groups)
    return with_widths(plan, {c: _most(plan, c, data, limit) for c in configs})


def _most(plan: Plan, config: Config, data: Data, limit: float) -> int:
    num_runs = sum(len(g.runs) for g in plan.groups if g.config == config)
    if num_runs <= plan.num_devices:
        return 1  # there is nothing to ask
    try:
        found = needs(plan, config, data)
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        return 1
    return max(1, int(min((HEAD_ROOM * limit - n.fixed) / n.per_run for n in found)))


def is_exhausted(error: Exception) -> bool:
    """Whether an error of JAX says that a device's memory does not suffice."""
    return "RESOURCE_EXHAUSTED" in str(error)


def needs(plan: Plan, config: Config, data: Data) -> list[Need]:
    """Returns what the compiled programs of ``config`` need, an epoch's first.

    They are compiled for ``WIDTHS`` runs per device, and their memory is a line in that
    number. Everything counts that a program takes, gives or works with: data, states,
    what probes record.
    """
    low, high = WIDTHS
    pairs = zip(
        *([_bytes(p) for p in lowered(plan, config, data, w)] for w in WIDTHS),
        strict=True,
    )
    slopes = [(a, (b - a) / (high - low)) for a, b in pairs]
    return [Need(a - low * slope, slope) for a, slope in slopes]


def _bytes(program: Any) -> int:
    used = program.compile().memory_analysis()
    return (
        used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
        + used.temp_size_in_bytes
    )
