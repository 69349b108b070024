"""Verdicts on parts, bimodal seeds and their counts against hand-made numbers."""

import numpy as np
import pytest

from experiments.reproduction.findings import (
    ARITHMETIC_ERROR,
    CONTRADICTED,
    DEPENDS_ON,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    PARTLY_SUPPORTED,
    SUPPORTED,
    VERDICTS,
    Finding,
    combine,
    judge_loss,
    judge_share,
    modes,
    percent,
)

FROZEN = np.array([0.276, 0.1, 0.1, 0.1, 0.1, 0.1])  # test accuracies of keras-1
# Student's t at .975, from printed tables: 5 degrees of freedom.
T_5 = 2.571


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((SUPPORTED, SUPPORTED), SUPPORTED),
        ((CONTRADICTED, CONTRADICTED), CONTRADICTED),
        ((NO_DIFFERENCE, NO_DIFFERENCE), NO_DIFFERENCE),
        ((SUPPORTED, CONTRADICTED), PARTLY_SUPPORTED),
        ((NO_DIFFERENCE, SUPPORTED), PARTLY_SUPPORTED),
        ((NOT_APPLICABLE, SUPPORTED), PARTLY_SUPPORTED),
        ((PARTLY_SUPPORTED, CONTRADICTED), PARTLY_SUPPORTED),
        ((NO_DIFFERENCE, CONTRADICTED), CONTRADICTED),
        ((NOT_APPLICABLE, NO_DIFFERENCE), NO_DIFFERENCE),
        ((NO_DIFFERENCE, ARITHMETIC_ERROR), ARITHMETIC_ERROR),
    ],
)
def test_verdicts_on_parts(verdicts: tuple[str, str], expected: str) -> None:
    parts = {name: Finding(v) for name, v in zip("ab", verdicts, strict=True)}
    assert combine(parts, "text").verdict == expected
    conditional = combine(parts, "text", "the loss")
    is_mixed = expected == PARTLY_SUPPORTED
    assert conditional.verdict == (DEPENDS_ON if is_mixed else expected)
    assert expected in VERDICTS


def test_the_detail_says_which_part_is_supported() -> None:
    parts = {
        "a": Finding(SUPPORTED),
        "b": Finding(CONTRADICTED),
        "c": Finding(SUPPORTED),
    }
    finding = combine(parts, "text")
    assert finding.measured == "text"
    assert finding.qualifier == " (supported: a and c; contradicted: b)"
    finding = combine(parts, "text", "the loss")
    assert finding.qualifier == " the loss (supported: a and c; contradicted: b)"
    assert combine({"a": Finding(SUPPORTED)}, "text").qualifier == ""
    same = combine({"a": judge_loss(np.array([1.0, -1.0]))}, "text")
    assert same.qualifier.startswith(": a: +0.000 (")


def test_comparisons_are_counted_over_all_parts() -> None:
    better, worse = judge_share(np.full(6, 0.1)), judge_loss(np.full(6, -0.1))
    nested = combine({"a": better, "b": worse}, "")
    assert combine({"c": nested, "d": Finding(SUPPORTED)}, "").num_comparisons == 2


def test_shares_are_judged_by_the_t_interval() -> None:
    # Mean 0.01 and deviation 0.01 over 6 seeds: the half-width is 2.571 / √6 × 0.01.
    shape = np.array([-1, -1, -1, 1, 1, 1]) / np.sqrt(6 / 5)
    finding = judge_share(0.01 + 0.01 * shape)
    half = T_5 / np.sqrt(6)
    assert finding.measured == f"+1.00 points ({1 - half:+.2f} to {1 + half:+.2f})"
    assert finding.verdict == NO_DIFFERENCE
    assert finding.detail == finding.measured
    assert judge_share(0.01 + 0.0096 * shape).verdict == NO_DIFFERENCE  # ±1.008
    assert judge_share(0.01 + 0.0094 * shape).verdict == SUPPORTED  # ±0.987


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [
        (FROZEN, [5, 1]),
        ([0.21, 0.24, 0.295, 0.534, 0.536, 0.622], [3, 3]),
        ([0.208, 0.24, 0.241, 0.332, 0.38, 0.389], [6]),  # gap of 9 points
        ([0.1, 0.25, 0.4, 0.55, 0.7, 0.9], [6]),  # no gap wider than the groups
        ([0.8, 0.8, 0.8, 0.8, 0.8, 0.8], [6]),
        ([0.1, 0.9], [1, 1]),
        ([0.5], [1]),
    ],
)
def test_bimodal_seeds(shares: list[float], sizes: list[int]) -> None:
    groups = modes(np.array(shares))
    assert [len(group) for group in groups] == sizes
    assert sorted(np.concatenate(groups)) == list(range(len(shares)))


def test_bimodal_seeds_are_counted_and_not_averaged() -> None:
    assert percent(FROZEN) == "10.0 % in 5 of 6 seeds, 27.6 % in 1"
    assert percent(np.array([0.1, 0.2])) == "15.0 ± 7.1 %"
    higher = judge_share(0.88 - FROZEN, FROZEN)
    assert higher.verdict == SUPPORTED
    expected = "above 0 in 6 of 6 seeds (+78.00 points in 5, +60.40 points in 1)"
    assert higher.measured == expected
    assert judge_share(FROZEN - 0.88, FROZEN).verdict == CONTRADICTED
    mixed = judge_share(FROZEN - 0.15, FROZEN)
    assert mixed.verdict == NO_DIFFERENCE
    expected = "above 0 in 1 of 6 seeds (-5.00 points in 5, +12.60 points in 1)"
    assert mixed.detail == expected
    # Equal signs of five seeds have probability 6.25 % by chance.
    assert judge_share(0.88 - FROZEN[1:], FROZEN[1:]).verdict == SUPPORTED  # one mode
    assert judge_share(0.88 - FROZEN[:5], FROZEN[:5]).verdict == NO_DIFFERENCE
