"""Published rows compared with our results.

A published number counts as one more unseeded run: it agrees if it lies in the 95 %
prediction interval of our seeds, widened by its reading error. It also agrees if its
difference from our mean is too small to matter in practice.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from experiments.reproduction.references import Row
from fmnist_jax.analysis.intervals import (
    Interval,
    moments,
    prediction_interval,
    share_interval,
)

# Share of a row's numbers that has to agree, in addition to its final loss.
ROW_PERCENT = 90
# Practical tolerance: a difference from our mean that changes no conclusion. Half a
# point is 1.4 standard errors of an accuracy of 85 % on 10,000 images. 2 % is less than
# the typical standard deviation of a test loss over seeds, 3 %.
ACCURACY_TOLERANCE = 0.005
LOSS_TOLERANCE = 0.02  # of our mean
# Float32 rounding: seeds that all give 0.1 differ from a published 0.1 by 1.5e-9.
ROUNDING = float(np.finfo(np.float32).eps)
WITH_PENALTY = "train_loss_and_penalty"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A metric of ours and the published one; arrays are [E], by epoch."""

    published: np.ndarray  # NaN for epochs without a number
    mean: np.ndarray  # over our seeds
    spread: np.ndarray  # standard deviation over our seeds
    # Largest difference from the mean inside the interval, with the reading error; NaN
    # if our seeds give no interval.
    allowed: np.ndarray
    tolerance: np.ndarray | float = 0.0  # difference that does not matter in practice

    @property
    def is_published(self) -> np.ndarray:
        """Whether a number is published."""
        return np.isfinite(self.published)

    @property
    def difference(self) -> np.ndarray:
        """Published numbers minus our means: the effect size."""
        return self.published - self.mean

    @property
    def excess(self) -> np.ndarray:
        """Signed distance of published numbers from what agrees; 0 if they agree."""
        agreeing = np.maximum(self.allowed, self.tolerance)
        gap = self.difference
        return np.sign(gap) * np.maximum(np.abs(gap) - agreeing, 0)

    @property
    def is_inside(self) -> np.ndarray:
        """Whether a published number is in the interval; False if there is none."""
        return np.abs(self.difference) <= self.allowed

    @property
    def agrees(self) -> np.ndarray:
        """Whether a published number agrees; False if our seeds give no interval."""
        return self.excess == 0


@dataclasses.dataclass(frozen=True)
class RowVerdict:
    """Whether the published numbers of a row agree with ours.

    Attributes:
      verdict: "agrees", "differs" or "none published".
      num_agreeing: how many of the ``num_published`` numbers agree.
      num_inside: how many of these are in the interval; the others agree only within
        the practical tolerance.
      disagreeing: metric, epoch and excess of each number that does not agree; the
        excess is NaN if our seeds give no interval.
      effects: median and maximum difference between published numbers and our means,
        by quantity: "loss" in nats, "accuracy" as a fraction.
    """

    verdict: str
    num_agreeing: int
    num_inside: int
    num_published: int
    disagreeing: Sequence[tuple[str, int, float]]
    effects: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


def our_values(runs: xr.Dataset, metric: str) -> np.ndarray:
    """Returns our values of a published metric, ``[seeds, epochs]``; float64."""
    is_sum = metric == WITH_PENALTY
    values = runs.train_loss + runs.train_penalty if is_sum else runs[metric]
    return values.transpose("seed", "epoch").values.astype(float)


def compare(
    values_SxE: np.ndarray,
    published_E: np.ndarray,
    reading_error_E: np.ndarray,
    metric: str | None = None,
) -> Comparison:
    """Compares our seeds' values of a metric with the published ones.

    If the name of the metric is given, its practical tolerance applies.
    """
    _, mean, spread = moments(values_SxE)
    _, half = prediction_interval(values_SxE)
    allowed = half + np.nan_to_num(reading_error_E) + ROUNDING * np.abs(mean)
    published = np.asarray(published_E, float)
    tolerance = 0.0 if metric is None else practical_tolerance(metric, mean)
    return Comparison(published, mean, spread, allowed, tolerance)


def practical_tolerance(metric: str, mean: np.ndarray) -> np.ndarray | float:
    """Returns the difference from our mean that does not matter in practice."""
    return ACCURACY_TOLERANCE if "accuracy" in metric else LOSS_TOLERANCE * mean


def comparisons(row: Row, runs: xr.Dataset) -> dict[str, Comparison]:
    """Compares each published metric of a row with ours, by metric."""
    epochs = slice(min(row.num_epochs, runs.sizes["epoch"]))
    return {
        metric: compare(
            our_values(runs, metric)[:, epochs],
            published[epochs],
            row.reading_error[metric][epochs],
            metric,
        )
        for metric, published in row.published.items()
        if metric in runs or metric == WITH_PENALTY
    }


def judge_row(comparisons: Mapping[str, Comparison]) -> RowVerdict:
    """Judges a row: 90 % of its numbers and its final test loss have to agree.

    If no test loss is published, the final training loss has to agree.
    """
    compared = {m: c for m, c in comparisons.items() if c.is_published.any()}
    published = sum(int(c.is_published.sum()) for c in compared.values())
    agreeing = sum(int(c.agrees.sum()) for c in compared.values())
    inside = sum(int(c.is_inside.sum()) for c in compared.values())
    if not published:
        return RowVerdict("none published", 0, 0, 0, [])
    disagreeing = [
        (metric, int(position) + 1, float(c.excess[position]))
        for metric, c in compared.items()
        for position in np.flatnonzero(c.is_published & ~c.agrees)
    ]
    enough = 100 * agreeing >= ROW_PERCENT * published
    verdict = "agrees" if enough and _final_loss_agrees(compared) else "differs"
    effects = _effects(compared)
    return RowVerdict(verdict, agreeing, inside, published, disagreeing, effects)


def _effects(compared: Mapping[str, Comparison]) -> dict[str, tuple[float, float]]:
    """Returns median and maximum absolute difference, by quantity."""
    effects = {}
    for quantity in ("loss", "accuracy"):
        gaps = [np.abs(c.difference) for m, c in compared.items() if quantity in m]
        finite = np.concatenate([gap[np.isfinite(gap)] for gap in [*gaps, np.empty(0)]])
        if len(finite):
            effects[quantity] = (float(np.median(finite)), float(finite.max()))
    return effects


def judge(row: Row, runs: xr.Dataset) -> RowVerdict:
    """Judges a row by our runs of it."""
    return judge_row(comparisons(row, runs))


def explain(row: RowVerdict, reason: str = "") -> str:
    """Returns a verdict in sentences, with the known reason for differences."""
    if not row.num_published:
        return "No numbers are published."
    count = f"{row.num_agreeing} of {row.num_published} published numbers agree."
    text = f"{row.verdict.capitalize()}. {count}"
    if tolerated := row.num_agreeing - row.num_inside:
        text += f" Of these, {tolerated} only within the practical tolerance."
    if row.disagreeing:
        numbers = ", ".join(_excess_text(*number) for number in row.disagreeing)
        text += f" Outside: {numbers}."
    return f"{text} {reason}".rstrip()


def effect_text(row: RowVerdict, quantity: str) -> str:
    """Returns median and maximum difference of a quantity, such as ``0.004, 0.02``."""
    if quantity not in row.effects:
        return "–"
    scale = 100 if quantity == "accuracy" else 1
    return ", ".join(f"{scale * effect:.2g}" for effect in row.effects[quantity])


def share_inside(rows: Iterable[RowVerdict]) -> Interval:
    """Returns the share of all published numbers in the interval; 0.95 is expected.

    The interval assumes independent numbers. The numbers of one run are dependent, so
    the true interval is wider.
    """
    rows = list(rows)
    inside = sum(row.num_inside for row in rows)
    return share_interval(inside, sum(row.num_published for row in rows))


def _final_loss_agrees(comparisons: Mapping[str, Comparison]) -> bool:
    """Whether the last published test loss agrees, or else the last training loss."""
    for start in ("test_loss", "train_loss"):
        for metric, comparison in comparisons.items():
            if metric.startswith(start):
                return bool(comparison.agrees[comparison.is_published][-1])
    return True


def _excess_text(metric: str, epoch: int, excess: float) -> str:
    """Returns ``train loss e4 too low by 0.0012`` for a number that does not agree."""
    name = f"{metric.replace('_', ' ')} e{epoch}"
    if math.isnan(excess):
        return f"{name} (at least half of our seeds diverge)"
    scale, unit = (100, " points") if "accuracy" in metric else (1, "")
    side = "high" if excess > 0 else "low"
    return f"{name} too {side} by {scale * abs(excess):.2g}{unit}"
