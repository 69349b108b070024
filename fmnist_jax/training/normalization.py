"""From stored images to the inputs of a network."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.config import Hparams
from fmnist_jax.data.normalization import Normalization


def normalize(normalization: Normalization, images: Any) -> Array:
    """Returns ``images`` after ``normalization``, float32 ``[N, *image_shape]``."""
    x = jnp.asarray(images, jnp.float32)
    shift, scale, matrix = normalization
    x = x if shift is None else x - shift
    x = x if scale is None else x / scale
    if matrix is None:
        return x
    x_NxP = x.reshape(len(x), -1)
    product_NxP = jnp.matmul(x_NxP, matrix, precision=jax.lax.Precision.HIGHEST)
    return product_NxP.reshape(x.shape)


def scaled_inputs(
    hparams: Hparams, images: Any, normalization: Normalization | None = None
) -> Array:
    """Returns the network's inputs, ``(normalized images - offset) / divisor``.

    Args:
      hparams: with ``divisor`` and ``offset``. A divisor of None is 255 without a
        normalization, and 1 with one.
      images: ``[B, *image_shape]``, as stored.
      normalization: as ``fit_normalization`` returns it; None for the pixels as stored.

    Returns:
      Float32 ``[B, *image_shape]``.
    """
    x = jnp.asarray(images, jnp.float32)
    x = x if normalization is None else normalize(normalization, x)
    x = x if hparams.offset is None else x - hparams.offset
    default = NORMALIZATIONS["unit" if normalization else "none"]["divisor"]
    return x / (default if hparams.divisor is None else hparams.divisor)
