"""Up to which learning rate an optimizer is stable, from the sharpness. No jax.

On the quadratic of curvature λ, ½ λ w², an optimizer that is about to diverge goes to
and fro: w → -w. To a gradient that changes its sign with each step it answers with a
step of η times its gain times that gradient, and w → -w is a step of 2 w: the largest
stable rate is 2 / (gain λ), or with decoupled weight decay δ, 2 / (gain λ + δ).

That is 2/λ for gradient descent; 2 (1 + β) / λ with momentum (Polyak 1964) and
2 (1 + β) / ((1 + 2β) λ) with Nesterov's (Cohen et al. 2021, arXiv 2103.00065); for Adam
(2 + 2 b1) / ((1 - b1) λ), 38/λ at b1 = 0.9, where λ is the preconditioned sharpness
(Cohen et al. 2022, arXiv 2207.14484). They are for the full batch, for a loss that is
quadratic, and for a preconditioner that no longer changes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fmnist_jax.config import OPTIMIZERS
from fmnist_jax.errors import choose

# None for adagrad, whose steps shrink for ever, and lion, whose steps never do.
GAINS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "sgd": lambda h: 1.0,
    "momentum": lambda h: 1 / (1 + h["momentum"]),
    "nesterov": lambda h: (1 + 2 * h["momentum"]) / (1 + h["momentum"]),
    "rmsprop": lambda h: 1.0,
    "adam": lambda h: (1 - h["b1"]) / (1 + h["b1"]),
    "adamw": lambda h: (1 - h["b1"]) / (1 + h["b1"]),
}

PRECONDITIONED = tuple(name for name in GAINS if "eps" in OPTIMIZERS[name])


def stable_rate(
    optimizer: str, sharpness: Any, settings: Mapping[str, Any] | None = None
) -> Any:
    """Returns the largest learning rate at which an optimizer does not diverge.

    Args:
      optimizer: its name.
      sharpness: the largest eigenvalue of the Hessian or, for adam, adamw and rmsprop,
        the preconditioned one; a number or an array.
      settings: of the optimizer, by name, where they are not its own defaults.

    Returns:
      The rate; infinite where no curvature limits it, NaN where the sharpness is.

    Raises:
      UserError: for an optimizer that there is no such rate of.
    """
    gain, decay = _gain_and_decay(optimizer, settings)
    pull = gain * np.asarray(sharpness, float) + decay
    return np.where(pull <= 0, np.inf, 2 / np.where(pull == 0, 1, pull))[()]


def stable_sharpness(
    optimizer: str, learning_rate: Any, settings: Mapping[str, Any] | None = None
) -> Any:
    """Returns the edge of stability: up to which sharpness a rate does not diverge.

    The inverse of ``stable_rate``, which see.
    """
    gain, decay = _gain_and_decay(optimizer, settings)
    return (2 / np.asarray(learning_rate, float) - decay) / gain


def _gain_and_decay(
    optimizer: str, settings: Mapping[str, Any] | None
) -> tuple[Any, Any]:
    gain = choose("optimizer with a stable rate", optimizer, GAINS)
    own = {**OPTIMIZERS[optimizer], **(settings or {})}
    return gain(own), own.get("weight_decay", 0.0)
