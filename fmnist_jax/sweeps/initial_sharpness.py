"""What theory says of runs before they are trained."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import xarray as xr

from fmnist_jax.config import OPTIMIZERS, uses_setting
from fmnist_jax.data.dataset import Data
from fmnist_jax.probes.probe import Probe
from fmnist_jax.probes.sharpness import (
    EXAMPLES,
    preconditioned_sharpness_probe,
    sharpness_probe,
)
from fmnist_jax.stability import GAINS, PRECONDITIONED, stable_rate
from fmnist_jax.sweeps.engine import sweep
from fmnist_jax.sweeps.planning import Plan, run_hparams

# What the sharpness at initialisation depends on: the network and the loss.
DEPENDS_ON = (
    *("divisor", "first_kernel_scale", "hidden_sizes", "initializer", "model"),
    *("batch_norm", "loss", "seed"),
)
# And what it is divided by.
DIVIDED_BY = ("batch_size", "optimizer", "eps", "first_kernel_rate", "first_kernel_eps")
MOST_RESIDUAL = 0.01  # relative to the eigenvalue: from there on it is not known


def initial_sharpness(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the sharpness at initialisation of a plan's runs, each distinct one once.

    Args:
      plan: whose settings; what the sharpness does not depend on is left out.
      data: of which the first training images are taken.

    Returns:
      ``sharpness`` and ``sharpness_residual``, as ``sharpness.sharpness`` gives them,
      with those of the plan's dimensions that they depend on.
    """
    config = dataclasses.replace(plan.config, optimizer="sgd")
    changed = dataclasses.replace(plan, config=config)
    return _at_initialisation(changed, data, DEPENDS_ON, sharpness_probe())


def _at_initialisation(
    plan: Plan, data: Data, names: Iterable[str], probe: Probe
) -> xr.Dataset:
    """Returns what a probe gives along those of a plan's axes that are named."""
    few = data.first(train=EXAMPLES, test=1)
    count = len(few.train.labels)  # batches are no larger than what there is of them
    axes = {name: values for name, values in plan.axes.items() if name in names}
    sizes = axes.get("batch_size", ())
    if sizes:
        axes["batch_size"] = tuple(dict.fromkeys(min(size, count) for size in sizes))
    config = dataclasses.replace(
        plan.config, schedule="constant", num_epochs=1, evaluate_train=False,
        evaluate_dropout=False, batch_size=min(plan.config.batch_size, count),
    )  # fmt: skip
    found = sweep(axes, few, config, plan.hparams, [probe])
    own = [str(name) for name in found.data_vars if "sharpness" in str(name)]
    found = found[own].reset_coords(drop=True)
    if sizes:
        found = found.sel(batch_size=[min(size, count) for size in sizes])
        found = found.assign_coords(batch_size=list(sizes))
    return found


def stable_rates(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the largest stable learning rate of each of a plan's runs, and why.

    Args:
      plan: whose settings.
      data: of which the first training images are taken.

    Returns:
      ``sharpness`` and its residual; where an optimizer divides its steps by the size
      of gradients, or the first kernel has a rate of its own, the preconditioned
      sharpness and its residual; and ``stable_rate``, as ``stability.stable_rate``
      gives it, with those of the plan's dimensions that they depend on. NaN of an
      optimizer that has no such rate, and where the residual is above
      ``MOST_RESIDUAL``.
    """
    optimizers = plan.axes.get("optimizer", (plan.config.optimizer,))
    found = initial_sharpness(plan, data)
    rates = []
    for optimizer in optimizers:
        config = dataclasses.replace(plan.config, optimizer=optimizer)
        axes = {**plan.axes, "optimizer": (optimizer,)}
        own = dataclasses.replace(plan, config=config, axes=axes)
        sharpness = _known(found, "sharpness")
        if is_divided(own) and optimizer in GAINS:
            names = [n for n in (*DEPENDS_ON, *DIVIDED_BY) if uses_setting(config, n)]
            probe = preconditioned_sharpness_probe()
            more = _at_initialisation(own, data, [*names, "seed"], probe)
            found = found.merge(more, join="outer", compat="no_conflicts")
            sharpness = _known(more, "preconditioned_sharpness")
        rates.append(_rate(own, optimizer, sharpness))
    attrs = {"long_name": "largest stable learning rate", "units": "1"}
    limits = xr.concat(xr.broadcast(*rates, exclude=["optimizer"]), "optimizer")
    found = found.merge(limits.rename("stable_rate").assign_attrs(attrs), join="outer")
    if "optimizer" not in plan.axes:
        return found.squeeze("optimizer", drop=True)
    return found.reindex(optimizer=list(optimizers))


def _known(found: xr.Dataset, name: str) -> xr.DataArray:
    return found[name].where(found[f"{name}_residual"] <= MOST_RESIDUAL)


def is_divided(plan: Plan) -> bool:
    """Whether a plan has runs whose steps are not the gradients times one rate."""
    optimizers = plan.axes.get("optimizer", (plan.config.optimizer,))
    rate = plan.hparams.first_kernel_rate
    has_own_rate = "first_kernel_rate" in plan.axes or rate not in (None, 1)
    return has_own_rate or any(name in PRECONDITIONED for name in optimizers)


def _rate(plan: Plan, optimizer: str, sharpness: xr.DataArray) -> xr.DataArray:
    """Returns the stable rates of one optimizer, along ``optimizer`` too."""
    if "optimizer" not in sharpness.dims:
        sharpness = sharpness.expand_dims(optimizer=[optimizer])
    if optimizer not in GAINS:
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
