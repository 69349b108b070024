"""How claims are decided: paired differences over seeds."""

import dataclasses

import numpy as np
import xarray as xr

from experiments.reproduction.verdicts import our_values
from fmnist_jax.analysis.intervals import Interval, paired_interval

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
CHANCE = 0.1


@dataclasses.dataclass(frozen=True)
class Finding:
    """A verdict and the measurement behind it, in Markdown."""

    verdict: str
    measured: str


def judge_claim(better_by: Interval) -> str:
    """Judges "A is better than B" by the interval of how much better A was.

    Returns "supported" if the interval is above 0, "contradicted" if it is below 0, and
    "undecided" otherwise: also if there is no interval, or if it is 0 exactly.
    """
    if better_by.low > 0:
        return SUPPORTED
    return CONTRADICTED if better_by.high < 0 else UNDECIDED


def combine_verdicts(*findings: Finding) -> str:
    """Returns the verdict of a claim of several parts: that of the worst part."""
    order = (CONTRADICTED, UNDECIDED, SUPPORTED)
    return min((finding.verdict for finding in findings), key=order.index)


def by_seed(runs: xr.Dataset, metric: str, epoch: int) -> np.ndarray:
    """Returns a metric after an epoch, counted from 1; ``[seeds]``, float64.

    A diverged run has the accuracy of chance. ``accuracy_gap`` is the training accuracy
    minus the test accuracy; ``accuracy_gap_with_dropout`` likewise.
    """
    ending = metric.removeprefix("accuracy_gap")
    if ending != metric:
        train = by_seed(runs, f"train_accuracy{ending}", epoch)
        return train - by_seed(runs, f"test_accuracy{ending}", epoch)
    values = our_values(runs, metric)[:, epoch - 1]
    return np.nan_to_num(values, nan=CHANCE) if "accuracy" in metric else values


def last_common(*runs: xr.Dataset) -> int:
    """Returns the last epoch that all runs have."""
    return min(dataset.sizes["epoch"] for dataset in runs)


def judge_share(differences: np.ndarray) -> Finding:
    """Judges whether differences of shares are above 0; text in percentage points."""
    interval = paired_interval(differences)
    ends = f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
    text = f"{100 * interval.estimate:+.2f} points ({ends})"
    return Finding(judge_claim(interval), text)


def judge_loss(differences: np.ndarray) -> Finding:
    """Judges whether differences of losses are above 0."""
    interval = paired_interval(differences)
    text = f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    return Finding(judge_claim(interval), text)


def difference(
    metric: str,
    first: xr.Dataset,
    second: xr.Dataset,
    epoch: int,
    second_epoch: int | None = None,
) -> Finding:
    """Judges whether a metric is higher in the first runs than in the second.

    Both are compared after an epoch, the second after ``second_epoch`` if it is given.
    """
    others = by_seed(second, metric, second_epoch or epoch)
    differences = by_seed(first, metric, epoch) - others
    return judge_loss(differences) if "loss" in metric else judge_share(differences)


def percent(shares: np.ndarray) -> str:
    """Returns mean and standard deviation of shares over seeds, in percent."""
    return f"{100 * shares.mean():.1f} ± {100 * shares.std(ddof=1):.1f} %"
