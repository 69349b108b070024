"""Labels the results of runs: parts to one Dataset with named axes."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.data.dataset import Data
from fmnist_jax.data.inspection import DIVISOR, USUAL_SIZES
from fmnist_jax.errors import UserError
from fmnist_jax.probes.status import STATUSES, status
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.coordinates import coordinates, programs_along
from fmnist_jax.sweeps.grid import axes_setting
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
    "validation_loss": ("validation loss", "nats"),
    "validation_accuracy": ("validation accuracy", "1"),
    "final_train_loss": ("training loss after the last epoch", "nats"),
    "final_train_accuracy": ("training accuracy after the last epoch", "1"),
    "stopped": ("has reached its target accuracy", "1"),
    "stopped_epoch": ("epoch that reached the target accuracy", "1"),
    "pruned": ("pruned at a rung", "1"),
    "pruned_epoch": ("epoch after which the run was pruned", "1"),
    "parameters_finite": ("all parameters finite", "1"),
    "dead_layers": ("dead hidden layers", "1"),
    "zero_gradient_share": ("share of examples with zero gradient", "1"),
}
_RECORDED = ["train_loss", "train_penalty", "train_accuracy_running"]
_RECORDED += ["test_loss", "test_accuracy", "validation_loss", "validation_accuracy"]
BY_STEP = {f"{name}_by_step": VARIABLES[name] for name in _RECORDED}
VARIABLES |= BY_STEP
STATE = "state."  # begins the names of a state's arrays among the results of a run
LAST_EPOCH_ONLY = {"final_train_loss", "final_train_accuracy"}
VALIDATION = ("validation_loss", "validation_accuracy")  # NaN without validation set
# Likewise for outputs of probes whose name is not a sufficient label.
PROBED = {
    "near_zero_share": ("weights within 0.001 of 0", "1"),
    "activation_stable_rate": ("learning rate of activation stability", "1"),
}


def join(plan: Plan, parts: Iterable[Part], data: Data) -> xr.Dataset:
    """Returns the labelled results of a plan, NaN for runs without a part.

    Args:
      plan: what was run.
      parts: its results, in any order, as ``run_groups`` yields them.
      data: what it was run on.

    Returns:
      The same as ``sweep``.
    """
    dataset = xr.Dataset(coords=coordinates(plan, len(data.train.labels)))
    parts = list(parts)
    is_own_loss = any(callable(group.config.loss) for group in plan.groups)
    kept = [p._replace(values=_without_states(p.values)) for p in parts]
    grids = _grids(plan, kept)
    for name in sorted(grids, key=lambda n: [*VARIABLES, n].index(n)):
        grid, has_epochs = grids[name]
        if name in VALIDATION and data.validation is None:
            continue
        if data.targets != "classes" and "accuracy" in name and name in VARIABLES:
            continue
        if name in LAST_EPOCH_ONLY:
            grid, has_epochs = grid[..., -1], False
        inner = next((p.dims[name] for p in plan.probes if name in p.dims), ())
        dims = (*plan.axes, *(["epoch"] if has_epochs else []), *inner)
        if name in BY_STEP:
            dims = (*plan.axes, "step")
            grid = grid.reshape(*plan.shape, -1)
        label, unit = (VARIABLES | PROBED).get(name, (name.replace("_", " "), ""))
        unit = "" if unit == "nats" and is_own_loss else unit
        attrs = {"long_name": label} | ({"units": unit} if unit else {})
        dataset[name] = xr.Variable(dims, grid, attrs)
    share = data.largest_class_share if data.targets == "classes" else np.nan
    dataset["status"] = _status(dataset, share)
    if "stopped" in dataset:
        dataset["stopped_epoch"] = _first_epoch("stopped_epoch", dataset.stopped)
        _mask(dataset, BY_STEP.keys() & dataset.keys(), dataset.stopped_epoch)
    if "pruned" in dataset:
        dataset["pruned_epoch"] = _first_epoch("pruned_epoch", dataset.pruned, -1)
        dataset = dataset.drop_vars("pruned")
        by_epoch = {n for n, v in dataset.items() if {"epoch", "step"} & {*v.dims}}
        _mask(dataset, by_epoch, dataset.pruned_epoch)
        for name in LAST_EPOCH_ONLY & dataset.keys():
            dataset[name] = dataset[name].where(dataset.pruned_epoch.isnull())
    dataset.attrs = _attributes(plan, parts, data)
    return dataset


def _attributes(plan: Plan, parts: Iterable[Part], data: Data) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "dataset": data.name,
        "dataset_title": data.title,
        "dataset_fingerprint": data.fingerprint,
        "num_classes": data.num_classes,
        "train_examples": len(data.train.labels),
        "test_examples": len(data.test.labels),
        "groups_halved_for_memory": num_halved(plan, parts),
    }
    if data.targets == "classes":
        attributes["largest_class_share"] = data.largest_class_share
    if data.class_names not in ((), tuple(map(str, range(data.num_classes)))):
        attributes["class_names"] = list(data.class_names)
    if data.validation is not None:
        attributes["validation_examples"] = len(data.validation.labels)
    if lines := notices(plan, data):
        attributes["notices"] = lines
    return attributes


def num_halved(plan: Plan, parts: Iterable[Part]) -> int:
    """Returns how many groups of a plan were divided for lack of memory."""
    groups = plan.groups
    return len({p.group for p in parts if len(p.runs) < len(groups[p.group].runs)})


def notices(plan: Plan, data: Data) -> list[str]:
    """Returns a line for everything in data and settings that may be a mistake."""
    configs = {group.config.normalization: group.config for group in plan.groups}
    divisors: list[float] = []
    for _, config, run in programs_along(plan, axes_setting(plan.axes, "divisor")):
        if config.normalization == "none":
            divisors.append(run_hparams(plan, config, run).divisor)
    lines = data.notices([*dict.fromkeys(divisors)])
    if data.targets != "classes":
        return lines + _code_notices(plan, data)
    train = data.findings.ranges["train"]
    is_uint8, high = data.train.images.dtype == np.uint8, train.high
    is_small = is_uint8 and train.size < USUAL_SIZES[0] * DIVISOR
    if is_small and {"unit", "symmetric"} & configs.keys():
        lines.append(
            "unit and symmetric take uint8 as 0 to 255, but the maximum here is "
            f"{high:g}. To divide by it, pass --normalizations=none --divisors={high:g}"
            " (in the library: images of type float32, whose range is measured)."
        )
    return lines + _code_notices(plan, data)


def _code_notices(plan: Plan, data: Data) -> list[str]:
    """Returns the lines about networks and losses of the user's."""
    networks = {group.config.model: group.config for group in plan.groups}
    networks.pop(None, None)
    losses = {group.config.loss: group.config for group in plan.groups}
    losses = {loss: c for loss, c in losses.items() if not isinstance(loss, str)}
    if not (networks or losses):
        return []
    from fmnist_jax.sweeps.network_checks import (  # imports jax
        loss_notices,
        network_notices,
    )

    lines = [line for c in networks.values() for line in network_notices(c, data)]
    return lines + [line for c in losses.values() for line in loss_notices(c, data)]


def _without_states(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in values.items() if not name.startswith(STATE)}


def _grids(plan: Plan, parts: Iterable[Part]) -> dict[str, tuple[np.ndarray, bool]]:
    """Returns each variable over all axes, and whether it has an epoch axis."""
    grids: dict[str, tuple[np.ndarray, bool]] = {}
    num_epochs = plan.config.num_epochs
    for part in parts:
        runs = np.asarray(part.runs)
        has_epochs = part.epoch is not None
        for name, values in part.values.items():
            outer = (plan.num_runs, num_epochs) if has_epochs else (plan.num_runs,)
            shape = (*outer, *values.shape[1:])
            if name not in grids:
                # float64 keeps whole numbers exact and has NaN.
                dtype = np.result_type(values.dtype, np.float32)
                grids[name] = np.full(shape, np.nan, dtype), has_epochs
            grid, _ = grids[name]
            if grid.shape != shape:
                raise UserError(
                    f"The probe output {name} has shape {grid.shape[len(outer) :]} in "
                    f"one program and {values.shape[1:]} in another; give it one shape."
                )
            index = (runs, part.epoch - 1) if part.epoch is not None else runs
            grid[index] = values
    if plan.num_distinct_runs < plan.num_runs:
        grids = {n: (grid[plan.trained_runs], e) for n, (grid, e) in grids.items()}
    return {
        name: (grid.reshape(*plan.shape, *grid.shape[1:]), has_epochs)
        for name, (grid, has_epochs) in grids.items()
    }


def _status(dataset: xr.Dataset, largest_class_share: float) -> xr.Variable:
    names = ["train_loss", "test_loss", "train_accuracy_running", "stopped"]
    names += ["parameters_finite", "dead_layers", "zero_gradient_share"]
    names += ["final_train_accuracy", "pruned"]
    values = {name: dataset[name].values for name in names if name in dataset}
    statuses = status(values, largest_class_share)
    dims = dataset.train_loss.dims[:-1]
    return xr.Variable(dims, statuses, {"long_name": "status", **STATUSES})


def _first_epoch(name: str, flags: xr.DataArray, shift: int = 0) -> xr.Variable:
    """Returns the first epoch with a flag of 1, plus ``shift``; NaN without one."""
    values = flags.values == 1
    first = np.where(values.any(-1), values.argmax(-1) + 1 + shift, np.nan)
    label, unit = VARIABLES[name]
    attrs = {"long_name": label, "units": unit}
    return xr.Variable(flags.dims[:-1], first, attrs)


def _mask(
    dataset: xr.Dataset, names: Iterable[Hashable], last_epoch: xr.DataArray
) -> None:
    """Sets values recorded after a run's last epoch to NaN, if it has one."""
    for name in names:
        epoch = dataset.epoch
        if "step" in dataset[name].dims:
            num_records = dataset.sizes["step"] // dataset.sizes["epoch"]
            epoch = dataset.step.copy(data=np.repeat(epoch.values, num_records))
        masked = dataset[name].where(~(epoch > last_epoch))
        dataset[name] = masked.transpose(*dataset[name].dims)
