"""The page of the claims: its thresholds against the rules that decide them."""

from collections.abc import Callable

import numpy as np
import pytest

from experiments.reproduction import cards
from experiments.reproduction.findings import (
    CONTRADICTED,
    NO_DIFFERENCE,
    SUPPORTED,
    Finding,
    combine,
    judge_loss,
    judge_share,
)
from experiments.reproduction.references import load

EVIL = "<script>alert(1)</script>"
SEEDS = np.array([0.02, 0.03, 0.05, 0.04, 0.03, 0.02])
TWO_GROUPS = np.array([0.02, 0.03, 0.5, 0.51, 0.52, 0.53])


def text() -> str:
    """Returns the page of a claim of two comparisons, and of one without seeds."""
    table = "a | b\n--- | ---\n1 | <b>2</b>"
    parts = {"first": judge_share(SEEDS), EVIL: judge_share(TWO_GROUPS)}
    findings = {
        "claim-shuffle": combine(parts, f"Shares.\n\n{table}"),
        "claim-symmetric": Finding(CONTRADICTED, EVIL),
    }
    return cards.render(load(), findings, ["Fashion-MNIST", EVIL])


@pytest.mark.parametrize("values", [SEEDS, TWO_GROUPS, -SEEDS])
@pytest.mark.parametrize("judge", [judge_share, judge_loss])
def test_the_bounds_are_where_the_verdict_changes(
    values: np.ndarray, judge: Callable[[np.ndarray], Finding]
) -> None:
    low, high = judge(values).bounds
    for threshold, verdict in (
        (low - 1e-6, SUPPORTED),
        (low + 1e-6, NO_DIFFERENCE),
        (high - 1e-6, NO_DIFFERENCE),
        (high + 1e-6, CONTRADICTED),
    ):
        assert judge(values - threshold).verdict == verdict


def test_a_threshold_of_the_rule_is_drawn_in_the_units_of_the_seeds() -> None:
    finding = judge_share(SEEDS, above=0.025)
    shifted = judge_share(SEEDS - 0.025)
    assert (finding.verdict, finding.measured) == (shifted.verdict, shifted.measured)
    np.testing.assert_allclose(finding.differences, SEEDS)
    np.testing.assert_allclose(finding.bounds, np.add(shifted.bounds, 0.025))
    drawn = cards._drawn("x", finding)
    assert drawn["threshold"] == 0.025
    assert drawn["measured"].startswith(f"{SEEDS.mean():.4g} ({finding.bounds[0]:.4g}")
    low, high = drawn["interval"]
    assert low < drawn["zero"] < high  # no difference is detected


def test_three_seeds_in_two_groups_have_no_bounds() -> None:
    assert judge_share(TWO_GROUPS[1:4]).bounds == ()
    assert judge_share(TWO_GROUPS).differences == tuple(TWO_GROUPS)


def test_a_card_shows_words_rule_seeds_and_bounds() -> None:
    page = text()
    for words in (
        load().claims["claim-shuffle"].claim,
        "<strong>Rule.</strong>",
        'href="data:text/csv;base64,',
        "<td>&lt;b&gt;2&lt;/b&gt;</td>",
    ):
        assert words in page
    assert page.count("<circle") == 2 * 6
    low, high = judge_share(SEEDS).bounds
    words = f"below {low:+.4g}: supported; above {high:+.4g}: contradicted"
    assert words in page
    assert f'data-low="{low}" data-high="{high}"' in page
    assert EVIL not in page


def test_dots_and_lines_are_drawn_to_scale() -> None:
    drawn = cards._drawn("x", judge_share(SEEDS))
    start, end = drawn["ends"]
    inner = cards.WIDTH - 2 * cards.MARGIN
    positions = (np.array([*SEEDS, 0]) - start) / (end - start) * inner + cards.MARGIN
    np.testing.assert_allclose([*drawn["seeds"], drawn["zero"]], positions)
