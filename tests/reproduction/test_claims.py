"""What decides a claim gives the verdict that made-up runs deserve."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from experiments.reproduction import findings
from experiments.reproduction import scale_claims as scale
from experiments.reproduction import training_claims as training
from experiments.reproduction.claims import DECISIONS
from experiments.reproduction.findings import CONTRADICTED, SUPPORTED, UNDECIDED
from experiments.reproduction.references import load
from experiments.reproduction.rows import TRAININGS

SEEDS, EPOCHS = 5, 3
SHARES = (
    "saturated_outputs_share", "saturated_true_share", "dead_units_share",
    "zero_gradient_share",
)  # fmt: skip


def runs(seed: int = 0, **values: Any) -> xr.Dataset:
    """Made-up runs: each metric has the value given (by epoch or not), and noise."""
    random = np.random.RandomState(seed)
    defaults: dict[str, Any] = {
        "train_accuracy": 0.9, "test_accuracy": 0.8, "test_loss": 0.5,
        "train_accuracy_with_dropout": 0.85, "test_accuracy_with_dropout": 0.8,
        **dict.fromkeys(SHARES, 0.1),
    }  # fmt: skip
    shape = (SEEDS, EPOCHS)
    found: dict[str, Any] = {
        name: (("seed", "epoch"), value + 0.002 * random.standard_normal(shape))
        for name, value in {**defaults, **values}.items()
        if name != "predicted_share"
    }
    if "predicted_share" in values:
        shares = np.broadcast_to(values["predicted_share"], (SEEDS, EPOCHS, 2))
        found["predicted_share"] = (("seed", "epoch", "class"), shares)
    return xr.Dataset(found, attrs={"train_examples": 60_000})


def verdict(name: str, **given: xr.Dataset) -> str:
    by_name = {key.replace("_", "-"): value for key, value in given.items()}
    trainings = DECISIONS[name].trainings
    return DECISIONS[name].find({t: by_name[t] for t in trainings}).verdict


def test_every_claim_of_the_sources_has_a_decision_and_what_it_needs() -> None:
    assert DECISIONS.keys() == load().claims.keys()
    needed = {name for d in DECISIONS.values() for name in d.trainings}
    assert needed <= {*TRAININGS, "curvature", "scaling", "epoch-seconds"}


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


def test_a_claim_of_two_parts_is_as_good_as_its_worse_one() -> None:
    sgd = runs(1, test_accuracy=0.8)
    level = runs(1, test_accuracy=[0.85, 0.8, 0.8])
    level.test_accuracy[:, -1] = sgd.test_accuracy[:, -1] + [
        0.01,
        -0.01,
        0.01,
        -0.01,
        0,
    ]
    assert verdict("claim-adam-faster", adam_1e_2=level, book_255=sgd) == UNDECIDED
    worse = runs(2, test_accuracy=[0.85, 0.8, 0.7])
    assert verdict("claim-adam-faster", adam_1e_2=worse, book_255=sgd) == CONTRADICTED
    better = runs(2, test_accuracy=0.9)
    assert verdict("claim-adam-faster", adam_1e_2=better, book_255=sgd) == SUPPORTED


def test_a_loss_that_rises_at_a_constant_rate_only_supports_annealing() -> None:
    rising = runs(1, test_loss=[0.4, 0.3, 0.5])
    falling = runs(2, test_loss=[0.4, 0.35, 0.3])
    name = "claim-anneal"
    assert verdict(name, adam_1e_3=rising, annealing=falling) == SUPPORTED
    assert verdict(name, adam_1e_3=falling, annealing=rising) == CONTRADICTED


def test_a_huge_difference_is_one_of_ten_points_everywhere() -> None:
    scaled, unscaled = runs(1, test_accuracy=0.85), runs(2, test_accuracy=0.3)
    names = DECISIONS["claim-255-huge"].trainings
    given = {n: scaled if n.endswith("255") else unscaled for n in names}
    assert scale.huge_255(given).verdict == SUPPORTED
    given["lab-fashion_mnist-1"] = runs(3, test_accuracy=0.82)
    assert scale.huge_255(given).verdict == CONTRADICTED


def test_the_network_that_predicts_what_it_saw_last() -> None:
    given = {"lab-fashion_mnist-255": runs(1), "order-file": runs(2)}
    for share, expected in ((0.9, SUPPORTED), (0.2, CONTRADICTED)):
        given["order-sorted"] = runs(3, predicted_share=[1 - share, share])
        assert training.shuffle(given).verdict == expected
    by_epoch = [[0.1, 0.9], [0.8, 0.2], [0.8, 0.2]]
    given["order-sorted"] = runs(3, predicted_share=by_epoch)
    found = training.shuffle(given)
    assert found.verdict == CONTRADICTED
    assert "90.0 ± 0.0 % after epoch 1 (supported)" in found.measured


def test_claims_that_arithmetic_decides() -> None:
    found = training.batch_updates({"batch-10000": runs()})
    assert found.verdict == CONTRADICTED
    assert "1,875" in found.measured
    assert training.majority({}).verdict == CONTRADICTED
    assert "80 %" in training.majority({}).measured


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ([1, 2, 3], SUPPORTED, ("largest 3, 1.5 times", "in 0, 2.6 directions")),
        ([1, 2, 30], CONTRADICTED, ("15 times the median", "in 0, 1.2 directions")),
        ([1, 1, 1], SUPPORTED, ("1 times the median", "in 0, 3.0 directions")),
        ([0, 1e-10, 30], CONTRADICTED, ("3e11 times", "in 0, 1.0 directions")),
        ([-1e-15, 1e-14, 30], CONTRADICTED, ("∞ times", "in 1, 1.0 directions")),
        ([-2e-15, -1e-15, 30], CONTRADICTED, ("∞ times the median", "rounding in 1")),
    ],
)
def test_a_round_spectrum_and_a_long_one(
    values: list[float], expected: str, said: tuple[str, ...]
) -> None:
    dims = ("divisor", "unit", "rank")
    spectra = np.array(values, float) / np.array([1, 4])[:, None, None]
    found = xr.Dataset({"eigenvalue": (dims, spectra)}, {"divisor": [1.0, 2.0]})
    finding = scale.symmetric({"curvature": found})
    assert finding.verdict == expected
    assert all(text in finding.measured for text in said)


def test_a_run_that_diverges_guesses_and_its_loss_decides_nothing() -> None:
    lost = runs(1, train_accuracy=0.8)
    for name in ("train_accuracy", "test_accuracy"):
        lost[name][:, -1] = np.nan
    assert np.all(findings.at(lost, "test_accuracy") == 0.1)
    lost.test_loss[0, -1] = np.nan
    found = verdict("claim-anneal", adam_1e_3=lost, annealing=runs(2))
    assert found == UNDECIDED


def test_time_and_progress_are_told_apart() -> None:
    seconds = np.array([[2.0, 2.1, 1.9], [1.0, 1.05, 0.95]])
    times = xr.Dataset({"seconds": (("divisor", "repeat"), seconds)})
    given = {"book-255": runs(1, test_accuracy=0.85), "book-1": runs(2)}
    found = scale.less_time({**given, "epoch-seconds": times})
    assert found.verdict == SUPPORTED
    assert "takes 0.50 times as long as one at ÷1 (0.50 to 0.50)" in found.measured


def test_saturation_is_no_reason_where_the_saturated_network_trains() -> None:
    names = DECISIONS["claim-sigmoid"].trainings
    given = {name: runs(i) for i, name in enumerate(names)}
    for share, accuracy, expected, said in (
        (0.5, 0.8, CONTRADICTED, ("logits more outputs", "network trains: test")),
        (0.5, 0.2, SUPPORTED, ("logits more outputs", "does not train", "may be")),
        (0.01, 0.2, UNDECIDED, ("logits fewer outputs", "does not tell whether")),
        (0.1, 0.8, UNDECIDED, ("not surely more", "trains: test", "does not tell")),
    ):
        logits = runs(9, saturated_outputs_share=share, test_accuracy=accuracy)
        found = scale.sigmoid({**given, "keras-1-logits": logits})
        assert found.verdict == expected
        assert all(text in found.measured for text in said)
        assert ("does not keep" in found.measured) == (expected == CONTRADICTED)


@pytest.mark.parametrize(
    ("clipped", "logits", "expected", "said"),
    [
        (0.9, 0.1, CONTRADICTED, "the clip takes the gradient away, not the softmax"),
        (0.9, 0.9, SUPPORTED, "stops learning under both"),
        (0.1, 0.1, CONTRADICTED, "neither takes"),
        (0.1, 0.9, CONTRADICTED, "is open"),
        (0.9, 0.5, UNDECIDED, "is open"),
    ],
)
def test_a_softmax_without_gradient_under_one_loss_only(
    clipped: float, logits: float, expected: str, said: str
) -> None:
    both = {"keras-1": clipped, "keras-1-logits": logits}
    given = {
        name: runs(i, zero_gradient_share=share)
        for i, (name, share) in enumerate(both.items())
    }
    found = scale.softmax_is_sigmoid(given)
    assert found.verdict == expected
    assert said in found.measured


def test_what_dropout_leaves_to_scale_at_prediction() -> None:
    for kept, expected, said in (
        (4 / 3, CONTRADICTED, "multiplied by 1.3333 in training, so that nothing"),
        (1.0, SUPPORTED, "multiplied by 1.0000 in training, so that a factor of 0.75"),
    ):
        ratio = 0.75 * kept + np.array([-1e-3, 0, 1e-3])
        values = {"ratio": ("seed", ratio), "kept": ("seed", np.full(3, kept))}
        found = training.dropout_downscale({"scaling": xr.Dataset(values)})
        assert found.verdict == expected
        assert said in found.measured
