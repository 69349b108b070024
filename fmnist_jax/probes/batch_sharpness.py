"""The curvature of each mini-batch's loss along its own gradient."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.networks.matmul import default_precision
from fmnist_jax.probes.probe import Probe, mini_batches
from fmnist_jax.probes.sharpness import EXACT, EXAMPLES, loss_gradient
from fmnist_jax.training.step import State

GRADIENTS = 3.0  # approximate cost: a gradient and a product with the Hessian


def batch_sharpness(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the mean over mini-batches of g·Hg / g·g.

    g is the gradient and H the Hessian of the mean loss of one mini-batch of the run's
    size (Andreyev and Beneventano 2024, arXiv 2412.20553: "batch sharpness", which
    settles at 2/η under SGD). Without penalty and dropout, as ``sharpness``. The batch
    is cut into mini-batches of the run's size; a partial last one is left out. A
    mini-batch without gradient counts as 0.
    """
    gradient = loss_gradient(config, hparams, state)

    def along_gradient(part: Dataset) -> Array:
        grads = gradient(state.params, part)

        def of_params(params: Any) -> Any:
            return gradient(params, part)

        _, products = jax.jvp(of_params, (state.params,), (grads,))
        square, curvature = _dot(grads, grads), _dot(grads, products)
        return jnp.where(square == 0, 0, curvature / square)

    with default_precision(EXACT):
        values = jax.lax.map(along_gradient, mini_batches(batch, config.batch_size))
    return {"batch_sharpness": jnp.mean(values)}


def _dot(a: Array, b: Array) -> Array:
    products = jax.tree.map(jnp.vdot, a, b)
    return sum(jax.tree.leaves(products), jnp.zeros(()))


def batch_sharpness_probe(when: str = "epoch", examples: int = EXAMPLES) -> Probe:
    """Returns the probe of ``batch_sharpness`` on the first training images.

    It records ``batch_sharpness``, the mean curvature of mini-batch losses along their
    gradients; under SGD with learning rate η it settles at 2/η.

    Args:
      when: "init" (before the first step), "epoch" (after each epoch) or "end".
      examples: number of training images, cut into mini-batches of the run's size.

    Raises:
      UserError: for another ``when``.
    """
    return Probe(batch_sharpness, when, examples=examples, gradients=GRADIENTS)
