"""Normalization of images by statistics of the training set.

Each normalization maps a pixel p as follows; ``offset`` and ``divisor`` come after it:

    none         p
    unit         p / 255 for uint8, else (p - min) / (max - min)
    symmetric    2 unit - 1
    standard     (p - mean) / deviation, of all pixels
    per_feature  the same of each pixel of an image, or each column of a table
    per_channel  the same of each channel: the last axis of [H, W, C] and [D]
    whiten       (p - mean of each pixel) times a matrix, after which the pixels are
                 uncorrelated, with variance v / (v + eps) along each principal axis

All statistics are those of the training set, in float64. Pixels that are constant in
the training set are only shifted. Shapes in names: N images, P pixels of an image.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.data.statistics import MAX_WHITENED, moments, whitening_matrix
from fmnist_jax.errors import UserError, choose


class Normalization(NamedTuple):
    """A map of images: ``(images - shift) / scale``, then the product with ``matrix``.

    Attributes:
      shift: float32, ``[]`` or broadcast to images, ``[1, …]``; None for 0.
      scale: the same; None for 1.
      matrix: multiplies the flattened image, float32 ``[P, P]``; None for the identity.
    """

    shift: Any = None
    scale: Any = None
    matrix: Any = None


def fit_normalization(config: Config, train: Dataset) -> Normalization | None:
    """Returns the normalization of ``config``, fitted to a training set.

    Args:
      config: with ``normalization``, ``whitening`` and ``whitening_eps``.
      train: the training set; its images are concrete arrays, which NumPy reads.

    Returns:
      What ``init`` takes as its last argument; None for "none".

    Raises:
      UserError: for an unknown normalization, and for images too large to whiten.
    """
    name, images = config.normalization, np.asarray(train.images)
    choose("normalization", name, NORMALIZATIONS)
    if name == "none":
        return None
    if name in ("unit", "symmetric"):
        low, high = 0.0, 255.0
        if images.dtype != np.uint8:
            low, high = float(images.min()), float(images.max())
        half = (high - low) / 2
        start, width = (low + half, half) if name == "symmetric" else (low, 2 * half)
        one = np.ones([1] * images.ndim)  # as for "standard", which shares the program
        return _as_float32(start * one, (width or 1) * one)
    if name == "whiten":
        return _fit_whitening(config, images)
    all_axes = tuple(range(images.ndim - 1))
    # [H, W] is one channel; [H, W, C] and [D] have one for each entry of the last axis.
    channel_axes = all_axes if len(all_axes) == 2 else all_axes[:-1]
    axes = {"standard": all_axes, "per_channel": channel_axes, "per_feature": ()}[name]
    pooled = moments(images).pooled(axes)
    scale = np.where(pooled.is_constant, 1, pooled.variance**0.5)
    return _as_float32(pooled.centre[None], scale[None])


def _fit_whitening(config: Config, images: np.ndarray) -> Normalization:
    size = math.prod(images.shape[1:])
    if size > MAX_WHITENED:
        raise UserError(
            f"--normalizations=whiten takes images of at most {MAX_WHITENED:,} pixels; "
            f"these have {size:,}. Use per_feature or standard."
        )
    pixels = moments(images)
    is_zca = config.whitening == "zca"
    matrix = whitening_matrix(images, pixels, config.whitening_eps, is_zca=is_zca)
    return _as_float32(pixels.centre[None], None, matrix)


def _as_float32(shift: Any, scale: Any, matrix: Any = None) -> Normalization:
    """Returns arrays in float32; refuses those that float32 cannot hold."""
    with np.errstate(over="ignore", under="ignore"):
        arrays = [
            None if array is None else np.asarray(array, np.float32)
            for array in (shift, scale, matrix)
        ]
    tiny = np.finfo(np.float32).tiny
    is_finite = all(a is None or np.isfinite(a).all() for a in arrays)
    if not is_finite or (arrays[1] is not None and (arrays[1] < tiny).any()):
        raise UserError(
            "The training images have a range or a deviation that float32 cannot hold; "
            "scale them before."
        )
    return Normalization(*arrays)
