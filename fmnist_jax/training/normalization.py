"""Normalization of images, as ``fit_normalization`` has fitted it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.data.normalization import Normalization


def normalize(normalization: Normalization, images: Any) -> Array:
    """Returns normalized images, float32 ``[N, *image_shape]``."""
    x = jnp.asarray(images, jnp.float32)
    shift, scale, matrix = normalization
    x = x if shift is None else x - shift
    x = x if scale is None else x / scale
    if matrix is None:
        return x
    x_NxP = x.reshape(len(x), -1)
    product_NxP = jnp.matmul(x_NxP, matrix, precision=jax.lax.Precision.HIGHEST)
    return product_NxP.reshape(x.shape)
