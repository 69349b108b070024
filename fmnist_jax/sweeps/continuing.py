"""Continues the runs of an earlier sweep for more epochs."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from fmnist_jax.data.dataset import Data
from fmnist_jax.effects import settings_by_name
from fmnist_jax.errors import UserError
from fmnist_jax.probes.probe import run_probes
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.code_names import code_name
from fmnist_jax.sweeps.coordinates import coordinates
from fmnist_jax.sweeps.labelling import (
    LAST_EPOCH_ONLY,
    VALIDATION,
    VARIABLES,
)
from fmnist_jax.sweeps.planning import Group, Plan, run_config, run_hparams
from fmnist_jax.sweeps.planning import plan as plan_sweep
from fmnist_jax.sweeps.states import Run, States
from fmnist_jax.training.step import epoch_metric_names

Sweep = tuple[xr.Dataset, States]
Identity = tuple[tuple[str, Any], ...]  # the settings of a run by name


def continued(plan: Plan, data: Data, earlier: Sweep) -> dict[int, Checkpoint]:
    """Returns a checkpoint of each group, after the last epoch of an earlier sweep.

    The plan has runs whose states the earlier sweep kept, for more epochs on the same
    data. A schedule that depends on the number of epochs is refused.
    """
    results, states = _checked(plan, data, earlier)
    codes: dict[Any, str] = {}
    identities = {run: _identity(states.plan, run, codes) for run in states.arrays}
    kept = {identity: run for run, identity in identities.items()}
    groups = {}
    for index, group in enumerate(plan.groups):
        wanted = [_identity(plan, run, codes) for run in group.runs]
        rows = [kept[identity] for identity in wanted if identity in kept]
        if len(rows) < len(wanted):
            missing = [identity for identity in wanted if identity not in kept]
            raise _not_kept(missing, len(wanted), kept)
        shapes = _probed(plan, data, states.run(rows[0]))
        few = _with_probes(results, states, shapes)
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
    shapes = data.image_shape, data.num_classes
    if (states.data_fingerprint, states.shapes) != (data.fingerprint, shapes):
        raise UserError("The data differ from those of the earlier sweep.")
    if problem := _mismatch(results, states, data):
        raise UserError(
            f"The results of continue_from are not those of its states: {problem}. "
            "Pass both as sweep returned them, without a selection."
        )
    if "cosine" in {group.config.schedule for group in plan.groups}:
        raise UserError(
            "The cosine schedule ends at num_epochs, so its runs cannot be continued: "
            "train them anew, or choose another schedule."
        )
    return results, states


def _mismatch(results: xr.Dataset, states: States, data: Data) -> str | None:
    """Returns how results differ from those of the sweep of the states; or None."""
    config = states.config
    if results.attrs.get("dataset_fingerprint") != states.data_fingerprint:
        return "they are of other data"
    planned = plan_sweep(states.axes, config, states.hparams, data=data)
    expected = coordinates(planned, len(data.train.labels))
    for name, coordinate in expected.items():
        if name not in results.coords or not coordinate.equals(results[name].variable):
            return f"{name} differs"
    for name in epoch_metric_names(config):
        is_recorded = data.validation is not None or name not in VALIDATION
        is_recorded &= data.targets == "classes" or "accuracy" not in name
        is_recorded &= name not in LAST_EPOCH_ONLY
        dims = (*states.axes, "epoch")
        if is_recorded and (name not in results or results[name].dims != dims):
            return f"{name} has not the dimensions {', '.join(dims)}"
    return None


def _identity(plan: Plan, run: int, codes: dict[Any, str]) -> Identity:
    """Returns all settings that decide a run, but the number of its epochs.

    Functions and networks are represented by their code, of which ``codes`` is a cache.
    """
    config = run_config(plan, run)
    settings = settings_by_name(config, run_hparams(plan, config, run))
    settings["seed"] = plan.axes["seed"][run % len(plan.axes["seed"])]
    for name in ("num_epochs", "name"):
        del settings[name]
    for name in ("model", "loss", "optimizer", "schedule"):
        value = settings[name]
        if value is not None and not isinstance(value, str):
            if value not in codes:
                codes[value] = code_name(value)
            settings[name] = codes[value]
    return tuple(settings.items())


def _not_kept(
    missing: Sequence[Identity], total: int, kept: Collection[Identity]
) -> UserError:
    """Returns the error for runs without a kept state, with the nearest one's name."""
    differing = [
        [name for (name, a), (_, b) in zip(missing[0], other, strict=False) if a != b]
        for other in kept
    ]
    names = min(differing, key=len, default=[])
    nearest = f" The nearest one differs in {', '.join(names)}." if names else ""
    return UserError(
        f"continue_from has no state for {len(missing)} of {total} runs.{nearest} Only "
        "num_epochs may differ from the earlier sweep, and the states of all these "
        "runs must have been kept (keep_states='all')."
    )


def _with_probes(
    results: xr.Dataset, states: States, shapes: Mapping[str, Any]
) -> xr.Dataset:
    """Returns the metrics and what the plan's probes have recorded before."""
    for name, shape in shapes.items():
        outer = len(states.axes) + 1
        if name in results and results[name].shape[outer:] != shape:
            raise UserError(
                f"The probe output {name!r} has shape {shape}, but "
                f"{results[name].shape[outer:]} in the earlier sweep; give it another "
                "name."
            )
    return results[[n for n in results.data_vars if n in (*VARIABLES, *shapes)]]


def _probed(plan: Plan, data: Data, run: Run) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of what the plan's probes record after each epoch."""
    probes = tuple(probe for probe in plan.probes if probe.when == "epoch")
    key = jax.eval_shape(lambda: jax.random.key(0))
    function = functools.partial(run_probes, probes, *run)
    outputs = jax.eval_shape(function, key, data.splits)
    return {name: output.shape for name, output in outputs.items()}


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
