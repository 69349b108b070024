"""Reuses the results of a finished sweep: its runs are not trained again."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import SETTINGS
from fmnist_jax.data.dataset import Data
from fmnist_jax.effects import uses_setting
from fmnist_jax.errors import UserError
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.coordinates import coordinates
from fmnist_jax.sweeps.grid import axis_coordinate
from fmnist_jax.sweeps.labelling import LAST_EPOCH_ONLY
from fmnist_jax.sweeps.planning import Group, Plan, with_runs

# Variables that are computed from the others.
_DERIVED = ("status", "stopped_epoch")


def with_reused_groups(
    plan: Plan, first: Plan, results: xr.Dataset, data: Data
) -> Plan:
    """Returns a plan in which each group is either reused or trained as a whole.

    ``first`` is the plan of those runs that are trained first. The results are those of
    the earlier sweep, with their attributes. They are refused if they are from other
    data or from successive halving, or contain no run of the plan.
    """
    if results.attrs.get("dataset_fingerprint") != data.fingerprint:
        raise UserError("the results are from other data.")
    if "pruned_epoch" in results:
        raise UserError("the results are from successive halving, which pruned runs.")
    known = positions(plan, results, data)
    if not known:
        raise UserError(
            f"the results contain none of these runs{_difference(plan, results)}."
        )
    missing = {run for group in first.groups for run in group.runs} - known.keys()
    parts = with_runs(plan, known.keys()), with_runs(plan, missing)
    groups = (group for part in parts for group in part.groups)
    return dataclasses.replace(plan, groups=tuple(groups))


def check_contained(plan: Plan, results: xr.Dataset, data: Data) -> None:
    """Raises UserError if the plan lacks a run of the results, or some are filled in.

    Most points of an adaptive map are filled in, not trained.
    """
    if "is_trained" in results:
        raise UserError(
            "the results are from an adaptive map (--refine), where most points are "
            "filled in, not trained; use --zoom_from."
        )
    if lost := _lost(plan, results, data):
        raise UserError(
            f"the results also have runs with {lost}, which would be lost; repeat the "
            "flags of the first command, and add to them."
        )


def trained_points(
    results: xr.Dataset, window: Mapping[str, Collection[float]]
) -> xr.Dataset:
    """Returns the runs of a map along an axis of its trained points in a window.

    ``window`` maps the two settings that span the map to the values in the window.
    """
    runs = [n for n, v in results.items() if {*results.status.dims} <= {*v.dims}]
    inside = {n: results[n].isin([*values]) for n, values in window.items()}
    points = results.isel(inside).stack(_point=[*window]).reset_index("_point")
    if "is_trained" in points:
        points = points.isel(_point=points.is_trained.values)
    return points[runs]


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
    """Returns the position in the results of each run of a plan that they contain.

    Two runs are the same if they have the same seed and agree in all settings that they
    depend on. Keys and values are positions in the flattened grids of plan and results.
    """
    first: dict[Any, int] = {}
    for position, key in enumerate(_keys(results)):
        first.setdefault(key, position)
    known: dict[int, int] = {}
    for run, keys in _keys_of_plan(plan, data):
        for key in keys:
            if key in first:
                known.setdefault(run, first[key])
    return known


def _lost(plan: Plan, results: xr.Dataset, data: Data) -> str:
    """Returns a value of an axis of the results that no run of the plan has, or ""."""
    kept = {key for _, keys in _keys_of_plan(plan, data) for key in keys}
    lost = [run for run, key in enumerate(_keys(results)) if key not in kept]
    if not lost:
        return ""
    dims = [str(dim) for dim in results.status.dims]
    index = np.unravel_index(lost[-1], [results.sizes[dim] for dim in dims])
    values = {d: results[d].values[i] for d, i in zip(dims, index, strict=True)}
    absent = [d for d in dims if d in plan.axes and values[d] not in _shown(plan, d)]
    return ", ".join(f"{dim} {values[dim]}" for dim in absent or dims)


def _shown(plan: Plan, axis: str) -> list[Any]:
    return [axis_coordinate(axis, value) for value in plan.axes[axis]]


def _keys(results: xr.Dataset) -> Iterator[Any]:
    """Yields the settings and the seed of each run of the results."""
    dims = [str(dim) for dim in results.status.dims]
    # Labels of bundles say nothing about a run.
    bundles = [dim for dim in dims if dim != "seed" and dim not in SETTINGS]
    without = (*bundles, "epoch", "step")
    names = sorted(str(name) for name in results.coords if name not in without)
    columns = {name: _column(results, name, dims) for name in names}
    for values in zip(*columns.values(), strict=True):
        yield _key(dict(zip(columns, values, strict=True)))


def _key(settings: Mapping[str, Any]) -> Any:
    """Returns settings without those that have no effect at their values."""
    off = {name: setting.off for name, setting in SETTINGS.items()}
    pairs = ((n, v) for n, v in settings.items() if v is not None)
    return frozenset((n, v) for n, v in pairs if n not in off or v != off[n])


def _keys_of_plan(plan: Plan, data: Data) -> Iterator[tuple[int, list[Any]]]:
    """Yields, for each run of the grid, the run that is trained for it, and its keys.

    The second key is without the axes on which the run does not depend: the results
    may have been made without these axes.
    """
    planned = xr.Dataset(coords=coordinates(plan, len(data.train.labels)))
    planned["status"] = xr.Variable([*plan.axes], np.zeros(plan.shape, bool))
    programs = {run: group.config for group in plan.groups for run in group.runs}
    settings = [axis for axis in plan.axes if axis in SETTINGS]
    unused = {
        config: [name for name in settings if not uses_setting(config, name)]
        for config in {*programs.values()}
    }
    trained = plan.trained_runs.tolist()
    for run, key in zip(trained, _keys(planned), strict=True):
        if run not in programs:
            continue
        names = unused[programs[run]]
        yield run, [key, frozenset(pair for pair in key if pair[0] not in names)]


def _column(dataset: xr.Dataset, name: str, dims: list[str]) -> list[Any]:
    """Returns the value of a setting in each run; None if the run does not use it."""
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
                return f": {name} was {before} and is now {now}"
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


def check_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UserError if results come from other code, versions or probes."""
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            raise UserError(
                f"{name} was {before.get(name, 'not recorded')} and is now "
                f"{now.get(name, 'not recorded')}."
            )
