"""Probes' functions that say how large signals, gradients and steps of a layer are."""

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.histograms import parameter_name
from fmnist_jax.probes.probe import Probe
from fmnist_jax.training.models import make_model, preactivations
from fmnist_jax.training.step import (
    State,
    gradients,
    scaled_inputs,
    updates,
)


def signal_scales(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """How large the signals of a network in use are; a probe's function.

    Returns:
      Root mean squares over the batch: ``logit_scale`` and, for each ReLU,
      ``preactivation_scale_1`` and so on of what it takes.
    """
    del key
    model = make_model(config, hparams, state.num_classes, state.epoch)
    variables = {"params": state.params, **state.model_state}
    x = scaled_inputs(hparams, batch.images)
    logits, before = preactivations(model, variables, x)
    signals = {f"preactivation_scale_{n}": z for n, z in enumerate(before, 1)}
    signals["logit_scale"] = logits
    return {name: jnp.sqrt(jnp.mean(z**2)) for name, z in signals.items()}


def step_sizes(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """How large a training step on the batch would be; a probe's function.

    Returns:
      Of each array of parameters, named as in ``parameter_histograms``, with Euclidean
      norms: ``gradient_norm_w1``, of loss and penalty, and ``update_ratio_w1``, what
      the optimizer would add over what is there; NaN where all that is there is 0.
    """
    grads, _ = gradients(config, hparams, state, key, batch)
    added, _ = updates(config, hparams, state, grads)
    found = {}
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    for (path, leaf), gradient, update in zip(
        leaves, jax.tree.leaves(grads), jax.tree.leaves(added), strict=True
    ):
        name, size = parameter_name(path), jnp.linalg.norm(leaf)
        found[f"gradient_norm_{name}"] = jnp.linalg.norm(gradient)
        ratio = jnp.linalg.norm(update) / size
        found[f"update_ratio_{name}"] = jnp.where(size == 0, jnp.nan, ratio)
    return found


def layer_probes() -> tuple[Probe, Probe]:
    """Returns the probes of ``signal_scales`` and ``step_sizes`` after each epoch."""
    return Probe(signal_scales), Probe(step_sizes)
