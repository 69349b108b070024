"""What runs over several seeds can tell: 95 % intervals, and the spread of the seeds.

Student's t, and so for draws from about a normal distribution; NumPy and SciPy only.
"""

import dataclasses
import math

import numpy as np
from scipy import stats

LEVEL = 0.95
UPPER = (1 + LEVEL) / 2


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; NaN where there is none."""

    estimate: float
    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class Spreads:
    """Two standard deviations and the ratio ours / theirs."""

    ours: float
    theirs: float
    ratio: Interval


def moments(values_SxE: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns count, mean and standard deviation [E] of the seeds that are finite.

    Mean and deviation are NaN unless these are more than half of the seeds, and so at
    least two: what a few survivors do is not what a run does.

    Raises:
      ValueError: for fewer than two seeds, which have no spread.
    """
    values = np.asarray(values_SxE, float)
    if len(values) < 2:
        raise ValueError(f"{len(values)} seed(s) given; a spread needs at least 2.")
    finite = np.isfinite(values)
    n = finite.sum(0)
    enough = 2 * n > len(values)
    n = np.where(enough, n, 2)
    mean = np.where(finite, values, 0).sum(0) / n
    squares = np.where(finite, values - mean, 0) ** 2
    spread = np.sqrt(squares.sum(0) / (n - 1))
    return n, np.where(enough, mean, np.nan), np.where(enough, spread, np.nan)


def prediction_interval(values_SxE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [E] and the half-width [E] that hold one more run, at 95 %.

    half = t_0.975(n - 1) · s · sqrt(1 + 1/n), over the n seeds that are finite at that
    epoch; both are NaN where ``moments`` says so.
    """
    n, mean, spread = moments(values_SxE)
    return mean, stats.t.ppf(UPPER, n - 1) * spread * np.sqrt(1 + 1 / n)


def paired_interval(differences_S: np.ndarray) -> Interval:
    """Returns the mean of differences paired over seeds, and its 95 % t-interval.

    Equal differences give an interval of no width. A difference that is not finite, of
    a run that diverged, leaves none: to drop that seed would be to judge survivors.
    Where divergence is to count, let the caller say as what (an accuracy: as chance).
    """
    differences = np.asarray(differences_S, float)
    n, mean, spread = (float(found[0]) for found in moments(differences[:, None]))
    if not np.isfinite(differences).all():
        return NO_INTERVAL
    half = float(stats.t.ppf(UPPER, n - 1)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def share_interval(count: int, total: int) -> Interval:
    """Returns count / total and its binomial interval (Clopper and Pearson's)."""
    if not total:
        return NO_INTERVAL
    low, high = stats.binomtest(count, total).proportion_ci(LEVEL)
    return Interval(count / total, float(low), float(high))


def compare_spreads(ours: np.ndarray, theirs: np.ndarray) -> Spreads:
    """Compares our spread over seeds with that of a source's own replicates.

    The interval is that of the F-test for two variances. Values that are not finite
    (nothing published) are left out. There is no interval where fewer than two are
    left, or all are equal, on either side. Their reading errors are in theirs.
    """
    both = [np.asarray(v, float)[np.isfinite(v)] for v in (ours, theirs)]
    own, other = (float(v.std(ddof=1)) if len(v) > 1 else math.nan for v in both)
    if not (own > 0 and other > 0):
        return Spreads(own, other, NO_INTERVAL)
    ratio = own / other
    most, least = stats.f.ppf([UPPER, 1 - UPPER], *(len(v) - 1 for v in both)) ** 0.5
    return Spreads(own, other, Interval(ratio, ratio / most, ratio / least))
