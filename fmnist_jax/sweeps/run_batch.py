"""Placement of runs in the slots of the devices; compaction of finished runs."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding

from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.planning import (
    SECONDS_PER_PROGRAM,
    Group,
    Plan,
    axis_values,
    run_hparams,
)
from fmnist_jax.sweeps.programs import RUN, RunInputs
from fmnist_jax.sweeps.random_keys import with_keys, without_keys

COMPACTION_DIVISORS = (1, 2, 4, 8)  # a batch is compacted to 1/n of the group's width


class RunBatch(NamedTuple):
    """The active runs of a group, one in each slot of the devices."""

    positions: np.ndarray  # in the group, of each slot's run, ``[slots]``, on the host
    # The seeds of the group, on the host; the last one is repeated up to the number of
    # example orders.
    distinct_seeds: np.ndarray
    inputs: RunInputs  # settings and seeds, ``[slots]`` each
    state: Any = None  # ``[slots, …]`` each; None before the first program has run


def num_orders(plan: Plan, slots: int) -> int:
    """Returns how many example orders a program takes for a given number of slots.

    An upper bound: all groups of a program take equally many, whatever their seeds.
    """
    return min(slots, len(plan.axes["seed"]))


def make_batch(plan: Plan, group: Group, mesh: Mesh) -> RunBatch:
    """Returns the runs of a group; the last run is repeated in the spare slots."""
    slots = group.width * plan.num_devices
    positions = np.minimum(np.arange(slots), len(group.runs) - 1)
    return _place(plan, group, mesh, positions)


def _place(plan: Plan, group: Group, mesh: Mesh, positions: np.ndarray) -> RunBatch:
    """Returns a batch of the runs at these positions of the group, ``[slots]``."""
    hparams = [run_hparams(plan, group.config, group.runs[p]) for p in positions]
    stacked = jax.tree.map(lambda *v: np.asarray(v, np.float32), *hparams)
    group_seeds = np.asarray(
        [axis_values(plan, run)["seed"] for run in group.runs], np.uint32
    )
    distinct = np.unique(group_seeds)
    seeds = group_seeds[positions]
    rows = np.searchsorted(distinct, seeds).astype(np.int32)
    missing = num_orders(plan, group.width * plan.num_devices) - len(distinct)
    distinct = np.pad(distinct, (0, missing), mode="edge")
    inputs = jax.device_put(RunInputs(stacked, seeds, rows), NamedSharding(mesh, RUN))
    return RunBatch(positions, distinct, inputs)


def scatter_to_runs(
    values: Mapping[str, Array],
    batch: RunBatch,
    previous: Mapping[str, np.ndarray],
    num_runs: int,
) -> dict[str, np.ndarray]:
    """Returns values by position in the group, ``[num_runs, …]``.

    ``values`` are arrays ``[slots, …]`` by name. Runs that have left the batch keep the
    ``previous`` values, those of the epoch before.
    """
    scattered = {}
    for name, slot_values in values.items():
        on_host = np.asarray(slot_values)
        shape = (num_runs, *on_host.shape[1:])
        empty = np.empty(shape, on_host.dtype)
        scattered[name] = previous[name].copy() if name in previous else empty
        scattered[name][batch.positions] = on_host
    return scattered


def compact(
    batch: RunBatch, finished: np.ndarray, width: int, mesh: Mesh, seconds: float
) -> RunBatch:
    """Returns a batch without its finished runs.

    Runs move to other slots only if they fit into 1/n of the group's width, with n in
    ``COMPACTION_DIVISORS``, so that a group needs at most three further programs; and
    if the slots that are saved would take longer than compiling such a program.
    ``finished`` is by position in the group, and ``width`` is the slots per device of
    the group. ``seconds`` is what a slot still takes, in all groups of the program
    together.
    """
    active, slots = np.unique(batch.positions, return_index=True)
    active, slots = active[~finished[active]], slots[~finished[active]]
    if not len(active):
        return batch._replace(positions=active)
    sizes = [math.ceil(width / n) * mesh.devices.size for n in COMPACTION_DIVISORS]
    size = min(size for size in sizes if size >= len(active))
    saved = len(batch.positions) - size
    if saved <= 0 or saved * seconds <= SECONDS_PER_PROGRAM * mesh.devices.size:
        return batch
    chosen = slots[np.minimum(np.arange(size), len(active) - 1)]
    arrays = batch.inputs, without_keys(batch.state)
    # In NumPy, because JAX would compile a program for each shape.
    moved = jax.tree.map(lambda x: np.asarray(x)[chosen], arrays)
    inputs, state = jax.device_put(moved, NamedSharding(mesh, RUN))
    state = with_keys(state, batch.state)
    return batch._replace(positions=batch.positions[chosen], inputs=inputs, state=state)


def checkpoint(parts: Iterable[Part], batch: RunBatch) -> Checkpoint:
    """Returns the checkpoint of a group after a step, from its parts up to this one."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(without_keys(batch.state))]
    return Checkpoint(list(parts), batch.positions, leaves)


def restore(
    plan: Plan, group: Group, checkpoint: Checkpoint, state: Any, mesh: Mesh
) -> RunBatch:
    """Returns the batch of an unfinished group, as its checkpoint recorded it.

    The group's ``state``, as shapes, gives the structure of the checkpoint's leaves.
    """
    positions = np.asarray(checkpoint.positions)
    if not len(positions):
        return make_batch(plan, group, mesh)._replace(positions=positions)
    batch = _place(plan, group, mesh, positions)
    leaves = jax.device_put(list(checkpoint.leaves), NamedSharding(mesh, RUN))
    restored = jax.tree.unflatten(jax.tree.structure(state), leaves)
    return batch._replace(state=with_keys(restored, state))
