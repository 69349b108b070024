"""Which run of a group sits where on the devices, and which have left."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding

from fmnist_jax.config import Hparams
from fmnist_jax.sweeps.labelling import Part
from fmnist_jax.sweeps.planning import (
    Group,
    Plan,
    run_hparams,
    run_settings,
)
from fmnist_jax.sweeps.programs import RUN


class RunBatch(NamedTuple):
    """The runs that are under way, in the places of the devices.

    Attributes:
      positions: of each place's run in its group; ``[places]``, on the host.
      hparams: traced settings, ``[places]`` each.
      seeds: ``[places]``.
      rows: of each place's seed among the distinct ones, ``[places]``.
      distinct: the distinct seeds, on the host, the last one filling up.
      state: ``[places]`` each.
    """

    positions: np.ndarray
    hparams: Hparams
    seeds: Array
    rows: Array
    distinct: np.ndarray
    state: Any = None


class Halfway(NamedTuple):
    """Where a group was left after an epoch, on the host.

    Attributes:
      epoch: the last one that is over.
      values: what it gave, ``[runs, …]``.
      positions: of each place's run in its group, ``[places]``.
      leaves: of the state, ``[places, …]`` each.
    """

    epoch: int
    values: dict[str, np.ndarray]
    positions: np.ndarray
    leaves: list[np.ndarray]


def num_orders(plan: Plan, places: int) -> int:
    """Returns how many orders of the examples the runs in so many places follow.

    At most: groups of one program are given as many, whatever seeds they hold.
    """
    return min(places, len(plan.axes["seed"]))


def make_batch(plan: Plan, group: Group, mesh: Mesh) -> RunBatch:
    """Returns a group's runs, the last one filling up the places that are left."""
    size = group.width * plan.num_devices
    return _placed(plan, group, mesh, np.minimum(np.arange(size), len(group.runs) - 1))


def _placed(plan: Plan, group: Group, mesh: Mesh, positions: np.ndarray) -> RunBatch:
    """Returns a group's runs in places, each given by its position in the group."""
    size = group.width * plan.num_devices
    runs = [group.runs[position] for position in positions]
    hparams = [run_hparams(plan, group.config, run) for run in runs]
    stacked = jax.tree.map(lambda *v: np.asarray(v, np.float32), *hparams)
    seeds = np.asarray([run_settings(plan, run)["seed"] for run in runs], np.uint32)
    of_group = [run_settings(plan, run)["seed"] for run in group.runs]
    distinct = np.unique(np.asarray(of_group, np.uint32))
    rows = np.searchsorted(distinct, seeds)
    missing = num_orders(plan, size) - len(distinct)
    distinct = np.pad(distinct, (0, missing), mode="edge")
    stacked, seeds, rows = jax.device_put(
        (stacked, seeds, rows.astype(np.int32)), NamedSharding(mesh, RUN)
    )
    return RunBatch(positions, stacked, seeds, rows, distinct)


def scatter_to_runs(
    values: dict[str, Array], seats: RunBatch, before: dict[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Returns values by position in the group; of a run that left, those of before."""
    found = {}
    for name, by_place in values.items():
        on_host = np.asarray(by_place)
        shape = (count, *on_host.shape[1:])
        found[name] = before[name].copy() if name in before else np.empty(
            shape, on_host.dtype
        )  # fmt: skip
        found[name][seats.positions] = on_host
    return found


def without(seats: RunBatch, gone: np.ndarray, width: int, mesh: Mesh) -> RunBatch:
    """Returns the places without the runs that are gone.

    The rest are packed together only where they fit into half, a quarter or an eighth
    of the group's width, so that there are at most three further programs.
    """
    alive, places = np.unique(seats.positions, return_index=True)
    alive, places = alive[~gone[alive]], places[~gone[alive]]
    if not len(alive):
        return seats._replace(positions=alive)
    devices = mesh.devices.size
    size = min(
        math.ceil(width / share) * devices
        for share in (1, 2, 4, 8)
        if math.ceil(width / share) * devices >= len(alive)
    )
    if size >= len(seats.positions):
        return seats
    taken = places[np.minimum(np.arange(size), len(alive) - 1)]
    packed = jax.device_put(
        jax.tree.map(
            lambda x: x[jnp.asarray(taken)],
            (seats.hparams, seats.seeds, seats.rows, seats.state),
        ),
        NamedSharding(mesh, RUN),
    )
    hparams, seeds, rows, state = packed
    return RunBatch(seats.positions[taken], hparams, seeds, rows, seats.distinct, state)


def halfway(part: Part, seats: RunBatch) -> Halfway:
    """Returns what ``taken_again`` needs to go on after an epoch."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(seats.state)]
    return Halfway(part.epoch or 0, part.values, seats.positions, leaves)


def restore(
    plan: Plan, group: Group, left: Halfway, state: Any, mesh: Mesh
) -> RunBatch:
    """Returns the seats of a group that was left, as they were.

    Args:
      plan: to which the group belongs.
      group: which.
      left: where.
      state: what the state of a group is like, as shapes.
      mesh: the devices.
    """
    if not len(left.positions):
        return make_batch(plan, group, mesh)._replace(positions=left.positions)
    seats = _placed(plan, group, mesh, left.positions)
    leaves = jax.device_put(left.leaves, NamedSharding(mesh, RUN))
    return seats._replace(state=jax.tree.unflatten(jax.tree.structure(state), leaves))
