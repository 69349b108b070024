"""The learning rate at which a first step changes activations by their own size.

Shapes in names: K mini-batches, L hidden layers, P parameters.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import UserError
from fmnist_jax.networks.matmul import default_precision
from fmnist_jax.probes.probe import Probe, mini_batches
from fmnist_jax.probes.sharpness import EXACT, loss_gradient, preactivations
from fmnist_jax.training.optimizers import scale_first_kernel
from fmnist_jax.training.step import State

BATCHES = 6
IMAGES = 256  # on which the pre-activations are measured
GRADIENTS = 2.0  # approximate cost: a gradient and a directional derivative


def activation_stability(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    batch: Dataset,
    batches: int = BATCHES,
) -> dict[str, Array]:
    """Measures the learning rate at which one step changes a layer by its own size.

    A step along g_k, the gradient of the mean loss of mini-batch k, changes the inputs
    h_l of the ReLUs of hidden layer l by about η J_l g_k (J_l: their Jacobian). This is
    as large as h_l at η = r_lk = rms(h_l) / rms(J_l g_k), with root mean squares over
    images and units; compare Haas et al. 2025, arXiv 2505.22491.

    Network and loss are those of ``sharpness``; g_k includes ``first_kernel_rate``. The
    batch has mini-batches of the run's size, ``batches`` of them, and then the images
    on which h_l is measured.

    Returns ``activation_stable_rate``: the geometric mean of r_lk over k, the minimum
    over l. NaN without hidden layers, and for a network that sows no ``preactivation``.
    """
    parts, images = _parts_and_images(config, batch, batches)

    def inputs(params: Any) -> tuple[Array, ...]:
        return preactivations(config, hparams, state, params, images)

    def log_ratios(part: Dataset) -> Array:
        changes_L = along(_gradient(config, hparams, state, part))
        sizes = (jnp.stack([*map(_rms, layers)]) for layers in (inputs_L, changes_L))
        return jnp.subtract(*map(jnp.log, sizes))

    with default_precision(EXACT):
        inputs_L, along = jax.linearize(inputs, state.params)
        if not inputs_L:
            return {"activation_stable_rate": jnp.full((), jnp.nan)}
        log_ratios_KxL = jax.lax.map(log_ratios, parts)
    rates_L = jnp.exp(jnp.mean(log_ratios_KxL, axis=0))
    return {"activation_stable_rate": jnp.min(rates_L)}


def _parts_and_images(
    config: Config, batch: Dataset, batches: int
) -> tuple[Dataset, Array]:
    """Returns the mini-batches, and the images after them."""
    size, needed = config.batch_size, num_examples(config, batches)
    if len(batch.labels) < needed:
        raise UserError(
            f"The probe of activation stability needs {needed:,} training examples "
            f"({batches} batches of {size:,} and {IMAGES} more), but there are "
            f"{len(batch.labels):,}; choose fewer batches, or a smaller batch_size."
        )
    images = batch.images[batches * size : needed]
    return mini_batches(batch, size, batches), images


def _gradient(config: Config, hparams: Hparams, state: State, part: Dataset) -> Any:
    """Returns the direction of a step of gradient descent."""
    grads = loss_gradient(config, hparams, state)(state.params, part)
    rate = hparams.first_kernel_rate
    return grads if rate is None else scale_first_kernel(grads, rate)


def _rms(x: Array) -> Array:
    return jnp.sqrt(jnp.mean(x**2))


def num_examples(config: Config, batches: int = BATCHES) -> int:
    """Returns how many training examples the probe needs."""
    return batches * config.batch_size + IMAGES


@functools.cache  # so that two probes with the same arguments are equal
def activation_stability_probe(when: str = "init", batches: int = BATCHES) -> Probe:
    """Returns the probe of ``activation_stability``.

    It records ``activation_stable_rate``: the learning rate at which one step of
    gradient descent changes the activations of a layer by their own size. Mini-batch k
    is the training images kB…(k+1)B-1, with B the batch size; the images on which the
    pre-activations are measured come after the last.

    Args:
      when: "init" (before the first step), "epoch" (after each epoch) or "end".
      batches: number of mini-batches.

    Raises:
      UserError: for another ``when``; and, from ``sweep``, if there are too few
        training examples.
    """
    return Probe(
        functools.partial(activation_stability, batches=batches),
        when,
        examples=functools.partial(num_examples, batches=batches),
        gradients=GRADIENTS,
    )
