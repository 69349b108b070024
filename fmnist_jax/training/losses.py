"""Losses of each example, from its logits, and penalties on the parameters.

Shapes in names: B examples, C classes.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType as Frozen
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import UserError, choose
from fmnist_jax.network_values import name_of
from fmnist_jax.networks.calls import at_least_float32
from fmnist_jax.values import Function

CLIP = 1e-7  # Keras's backend epsilon


def is_classes(labels: Array) -> bool:
    """Whether labels are classes, int ``[B]``."""
    return jnp.ndim(labels) == 1 and jnp.issubdtype(labels.dtype, jnp.integer)


def _at_labels(values_BxC: Array, labels_B: Array) -> Array:
    """Returns each row's value at its label; the gradient needs no scatter."""
    if not is_classes(labels_B):
        raise UserError(
            f"The labels are {labels_B.dtype} {list(labels_B.shape)}, but the losses "
            "softmax and clipped need int [B]; pass a function as Config.loss."
        )
    is_label_BxC = labels_B[:, None] == jnp.arange(values_BxC.shape[-1])[None, :]
    return jnp.sum(jnp.where(is_label_BxC, values_BxC, 0), axis=-1)


def softmax(logits_BxC: Array, labels_B: Array) -> Array:
    """Softmax cross-entropy of each example in nats, computed from the logits.

    The labels are int in 0…C-1.
    """
    return jax.nn.logsumexp(logits_BxC, axis=-1) - _at_labels(logits_BxC, labels_B)


def clipped(logits_BxC: Array, labels_B: Array) -> Array:
    """Cross-entropy of probabilities clipped to [1e-7, 1 - 1e-7].

    Keras computed this loss for a softmax output layer on TensorFlow up to 1.13, and
    still does on its JAX and PyTorch backends. Outside the interval the gradient is
    exactly zero: a saturated wrong example costs -ln 1e-7 = 16.118 and contributes zero
    gradient. Arguments and returned losses are those of ``softmax``.
    """
    probability_B = _at_labels(jax.nn.softmax(logits_BxC, axis=-1), labels_B)
    return -jnp.log(jnp.clip(probability_B, CLIP, 1 - CLIP))


LOSSES: Mapping[str, Callable[[Array, Array], Array]] = Frozen(
    {"clipped": clipped, "softmax": softmax}
)


def get_loss(loss: str | Function) -> Callable[[Array, Array], Array]:
    """Returns a loss: from logits ``[B, C]`` and labels to the losses ``[B]``, float32.

    ``loss`` is a name in ``LOSSES``, or a function of the user's, whose losses are
    checked when it is called.
    """
    if isinstance(loss, str):
        return choose("loss", loss, LOSSES)

    def checked(logits_BxC: Array, labels: Array) -> Array:
        losses = jnp.asarray(loss(logits_BxC, labels))
        if losses.shape != logits_BxC.shape[:1]:
            raise UserError(
                f"The loss {name_of(loss)} returns shape {losses.shape}; expected"
                f" {logits_BxC.shape[:1]}, a loss for each example."
            )
        if not jnp.issubdtype(losses.dtype, jnp.floating):
            raise UserError(
                f"The loss {name_of(loss)} returns {losses.dtype}, which has no "
                "gradient; expected floating-point numbers."
            )
        return losses.astype(jnp.promote_types(losses.dtype, jnp.float32))

    return checked


def penalty(config: Config, hparams: Hparams, params: Any) -> Array:
    """Returns the penalty that the objective adds to the loss, a float32 scalar.

    It is ``l1`` times the sum of absolute values, plus ``l2`` times the sum over arrays
    of their Euclidean norms, plus ``l2_squared`` times the sum of squares. As in
    PyTorch, the gradients of ``l1`` and ``l2`` at 0 are 0. A term whose setting is None
    is not computed. The penalty covers all parameters or, with ``penalized="kernels"``,
    the arrays of more than one dimension.
    """
    leaves = jax.tree.leaves(at_least_float32(params))
    if config.penalized == "kernels":
        leaves = [leaf for leaf in leaves if leaf.ndim > 1]
    norms: dict[str, Callable[[Array], Array]] = {
        "l1": lambda p: jnp.sum(p * jnp.sign(p)),  # JAX's abs has slope 1 at 0
        "l2": lambda p: optax.safe_norm(p, 0.0),
        "l2_squared": lambda p: jnp.sum(p**2),
    }
    total = jnp.zeros(())
    for name, norm in norms.items():
        weight = getattr(hparams, name)
        if weight is not None:
            total += weight * sum(norm(leaf) for leaf in leaves)
    return total
