"""Intervals and verdicts against tables, hand-made numbers and simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.reproduction import references
from experiments.reproduction.findings import judge_claim
from experiments.reproduction.verdicts import (
    Comparison,
    RowVerdict,
    compare,
    effect_text,
    explain,
    judge_row,
    share_inside,
)
from fmnist_jax.analysis.intervals import (
    Interval,
    compare_spreads,
    paired_interval,
    prediction_interval,
    share_interval,
)

NAN, INF = np.nan, np.inf
# Student's t at .975, from printed tables.
T_2, T_4 = 4.302653, 2.776445


def comparison(*agrees: bool | None) -> Comparison:
    """Published numbers .5 above ours, or 2 above if they are to disagree."""
    values = {True: 1.5, False: 3.0, None: NAN}
    published = np.array([values[agreement] for agreement in agrees])
    ones = np.ones(len(agrees))
    return Comparison(published, ones, ones, ones)


def test_prediction_interval_of_hand_made_numbers() -> None:
    # 1 … 5: mean 3, variance 10 / 4; all equal: no width.
    values = np.array([[1, 7], [2, 7], [3, 7], [4, 7], [5, 7]], np.float32)
    mean, half = prediction_interval(values)
    np.testing.assert_array_equal(mean, [3, 7])
    np.testing.assert_allclose(half, [T_4 * math.sqrt(2.5 * 1.2), 0], rtol=1e-6)


def test_prediction_interval_over_the_finite_seeds_if_they_are_the_majority() -> None:
    values = np.array(
        [[1, 1, 1], [2, 2, NAN], [3, 3, NAN], [NAN, INF, INF], [NAN, -INF, 5]]
    )
    mean, half = prediction_interval(values)
    expected = T_2 * math.sqrt(1 + 1 / 3)
    np.testing.assert_allclose(mean, [2, 2, NAN])
    np.testing.assert_allclose(half, [expected, expected, NAN], rtol=1e-6)
    # Half of the seeds is no majority.
    assert np.isnan(prediction_interval(values[[0, 1, 3, 4]])[1][0])


@pytest.mark.parametrize("values", [np.ones((1, 5)), np.ones((0, 5))])
def test_one_seed_has_no_spread(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        prediction_interval(values)
    with pytest.raises(ValueError, match="at least 2"):
        paired_interval(values[:, 0])


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_prediction_interval_contains_95_of_100_further_runs(num_seeds: int) -> None:
    draws = np.random.default_rng(0).normal(2.0, 3.0, (num_seeds + 1, 40_000))
    mean, half = prediction_interval(draws[:-1])
    share = np.mean(np.abs(draws[-1] - mean) <= half)
    assert share == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_paired_interval_contains_the_true_difference_in_95_of_100(
    num_seeds: int,
) -> None:
    draws = np.random.default_rng(1).normal(0.3, 1.0, (2_000, num_seeds))
    intervals = [paired_interval(differences) for differences in draws]
    share = np.mean([i.low <= 0.3 <= i.high for i in intervals])
    assert share == pytest.approx(0.95, abs=0.015)


def test_intervals_are_widened_by_the_reading_error_and_by_float32_rounding() -> None:
    values = np.array([[1, 0.1], [2, 0.1], [3, 0.1], [4, 0.1], [5, 0.1]], np.float32)
    half = T_4 * math.sqrt(2.5 * 1.2)
    for published, error, agrees in [
        (3 + half - 0.01, 0.0, True),
        (3 + half + 0.01, 0.0, False),
        (3 - half - 0.01, 0.0, False),
        (3 - half - 0.01, 0.02, True),
        (NAN, NAN, False),
    ]:
        compared = compare(values, np.array([published, 0.1]), np.array([error, 0.0]))
        assert compared.agrees.tolist() == [agrees, True]
        assert compared.is_published.tolist() == [not math.isnan(published), True]
    np.testing.assert_allclose(compared.spread, [math.sqrt(2.5), 0])
    above = compare(values, np.array([3 + half + 0.5, NAN]), np.array([0.2, NAN]))
    np.testing.assert_allclose(above.excess, [0.3, NAN], atol=1e-5)
    below = compare(values, np.array([3 - half - 0.5, 0.11]), np.array([0.2, 0.004]))
    np.testing.assert_allclose(below.excess, [-0.3, 0.006], atol=1e-5)


def test_no_number_agrees_with_diverged_seeds() -> None:
    values = np.full((5, 1), NAN)
    row = judge_row({"test_loss": compare(values, np.array([1.0]), np.zeros(1))})
    assert row.verdict == "differs"
    assert "at least half of our seeds diverge" in explain(row)


def test_a_row_agrees_with_nine_numbers_of_ten_and_its_final_loss() -> None:
    nine = comparison(*[True] * 4 + [False])
    five, none = comparison(*[True] * 5), comparison(*[None] * 5)
    row = judge_row({"train_loss": five, "train_accuracy": nine})
    assert row == RowVerdict(
        "agrees",
        9,
        9,
        10,
        [("train_accuracy", 5, 1.0)],
        {"loss": (0.5, 0.5), "accuracy": (0.5, 2.0)},
    )
    assert judge_row({"train_loss": nine, "train_accuracy": five}).verdict == "differs"
    # The test loss decides if there is one, in any order, with dropout or without.
    for name in ("test_loss", "test_loss_with_dropout"):
        rows = {"train_loss": nine, name: five, "train_accuracy": none}
        assert judge_row(rows).verdict == "agrees"
        assert judge_row({"train_loss": five, name: nine}).verdict == "differs"
    # The last published number decides, in whichever epoch it is.
    early = comparison(True, True, True, False, None)
    assert judge_row({"train_accuracy": five, "test_loss": early}).verdict == "differs"
    # A test loss without published numbers decides nothing.
    rows = {"train_loss": five, "test_loss": none}
    assert judge_row(rows) == RowVerdict("agrees", 5, 5, 5, [], {"loss": (0.5, 0.5)})


def test_a_row_differs_with_fewer_than_nine_numbers_of_ten() -> None:
    eight = comparison(*[True, False, False, *[True] * 7])
    assert judge_row({"test_loss": eight}).verdict == "differs"
    nine_of_eleven = comparison(*[True] * 5 + [False] * 2 + [True] * 4)
    assert judge_row({"train_loss": nine_of_eleven}).verdict == "differs"
    # 18 of 20, and 9 of 10 exactly.
    rows = {"test_loss": comparison(*[False] * 2 + [True] * 18)}
    assert judge_row(rows).verdict == "agrees"


def test_a_row_without_numbers_has_no_verdict() -> None:
    row = judge_row({"train_loss": comparison(None, None)})
    assert row == judge_row({}) == RowVerdict("none published", 0, 0, 0, [])
    assert explain(row) == "No numbers are published."


def test_verdicts_as_sentences() -> None:
    disagreeing = [("train_loss", 4, -0.0012), ("test_accuracy", 5, 0.006)]
    row = RowVerdict("differs", 7, 6, 9, disagreeing)
    assert explain(row, "A dip.") == (
        "Differs. 7 of 9 published numbers agree. Of these, 1 only within the "
        "practical tolerance. Outside: train loss e4 too low by 0.0012, test accuracy "
        "e5 too high by 0.6 points. A dip."
    )
    all_agree = "Agrees. 5 of 5 published numbers agree."
    assert explain(RowVerdict("agrees", 5, 5, 5, [])) == all_agree
    row = RowVerdict("agrees", 5, 5, 5, [], {"accuracy": (0.0012, 0.021)})
    assert effect_text(row, "accuracy") == "0.12, 2.1"
    assert effect_text(row, "loss") == "–"


def test_a_number_agrees_within_the_practical_tolerance() -> None:
    values = np.full((5, 1), 0.5)  # no spread, so that the interval has no width
    for metric, published, agrees in [
        ("test_accuracy", 0.5049, True),
        ("test_accuracy", 0.5051, False),
        ("test_loss", 0.4901, True),
        ("test_loss", 0.4899, False),
    ]:
        compared = compare(values, np.array([published]), np.zeros(1), metric)
        assert compared.agrees.tolist() == [agrees]
        assert not compared.is_inside.any()
        row = judge_row({metric: compared})
        assert (row.num_agreeing, row.num_inside) == (int(agrees), 0)
    assert compared.excess == pytest.approx([-0.0001])  # from the tolerance of 0.01
    assert row.effects == {"loss": pytest.approx((0.0101, 0.0101))}
    assert compare(values, np.array([0.5]), np.zeros(1), metric).is_inside.all()
    diverged = np.full((5, 1), NAN)
    assert not compare(diverged, np.array([0.5]), np.zeros(1), metric).agrees.any()
    # Without a metric there is no tolerance, as in docs/scaling.py.
    assert not compare(values, np.array([0.501]), np.zeros(1)).agrees.any()


def test_share_of_numbers_inside_the_interval_over_rows() -> None:
    rows = [
        RowVerdict("agrees", 10, 9, 10, []),
        RowVerdict("none published", 0, 0, 0, []),
        RowVerdict("agrees", 1, 1, 10, []),
    ]
    # Clopper and Pearson's table for 10 of 20.
    share = share_inside(iter(rows))
    assert share.estimate == 0.5
    assert (share.low, share.high) == pytest.approx((0.2720, 0.7280), abs=1e-4)
    assert math.isnan(share_inside(rows[1:2]).estimate)
    everything = share_interval(20, 20)
    assert everything.high == 1
    assert everything.low == pytest.approx(0.025 ** (1 / 20))


def test_paired_interval_is_that_of_the_t_test() -> None:
    first, second = np.random.default_rng(2).normal(size=(2, 7))
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    interval = paired_interval(first - second)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.estimate == pytest.approx(np.mean(first - second))


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.9, 1.0, 1.1, 1.0, 1.0], "supported"),
        ([-0.9, -1.0, -1.1, -1.0, -1.0], "contradicted"),
        ([1.0, -1.0, 0.5, 0.2, -0.3], "no difference detected"),
        ([0.25] * 5, "supported"),
        ([-0.25] * 5, "contradicted"),
        ([0.0] * 5, "no difference detected"),
        ([1.0, 1.0, 1.0, 1.0, NAN], "no difference detected"),
        ([1.0, 1.0, 1.0, 1.0, INF], "no difference detected"),
    ],
)
def test_claims_are_judged_by_differences(
    differences: list[float], verdict: str
) -> None:
    assert judge_claim(paired_interval(np.array(differences))) == verdict


def test_a_claim_is_decided_if_the_interval_excludes_0() -> None:
    # Mean 1, deviation s, 5 seeds: the half-width is t_4 s / sqrt(5), 1 at s = .8054.
    shape = np.array([-1, -1, 0, 1, 1]) / 1.0
    for s, verdict in [(0.80, "supported"), (0.81, "no difference detected")]:
        interval = paired_interval(1 + s * shape)
        assert interval.high - 1 == pytest.approx(T_4 * s / math.sqrt(5), rel=1e-6)
        assert judge_claim(interval) == verdict
    assert judge_claim(Interval(1.0, 0.0, 2.0)) == "no difference detected"


def test_spreads_of_replicates_in_the_sources() -> None:
    published = references.load()
    theirs = references.replicated(published, published.replicates[0], "test_loss")
    spreads = compare_spreads(np.array([0.36, 0.35, 0.37, 0.34, 0.38]), theirs[:, 4])
    # .349 .372 .341 .346 with mean .352; annealing has no number.
    assert spreads.ours == pytest.approx(math.sqrt(250e-6))
    assert spreads.theirs == pytest.approx(math.sqrt(566e-6 / 3))
    ratio = math.sqrt(750 / 566)
    assert spreads.ratio.estimate == pytest.approx(ratio)
    # F at .975 is 15.101 with (4, 3) degrees of freedom, and 9.979 with (3, 4).
    expected = (ratio / math.sqrt(15.101), ratio * math.sqrt(9.979))
    assert (spreads.ratio.low, spreads.ratio.high) == pytest.approx(expected, rel=1e-3)


def test_interval_of_the_ratio_of_spreads_contains_the_true_ratio() -> None:
    rng = np.random.default_rng(3)
    ratios = [
        compare_spreads(rng.normal(0, 2.0, 5), rng.normal(5, 1.0, 4)).ratio
        for _ in range(2_000)
    ]
    share = np.mean([r.low <= 2.0 <= r.high for r in ratios])
    assert share == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([1, 2, 3], [1, NAN]), ([1, 1, 1], [1, 2]), ([1, 2], [3, 3]), ([], [1, 2])],
)
def test_spreads_that_cannot_be_compared_give_no_interval(
    ours: list[float], theirs: list[float]
) -> None:
    ratio = compare_spreads(np.array(ours, float), np.array(theirs, float)).ratio
    assert np.isnan([ratio.estimate, ratio.low, ratio.high]).all()
