"""Probes of the sizes of signals, gradients and steps in each layer."""

import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.networks.mlp import PREACTIVATION
from fmnist_jax.probes.histograms import by_name
from fmnist_jax.probes.probe import Probe
from fmnist_jax.training.step import State, gradients, hidden_values, updates


def signal_scales(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the sizes of the signals in evaluation mode.

    Returns:
      Root mean squares over the batch: ``logit_scale`` and, for the input of each ReLU
      in turn, ``preactivation_scale_1`` and so on.
    """
    logits, inputs = hidden_values(config, hparams, state, batch.images, PREACTIVATION)
    signals = {f"preactivation_scale_{n}": z for n, z in enumerate(inputs, 1)}
    signals["logit_scale"] = logits
    return {name: jnp.sqrt(jnp.mean(z**2)) for name, z in signals.items()}


def step_sizes(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the size of a training step on the batch, without taking it.

    Returns:
      For each array of parameters, named as in ``parameter_histograms``:
      ``gradient_norm_w1``, the Euclidean norm of the gradient of loss plus penalty; and
      ``update_ratio_w1``, the norm of the optimizer's update divided by the norm of the
      array, NaN if the array is 0.
    """
    grads, _ = gradients(config, hparams, state, key, batch)
    steps, _ = updates(config, hparams, state, grads)
    grads, steps = by_name(grads), by_name(steps)
    values = {}
    for name, array in by_name(state.params).items():
        size = jnp.linalg.norm(array)
        values[f"gradient_norm_{name}"] = jnp.linalg.norm(grads[name])
        ratio = jnp.linalg.norm(steps[name]) / size
        values[f"update_ratio_{name}"] = jnp.where(size == 0, jnp.nan, ratio)
    return values


def layer_probes() -> tuple[Probe, Probe]:
    """Returns the probes of ``signal_scales`` and ``step_sizes`` after each epoch."""
    return Probe(signal_scales), Probe(step_sizes)
