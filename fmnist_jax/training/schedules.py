"""The learning rate of each epoch; all settings may be traced.

optax's schedules count steps and do not see the loss, and its ``reduce_on_plateau``
takes no traced factor.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams, resolve

MIN_REDUCTION = 1e-8  # PyTorch skips smaller reductions of the learning rate


class Plateau(NamedTuple):
    """The state of the plateau rule, float scalars."""

    learning_rate: Array  # of the next epoch
    best: Array  # the lowest test loss so far
    num_bad_epochs: Array  # consecutive epochs without improvement


def init_schedule(config: Config, hparams: Hparams) -> Plateau | Array | None:
    """Returns the schedule's state before the first epoch; None if it has no state.

    The state of a schedule of the user's is the number of steps taken, an int32 scalar.
    """
    if callable(config.schedule):
        return jnp.zeros((), jnp.int32)
    if config.schedule != "plateau":
        return None
    learning_rate = resolve(config, hparams).learning_rate
    return Plateau(*(jnp.asarray(x, float) for x in (learning_rate, jnp.inf, 0)))


def epoch_learning_rate(
    config: Config, hparams: Hparams, schedule: Plateau | Array | None, epoch: Array
) -> Array:
    """Returns the learning rate after ``epoch`` completed epochs, a float scalar.

    With a schedule of the user's, it is that of the next step. NaN if an optimizer of
    the user's is given no learning rate.
    """
    h = resolve(config, hparams)
    if callable(config.schedule):
        return jnp.asarray(config.schedule(h)(schedule), float)
    if isinstance(schedule, Plateau):
        return schedule.learning_rate
    if h.learning_rate is None:
        return jnp.full((), jnp.nan)
    learning_rate = jnp.asarray(h.learning_rate, float)
    if config.schedule == "constant":
        return learning_rate
    # Loshchilov and Hutter 2017, equation 5, with the steps of PyTorch's
    # CosineAnnealingLR.
    cosine_weight = (1 + jnp.cos(jnp.pi * epoch / config.num_epochs)) / 2
    return h.min_learning_rate + (learning_rate - h.min_learning_rate) * cosine_weight


def next_schedule(
    config: Config, hparams: Hparams, schedule: Plateau | Array | None, loss: Array
) -> Plateau | Array | None:
    """Returns the schedule's state after an epoch that ended with a test loss.

    The plateau rule is PyTorch's ``ReduceLROnPlateau`` with ``threshold_mode="abs"``
    and no cooldown: a patience of 0 reduces after the first epoch without improvement.
    A loss of NaN is no improvement.
    """
    if not isinstance(schedule, Plateau):
        return schedule
    h = resolve(config, hparams)
    learning_rate, best, num_bad = schedule
    loss = loss.astype(best.dtype)  # of a network in float64
    is_better = loss < best - h.plateau_threshold
    num_bad = jnp.where(is_better, 0, num_bad + 1)
    reduces = num_bad > h.plateau_patience
    reduced = jnp.maximum(learning_rate * h.plateau_factor, h.min_learning_rate)
    reduces_enough = learning_rate - reduced > MIN_REDUCTION
    learning_rate = jnp.where(reduces & reduces_enough, reduced, learning_rate)
    best = jnp.where(is_better, loss, best)
    return Plateau(learning_rate, best, jnp.where(reduces, 0, num_bad))
