"""The box-counting dimension of the boundary on a map. Imports no jax."""

import numpy as np

from fmnist_jax.analysis.intervals import UPPER, Interval
from fmnist_jax.errors import UserError

MIN_SIZES = 3  # of boxes, for an interval


def boundary(labels: np.ndarray) -> np.ndarray:
    """Returns which points of a map, ``[x, y]``, differ from their next neighbours.

    These are the next points in both directions.
    """
    is_boundary = np.zeros(labels.shape, bool)
    is_boundary[:-1] |= labels[:-1] != labels[1:]
    is_boundary[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return is_boundary


def box_counts(points: np.ndarray) -> dict[int, int]:
    """Returns how many boxes of each size, a power of 2, contain a point.

    The points are bools ``[x, y]``. The largest boxes are an eighth of the shorter
    side.
    """
    counts, size = {}, 1
    while 8 * size <= min(points.shape):
        starts = [np.arange(0, length, size) for length in points.shape]
        boxes = np.maximum.reduceat(points.astype(int), starts[0], axis=0)
        counts[size] = int(np.maximum.reduceat(boxes, starts[1], axis=1).sum())
        size *= 2
    return counts


def dimension(labels: np.ndarray) -> Interval:
    """Returns the box-counting dimension of the boundaries between labels.

    The slope of log(number of boxes) against −log(size), by least squares, with the
    95 % interval of its residuals. See Falconer, "Fractal Geometry", 2014, chapter 2.
    """
    counts = {size: n for size, n in box_counts(boundary(labels)).items() if n}
    if len(counts) < MIN_SIZES:
        raise UserError(
            f"The boundary on a map of {'×'.join(map(str, labels.shape))} points has "
            f"no dimension: {len(counts)} sizes of boxes contain it, of at least "
            f"{MIN_SIZES}."
        )
    from scipy import stats  # slow to import

    sizes = np.log(list(counts))
    fit = stats.linregress(-sizes, np.log(list(counts.values())))
    half = float(stats.t.ppf(UPPER, len(counts) - 2) * fit.stderr)
    return Interval(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)
