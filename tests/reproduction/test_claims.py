"""The rules of the claims give the expected verdicts for made-up runs."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments.reproduction import findings
from experiments.reproduction import scale_claims as scale
from experiments.reproduction import training_claims as training
from experiments.reproduction.claims import DECISIONS, UNTRAINED
from experiments.reproduction.configurations import CONFIGURATIONS
from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
)
from experiments.reproduction.references import load

SEEDS, EPOCHS = 5, 3
SHARES = (
    "saturated_outputs_share",
    "saturated_true_share",
    "dead_units_share",
    "zero_gradient_share",
)


def runs(seed: int = 0, **values: Any) -> xr.Dataset:
    """Made-up runs: metrics with the given values, one or one per epoch, and noise."""
    random = np.random.RandomState(seed)
    defaults: dict[str, Any] = {
        "train_accuracy": 0.9,
        "test_accuracy": 0.8,
        "test_loss": 0.5,
        "train_accuracy_with_dropout": 0.85,
        "test_accuracy_with_dropout": 0.8,
        **dict.fromkeys(SHARES, 0.1),
    }
    shape = (SEEDS, EPOCHS)
    variables: dict[str, Any] = {
        name: (("seed", "epoch"), value + 0.002 * random.standard_normal(shape))
        for name, value in {**defaults, **values}.items()
        if name != "predicted_share"
    }
    if "predicted_share" in values:
        shares = np.broadcast_to(values["predicted_share"], (SEEDS, EPOCHS, 2))
        variables["predicted_share"] = (("seed", "epoch", "class"), shares)
    return xr.Dataset(variables, attrs={"train_examples": 60_000})


def decide(claim: str, measurements: dict[str, xr.Dataset]) -> Finding:
    rule, names = DECISIONS[claim]
    return rule(*(measurements[name] for name in names))


def verdict(claim: str, **measurements: xr.Dataset) -> str:
    by_name = {key.replace("_", "-"): runs for key, runs in measurements.items()}
    return decide(claim, by_name).verdict


def test_every_claim_of_the_sources_has_a_rule_and_its_measurements() -> None:
    assert DECISIONS.keys() == load().claims.keys()
    measured = {name for _, names in DECISIONS.values() for name in names}
    assert measured <= {*CONFIGURATIONS, *UNTRAINED}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0.15, SUPPORTED), (0.05, CONTRADICTED), (0.1001, UNDECIDED)],
)
def test_gaps_are_compared_with_the_plain_networks(gap: float, expected: str) -> None:
    plain = runs(train_accuracy=0.8 + gap)
    other = runs(1)
    assert verdict("claim-l1-gap", adam_1e_3=plain, l1=other) == expected
    assert verdict("claim-dropout-gap", adam_1e_3=plain, dropout=other) == expected
    opposite = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
    deeper = verdict("claim-depth-2", adam_1e_3=plain, depth_2=other)
    assert deeper == opposite.get(expected, expected)


def test_a_claim_of_two_parts_has_the_verdict_of_the_worse_one() -> None:
    sgd = runs(1, test_accuracy=0.8)
    level = runs(1, test_accuracy=[0.85, 0.8, 0.8])
    differences = [0.01, -0.01, 0.01, -0.01, 0]
    level.test_accuracy[:, -1] = sgd.test_accuracy[:, -1] + differences
    assert verdict("claim-adam-faster", adam_1e_2=level, book_255=sgd) == UNDECIDED
    worse = runs(2, test_accuracy=[0.85, 0.8, 0.7])
    assert verdict("claim-adam-faster", adam_1e_2=worse, book_255=sgd) == CONTRADICTED
    better = runs(2, test_accuracy=0.9)
    assert verdict("claim-adam-faster", adam_1e_2=better, book_255=sgd) == SUPPORTED


def test_a_loss_that_rises_only_at_a_constant_learning_rate_supports_annealing() -> (
    None
):
    rising = runs(1, test_loss=[0.4, 0.3, 0.5])
    falling = runs(2, test_loss=[0.4, 0.35, 0.3])
    claim = "claim-anneal"
    assert verdict(claim, adam_1e_3=rising, annealing=falling) == SUPPORTED
    assert verdict(claim, adam_1e_3=falling, annealing=rising) == CONTRADICTED


def test_a_huge_difference_is_one_of_ten_points_in_all_configurations() -> None:
    scaled, unscaled = runs(1, test_accuracy=0.85), runs(2, test_accuracy=0.3)
    _, names = DECISIONS["claim-255-huge"]
    measurements = {n: scaled if n.endswith("255") else unscaled for n in names}
    assert decide("claim-255-huge", measurements).verdict == SUPPORTED
    measurements["lab-fashion_mnist-1"] = runs(3, test_accuracy=0.82)
    assert decide("claim-255-huge", measurements).verdict == CONTRADICTED


def test_a_network_that_predicts_the_last_class() -> None:
    shuffled, mixed = runs(1), runs(2)
    for share, expected in ((0.9, SUPPORTED), (0.2, CONTRADICTED)):
        by_class = runs(3, predicted_share=[1 - share, share])
        assert training.shuffle(shuffled, mixed, by_class).verdict == expected
    by_epoch = [[0.1, 0.9], [0.8, 0.2], [0.8, 0.2]]
    finding = training.shuffle(shuffled, mixed, runs(3, predicted_share=by_epoch))
    assert finding.verdict == CONTRADICTED
    assert "| 1 | 90.0 ± 0.0 % | supported |" in finding.measured


def test_claims_that_arithmetic_decides() -> None:
    updates = training.batch_updates(runs())
    assert updates.verdict == CONTRADICTED
    assert "1,875" in updates.measured
    majority = training.majority()
    assert majority.verdict == CONTRADICTED
    assert "always predicting 'dog' is correct for 80 %" in majority.measured


@pytest.mark.parametrize(
    ("values", "expected", "text"),
    [
        ([1, 2, 3], SUPPORTED, "| 3 | 1.5 | 0 | 2.6 |"),
        ([1, 2, 30], CONTRADICTED, "| 30 | 15 | 0 | 1.2 |"),
        ([1, 1, 1], SUPPORTED, "| 1 | 1 | 0 | 3.0 |"),
        ([0, 1e-10, 30], CONTRADICTED, "| 30 | 3e11 | 0 | 1.0 |"),
        ([-1e-15, 1e-14, 30], CONTRADICTED, "| 30 | ∞ | 1 | 1.0 |"),
        ([-2e-15, -1e-15, 30], CONTRADICTED, "| 30 | ∞ | 1 | 1.0 |"),
    ],
)
def test_a_round_spectrum_and_a_long_one(
    values: list[float], expected: str, text: str
) -> None:
    dims = ("divisor", "unit", "rank")
    spectra = np.array(values, float) / np.array([1, 4])[:, None, None]
    curvature = xr.Dataset({"eigenvalue": (dims, spectra)}, {"divisor": [1.0, 2.0]})
    finding = scale.symmetric(curvature)
    assert finding.verdict == expected
    assert text in finding.measured


def test_a_diverged_run_has_the_accuracy_of_chance_and_its_loss_decides_nothing() -> (
    None
):
    diverged = runs(1, train_accuracy=0.8)
    for name in ("train_accuracy", "test_accuracy"):
        diverged[name][:, -1] = np.nan
    assert np.all(findings.by_seed(diverged, "test_accuracy", EPOCHS) == 0.1)
    assert np.all(findings.by_seed(diverged, "accuracy_gap", EPOCHS) == 0)
    diverged.test_loss[0, -1] = np.nan
    finding = verdict("claim-anneal", adam_1e_3=diverged, annealing=runs(2))
    assert finding == UNDECIDED


def test_duration_and_progress_are_separate() -> None:
    seconds = np.array([[2.0, 2.1, 1.9], [1.0, 1.05, 0.95]])
    times = xr.Dataset({"seconds": (("divisor", "repeat"), seconds)})
    finding = scale.less_time(times, runs(1, test_accuracy=0.85), runs(2))
    assert finding.verdict == SUPPORTED
    expected = "takes 0.50 times as long as an epoch at ÷1 (0.50 to 0.50)"
    assert expected in finding.measured


def test_saturation_is_not_the_reason_if_the_saturated_network_trains() -> None:
    scaled, clipped = runs(0), runs(1)
    for share, accuracy, expected, parts, text in (
        (0.5, 0.8, CONTRADICTED, (SUPPORTED, SUPPORTED), "does not keep"),
        (0.5, 0.2, SUPPORTED, (SUPPORTED, CONTRADICTED), "may be"),
        (0.01, 0.2, UNDECIDED, (CONTRADICTED, CONTRADICTED), "do not show whether"),
        (0.1, 0.8, UNDECIDED, (UNDECIDED, SUPPORTED), "do not show whether"),
    ):
        logits = runs(9, saturated_outputs_share=share, test_accuracy=accuracy)
        finding = scale.sigmoid(scaled, clipped, logits)
        assert finding.verdict == expected
        rows = finding.measured.splitlines()
        for start, part in zip(("| more", "| test accuracy"), parts, strict=True):
            (row,) = [row for row in rows if row.startswith(start)]
            assert row.endswith(f" | {part} |")
        assert text in finding.measured
        assert ("does not keep" in finding.measured) == (expected == CONTRADICTED)


@pytest.mark.parametrize(
    ("clipped", "logits", "expected", "text"),
    [
        (0.9, 0.1, CONTRADICTED, "clipping, not the softmax, removes the gradient"),
        (0.9, 0.9, SUPPORTED, "stops learning under both"),
        (0.1, 0.1, CONTRADICTED, "neither removes"),
        (0.1, 0.9, CONTRADICTED, "remains open"),
        (0.9, 0.5, UNDECIDED, "remains open"),
    ],
)
def test_a_softmax_without_gradient_under_one_loss_or_both(
    clipped: float, logits: float, expected: str, text: str
) -> None:
    shares = (clipped, logits)
    pair = [runs(seed, zero_gradient_share=s) for seed, s in enumerate(shares)]
    finding = scale.softmax_is_sigmoid(*pair)
    assert finding.verdict == expected
    assert text in finding.measured


def test_the_scaling_that_dropout_leaves_for_prediction() -> None:
    for factor, expected, text in (
        (4 / 3, CONTRADICTED, "by 1.3333 in training, so no scaling is left"),
        (1.0, SUPPORTED, "by 1.0000 in training, so a factor of 0.75"),
    ):
        ratio = 0.75 * factor + np.array([-1e-3, 0, 1e-3])
        values = {"ratio": ("seed", ratio), "factor": ("seed", np.full(3, factor))}
        finding = training.dropout_downscale(xr.Dataset(values))
        assert finding.verdict == expected
        assert text in finding.measured
