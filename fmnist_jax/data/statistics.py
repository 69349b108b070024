"""Statistics of images in float64, a part at a time.

Shapes in names: N images, P pixels of an image.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MAX_WHITENED = 4096  # pixels of an image: the matrix has the square of this
CHUNK = 2**22  # pixels that are converted to float64 at once


def has_channels(image_shape: tuple[int, ...]) -> bool:
    """Whether images have channels: ``[H, W, C]`` with C > 1; ``[H, W]`` has one."""
    return len(image_shape) > 2 and image_shape[-1] > 1


class Moments(NamedTuple):
    """Mean, variance, minimum and maximum: of each pixel, ``[*image_shape]`` each."""

    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """Where all images are the same; a variance may be above 0 by rounding."""
        return self.low == self.high

    @property
    def centre(self) -> np.ndarray:
        """The means; of a constant pixel exactly its value."""
        return np.where(self.is_constant, self.low, self.mean)

    def pooled(self, axes: tuple[int, ...]) -> "Moments":
        """Returns the moments over these axes of an image, which have size 1, too."""
        mean = self.mean.mean(axes, keepdims=True)
        squares = self.variance + (self.mean - mean) ** 2
        variance = squares.mean(axes, keepdims=True)
        low = self.low.min(axes, keepdims=True)
        return Moments(mean, variance, low, self.high.max(axes, keepdims=True))


def moments(images: np.ndarray) -> Moments:
    """Returns the moments of each pixel over the images ``[N, *image_shape]``."""
    count = np.float64(len(images))
    mean = sum(chunk.sum(0) for chunk in _chunks(images)) / count
    variance = sum(((chunk - mean) ** 2).sum(0) for chunk in _chunks(images)) / count
    return Moments(mean, variance, images.min(0), images.max(0))


def whitening_matrix(
    images: np.ndarray, statistics: Moments, eps: float, *, is_zca: bool
) -> np.ndarray:
    """Returns the matrix of PCA or ZCA whitening (Kessy et al. 2018, arXiv 1512.00809).

    Args:
      images: ``[N, *image_shape]``.
      statistics: their moments.
      eps: share of the mean variance of a pixel that is added to the variance of each
        principal axis. With 0, axes along which nothing varies are left out.
      is_zca: whether to rotate from the principal axes back to pixels.

    Returns:
      ``[P, P]``, by which flattened, centred images are multiplied. Constant pixels are
      multiplied by 1; principal axes are in the order of their variance, and the entry
      of each that is largest in magnitude is positive.
    """
    varies_P = ~statistics.is_constant.ravel()
    matrix = np.eye(len(varies_P))
    if not varies_P.any():
        return matrix
    covariance = np.zeros((varies_P.sum(),) * 2)
    for chunk in _chunks(images):
        centred = (chunk - statistics.mean).reshape(len(chunk), -1)[:, varies_P]
        covariance += centred.T @ centred / len(images)
    variances, axes = (array[..., ::-1] for array in np.linalg.eigh(covariance))
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)
    axes = axes * np.sign(peaks)
    rounding = np.finfo(float).eps * len(axes) * variances[0]
    variances = np.where(variances <= rounding, 0, variances)
    total = variances + eps * variances.mean()
    scaled = axes / np.sqrt(np.where(total == 0, np.inf, total))
    matrix[np.ix_(varies_P, varies_P)] = scaled @ axes.T if is_zca else scaled
    return matrix


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the images in float64, a part at a time."""
    size = max(1, CHUNK // math.prod(images.shape[1:]))
    for start in range(0, len(images), size):
        yield images[start : start + size].astype(np.float64)
