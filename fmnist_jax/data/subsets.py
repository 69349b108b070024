"""Parts of a data set: the first examples, if they are a fair sample, or stratified."""

import math
from collections.abc import Sequence

import numpy as np

from fmnist_jax.errors import UserError, listed
from fmnist_jax.values import plain

MAX_CHANCE = 1e-6  # of a refusal, by class counts that a random sample has


def stratified_mask(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Chooses examples of which each class has its share.

    Returns bools ``[N]``, of which ``count`` are True. The shares of ``count`` are
    rounded by the largest remainder. ``labels`` are ints ``[N]`` from 0; ``seed``
    decides the choice within each class.
    """
    shares = np.bincount(labels) * plain(count) / len(labels)
    counts = np.floor(shares).astype(int)
    largest_remainders = np.argsort(counts - shares, kind="stable")
    counts[largest_remainders[: count - counts.sum()]] += 1
    order = np.random.default_rng(seed).permutation(len(labels))
    is_chosen = np.zeros(len(labels), bool)
    for label, number in enumerate(counts):
        is_chosen[order[labels[order] == label][:number]] = True
    return is_chosen


def check_first(
    split: str, labels: np.ndarray, count: int, class_names: Sequence[str]
) -> None:
    """Refuses the first examples if they lose classes, as those of sorted files do.

    A class is lost if it has less than half of its share of the whole split, or no
    example. Random samples of few examples lose classes, too: the subset is refused
    only if a random sample has a chance below ``MAX_CHANCE`` of losing so much. This
    chance is bounded from above: by the number of choices of as many classes, times the
    hypergeometric probability of so few examples of these classes together.
    """
    totals = np.bincount(labels, minlength=len(class_names))
    counts = np.bincount(labels[:count], minlength=len(class_names))
    shares = totals * count / len(labels)
    lost = np.flatnonzero(2 * counts < shares)
    of_lost, present = int(totals[lost].sum()), int(counts[lost].sum())
    # Below the mean, no term of the sum over 0…present is larger than the last one.
    log_chance = (
        _log_choose(int(np.count_nonzero(totals)), len(lost))
        + math.log(present + 1)
        + _log_choose(of_lost, present)
        + _log_choose(len(labels) - of_lost, count - present)
        - _log_choose(len(labels), count)
    )
    if log_chance >= math.log(MAX_CHANCE):
        return
    rows = [
        f"{class_names[i]} ({counts[i]} of about {shares[i]:.0f})"
        for i in lost.tolist()
    ]
    raise UserError(
        f"The first {count:,} of {len(labels):,} {split} examples lose classes, as if "
        f"the examples were sorted: {listed(rows)}. Pass --subset=stratified (in the "
        "library: subset='stratified') to keep the share of each class."
    )


def _log_choose(n: int, k: int) -> float:
    """Returns the logarithm of the number of choices of ``k`` out of ``n``."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
