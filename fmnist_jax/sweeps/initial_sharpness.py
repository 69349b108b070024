"""Sharpness and activation stability before training: predicted learning rates."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import OPTIMIZERS, SCHEDULES, SETTINGS, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.effects import uses_setting
from fmnist_jax.probes.activation import (
    BATCHES,
    IMAGES,
    activation_stability_probe,
)
from fmnist_jax.probes.probe import Probe
from fmnist_jax.probes.sharpness import (
    EXAMPLES,
    PRECONDITIONED_BY,
    preconditioned_sharpness_probe,
    sharpness_probe,
)
from fmnist_jax.stability import PRECONDITIONED, has_stability_limit, stable_rate
from fmnist_jax.sweeps.axes import drop_unread
from fmnist_jax.sweeps.engine import plan_for_local_devices, run_groups
from fmnist_jax.sweeps.labelling import VARIABLES, join
from fmnist_jax.sweeps.planning import Plan, run_hparams
from fmnist_jax.sweeps.program_data import share_statistics

# Settings of training steps and of what is recorded, on which the initial loss does not
# depend. A new setting is taken to matter unless it is listed here.
_IRRELEVANT = {
    *(name for defaults in OPTIMIZERS.values() for name in defaults),
    *(name for defaults in SCHEDULES.values() for name in defaults),
    *("optimizer", "schedule", "batch_size", "order", "precision", "dropout_rate"),
    *("l1", "l2", "l2_squared", "penalized", "target_accuracy"),
    *("first_kernel_rate", "first_kernel_eps"),
    *("name", "num_epochs", "record_every", "evaluate_train", "evaluate_dropout"),
}
# Settings that the sharpness at initialisation depends on: network and loss.
DEPENDS_ON = (*(name for name in SETTINGS if name not in _IRRELEVANT), "seed")
MAX_RESIDUAL = 0.01  # relative to the eigenvalue; it is unknown above


def initial_sharpness(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the sharpness at initialisation of a plan's runs.

    Each distinct value is computed once, from the first training images. The variables
    are ``sharpness`` and ``sharpness_residual`` as ``probes.sharpness`` returns them,
    with those of the plan's dimensions that they depend on.
    """
    config = dataclasses.replace(plan.config, optimizer="sgd")
    sgd_plan = dataclasses.replace(plan, config=config)
    return _at_initialisation(sgd_plan, data, DEPENDS_ON, sharpness_probe())


def activation_stable_rates(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the learning rates of activation stability of a plan's runs, under SGD.

    They are computed from the first training images: up to six mini-batches and 256
    more. The variable is ``activation_stable_rate`` as the probe returns it, with those
    of the plan's dimensions that it depends on. There is none if there are too few
    images for a mini-batch.
    """
    largest = max(plan.axes.get("batch_size", (plan.config.batch_size,)))
    batches = min(BATCHES, (len(data.train.labels) - IMAGES) // largest)
    if batches < 1:
        return xr.Dataset()
    config = dataclasses.replace(plan.config, optimizer="sgd")
    axes = {name: v for name, v in plan.axes.items() if name != "optimizer"}
    sgd_plan = dataclasses.replace(plan, config=config, axes=axes)
    names = (*DEPENDS_ON, "batch_size", "first_kernel_rate")
    probe = activation_stability_probe("init", batches)
    examples = batches * largest + IMAGES
    return _at_initialisation(sgd_plan, data, names, probe, examples)


def _at_initialisation(
    plan: Plan,
    data: Data,
    names: Iterable[str],
    probe: Probe,
    examples: int = EXAMPLES,
) -> xr.Dataset:
    """Returns the outputs of a probe along the axes of a plan in ``names``."""
    few = dataclasses.replace(data.first(train=examples, test=1), validation=None)
    share_statistics(few, data, (group.config for group in plan.groups))
    count = len(few.train.labels)  # no batch is larger
    axes = {name: values for name, values in plan.axes.items() if name in names}
    sizes = axes.get("batch_size", ())
    if sizes:
        axes["batch_size"] = tuple(dict.fromkeys(min(size, count) for size in sizes))
    config = dataclasses.replace(
        plan.config,
        schedule="constant",
        num_epochs=1,
        record_every=0,
        evaluate_train=False,
        evaluate_dropout=False,
        batch_size=min(plan.config.batch_size, count),
    )
    # Not ``sweep``: these few examples are not what the user trains on.
    settings = drop_unread(axes, config, plan.hparams)
    planned = plan_for_local_devices(axes, few, *settings, [probe])
    results = join(planned, run_groups(planned, few), few)
    measured = [n for n in results.data_vars if n not in (*VARIABLES, "status")]
    results = results[measured].reset_coords(drop=True)
    if sizes:
        results = results.sel(batch_size=[min(size, count) for size in sizes])
        results = results.assign_coords(batch_size=list(sizes))
    return results


def stable_rates(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the maximum stable learning rate of each of a plan's runs.

    The variables are ``sharpness`` and its residual; the preconditioned sharpness and
    its residual if an optimizer divides its steps by the size of gradients or the first
    kernel has another learning rate; and ``stable_rate`` as ``stability.stable_rate``
    returns it. All have those of the plan's dimensions that they depend on.
    ``stable_rate`` is NaN for optimizers without a stability limit, and if the residual
    is above ``MAX_RESIDUAL``.
    """
    optimizers = plan.axes.get("optimizer", (plan.config.optimizer,))
    results = initial_sharpness(plan, data)
    limits = []
    for optimizer in optimizers:
        config = dataclasses.replace(plan.config, optimizer=optimizer)
        axes = {**plan.axes, "optimizer": (optimizer,)}
        optimizer_plan = dataclasses.replace(plan, config=config, axes=axes)
        sharpness = _converged(results, "sharpness")
        if has_stability_limit(optimizer) and is_preconditioned(
            (optimizer,), plan.axes, plan.hparams
        ):
            candidates = (*DEPENDS_ON, *PRECONDITIONED_BY)
            names = [name for name in candidates if uses_setting(config, name)]
            probe = preconditioned_sharpness_probe()
            more = _at_initialisation(optimizer_plan, data, names, probe)
            results = results.merge(more, join="outer", compat="no_conflicts")
            sharpness = _converged(more, "preconditioned_sharpness")
        limits.append(_stable_rate(optimizer_plan, optimizer, sharpness))
    attrs = {"long_name": "maximum stable learning rate", "units": "1"}
    stable = xr.concat(xr.broadcast(*limits, exclude=["optimizer"]), "optimizer")
    results = results.merge(
        stable.rename("stable_rate").assign_attrs(attrs), join="outer"
    )
    if "optimizer" not in plan.axes:
        return results.squeeze("optimizer", drop=True)
    return results.reindex(optimizer=list(optimizers))


def _converged(results: xr.Dataset, name: str) -> xr.DataArray:
    """Returns an eigenvalue, NaN if its residual is too large."""
    return results[name].where(results[f"{name}_residual"] <= MAX_RESIDUAL)


def is_preconditioned(
    optimizers: Iterable[str], axes: Mapping[str, Any], hparams: Hparams
) -> bool:
    """Whether some steps of a sweep are not gradients times one learning rate."""
    has_factor = hparams.first_kernel_rate not in (None, 1)
    has_factor |= "first_kernel_rate" in axes
    return has_factor or any(name in PRECONDITIONED for name in optimizers)


def _stable_rate(plan: Plan, optimizer: str, sharpness: xr.DataArray) -> xr.DataArray:
    """Returns the stable learning rates of one optimizer, along "optimizer" too."""
    if "optimizer" not in sharpness.dims:
        sharpness = sharpness.expand_dims(optimizer=[optimizer])
    if not has_stability_limit(optimizer):
        return xr.full_like(sharpness, np.nan)
    hparams = run_hparams(plan, plan.config, 0)
    settings = {
        name: xr.DataArray(list(plan.axes[name]), {name: list(plan.axes[name])}, [name])
        if name in plan.axes
        else xr.DataArray(getattr(hparams, name))
        for name in OPTIMIZERS[optimizer]
        if name != "learning_rate"
    }
    sharpness, *values = xr.broadcast(sharpness, *settings.values())
    by_name = {n: v.values for n, v in zip(settings, values, strict=True)}
    return sharpness.copy(data=stable_rate(optimizer, sharpness.values, by_name))
