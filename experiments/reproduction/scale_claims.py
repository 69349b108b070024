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
    combine_verdicts,
    difference,
    judge_share,
    last_common,
    percent,
)
from experiments.reproduction.tables import markdown, parts_table
from fmnist_jax.analysis.intervals import paired_interval

MIN_ACCURACY = 0.5  # test accuracy of a trained network: five times that of chance
MAX_SYMMETRIC = 10  # largest / median eigenvalue that still counts as symmetric
MIN_HUGE = 0.1  # difference in test accuracy that counts as huge
# Conclusions from the verdicts on claim-sigmoid and on claim-softmax-is-sigmoid.
_SATURATION = {
    CONTRADICTED: "So saturation does not keep a network from training.",
    SUPPORTED: "So saturation may be what keeps it from training.",
    UNDECIDED: "These results do not show whether saturation is the reason.",
}
# Whether most examples have zero gradient under the clipped loss, and on logits.
_GRADIENT = {
    (SUPPORTED, SUPPORTED): "So the saturated softmax stops learning under both.",
    (SUPPORTED, CONTRADICTED): "So clipping, not the softmax, removes the gradient.",
    (CONTRADICTED, CONTRADICTED): "So neither removes most gradients.",
}
_OPEN = "It remains open whether the clipping or the softmax removes gradients."


def less_time(seconds: xr.Dataset, scaled: xr.Dataset, unscaled: xr.Dataset) -> Finding:
    """Progress by epoch; separately, the duration of an epoch."""
    last = last_common(scaled, unscaled)
    gain = difference("test_accuracy", scaled, unscaled, 1, last)
    at_1, at_255 = seconds.seconds.transpose("divisor", "repeat").values
    ratio = paired_interval(np.log(at_255 / at_1))
    low, mean, high = np.exp([ratio.low, ratio.estimate, ratio.high])
    return Finding(
        gain.verdict,
        f"Test accuracy of ÷255 after epoch 1 minus ÷1 after epoch {last}: "
        f"{gain.measured}. An epoch at ÷255 takes {mean:.2f} times as long as an epoch "
        f"at ÷1 ({low:.2f} to {high:.2f}).",
    )


def needs_time(frozen: xr.Dataset, scaled: xr.Dataset, at_1000: xr.Dataset) -> Finding:
    """Whether the network of the question catches up without scaling."""
    last = last_common(frozen, scaled, at_1000)
    early = min(5, last)
    gain = difference("test_accuracy", frozen, scaled, last, early)
    goal = by_seed(scaled, "test_loss", early).mean()
    reached = np.flatnonzero(at_1000.test_loss.mean("seed").values <= goal)
    first = reached[0] + 1 if len(reached) else "none"
    start = by_seed(frozen, "test_loss", min(2, last))
    change = np.abs(by_seed(frozen, "test_loss", last) - start)
    return Finding(
        gain.verdict,
        f"Test accuracy of ÷1 under the clipped loss after epoch {last} minus ÷255 "
        f"after epoch {early}: {gain.measured}. From epoch 2 to epoch {last}, the test "
        f"loss of ÷1 changes by {np.median(change):.3f} in the median seed and by at "
        f"most {change.max():.3f} in any seed. Epoch in which ÷1000 first reaches the "
        f"test loss that ÷255 has after epoch {early}: {first}.",
    )


def sigmoid(scaled: xr.Dataset, clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether a network trains although it saturates more than the scaled one.

    If it trains, saturation is not the reason; if it does not, saturation may be.
    """
    early = min(5, last_common(scaled, clipped, logits))
    lines = []
    networks = {"÷255": scaled, "÷1 clipped": clipped, "÷1 on logits": logits}
    for name, runs in networks.items():
        outputs = percent(by_seed(runs, "saturated_outputs_share", early))
        dead = percent(by_seed(runs, "dead_units_share", early))
        lines.append(f"{name} | {outputs} | {dead}")
    more = difference("saturated_outputs_share", logits, scaled, early)
    accuracy = by_seed(logits, "test_accuracy", early)
    trains = judge_share(accuracy - MIN_ACCURACY)
    parts = {
        "more saturated outputs than ÷255": more,
        f"test accuracy ({percent(accuracy)}) above {100 * MIN_ACCURACY:.0f} %": trains,
    }
    verdict = UNDECIDED
    if more.verdict == SUPPORTED:
        opposite = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
        verdict = opposite.get(trains.verdict, UNDECIDED)
    return Finding(
        verdict,
        f"These networks have no sigmoid. Shares after epoch {early}:\n\n"
        f"{markdown('network | saturated outputs | dead units', lines)}\n\n"
        f"{parts_table('÷1 on logits has | difference | verdict', parts)}\n\n"
        f"{_SATURATION[verdict]}",
    )


def softmax_is_sigmoid(clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether most examples have a gradient of exactly 0, under both losses."""
    early = min(5, last_common(clipped, logits))
    parts = {}
    for name, runs in {"clipped": clipped, "on logits": logits}.items():
        zero = by_seed(runs, "zero_gradient_share", early)
        wrong = percent(by_seed(runs, "saturated_true_share", early))
        most = judge_share(zero - 0.5).verdict
        parts[f"{name} | {wrong}"] = Finding(most, percent(zero))
    first, second = (most.verdict for most in parts.values())
    columns = "loss | label has p < 1e-7 | zero gradient | most have zero gradient"
    return Finding(
        combine_verdicts(*parts.values()),
        f"Shares of 256 examples at ÷1 after epoch {early}:\n\n"
        f"{parts_table(columns, parts)}\n\n{_GRADIENT.get((first, second), _OPEN)}",
    )


def symmetric(curvature: xr.Dataset) -> Finding:
    """The spectrum of the curvature of single hidden units at initialisation.

    A surface is more or less symmetric if the largest eigenvalue is within ten times
    the median. A median below float64 rounding, eps × size × largest as in
    ``np.linalg.matrix_rank``, counts as zero.
    """
    spectra = curvature.eigenvalue.transpose("divisor", "unit", "rank")
    size = spectra.sizes["rank"]
    lines, minima = [], []
    for spectrum in spectra:
        values = spectrum.values
        largest, median = values[:, -1], np.median(values, axis=1)
        zero = median <= np.finfo(float).eps * size * largest
        ratios = np.where(zero, np.inf, largest / np.where(zero, 1, median))
        minima.append(ratios.min())
        directions = values.sum(1) ** 2 / (values**2).sum(1)
        lines.append(
            f"÷{float(spectrum.divisor):.0f} | {_short(largest.mean())} | "
            f"{_short(ratios.min())} | {zero.sum()} | {directions.mean():.1f}"
        )
    columns = "divisor | largest eigenvalue | minimum ratio to the median"
    columns += " | units with zero median | effective directions"
    return Finding(
        CONTRADICTED if min(minima) > MAX_SYMMETRIC else SUPPORTED,
        "Eigenvalues of the Hessian of the loss for the weights and bias of one hidden "
        f"unit at initialisation, {spectra.sizes['unit']} units:\n\n"
        f"{markdown(columns, lines)}\n\nThe largest eigenvalue and the effective "
        f"directions, (Σλ)²/Σλ² out of {size}, are means over the units.",
    )


def _short(value: float) -> str:
    """Returns a number with two digits: 340, 0.041, 4.1e9 or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{float(f'{value:.2g}'):.6g}".replace("e+0", "e").replace("e+", "e")


def bn_rescues(plain: xr.Dataset, normed: xr.Dataset, scaled: xr.Dataset) -> Finding:
    """Tiny inputs with batch norm against tiny inputs without it and scaled inputs."""
    last, common = last_common(plain, normed), last_common(normed, scaled)
    early = min(10, last)
    final_gain = difference("test_accuracy", normed, plain, last)
    early_gain = difference("test_accuracy", normed, plain, early)
    gap_to_scaled = difference("test_accuracy", normed, scaled, common)
    by_batch = difference("train_accuracy_running", normed, plain, last)
    parts = {
        f"test accuracy | ÷2550000 | {early}": early_gain,
        f"test accuracy | ÷2550000 | {last}": final_gain,
        f"test accuracy | ÷255 | {common}": gap_to_scaled,
        f"training accuracy | ÷2550000 | {last}": by_batch,
    }
    columns = "metric | without batch norm | epoch | difference | batch norm is better"
    reason = ""
    if (by_batch.verdict, final_gain.verdict) == (SUPPORTED, CONTRADICTED):
        reason = (
            "\n\nSo batch norm rescues the network, but its running statistics fail "
            "(docs/why_scaling.md explains why)."
        )
    return Finding(
        final_gain.verdict,
        "÷2550000 with batch norm minus networks without it. The training accuracy is "
        "measured with the statistics of each batch.\n\n"
        f"{parts_table(columns, parts)}{reason}",
    )


def unscaled_low_rate(*runs: xr.Dataset) -> Finding:
    """Unscaled runs by learning rate; under Adam, 1e-5 against 1e-1."""
    names = "Adam 1e-1", "Adam 1e-3", "Adam 1e-5", "SGD 1e-2", "SGD 1e-4", "SGD 1e-6"
    last = last_common(*runs)
    accuracies = [percent(by_seed(r, "test_accuracy", last)) for r in runs]
    lines = [" | ".join(pair) for pair in zip(names, accuracies, strict=True)]
    highest, _, lowest = runs[:3]
    return Finding(
        difference("test_accuracy", lowest, highest, last).verdict,
        f"Results at ÷1 after epoch {last}:\n\n"
        f"{markdown('optimizer and learning rate | test accuracy', lines)}",
    )


def huge_255(*runs: xr.Dataset) -> Finding:
    """The gain from dividing by 255, under SGD and under Adam."""
    names = ("SGD (book)", "Adam on logits (lab)", "Adam, clipped loss (keras)")
    parts = {}
    for name, scaled, unscaled in zip(names, runs[::2], runs[1::2], strict=True):
        last = last_common(scaled, unscaled)
        gain = by_seed(scaled, "test_accuracy", last)
        gain = gain - by_seed(unscaled, "test_accuracy", last)
        huge = judge_share(gain - MIN_HUGE).verdict
        parts[f"{name} | {last}"] = Finding(huge, judge_share(gain).measured)
    return Finding(
        combine_verdicts(*parts.values()),
        f"A difference above {100 * MIN_HUGE:.0f} points counts as huge. Gain in test "
        "accuracy from ÷1 to ÷255:\n\n"
        f"{parts_table('network | epoch | gain | the gain is huge', parts)}",
    )
