"""Continues the runs of an earlier sweep for more epochs."""

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
import xarray as xr

from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import run_probes
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.labelling import LAST_EPOCH_ONLY, VARIABLES
from fmnist_jax.sweeps.planning import Group, Plan, run_config, run_hparams
from fmnist_jax.sweeps.states import Run, States

Sweep = tuple[xr.Dataset, States]


def continued(plan: Plan, data: Data, earlier: Sweep) -> dict[int, Checkpoint]:
    """Returns a checkpoint of each group, after the last epoch of an earlier sweep.

    Args:
      plan: what is to run: runs of the earlier sweep, for more epochs.
      data: what the earlier sweep ran on.
      earlier: the results and the kept states.

    Raises:
      UserError: for runs that the earlier sweep did not keep, no further epochs, other
        data, or a schedule that depends on the number of epochs.
    """
    results, states = _checked(plan, data, earlier)
    kept = {_identity(states.plan, run): run for run in states.arrays}
    groups = {}
    for index, group in enumerate(plan.groups):
        runs = [kept.get(_identity(plan, run)) for run in group.runs]
        rows = [run for run in runs if run is not None]
        if len(rows) < len(runs):
            raise UserError(
                f"continue_from has no state for {len(runs) - len(rows)} of "
                f"{len(runs)} runs. Only num_epochs may differ from the earlier sweep, "
                "and the states of all these runs must have been kept "
                "(keep_states='all')."
            )
        names = VARIABLES.keys() | _probed(plan, data, states.run(rows[0]))
        few = results[[name for name in results.data_vars if name in names]]
        groups[index] = _checkpoint(plan, group, index, few, states, rows)
    return groups


def _checked(plan: Plan, data: Data, earlier: Any) -> Sweep:
    match earlier:
        case (xr.Dataset() as results, States() as states):
            pass
        case _:
            raise UserError(
                "continue_from is not the pair (results, states) that "
                "sweep(…, keep_states='all') returns."
            )
    before, after = states.config.num_epochs, plan.config.num_epochs
    if after <= before:
        raise UserError(
            f"num_epochs is {after}, but the earlier sweep already has {before} "
            "epochs; give the total number of epochs, earlier ones included."
        )
    if results.attrs["dataset_fingerprint"] != data.fingerprint:
        raise UserError("The data differ from those of the earlier sweep.")
    if "cosine" in {group.config.schedule for group in plan.groups}:
        raise UserError(
            "The cosine schedule ends at num_epochs, so its runs cannot be continued: "
            "train them anew, or choose another schedule."
        )
    return results, states


def _identity(plan: Plan, run: int) -> Hashable:
    """Returns all settings of a run but the number of its epochs."""
    config = run_config(plan, run)
    hparams = vars(run_hparams(plan, config, run)).copy()
    extra = tuple(sorted(hparams.pop("extra").items()))
    seed = plan.axes["seed"][run % len(plan.axes["seed"])]
    shared = dataclasses.replace(config, num_epochs=1)
    return shared, tuple(hparams.items()), extra, seed


def _probed(plan: Plan, data: Data, run: Run) -> set[str]:
    """Returns the names of what the plan's probes record after each epoch."""
    probes = tuple(probe for probe in plan.probes if probe.when == "epoch")
    key = jax.eval_shape(lambda: jax.random.key(0))
    splits = jax.tree.map(jax.numpy.asarray, data.splits)
    return {*jax.eval_shape(lambda k: run_probes(probes, *run, k, splits), key)}


def _checkpoint(
    plan: Plan,
    group: Group,
    index: int,
    results: xr.Dataset,
    states: States,
    earlier: list[int],
) -> Checkpoint:
    """Returns the checkpoint of a group; ``earlier`` are its runs' old positions."""
    epochs = states.config.num_epochs
    outer = [*states.axes, "epoch"]
    rows = np.unravel_index(earlier, [len(values) for values in states.axes.values()])
    values = {}
    for name, variable in results.data_vars.items():
        if "epoch" in variable.dims and name not in LAST_EPOCH_ONLY:
            values[str(name)] = variable.transpose(*outer, ...).values[rows]
        if "step" in variable.dims:
            records = variable.transpose(*states.axes, "step").values[rows]
            values[str(name)] = records.reshape(len(records), epochs, -1)
    parts = [
        Part(index, group.runs, e + 1, {name: v[:, e] for name, v in values.items()})
        for e in range(epochs)
    ]
    slots = group.width * plan.num_devices
    positions = np.minimum(np.arange(slots), len(group.runs) - 1)
    leaves = jax.tree.leaves(states.stacked(earlier))
    return Checkpoint(parts, positions, [leaf[positions] for leaf in leaves])
