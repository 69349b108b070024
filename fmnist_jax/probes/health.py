"""Probes of dead, saturated and diverged networks.

Shapes in names: B examples, C classes, U hidden units.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.probe import Probe
from fmnist_jax.training.losses import CLIP, get_loss
from fmnist_jax.training.step import State, hidden_values


def health(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the values that determine a run's status.

    Returns:
      ``parameters_finite``: 1 or 0. ``dead_layers``: the number of hidden layers (sown
      as ``intermediates/hidden``) that are 0 on the whole batch.
      ``zero_gradient_share``: the share of examples whose loss has a gradient of
      exactly zero with respect to the logits, and so to every parameter.
    """
    logits, hidden = hidden_values(config, hparams, state, batch.images)

    def total_loss(logits_BxC: Array) -> Array:
        return jnp.sum(get_loss(config.loss)(logits_BxC, batch.labels))

    is_zero = jnp.all(jax.grad(total_loss)(logits) == 0, axis=-1)
    finite = [jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)]
    dead = [jnp.all(h == 0) for h in hidden]
    return {
        "parameters_finite": jnp.all(jnp.stack(finite)).astype(jnp.float32),
        "dead_layers": sum((d.astype(jnp.float32) for d in dead), jnp.zeros(())),
        "zero_gradient_share": jnp.mean(is_zero, dtype=jnp.float32),
    }


def saturation(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures how saturated a network is.

    Returns:
      Shares; NaN if a logit is not finite. ``saturated_outputs_share``: the share of
      softmax outputs, of all examples and classes, within 1e-7 of 0 or 1.
      ``saturated_true_share``: the share of examples whose label has p < 1e-7; under
      the clipped loss they contribute zero gradient. ``inactive_share``: the share of
      the hidden layers' outputs that are 0. ``dead_units_share``: the share of hidden
      units that are 0 on the whole batch. The last two are NaN without hidden layers.
    """
    logits_BxC, hidden = hidden_values(config, hparams, state, batch.images)
    p_BxC = jax.nn.softmax(logits_BxC)
    p_true_B = jnp.take_along_axis(p_BxC, batch.labels[:, None], axis=1)[:, 0]
    shares = {
        "saturated_outputs_share": jnp.mean((p_BxC < CLIP) | (p_BxC > 1 - CLIP)),
        "saturated_true_share": jnp.mean(p_true_B < CLIP),
        "inactive_share": jnp.float32(jnp.nan),
        "dead_units_share": jnp.float32(jnp.nan),
    }
    if hidden:
        layers = [h.reshape(h.shape[0], -1) for h in hidden]
        is_zero_BxU = jnp.concatenate(layers, axis=1) == 0
        shares["inactive_share"] = jnp.mean(is_zero_BxU)
        shares["dead_units_share"] = jnp.mean(jnp.all(is_zero_BxU, axis=0))
    finite = jnp.all(jnp.isfinite(logits_BxC))
    return {name: jnp.where(finite, share, jnp.nan) for name, share in shares.items()}


HEALTH = Probe(health)


def probes_at(when: str, probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Returns the probes that run at ``when``; "epoch" includes ``HEALTH``."""
    return tuple(probe for probe in (HEALTH, *probes) if probe.when == when)
