"""What theory says of runs before they are trained."""

import dataclasses

import xarray as xr

from fmnist_jax.data import Data
from fmnist_jax.planning import Plan
from fmnist_jax.sharpness import EXAMPLES, sharpness_probe
from fmnist_jax.sweeping import sweep

# What the sharpness at initialisation depends on: the network and the loss.
DEPENDS_ON = (
    *("divisor", "first_kernel_scale", "hidden_sizes", "initializer", "model"),
    *("batch_norm", "loss", "seed"),
)


def initial_sharpness(plan: Plan, data: Data) -> xr.Dataset:
    """Returns the sharpness at initialisation of a plan's runs, each distinct one once.

    Args:
      plan: whose settings; what the sharpness does not depend on is left out.
      data: of which the first training images are taken.

    Returns:
      ``sharpness`` and ``sharpness_residual``, as ``sharpness.sharpness`` gives them,
      with those of the plan's dimensions that they depend on.
    """
    axes = {name: values for name, values in plan.axes.items() if name in DEPENDS_ON}
    config = dataclasses.replace(
        plan.config, optimizer="sgd", schedule="constant", batch_size=32, num_epochs=1,
        evaluate_train=False, evaluate_dropout=False,
    )  # fmt: skip
    few = data.first(train=EXAMPLES, test=1)
    found = sweep(axes, few, config, plan.hparams, [sharpness_probe()])
    return found[["sharpness", "sharpness_residual"]].reset_coords(drop=True)
