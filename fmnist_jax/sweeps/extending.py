"""Extends a finished sweep: runs that its results have are not trained again."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import SETTINGS
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.coordinates import coordinates
from fmnist_jax.sweeps.labelling import LAST_EPOCH_ONLY
from fmnist_jax.sweeps.planning import Group, Plan, make_groups

# Computed from the results of a run, not recorded of it.
_DERIVED = ("status", "stopped_epoch")


def with_reused_groups(plan: Plan, results: xr.Dataset, data: Data) -> Plan:
    """Returns a plan whose groups have either runs of earlier results, or none.

    Args:
      plan: what is to run.
      results: of the earlier sweep, with its attributes.
      data: what the plan runs on.

    Raises:
      UserError: if the results are of other data or of successive halving, or have no
        run of the plan.
    """
    if results.attrs.get("dataset_fingerprint") != data.fingerprint:
        raise UserError("the results are of other data.")
    if "pruned_epoch" in results:
        raise UserError("they are of successive halving: some runs did not end.")
    known = positions(plan, results, data)
    if not known:
        raise UserError(f"they have none of these runs{_difference(plan, results)}.")
    runs_by_program: dict[Any, tuple[list[int], list[int]]] = {}
    widths: dict[Any, int] = {}
    for group in plan.groups:
        reused, new = runs_by_program.setdefault(group.config, ([], []))
        for run in group.runs:
            (reused if run in known else new).append(run)
        widths[group.config] = max(group.width, widths.get(group.config, 0))
    groups = []
    for config, (reused, new) in runs_by_program.items():
        if reused:
            width = math.ceil(len(reused) / plan.num_devices)
            groups.append(Group(config, tuple(reused), width))
        if new:
            groups += make_groups(config, new, plan.num_devices, widths[config])
    return dataclasses.replace(plan, groups=tuple(groups))


def reused_checkpoints(
    plan: Plan, results: xr.Dataset, data: Data
) -> dict[int, Checkpoint]:
    """Returns the finished checkpoints of the groups whose runs the results have."""
    known = positions(plan, results, data)
    checkpoints = {}
    for index, group in enumerate(plan.groups):
        if all(run in known for run in group.runs):
            rows = [known[run] for run in group.runs]
            checkpoints[index] = _checkpoint(plan, index, group, results, rows)
    return checkpoints


def positions(plan: Plan, results: xr.Dataset, data: Data) -> dict[int, int]:
    """Returns where the results have runs of a plan: from position to position.

    Runs are the same if all settings that they depend on and their seeds are. The
    positions are those in the flattened grids of the plan and of the results.
    """
    planned = xr.Dataset(coords=coordinates(plan, len(data.train.labels)))
    names = [n for n in (*SETTINGS, *plan.hparams.extra, "seed") if n != "name"]
    dims = [str(dim) for dim in results.status.dims]
    pairs = [
        (_column(planned, name, [*plan.axes]), _column(results, name, dims))
        for name in names
    ]
    first: dict[Any, int] = {}
    for position, key in enumerate(zip(*(old for _, old in pairs), strict=True)):
        first.setdefault(key, position)
    trained = {run for group in plan.groups for run in group.runs}
    wanted = enumerate(zip(*(new for new, _ in pairs), strict=True))
    return {run: first[key] for run, key in wanted if run in trained and key in first}


def _column(dataset: xr.Dataset, name: str, dims: list[str]) -> list[Any]:
    """Returns a setting of each run, None if the run does not depend on it."""
    sizes = {dim: dataset.sizes[dim] for dim in dims}
    if name not in dataset.coords:
        return [None] * math.prod(sizes.values())
    values = dataset[name].variable.set_dims(sizes).transpose(*dims)
    flat = values.values.ravel().tolist()
    return [None if value == "" or value != value else value for value in flat]


def _difference(plan: Plan, results: xr.Dataset) -> str:
    """Returns a fixed setting in which all runs differ, as the end of a sentence."""
    planned = xr.Dataset(coords=coordinates(plan, 1))
    for name in SETTINGS:
        both = name in planned.coords and name in results.coords
        if both and not planned[name].ndim and not results[name].ndim:
            before, now = results[name].item(), planned[name].item()
            if before != now:
                return f": {name} is {before} there and {now} now"
    return ""


def _checkpoint(
    plan: Plan, index: int, group: Group, results: xr.Dataset, rows: list[int]
) -> Checkpoint:
    outer = [str(dim) for dim in results.status.dims]
    num_epochs = plan.config.num_epochs
    by_epoch: list[dict[str, np.ndarray]] = [{} for _ in range(num_epochs)]
    once: dict[str, np.ndarray] = {}
    for name, variable in results.data_vars.items():
        if name in _DERIVED or not {*outer} <= {*variable.dims}:
            continue
        inner = [d for d in variable.dims if d not in (*outer, "epoch", "step")]
        of_time = [d for d in ("epoch", "step") if d in variable.dims]
        ordered = variable.transpose(*outer, *of_time, *inner).values
        values = ordered.reshape(-1, *ordered.shape[len(outer) :])[rows]
        if name in LAST_EPOCH_ONLY:
            absent = np.full_like(values, np.nan)
            for epoch in range(num_epochs):
                is_last = epoch == num_epochs - 1
                by_epoch[epoch][str(name)] = values if is_last else absent
        elif of_time:
            shape = (len(rows), num_epochs, -1) if of_time == ["step"] else values.shape
            values = values.reshape(shape)
            for epoch in range(num_epochs):
                by_epoch[epoch][str(name)] = values[:, epoch]
        else:
            once[str(name)] = values
    parts = [Part(index, group.runs, e + 1, by_epoch[e]) for e in range(num_epochs)]
    if once:
        parts.append(Part(index, group.runs, None, once))
    return Checkpoint(parts)


def check_environment(
    before: Mapping[str, Any], now: Mapping[str, Any], folder: object
) -> None:
    """Raises UserError if results are of other code, versions or probes."""
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            raise UserError(
                f"The results in {folder} cannot be extended: {name} is "
                f"{before.get(name)} there and {now.get(name)} now."
            )
