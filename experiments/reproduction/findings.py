"""How claims are decided: paired differences over seeds."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from experiments.reproduction.verdicts import our_values
from fmnist_jax.analysis.intervals import CONFIDENCE, Interval, paired_interval

SUPPORTED, CONTRADICTED = "supported", "contradicted"
PARTLY_SUPPORTED, DEPENDS_ON = "partly supported", "depends on"
NO_DIFFERENCE = "no difference detected"
ARITHMETIC_ERROR, NOT_APPLICABLE = "arithmetic error", "not applicable"
# Verdict -> its meaning, for the page.
VERDICTS: Mapping[str, str] = {
    SUPPORTED: "the measurement agrees with the claim, in all its parts",
    CONTRADICTED: "the measurement disagrees with the claim, and no part is supported",
    PARTLY_SUPPORTED: "some parts of the claim are supported, others are not",
    DEPENDS_ON: "the claim is supported under some conditions and not under others",
    NO_DIFFERENCE: "the interval of the difference contains 0, or the seeds differ in "
    "sign; a small difference is not excluded",
    ARITHMETIC_ERROR: "the claim is a calculation, whose correct result is different",
    NOT_APPLICABLE: "the condition of the claim does not occur in these runs",
}
# A verdict on several parts is the first of these that occurs if no part is supported.
_WITHOUT_SUPPORT = (CONTRADICTED, ARITHMETIC_ERROR, NO_DIFFERENCE, NOT_APPLICABLE)
MACHINE = "machine"  # attribute of results: the device and the version of jax
CHANCE = 0.1
MIN_GAP = 0.1  # 10 points of accuracy; a smaller gap between seeds is no second mode


@dataclasses.dataclass(frozen=True)
class Finding:
    """A verdict and the measurement behind it."""

    verdict: str  # a key of ``VERDICTS``
    measured: str = ""  # in Markdown
    detail: str = ""  # the part supported, what the claim depends on, or the interval
    # The findings that the verdict combines, by part.
    parts: "Mapping[str, Finding]" = dataclasses.field(default_factory=dict)
    is_comparison: bool = False  # whether it compares seeds: chance can mislead it
    differences: Sequence[float] = ()  # what is compared with ``threshold``, by seed
    # The threshold below which these are "supported", and the one above which they are
    # "contradicted"; () if no threshold decides.
    bounds: Sequence[float] = ()
    threshold: float = 0.0  # of the rule: above it, a difference supports the claim

    @property
    def qualifier(self) -> str:
        """The detail as it follows the verdict in a text."""
        forms = {DEPENDS_ON: " {}", PARTLY_SUPPORTED: " ({})"}
        return (
            forms.get(self.verdict, ": {}").format(self.detail) if self.detail else ""
        )

    @property
    def num_comparisons(self) -> int:
        """The number of comparisons over seeds that decide the verdict."""
        parts = sum(part.num_comparisons for part in self.parts.values())
        return int(self.is_comparison) + parts


def judge_claim(better_by: Interval) -> str:
    """Judges "A is better than B" by the interval of how much better A was.

    Returns "supported" if the interval is above 0, "contradicted" if it is below 0, and
    "no difference detected" otherwise: also if there is no interval, or if it is 0
    exactly.
    """
    if better_by.low > 0:
        return SUPPORTED
    return CONTRADICTED if better_by.high < 0 else NO_DIFFERENCE


def combine(
    parts: Mapping[str, Finding], measured: str, depends_on: str = ""
) -> Finding:
    """Combines the verdicts on the parts of a claim.

    Parts with the same verdict give that verdict. If only some are supported, the claim
    is partly supported, or depends on ``depends_on`` if the parts are conditions.
    """
    names_by_verdict: dict[str, list[str]] = {}
    for name, part in parts.items():
        names_by_verdict.setdefault(part.verdict, []).append(name)
    groups = names_by_verdict.items()
    detail = "; ".join(f"{verdict}: {' and '.join(names)}" for verdict, names in groups)
    if len(groups) == 1:
        (verdict,) = names_by_verdict
        details = (f"{n}: {p.detail}" for n, p in parts.items() if p.detail)
        detail = "; ".join(details)
    elif not names_by_verdict.keys() <= set(_WITHOUT_SUPPORT):
        verdict = DEPENDS_ON if depends_on else PARTLY_SUPPORTED
        detail = f"{depends_on} ({detail})" if depends_on else detail
    else:
        verdict = min(names_by_verdict, key=_WITHOUT_SUPPORT.index)
    return Finding(verdict, measured, detail, parts)


def machine_of(results: xr.Dataset) -> str:
    """Returns the device and the version of jax that computed results."""
    return str(results.attrs.get(MACHINE, "an unrecorded device"))


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


def modes(shares: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of seeds, in two groups if the shares are bimodal.

    They are if their largest gap exceeds 10 points and the range of either group. The
    mean of such seeds describes none of them. The larger group comes first.
    """
    order = np.argsort(shares, kind="stable")
    gaps = np.diff(shares[order])
    if not len(gaps):
        return [order]
    first = int(np.argmax(gaps)) + 1
    groups = [order[:first], order[first:]]
    widest = max(np.ptp(shares[group]) for group in groups)
    if gaps.max() <= max(MIN_GAP, widest):
        return [np.arange(len(shares))]
    return sorted(groups, key=len, reverse=True)


def span(values: Sequence[float] | np.ndarray, digits: str) -> str:
    """Returns minimum and maximum, as one number if they are equal as shown."""
    ends = (format(value, digits) for value in (np.min(values), np.max(values)))
    return " to ".join(dict.fromkeys(ends))


def judge_share(
    shares: np.ndarray, *compared: np.ndarray, above: float = 0.0
) -> Finding:
    """Judges whether shares, or differences of shares, are above a threshold.

    The text is their distance from it, in percentage points. If the shares or those
    ``compared`` are bimodal, it counts seeds.
    """
    differences = shares - above
    if any(len(modes(values)) > 1 for values in (differences, *compared)):
        return _above(_judge_counts(differences), above)
    interval = paired_interval(differences)
    ends = f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
    text = f"{100 * interval.estimate:+.2f} points ({ends})"
    verdict = judge_claim(interval)
    return _above(_compared(verdict, text, differences, interval[1:]), above)


def _above(finding: Finding, threshold: float) -> Finding:
    """Returns a finding on distances from a threshold, with what was measured."""
    return dataclasses.replace(
        finding,
        differences=tuple(value + threshold for value in finding.differences),
        threshold=threshold,
        bounds=tuple(value + threshold for value in finding.bounds),
    )


def _judge_counts(differences: np.ndarray) -> Finding:
    """Judges by the signs of the differences, which have to be equal for all seeds.

    By chance, equal signs of n seeds have probability 2^(1 - n): 0.2 % for 10 seeds.
    """
    number, above = len(differences), int(np.sum(differences > 0))
    verdict = NO_DIFFERENCE
    bounds: tuple[float, ...] = ()
    if 2.0 ** (1 - number) <= 1 - CONFIDENCE:
        bounds = differences.min(), differences.max()
        verdict = SUPPORTED if above == number else verdict
        verdict = CONTRADICTED if np.all(differences < 0) else verdict
    ranges = ", ".join(
        f"{span(100 * differences[group], '+.2f')} points in {len(group)}"
        for group in modes(differences)
    )
    text = f"above 0 in {above} of {number} seeds ({ranges})"
    return _compared(verdict, text, differences, bounds)


def judge_loss(differences: np.ndarray) -> Finding:
    """Judges whether differences of losses are above 0."""
    interval = paired_interval(differences)
    text = f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    return _compared(judge_claim(interval), text, differences, interval[1:])


def _compared(
    verdict: str, text: str, differences: np.ndarray, bounds: Sequence[float]
) -> Finding:
    detail = text if verdict == NO_DIFFERENCE else ""
    values = tuple(differences.tolist())
    known = tuple(float(b) for b in bounds) if np.isfinite(bounds).all() else ()
    return Finding(verdict, text, detail, {}, True, values, known)


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
    values = by_seed(first, metric, epoch)
    others = by_seed(second, metric, second_epoch or epoch)
    if "loss" in metric:
        return judge_loss(values - others)
    return judge_share(values - others, values, others)


def percent(shares: np.ndarray) -> str:
    """Returns mean and standard deviation of shares in percent, or counts of seeds.

    It counts seeds if the shares are bimodal.
    """
    groups = modes(shares)
    if len(groups) == 1:
        return f"{100 * shares.mean():.1f} ± {100 * shares.std(ddof=1):.1f} %"
    larger, smaller = (span(100 * shares[group], ".1f") for group in groups)
    counts = f"{len(groups[0])} of {len(shares)} seeds, {smaller} % in {len(groups[1])}"
    return f"{larger} % in {counts}"
