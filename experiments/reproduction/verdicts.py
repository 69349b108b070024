"""How what we measured is judged against what was published or claimed.

A published number is one more unseeded run: it agrees if it lies in the 95 % prediction
interval of our seeds, widened by its reading error. A claim "A is better than B" is
judged by the 95 % interval of the mean difference, paired over seeds.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fmnist_jax.analysis.intervals import (
    Interval,
    moments,
    prediction_interval,
    share_interval,
)

# A row agrees if at least this share of its numbers do, and its final loss.
ROW_PERCENT = 90
# Our numbers are float32: seeds that all give .1 are off a published .1 by 1.5e-9.
ROUNDING = float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A metric of ours beside the published one; arrays are [E], by epoch.

    Attributes:
      published: NaN where nothing is.
      mean: of our seeds.
      spread: standard deviation of our seeds.
      allowed: how far off the mean agrees, reading error included; NaN where our seeds
        give no interval.
    """

    published: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    allowed: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Where a number is published."""
        return np.isfinite(self.published)

    @property
    def excess(self) -> np.ndarray:
        """How far published numbers lie above the interval, below it (< 0), or 0."""
        gap = self.published - self.mean
        return np.sign(gap) * np.maximum(np.abs(gap) - self.allowed, 0)

    @property
    def agrees(self) -> np.ndarray:
        """Where a published number agrees: nowhere that our seeds give no interval."""
        return self.excess == 0


@dataclasses.dataclass(frozen=True)
class RowVerdict:
    """Whether the published numbers of a row agree with ours.

    Attributes:
      verdict: "agrees", "differs" or "none published".
      num_agreeing: how many of the ``num_published`` numbers agree.
      outside: metric, epoch and excess of each that does not; the excess is NaN where
        our seeds give no interval.
    """

    verdict: str
    num_agreeing: int
    num_published: int
    outside: Sequence[tuple[str, int, float]]


def compare(
    values_SxE: np.ndarray, published_E: np.ndarray, reading_error_E: np.ndarray
) -> Comparison:
    """Compares our seeds' values of a metric with the published ones."""
    _, mean, spread = moments(values_SxE)
    _, half = prediction_interval(values_SxE)
    allowed = half + np.nan_to_num(reading_error_E) + ROUNDING * np.abs(mean)
    return Comparison(np.asarray(published_E, float), mean, spread, allowed)


def judge_row(comparisons: Mapping[str, Comparison]) -> RowVerdict:
    """Judges a row: 90 % of its numbers and its final test loss have to agree.

    Where no test loss is published, the final train loss has to.
    """
    known = {m: c for m, c in comparisons.items() if c.known.any()}
    published = sum(int(c.known.sum()) for c in known.values())
    agreeing = sum(int(c.agrees.sum()) for c in known.values())
    if not published:
        return RowVerdict("none published", 0, 0, [])
    outside = [
        (metric, int(at) + 1, float(c.excess[at]))
        for metric, c in known.items()
        for at in np.flatnonzero(c.known & ~c.agrees)
    ]
    enough = 100 * agreeing >= ROW_PERCENT * published
    verdict = "agrees" if enough and _final_loss_agrees(known) else "differs"
    return RowVerdict(verdict, agreeing, published, outside)


def explain(row: RowVerdict, reason: str = "") -> str:
    """Returns a verdict as a sentence, with the reason for what differs, if known."""
    if not row.num_published:
        return "None published."
    text = (
        f"{row.verdict.capitalize()}: {row.num_agreeing} of {row.num_published} "
        "published numbers agree"
    )
    if row.outside:
        text += f"; {', '.join(_cell(*found) for found in row.outside)}"
    return f"{text}." + (f" {reason}" if reason else "")


def share_agreeing(rows: Iterable[RowVerdict]) -> Interval:
    """Returns the share of all numbers that agree, where .95 is expected.

    The interval takes numbers for independent; those of one run are not, so that the
    true one is wider.
    """
    rows = list(rows)
    return share_interval(
        sum(row.num_agreeing for row in rows), sum(row.num_published for row in rows)
    )


def judge_claim(better_by: Interval) -> str:
    """Judges "A is better than B" by the interval of how much better A was.

    Returns "supported" where all of it is above 0, "contradicted" where all of it is
    below, and "undecided" otherwise: also for no interval, and for 0 exactly.
    """
    if better_by.low > 0:
        return "supported"
    return "contradicted" if better_by.high < 0 else "undecided"


def _final_loss_agrees(comparisons: Mapping[str, Comparison]) -> bool:
    """Whether the last published test loss agrees, else the last train loss."""
    for start in ("test_loss", "train_loss"):
        for metric, found in comparisons.items():
            if metric.startswith(start):
                return bool(found.agrees[np.flatnonzero(found.known)[-1]])
    return True


def _cell(metric: str, epoch: int, excess: float) -> str:
    """Returns ``train loss e4 too low by 0.0012`` for a number that is outside."""
    where = f"{metric.replace('_', ' ')} e{epoch}"
    if math.isnan(excess):
        return f"{where} (half of our seeds or more diverge)"
    scale, unit = (100, " points") if "accuracy" in metric else (1, "")
    side = "high" if excess > 0 else "low"
    return f"{where} too {side} by {scale * abs(excess):.2g}{unit}"
