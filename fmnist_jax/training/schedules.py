"""The learning rate from epoch to epoch, traced settings and all.

optax's schedules count steps and know no losses, and its ``reduce_on_plateau`` takes no
traced factor; so the few lines stand here.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams, resolve

RATE_EPS = 1e-8  # PyTorch leaves a rate alone that would fall by less


class Plateau(NamedTuple):
    """What the plateau rule carries: float32 scalars."""

    learning_rate: Array
    best: Array
    num_bad_epochs: Array


def init_schedule(config: Config, hparams: Hparams) -> Plateau | None:
    """Returns what the schedule carries from epoch to epoch; None for nothing."""
    if config.schedule != "plateau":
        return None
    rate = resolve(config, hparams).learning_rate
    rate, best, bad = (jnp.asarray(x, jnp.float32) for x in (rate, jnp.inf, 0))
    return Plateau(rate, best, bad)


def epoch_rate(
    config: Config, hparams: Hparams, schedule: Plateau | None, epoch: Array
) -> Array:
    """Returns the learning rate of an epoch, a float32 scalar.

    Args:
      config: static settings.
      hparams: traced settings.
      schedule: what the schedule carries.
      epoch: how many epochs are over.
    """
    h = resolve(config, hparams)
    if schedule is not None:
        return schedule.learning_rate
    rate = jnp.asarray(h.learning_rate, jnp.float32)
    if config.schedule == "constant":
        return rate
    # Loshchilov and Hutter 2017, equation 5, as PyTorch's CosineAnnealingLR steps it.
    share = (1 + jnp.cos(jnp.pi * epoch / config.num_epochs)) / 2
    return h.min_learning_rate + (rate - h.min_learning_rate) * share


def next_schedule(
    config: Config, hparams: Hparams, schedule: Plateau | None, loss: Array
) -> Plateau | None:
    """Returns what the schedule carries after an epoch that ended with a test loss.

    The plateau rule is PyTorch's ``ReduceLROnPlateau`` with ``threshold_mode="abs"``
    and no cooldown: a patience of 0 reduces after the first epoch that is not better.
    A loss that is NaN is not better.
    """
    if schedule is None:
        return None
    h = resolve(config, hparams)
    rate, best, num_bad = schedule
    is_better = loss < best - h.plateau_threshold
    num_bad = jnp.where(is_better, 0, num_bad + 1)
    reduces = num_bad > h.plateau_patience
    reduced = jnp.maximum(rate * h.plateau_factor, h.min_learning_rate)
    rate = jnp.where(reduces & (rate - reduced > RATE_EPS), reduced, rate)
    best = jnp.where(is_better, loss, best)
    return Plateau(rate, best, jnp.where(reduces, 0, num_bad))
