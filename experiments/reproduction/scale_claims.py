"""The rules that decide the claims on the scale of inputs."""

import math

import numpy as np
import xarray as xr

from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    by_seed,
    difference,
    last_common,
    percent,
    points,
    worst,
)
from fmnist_jax.analysis.intervals import paired_interval

LEARNT = 0.5  # test accuracy: five times that of chance
SYMMETRIC = 10  # largest / median eigenvalue that still counts as symmetric
HUGE = 0.1  # difference in test accuracy that counts as huge
# Conclusions from the verdicts on claim-sigmoid and on claim-softmax-is-sigmoid.
_SATURATION = {
    CONTRADICTED: "So saturation does not keep a network from training.",
    SUPPORTED: "So saturation may be what keeps it from training.",
    UNDECIDED: "This does not tell whether saturation is the reason.",
}
# Whether most examples have no gradient under the clipped loss, and on logits.
_GRADIENT = {
    (SUPPORTED, SUPPORTED): "So the saturated softmax stops learning under both.",
    (SUPPORTED, CONTRADICTED): "So the clip removes the gradient, not the softmax.",
    (CONTRADICTED, CONTRADICTED): "So neither removes most of the gradients.",
}
_OPEN = "Whether the clip or the softmax removes gradients remains open."


def less_time(seconds: xr.Dataset, scaled: xr.Dataset, unscaled: xr.Dataset) -> Finding:
    """Progress by epoch; separately, the duration of an epoch."""
    last = last_common(scaled, unscaled)
    lead = difference("test_accuracy", scaled, unscaled, 1, last)
    at_1, at_255 = seconds.seconds.transpose("divisor", "repeat").values
    ratio = paired_interval(np.log(at_255 / at_1))
    low, mean, high = np.exp([ratio.low, ratio.estimate, ratio.high])
    return Finding(
        lead.verdict,
        f"Test accuracy of ÷255 after epoch 1 minus ÷1 after epoch {last}: "
        f"{lead.measured}. An epoch at ÷255 takes {mean:.2f} times as long as an epoch "
        f"at ÷1 ({low:.2f} to {high:.2f}).",
    )


def needs_time(frozen: xr.Dataset, scaled: xr.Dataset, small: xr.Dataset) -> Finding:
    """Whether the network of the question catches up without scaling."""
    last = last_common(frozen, scaled, small)
    early = min(5, last)
    lead = difference("test_accuracy", frozen, scaled, last, early)
    goal = by_seed(scaled, "test_loss", early).mean()
    reached = np.flatnonzero(small.test_loss.mean("seed").values <= goal)
    when = f"by epoch {reached[0] + 1}" if len(reached) else f"not in {last} epochs"
    start = by_seed(frozen, "test_loss", min(2, last))
    change = np.abs(by_seed(frozen, "test_loss", last) - start)
    return Finding(
        lead.verdict,
        f"÷1 under the clipped loss: test accuracy after epoch {last} minus that of "
        f"÷255 after epoch {early}: {lead.measured}; from epoch 2 to {last} the test "
        f"loss changed by {np.median(change):.3f} in the median seed and by at most "
        f"{change.max():.3f}. ÷1000 reaches the test loss of ÷255 at epoch {early} "
        f"{when}.",
    )


def sigmoid(scaled: xr.Dataset, clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether a network trains although it saturates more than the scaled one.

    If it trains, saturation is not the reason; if it does not, saturation may be.
    """
    early = min(5, last_common(scaled, clipped, logits))
    shares = []
    networks = {"÷255": scaled, "÷1 clipped": clipped, "÷1 on logits": logits}
    for name, runs in networks.items():
        outputs = percent(by_seed(runs, "saturated_outputs_share", early))
        dead = percent(by_seed(runs, "dead_units_share", early))
        shares.append(f"{name} {outputs} and {dead}")
    more = difference("saturated_outputs_share", logits, scaled, early)
    accuracy = by_seed(logits, "test_accuracy", early)
    trains = points(accuracy - LEARNT)
    verdict = UNDECIDED
    if more.verdict == SUPPORTED:
        opposite = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
        verdict = opposite.get(trains.verdict, UNDECIDED)
    return Finding(
        verdict,
        "These networks have no sigmoid. Shares of softmax outputs within 1e-7 of 0 or "
        f"1, and of ReLUs that are 0 on all 256 images, after epoch {early}: "
        f"{'; '.join(shares)}. Saturated outputs, ÷1 on logits minus ÷255: "
        f"{more.measured} ({more.verdict}). At ÷1 on logits the test accuracy is "
        f"{percent(accuracy)}, {trains.measured} above {100 * LEARNT:.0f} % "
        f"({trains.verdict}). {_SATURATION[verdict]}",
    )


def softmax_is_sigmoid(clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether most examples have a gradient of exactly 0, under both losses."""
    early = min(5, last_common(clipped, logits))
    findings, texts = [], []
    for name, runs in {"clipped loss": clipped, "on logits": logits}.items():
        without = by_seed(runs, "zero_gradient_share", early)
        wrong = by_seed(runs, "saturated_true_share", early)
        most = points(without - 0.5)
        findings.append(most)
        texts.append(
            f"{name} {percent(without)} without gradient, {percent(wrong)} saturated "
            f"and wrong ({most.verdict})"
        )
    first, second = (most.verdict for most in findings)
    conclusion = _GRADIENT.get((first, second), _OPEN)
    return Finding(
        worst(*findings),
        f"Of 256 examples at ÷1 after epoch {early}: {'; '.join(texts)}. {conclusion}",
    )


def symmetric(curvature: xr.Dataset) -> Finding:
    """The spectrum of the curvature of single hidden units at initialisation.

    A surface is more or less symmetric if the largest eigenvalue is within ten times
    the median. A median below float64 rounding, eps × size × largest as in
    ``np.linalg.matrix_rank``, counts as zero.
    """
    spectra = curvature.eigenvalue.transpose("divisor", "unit", "rank")
    size = spectra.sizes["rank"]
    texts, minima = [], []
    for spectrum in spectra:
        values = spectrum.values
        largest, median = values[:, -1], np.median(values, axis=1)
        zero = median <= np.finfo(float).eps * size * largest
        ratios = np.where(zero, np.inf, largest / np.where(zero, 1, median))
        minima.append(ratios.min())
        directions = values.sum(1) ** 2 / (values**2).sum(1)
        texts.append(
            f"÷{float(spectrum.divisor):.0f}: largest {_short(largest.mean())}, at "
            f"least {_short(ratios.min())} times the median, median zero within "
            f"rounding in {zero.sum()}, {directions.mean():.1f} directions"
        )
    return Finding(
        CONTRADICTED if min(minima) > SYMMETRIC else SUPPORTED,
        "Eigenvalues of the Hessian of the loss for the weights and bias of one hidden "
        f"unit at initialisation, {spectra.sizes['unit']} units: {'; '.join(texts)}. "
        f"Effective directions: (Σλ)²/Σλ², out of {size}.",
    )


def _short(value: float) -> str:
    """Returns a number with two digits: 340, 0.041, 4.1e9 or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{float(f'{value:.2g}'):.6g}".replace("e+0", "e").replace("e+", "e")


def bn_rescues(plain: xr.Dataset, normed: xr.Dataset, usual: xr.Dataset) -> Finding:
    """Tiny inputs with batch norm against tiny inputs without, and usual inputs."""
    last, common = last_common(plain, normed), last_common(normed, usual)
    early = min(10, last)
    lead = difference("test_accuracy", normed, plain, last)
    soon = difference("test_accuracy", normed, plain, early)
    behind = difference("test_accuracy", normed, usual, common)
    by_batch = difference("train_accuracy_running", normed, plain, last)
    reason = ""
    if (by_batch.verdict, lead.verdict) == (SUPPORTED, CONTRADICTED):
        reason = (
            " So batch norm rescues the network, but its running statistics fail "
            "(docs/why_scaling.md explains why)."
        )
    return Finding(
        lead.verdict,
        "Test accuracy at ÷2550000 with batch norm minus without: "
        f"{soon.measured} after epoch {early}, {lead.measured} after epoch {last}; "
        f"minus ÷255 without batch norm: {behind.measured} after epoch {common}. "
        "Training accuracy with the statistics of each batch, with batch norm minus "
        f"without: {by_batch.measured} in epoch {last}.{reason}",
    )


def unscaled_low_rate(*runs: xr.Dataset) -> Finding:
    """Unscaled runs by learning rate; under Adam, 1e-5 against 1e-1."""
    names = "Adam 1e-1", "Adam 1e-3", "Adam 1e-5", "SGD 1e-2", "SGD 1e-4", "SGD 1e-6"
    last = last_common(*runs)
    accuracies = [percent(by_seed(r, "test_accuracy", last)) for r in runs]
    texts = [" ".join(pair) for pair in zip(names, accuracies, strict=True)]
    highest, _, lowest = runs[:3]
    return Finding(
        difference("test_accuracy", lowest, highest, last).verdict,
        f"Test accuracy at ÷1 after epoch {last}: {', '.join(texts)}.",
    )


def huge_255(*runs: xr.Dataset) -> Finding:
    """The gain from dividing by 255, under SGD and under Adam."""
    names = ("SGD (book)", "Adam on logits (lab)", "Adam, clipped loss (keras)")
    findings, texts = [], []
    for name, scaled, unscaled in zip(names, runs[::2], runs[1::2], strict=True):
        last = last_common(scaled, unscaled)
        gain = by_seed(scaled, "test_accuracy", last)
        gain = gain - by_seed(unscaled, "test_accuracy", last)
        huge = points(gain - HUGE)
        findings.append(huge)
        texts.append(
            f"{name} {points(gain).measured} after epoch {last} ({huge.verdict})"
        )
    return Finding(
        worst(*findings),
        f"Test accuracy, ÷255 minus ÷1; huge is above {100 * HUGE:.0f} points: "
        f"{'; '.join(texts)}.",
    )
