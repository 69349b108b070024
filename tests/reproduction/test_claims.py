"""The rules of the claims give the expected verdicts for made-up runs."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments.reproduction import findings
from experiments.reproduction import scale_claims as scale
from experiments.reproduction import training_claims as training
from experiments.reproduction.claims import DECISIONS, UNTRAINED, decide
from experiments.reproduction.configurations import CONFIGURATIONS
from experiments.reproduction.findings import (
    ARITHMETIC_ERROR,
    CONTRADICTED,
    DEPENDS_ON,
    NO_DIFFERENCE,
    NOT_APPLICABLE,
    PARTLY_SUPPORTED,
    SUPPORTED,
)
from experiments.reproduction.references import load

SEEDS, EPOCHS, NOISE = 6, 3, 0.002
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
        "train_accuracy_running": 0.9,
        **dict.fromkeys(SHARES, 0.1),
    }
    shape = (SEEDS, EPOCHS)
    variables: dict[str, Any] = {
        name: (("seed", "epoch"), value + NOISE * random.standard_normal(shape))
        for name, value in {**defaults, **values}.items()
        if name != "predicted_share"
    }
    if "predicted_share" in values:
        shares = np.broadcast_to(values["predicted_share"], (SEEDS, EPOCHS, 2))
        variables["predicted_share"] = (("seed", "epoch", "class"), shares)
    return xr.Dataset(variables, attrs={"train_examples": 60_000})


def verdict(claim: str, **measurements: xr.Dataset) -> str:
    by_name = {key.replace("_", "-"): runs for key, runs in measurements.items()}
    return decide(claim, by_name).verdict


def test_every_claim_of_the_sources_has_a_rule_and_its_measurements() -> None:
    assert DECISIONS.keys() == load().claims.keys()
    measured = {name for _, names in DECISIONS.values() for name in names}
    assert measured <= {*CONFIGURATIONS, *UNTRAINED}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0.15, SUPPORTED), (0.05, CONTRADICTED), (0.1001, NO_DIFFERENCE)],
)
def test_gaps_are_compared_with_the_plain_networks(gap: float, expected: str) -> None:
    plain = runs(train_accuracy=0.8 + gap)
    other = runs(1, train_accuracy_with_dropout=0.9)
    assert verdict("claim-l1-gap", adam_1e_3=plain, l1=other) == expected
    assert verdict("claim-dropout-gap", adam_1e_3=plain, dropout=other) == expected
    opposite = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
    deeper = verdict("claim-depth-2", adam_1e_3=plain, depth_2=other)
    assert deeper == opposite.get(expected, expected)


def test_a_gap_that_shrinks_only_with_dropout_on_depends_on_the_mode() -> None:
    plain, dropped = runs(train_accuracy=0.88), runs(1)  # gaps 0.08; 0.10 and 0.05
    finding = training.dropout_gap(plain, dropped)
    assert finding.verdict == DEPENDS_ON
    expected = "(contradicted: dropout off; supported: dropout on, as in the source)"
    assert finding.detail == f"the mode of evaluation {expected}"


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(0.85, SUPPORTED), (0.8, NO_DIFFERENCE), (0.7, CONTRADICTED)],
)
def test_a_hidden_layer_against_none(accuracy: float, expected: str) -> None:
    with_layer = runs(1, test_accuracy=accuracy)
    assert verdict("claim-depth-0", depth_0=runs(), adam_1e_3=with_layer) == expected


def test_a_claim_on_two_times_is_partly_supported_if_one_is() -> None:
    sgd = runs(1, test_accuracy=0.8)
    level = runs(1, test_accuracy=[0.85, 0.8, 0.8])
    differences = [0.01, -0.01, 0.01, -0.01, 0, 0]
    level.test_accuracy[:, -1] = sgd.test_accuracy[:, -1] + differences
    finding = training.adam_faster(level, sgd)
    assert finding.verdict == PARTLY_SUPPORTED
    expected = "supported: after epoch 1; no difference detected: after epoch 3"
    assert finding.detail == expected
    worse = runs(2, test_accuracy=[0.85, 0.8, 0.7])
    finding = training.adam_faster(worse, sgd)
    assert finding.verdict == PARTLY_SUPPORTED
    assert finding.detail == "supported: after epoch 1; contradicted: after epoch 3"
    for accuracy, expected in ((0.9, SUPPORTED), (0.7, CONTRADICTED)):
        finding = training.adam_faster(runs(2, test_accuracy=accuracy), sgd)
        assert (finding.verdict, finding.detail) == (expected, "")


def test_a_loss_that_rises_only_at_a_constant_learning_rate_supports_annealing() -> (
    None
):
    rising = runs(1, test_loss=[0.4, 0.3, 0.5])
    falling = runs(2, test_loss=[0.4, 0.35, 0.3])
    claim = "claim-anneal"
    assert verdict(claim, adam_1e_3=rising, annealing=falling) == SUPPORTED
    assert verdict(claim, adam_1e_3=falling, annealing=rising) == CONTRADICTED
    less = runs(3, test_loss=[0.4, 0.3, 0.35])  # rises by 0.05: less, but too much
    assert verdict(claim, adam_1e_3=rising, annealing=less) == PARTLY_SUPPORTED


def test_a_huge_difference_depends_on_optimizer_and_loss() -> None:
    scaled, unscaled = runs(1, test_accuracy=0.85), runs(2, test_accuracy=0.3)
    _, names = DECISIONS["claim-255-huge"]
    measurements = {n: scaled if n.endswith("255") else unscaled for n in names}
    assert decide("claim-255-huge", measurements).verdict == SUPPORTED
    measurements["lab-fashion_mnist-1"] = runs(3, test_accuracy=0.82)
    finding = decide("claim-255-huge", measurements)
    assert finding.verdict == DEPENDS_ON
    assert finding.detail == (
        "optimizer and loss (supported: under SGD and under Adam with the clipped "
        "loss; contradicted: under Adam on logits)"
    )
    assert "The threshold is ours" in finding.measured
    small = {n: runs(3, test_accuracy=0.82) for n in names if not n.endswith("255")}
    assert decide("claim-255-huge", measurements | small).verdict == CONTRADICTED
    measurements["keras-1"] = bimodal()
    assert "above 0 in 6 of 6 seeds" in decide("claim-255-huge", measurements).measured


def test_a_network_that_predicts_the_last_class() -> None:
    shuffled, mixed = runs(1), runs(2)
    for share, expected in ((0.9, SUPPORTED), (0.2, CONTRADICTED)):
        by_class = runs(3, predicted_share=[1 - share, share])
        assert training.shuffle(shuffled, mixed, by_class).verdict == expected
    by_epoch = [[0.1, 0.9], [0.8, 0.2], [0.8, 0.2]]
    finding = training.shuffle(shuffled, mixed, runs(3, predicted_share=by_epoch))
    assert finding.verdict == PARTLY_SUPPORTED
    assert finding.detail == "supported: after epoch 1; contradicted: after epoch 3"
    assert "| 1 | 90.0 ± 0.0 % | supported |" in finding.measured


def test_claims_that_arithmetic_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = training.batch_updates(runs())
    assert updates.verdict == ARITHMETIC_ERROR
    assert "1,875" in updates.measured
    majority = training.majority()
    assert majority.verdict == ARITHMETIC_ERROR
    assert "always predicting 'dog' is correct for 80 %" in majority.measured
    monkeypatch.setattr(training, "ANIMALS", {"dogs": 7200, "cats": 2800})
    assert training.majority().verdict == SUPPORTED
    monkeypatch.setattr(training.math, "ceil", lambda ratio: -int(ratio))
    assert training.batch_updates(runs()).verdict == SUPPORTED


def bimodal(low: float = 0.1, high: float = 0.3) -> xr.Dataset:
    """Runs of which five seeds have one final accuracy and the last another."""
    dataset = runs(4, test_accuracy=low)
    dataset.test_accuracy[:, -1] = [low] * 5 + [high]
    return dataset


def test_waiting_helps_under_one_loss_or_both() -> None:
    scaled, at_1000 = runs(1, test_accuracy=0.85), runs(2)
    climbing = runs(3, test_accuracy=[0.7, 0.75, 0.8])
    finding = scale.needs_time(scaled, at_1000, bimodal(), climbing)
    assert finding.verdict == DEPENDS_ON
    expected = "the loss (contradicted: under the clipped loss; partly supported: on "
    assert finding.detail == f"{expected}logits)"
    catching_up = runs(4, test_accuracy=[0.7, 0.8, 0.9])
    both = scale.needs_time(scaled, at_1000, catching_up, catching_up)
    assert both.verdict == SUPPORTED
    falling = runs(5, test_accuracy=[0.8, 0.7, 0.6])
    neither = scale.needs_time(scaled, at_1000, falling, falling)
    assert neither.verdict == CONTRADICTED


def test_a_remedy_that_works_only_as_in_the_source() -> None:
    plain, scaled = runs(1, test_accuracy=0.8), runs(2, test_accuracy=0.87)
    better, worse = runs(3, test_accuracy=0.85), runs(4, test_accuracy=0.4)
    for frozen, normed, expected in (
        (better, worse, PARTLY_SUPPORTED),
        (better, better, SUPPORTED),
        (worse, worse, CONTRADICTED),
    ):
        finding = scale.bn_rescues(plain, frozen, normed, scaled)
        assert finding.verdict == expected
    finding = scale.bn_rescues(plain, better, worse, scaled)
    assert "supported: frozen statistics, epoch 3" in finding.detail


def test_a_low_learning_rate_has_to_train_the_network() -> None:
    dead, slow, trained = (
        runs(n, test_accuracy=a) for n, a in enumerate((0.1, 0.3, 0.8))
    )
    assert scale.unscaled_low_rate(*[dead, slow, trained] * 2).verdict == SUPPORTED
    finding = scale.unscaled_low_rate(*[dead, trained, slow] * 2)
    assert finding.verdict == PARTLY_SUPPORTED
    assert "contradicted: Adam 1e-5 exceeds 50 % and SGD 1e-6" in finding.detail
    assert scale.unscaled_low_rate(*[slow, dead, dead] * 2).verdict == CONTRADICTED


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
    finding = training.anneal(diverged, runs(2))
    assert finding.parts["the rise is smaller with annealing"].verdict == NO_DIFFERENCE


def test_duration_and_progress_are_separate() -> None:
    seconds = np.array([[2.0, 2.1, 1.9], [1.0, 1.05, 0.95]])
    times = xr.Dataset({"seconds": (("divisor", "repeat"), seconds)})
    times.attrs["machine"] = "a toaster"
    scaled, better = runs(1, test_accuracy=0.85), runs(3, test_accuracy=0.9)
    finding = scale.less_time(times, scaled, runs(2), runs(4), runs(5))
    assert finding.verdict == SUPPORTED
    expected = "takes 0.50 times as long as at ÷1 (0.50 to 0.50; measured on a toaster)"
    assert expected in finding.measured
    finding = scale.less_time(times, scaled, runs(2), better, runs(5))
    assert finding.verdict == DEPENDS_ON
    expected = "the learning rate of ÷1 (supported: 1e-2 and 1e-6; contradicted: 1e-4)"
    assert finding.detail == expected
    finding = scale.less_time(times, scaled, better, better, better)
    assert finding.verdict == CONTRADICTED


def test_saturation_is_not_sufficient_if_the_saturated_network_trains() -> None:
    scaled, clipped = runs(0), runs(1, saturated_outputs_share=0.9)
    for share, accuracy, expected, sufficient, text in (
        (0.5, 0.8, PARTLY_SUPPORTED, CONTRADICTED, "not sufficient"),
        (0.5, 0.2, SUPPORTED, SUPPORTED, "may be"),
        (0.01, 0.2, PARTLY_SUPPORTED, NOT_APPLICABLE, "do not show whether"),
        (0.1, 0.8, PARTLY_SUPPORTED, NOT_APPLICABLE, "do not show whether"),
    ):
        logits = runs(9, saturated_outputs_share=share, test_accuracy=accuracy)
        finding = scale.sigmoid(scaled, clipped, logits)
        assert finding.verdict == expected
        parts = [part.verdict for part in finding.parts.values()]
        assert parts == [SUPPORTED, sufficient]
        assert text in finding.measured
        assert finding.num_comparisons == 3
    unsaturated = runs(1, saturated_outputs_share=0.01)
    logits = runs(9, saturated_outputs_share=0.5)
    finding = scale.sigmoid(scaled, unsaturated, logits)
    assert finding.verdict == CONTRADICTED


@pytest.mark.parametrize(
    ("clipped", "logits", "expected", "text"),
    [
        (0.9, 0.1, PARTLY_SUPPORTED, "clipping, not the softmax, removes the gradient"),
        (0.9, 0.9, SUPPORTED, "stops learning under both"),
        (0.1, 0.1, CONTRADICTED, "neither removes"),
        (0.1, 0.9, PARTLY_SUPPORTED, "remains open"),
        (0.9, 0.5, PARTLY_SUPPORTED, "remains open"),
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
        (4 / 3, DEPENDS_ON, "by 1.3333 in training, so no scaling is left"),
        (1.0, SUPPORTED, "by 1.0000 in training, so a factor of 0.75"),
    ):
        ratio = 0.75 * factor + np.array([-1e-3, 0, 1e-3])
        values = {"ratio": ("seed", ratio), "factor": ("seed", np.full(3, factor))}
        finding = training.dropout_downscale(xr.Dataset(values))
        assert finding.verdict == expected
        assert text in finding.measured
