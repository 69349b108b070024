"""95 % intervals from runs over several seeds, and comparisons of their spread.

Student's t intervals assume roughly normal values. SciPy is imported when it is first
used: ``scipy.stats`` takes half a second to load.
"""

import math
from typing import Any, NamedTuple

import numpy as np

CONFIDENCE = 0.95
UPPER = (1 + CONFIDENCE) / 2


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN if there is none."""

    estimate: float
    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


class Spreads(NamedTuple):
    """Two standard deviations and the ratio ours / theirs."""

    ours: float
    theirs: float
    ratio: Interval


def moments(values_SxE: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns count, mean and standard deviation [E] of the seeds that are finite.

    Mean and deviation are NaN unless more than half of the seeds are finite (so at
    least two): a few surviving runs do not represent all runs. Fewer than two seeds,
    which have no spread, are refused.
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


def _t_quantile(degrees_of_freedom: Any) -> Any:
    from scipy.special import stdtrit

    return stdtrit(degrees_of_freedom, UPPER)


def prediction_interval(values_SxE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean [E] and half-width [E] of the 95 % interval for one more run.

    half = t_0.975(n - 1) · s · sqrt(1 + 1/n), over the n seeds that are finite in an
    epoch. Both are NaN if the mean of ``moments`` is.
    """
    n, mean, spread = moments(values_SxE)
    return mean, _t_quantile(n - 1) * spread * np.sqrt(1 + 1 / n)


def paired_interval(differences_S: np.ndarray) -> Interval:
    """Returns the mean of differences paired over seeds, and its 95 % t-interval.

    Equal differences give an interval of width 0. If a difference is not finite (a run
    diverged), there is no interval: dropping that seed would judge only the surviving
    runs. To count divergence, pass a finite value for it (such as chance accuracy).
    """
    differences = np.asarray(differences_S, float)
    n, mean, spread = (float(moment[0]) for moment in moments(differences[:, None]))
    if not np.isfinite(differences).all():
        return NO_INTERVAL
    half = float(_t_quantile(n - 1)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def share_interval(count: int, total: int) -> Interval:
    """Returns count / total and its binomial interval (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    if not total:
        return NO_INTERVAL
    low, high = binomtest(count, total).proportion_ci(CONFIDENCE)
    return Interval(count / total, float(low), float(high))


def compare_spreads(ours: np.ndarray, theirs: np.ndarray) -> Spreads:
    """Compares our spread over seeds with the spread of a source's replicates.

    The interval of the ratio is that of the F-test for two variances. Values that are
    not finite (nothing published) are left out. There is no interval if either side has
    fewer than two values or only equal values. Reading errors are part of ``theirs``.
    """
    from scipy.stats import f

    both = [np.asarray(v, float)[np.isfinite(v)] for v in (ours, theirs)]
    spreads = (float(v.std(ddof=1)) if len(v) > 1 else math.nan for v in both)
    numerator, denominator = spreads
    if not (numerator > 0 and denominator > 0):
        return Spreads(numerator, denominator, NO_INTERVAL)
    ratio = numerator / denominator
    upper, lower = f.ppf([UPPER, 1 - UPPER], *(len(v) - 1 for v in both)) ** 0.5
    interval = Interval(ratio, ratio / upper, ratio / lower)
    return Spreads(numerator, denominator, interval)


def accuracy_interval(accuracies_S: np.ndarray, examples: int) -> Interval:
    """Returns the mean accuracy of runs, and its interval over seeds and examples.

    The distances to the ends of the t-interval over seeds and of the binomial interval
    over examples (Wilson 1927) are added in quadrature (Zou and Donner 2008,
    "Construction of confidence limits about effect measures", equation 1). The runs
    differ in their seeds alone, and each is evaluated on ``examples`` examples.
    """
    from scipy.stats import binomtest

    mean = float(np.mean(accuracies_S))
    over_seeds = Interval(mean, mean, mean)  # of one seed: over examples alone
    if len(accuracies_S) > 1:
        over_seeds = paired_interval(accuracies_S)
    if not math.isfinite(mean):
        return NO_INTERVAL
    count = round(mean * examples)
    of_examples = binomtest(count, examples).proportion_ci(CONFIDENCE, "wilson")
    below = math.hypot(mean - over_seeds.low, mean - min(of_examples.low, mean))
    above = math.hypot(over_seeds.high - mean, max(of_examples.high, mean) - mean)
    return Interval(mean, max(0.0, mean - below), min(1.0, mean + above))
