"""The largest stable learning rate of an optimizer, from the sharpness. No jax.

On the quadratic ½ λ w² of curvature λ, an optimizer at the edge of divergence
oscillates: w → -w. Then the gradient changes its sign with each step, and the optimizer
answers with a step of η · gain · gradient. Since w → -w is a step of 2 w, the largest
stable learning rate is 2 / (gain λ), or 2 / (gain λ + δ) with decoupled weight decay δ.

That is 2/λ for gradient descent; 2 (1 + β) / λ with momentum (Polyak 1964) and
2 (1 + β) / ((1 + 2β) λ) with Nesterov's (Cohen et al. 2021, arXiv 2103.00065); for Adam
(2 + 2 b1) / ((1 - b1) λ), 38/λ at b1 = 0.9, where λ is the preconditioned sharpness
(Cohen et al. 2022, arXiv 2207.14484). These limits assume the full batch, a quadratic
loss, and a preconditioner that no longer changes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fmnist_jax.config import OPTIMIZERS
from fmnist_jax.errors import choose

Gain = Callable[[Mapping[str, Any]], Any]
# Gain of each optimizer from its settings; None if there is no stability limit: the
# steps of adagrad shrink forever, those of lion never shrink.
GAINS: Mapping[str, Gain | None] = {
    "sgd": lambda h: 1.0,
    "momentum": lambda h: 1 / (1 + h["momentum"]),
    "nesterov": lambda h: (1 + 2 * h["momentum"]) / (1 + h["momentum"]),
    "rmsprop": lambda h: 1.0,
    "adagrad": None,
    "adam": lambda h: (1 - h["b1"]) / (1 + h["b1"]),
    "adamw": lambda h: (1 - h["b1"]) / (1 + h["b1"]),
    "lion": None,
}
_LIMITED = {name: gain for name, gain in GAINS.items() if gain is not None}
PRECONDITIONED = tuple(name for name in _LIMITED if "eps" in OPTIMIZERS[name])


def has_stability_limit(optimizer: str) -> bool:
    """Whether the theory gives a largest stable learning rate for an optimizer."""
    return optimizer in _LIMITED


def stable_rate(
    optimizer: str, sharpness: Any, settings: Mapping[str, Any] | None = None
) -> Any:
    """Returns the largest learning rate at which an optimizer does not diverge.

    The sharpness, a number or an array, is the largest eigenvalue of the Hessian or,
    for adam, adamw and rmsprop, the preconditioned sharpness. ``settings`` are those of
    the optimizer that differ from its defaults, by name.

    The learning rate is inf if no curvature limits it, and NaN if the sharpness is NaN.
    An optimizer without a stability limit is refused.
    """
    gain, decay = _gain_and_decay(optimizer, settings)
    curvature = gain * np.asarray(sharpness, float) + decay
    divisor = np.where(curvature == 0, 1, curvature)
    return np.where(curvature <= 0, np.inf, 2 / divisor)[()]


def stable_sharpness(
    optimizer: str, learning_rate: Any, settings: Mapping[str, Any] | None = None
) -> Any:
    """Returns the largest stable sharpness: the inverse of ``stable_rate``."""
    gain, decay = _gain_and_decay(optimizer, settings)
    return (2 / np.asarray(learning_rate, float) - decay) / gain


def _gain_and_decay(
    optimizer: str, settings: Mapping[str, Any] | None
) -> tuple[Any, Any]:
    gain = choose("optimizer with a stable learning rate", optimizer, _LIMITED)
    settings = {**OPTIMIZERS[optimizer], **(settings or {})}
    return gain(settings), settings.get("weight_decay", 0.0)
