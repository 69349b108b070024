"""The parts of a sweep joined into one labelled Dataset."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fmnist_jax.config import (
    LOSS_LEGENDS,
    SETTINGS,
    STATIC,
    axis_label,
    coordinate,
    owning_choice,
    uses_setting,
)
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.probes.status import STATUSES, status
from fmnist_jax.sweeps.planning import Plan, run_hparams

# Name -> (label, unit) of what every sweep records.
VARIABLES = {
    "train_loss": ("training loss", "nats"),
    "train_penalty": ("training penalty", "nats"),
    "train_accuracy": ("training accuracy", "1"),
    "train_accuracy_running": ("running training accuracy", "1"),
    "test_loss": ("test loss", "nats"),
    "test_accuracy": ("test accuracy", "1"),
    "epoch_learning_rate": ("learning rate of the epoch", "1"),
    "train_accuracy_with_dropout": ("training accuracy, dropout on", "1"),
    "test_loss_with_dropout": ("test loss, dropout on", "nats"),
    "test_accuracy_with_dropout": ("test accuracy, dropout on", "1"),
    "stopped": ("has reached its target accuracy", "1"),
    "stopped_epoch": ("epoch that reached the target accuracy", "1"),
    "parameters_finite": ("all parameters finite", "1"),
    "dead_layers": ("dead hidden layers", "1"),
    "zero_gradient_share": ("share of examples with zero gradient", "1"),
}

# Likewise of probes of ours, where the name does not say enough.
PROBED = {"near_zero_share": ("weights within 0.001 of 0", "1")}


class Part(NamedTuple):
    """What runs gave, after an epoch or, where epoch is None, once.

    Attributes:
      group: position of their group in the plan.
      runs: their positions in the flattened grid; fewer than the group's where it did
        not fit into the device's memory and was halved.
      epoch: from 1; None for the outputs of probes at "init" or "end".
      values: name to array ``[runs, …]``.
    """

    group: int
    runs: tuple[int, ...]
    epoch: int | None
    values: dict[str, np.ndarray]


def join(plan: Plan, parts: Iterable[Part], data: Data) -> xr.Dataset:
    """Returns the labelled results of a plan, NaN where no part tells.

    Args:
      plan: what was run.
      parts: what it gave, in any order.
      data: what it was run on.
    """
    dataset = xr.Dataset(coords=_coordinates(plan))
    parts = list(parts)
    grids = _grids(plan, parts)
    for name in sorted(grids, key=lambda n: [*VARIABLES, n].index(n)):
        grid, has_epoch = grids[name]
        own = next((p.dims[name] for p in plan.probes if name in p.dims), ())
        dims = (*plan.axes, *(["epoch"] if has_epoch else []), *own)
        label, unit = (VARIABLES | PROBED).get(name, (name.replace("_", " "), ""))
        attrs = {"long_name": label} | ({"units": unit} if unit else {})
        dataset[name] = xr.Variable(dims, grid, attrs)
    if "stopped" in dataset:
        dataset["stopped_epoch"] = _stopped_epoch(dataset.stopped)
    dataset["status"] = _status(dataset, data.num_classes)
    dataset.attrs = {
        "dataset": data.name,
        "dataset_title": data.title,
        "dataset_fingerprint": data.fingerprint,
        "num_classes": data.num_classes,
        "train_examples": len(data.train.labels),
        "test_examples": len(data.test.labels),
        "groups_halved_for_memory": len(
            {p.group for p in parts if len(p.runs) < len(plan.groups[p.group].runs)}
        ),
    }
    return dataset


def _grids(plan: Plan, parts: Iterable[Part]) -> dict[str, tuple[np.ndarray, bool]]:
    """Returns each variable over all axes, and whether it has epochs."""
    flat: dict[str, tuple[np.ndarray, bool]] = {}
    num_epochs = plan.config.num_epochs
    for part in parts:
        runs = np.asarray(part.runs)
        by_epoch = part.epoch is not None
        for name, values in part.values.items():
            lead = (plan.num_runs, num_epochs) if by_epoch else (plan.num_runs,)
            shape = (*lead, *values.shape[1:])
            if name not in flat:
                # Whole numbers are kept exactly, and leave room for NaN, in float64.
                dtype = np.result_type(values.dtype, np.float32)
                flat[name] = np.full(shape, np.nan, dtype), by_epoch
            grid, _ = flat[name]
            if grid.shape != shape:
                raise UserError(
                    f"The probe output {name} has shape {grid.shape[len(lead) :]} in "
                    f"one program and {values.shape[1:]} in another; give it one shape."
                )
            at = (runs, part.epoch - 1) if part.epoch is not None else runs
            grid[at] = values
    return {
        name: (grid.reshape(*plan.shape, *grid.shape[1:]), by_epoch)
        for name, (grid, by_epoch) in flat.items()
    }


def _status(dataset: xr.Dataset, num_classes: int) -> xr.Variable:
    names = ("train_loss", "test_loss", "parameters_finite", "dead_layers")
    optional = ["stopped"] if "stopped" in dataset else []
    values = {n: dataset[n].values for n in (*names, "zero_gradient_share", *optional)}
    dims = dataset.train_loss.dims[:-1]
    found = status(values, num_classes)
    return xr.Variable(dims, found, {"long_name": "status", **STATUSES})


def _stopped_epoch(stopped: xr.DataArray) -> xr.Variable:
    """Returns the first epoch that ended with the run stopped; NaN where none did."""
    values = stopped.values == 1
    first = np.where(values.any(-1), values.argmax(-1) + 1, np.nan)
    label, unit = VARIABLES["stopped_epoch"]
    attrs = {"long_name": label, "units": unit}
    return xr.Variable(stopped.dims[:-1], first, attrs)


def _coordinates(plan: Plan) -> dict[str, Any]:
    axes = {
        name: xr.Variable(
            (name,), _values(name, values), {"long_name": axis_label(name)}
        )
        for name, values in plan.axes.items()
    }
    epochs = np.arange(1, plan.config.num_epochs + 1)
    axes["epoch"] = xr.Variable(("epoch",), epochs, {"long_name": "epoch"})
    named = SETTINGS.keys() - plan.axes.keys() - {"name"}
    others = {name: _other_setting(plan, name) for name in SETTINGS if name in named}
    if others.get("model") is not None and plan.config.name:
        others["model"] = xr.Variable((), plan.config.name, {"long_name": "model"})
    found = axes | {name: v for name, v in others.items() if v is not None}
    found["loss"].attrs |= LOSS_LEGENDS
    return found


def _values(name: str, values: Iterable[Any]) -> np.ndarray:
    return np.asarray([coordinate(name, value) for value in values])


def _other_setting(plan: Plan, name: str) -> xr.Variable | None:
    """Returns what a setting that is no axis was: one value, or one per choice.

    A choice is an optimizer or a schedule with a default of its own.
    """
    configs = [g.config for g in plan.groups if uses_setting(g.config, name)]
    if not configs:
        return None
    attrs = {"long_name": axis_label(name)}
    if name in STATIC:
        value = getattr(plan.config, name)
        return xr.Variable((), coordinate(name, value), attrs)
    choice = owning_choice(name)
    if choice is None:
        value = getattr(plan.hparams, name)
        used = SETTINGS[name].off if value is None else value
        return xr.Variable((), used, attrs)
    values = {
        getattr(config, choice): getattr(run_hparams(plan, config, 0), name)
        for config in configs
    }
    choices = plan.axes.get(choice, [getattr(plan.config, choice)])
    if len(set(values.values())) == 1 and len(values) == len(choices):
        return xr.Variable((), next(iter(values.values())), attrs)
    listed = [values.get(each, np.nan) for each in choices]
    return xr.Variable((choice,), np.asarray(listed, float), attrs)
