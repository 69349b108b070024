"""The rules that decide the claims on the scale of inputs."""

import dataclasses
import math

import numpy as np
import xarray as xr

from experiments.reproduction.findings import (
    CONTRADICTED,
    NOT_APPLICABLE,
    SUPPORTED,
    Finding,
    by_seed,
    combine,
    difference,
    judge_share,
    last_common,
    machine_of,
    percent,
)
from experiments.reproduction.tables import markdown, parts_table
from fmnist_jax.analysis.intervals import paired_interval

MIN_ACCURACY = 0.5  # test accuracy of a trained network: five times that of chance
MAX_SYMMETRIC = 10  # largest / median eigenvalue that still counts as symmetric
MIN_HUGE = 0.1  # difference in test accuracy that counts as huge
_OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
# Conclusions from whether saturation is sufficient, in claim-sigmoid.
_SATURATION = {
    CONTRADICTED: "So saturation is not sufficient to keep a network from training. "
    "These results do not exclude that it contributes.",
    SUPPORTED: "So saturation may be what keeps a network from training.",
}
_SATURATION_OPEN = "These results do not show whether saturation is the reason."
# Whether most examples have zero gradient under the clipped loss, and on logits.
_GRADIENT = {
    (SUPPORTED, SUPPORTED): "So the saturated softmax stops learning under both.",
    (SUPPORTED, CONTRADICTED): "So clipping, not the softmax, removes the gradient.",
    (CONTRADICTED, CONTRADICTED): "So neither removes most gradients.",
}
_OPEN = "It remains open whether the clipping or the softmax removes gradients."


def less_time(
    seconds: xr.Dataset, scaled: xr.Dataset, unscaled: xr.Dataset, *slower: xr.Dataset
) -> Finding:
    """Progress by epoch, by the learning rate of ÷1; separately, the duration."""
    last = last_common(scaled, unscaled)
    learning_rates = ("1e-2", "1e-4", "1e-6")
    parts = {
        rate: difference("test_accuracy", scaled, runs, 1)
        for rate, runs in zip(learning_rates, (unscaled, *slower), strict=True)
    }
    later = difference("test_accuracy", scaled, unscaled, 1, last)
    at_1, at_255 = seconds.seconds.transpose("divisor", "repeat").values
    ratio = paired_interval(np.log(at_255 / at_1))
    low, mean, high = np.exp([ratio.low, ratio.estimate, ratio.high])
    return combine(
        parts,
        "Test accuracy after epoch 1 under SGD, ÷255 at learning rate 1e-2 minus "
        "÷1:\n\n"
        f"{parts_table('learning rate of ÷1 | gain | ÷255 is better', parts)}\n\n"
        f"At 1e-2, test accuracy of ÷255 after epoch 1 minus ÷1 after epoch {last}: "
        f"{later.measured}. An epoch at ÷255 takes {mean:.2f} times as long as "
        f"at ÷1 ({low:.2f} to {high:.2f}; measured on {machine_of(seconds)}).",
        "the learning rate of ÷1",
    )


def needs_time(
    scaled: xr.Dataset, at_1000: xr.Dataset, clipped: xr.Dataset, logits: xr.Dataset
) -> Finding:
    """Whether ÷1 improves with time, and catches up with ÷255, under both losses."""
    last = last_common(scaled, at_1000, clipped, logits)
    early = min(5, last)
    rises, catches_up = "÷1 improves", "÷1 catches up with ÷255"
    parts, tables = {}, []
    losses = {"under the clipped loss": clipped, "on logits": logits}
    for name, runs in losses.items():
        questions = {
            rises: judge_share(
                by_seed(runs, "test_accuracy", last)
                - by_seed(runs, "test_accuracy", 1),
                by_seed(runs, "test_accuracy", last),
            ),
            catches_up: difference("test_accuracy", runs, scaled, last, early),
        }
        table = parts_table(f"{name} | difference | verdict", questions)
        parts[name] = combine(questions, "")
        tables.append(table)
    goal = by_seed(scaled, "test_loss", early).mean()
    reached = np.flatnonzero(at_1000.test_loss.mean("seed").values <= goal)
    first = reached[0] + 1 if len(reached) else "none"
    start = by_seed(clipped, "test_loss", min(2, last))
    change = np.abs(by_seed(clipped, "test_loss", last) - start)
    return combine(
        parts,
        f"Test accuracy of ÷1 after epoch {last}, minus that of ÷1 after epoch 1 and "
        f"minus that of ÷255 (clipped loss) after epoch {early}:\n\n"
        + "\n\n".join(tables)
        + f"\n\nFrom epoch 2 to epoch {last}, the test loss of ÷1 under the clipped "
        f"loss changes by {np.median(change):.3f} in the median seed and by at most "
        f"{change.max():.3f} in any seed. Epoch in which ÷1000 first reaches the test "
        f"loss that ÷255 has after epoch {early}: {first}.",
        "the loss",
    )


def sigmoid(scaled: xr.Dataset, clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether failure goes with saturation, and whether saturation is sufficient.

    It is not sufficient if a network trains that is more saturated than the scaled one.
    """
    early = min(5, last_common(scaled, clipped, logits))
    lines = []
    networks = {"÷255": scaled, "÷1 clipped": clipped, "÷1 on logits": logits}
    for name, runs in networks.items():
        outputs = percent(by_seed(runs, "saturated_outputs_share", early))
        dead = percent(by_seed(runs, "dead_units_share", early))
        accuracy = percent(by_seed(runs, "test_accuracy", early))
        lines.append(f"{name} | {outputs} | {dead} | {accuracy}")
    fails = difference("saturated_outputs_share", clipped, scaled, early)
    more = difference("saturated_outputs_share", logits, scaled, early)
    trains = judge_share(by_seed(logits, "test_accuracy", early), above=MIN_ACCURACY)
    is_tested = more.verdict == SUPPORTED
    verdict = _OPPOSITE.get(trains.verdict, trains.verdict)
    sufficient = Finding(
        verdict if is_tested else NOT_APPLICABLE,
        trains.measured,
        parts={"saturation": more, "accuracy": trains},
    )
    parts = {
        "÷1 under the clipped loss is more saturated than ÷255": fails,
        "a more saturated network does not train": sufficient,
    }
    rows = {
        "÷1 clipped minus ÷255, saturated outputs": fails,
        "÷1 on logits minus ÷255, saturated outputs": more,
        f"÷1 on logits, test accuracy minus {100 * MIN_ACCURACY:.0f} %": trains,
    }
    columns = "network | saturated outputs | dead units | test accuracy"
    conclusion = _SATURATION.get(sufficient.verdict, _SATURATION_OPEN)
    return combine(
        parts,
        "These networks have no sigmoid. What saturates in them are the softmax "
        f"outputs. Shares after epoch {early}:\n\n{markdown(columns, lines)}\n\n"
        f"{parts_table('difference | measured | above 0', rows)}\n\n{conclusion} "
        f"The threshold of {100 * MIN_ACCURACY:.0f} % is ours.",
    )


def softmax_is_sigmoid(clipped: xr.Dataset, logits: xr.Dataset) -> Finding:
    """Whether most examples have a gradient of exactly 0, under both losses."""
    early = min(5, last_common(clipped, logits))
    parts, lines = {}, []
    for name, runs in {"under the clipped loss": clipped, "on logits": logits}.items():
        zero = by_seed(runs, "zero_gradient_share", early)
        wrong = percent(by_seed(runs, "saturated_true_share", early))
        parts[name] = judge_share(zero, above=0.5)
        lines.append(f"{name} | {wrong} | {percent(zero)} | {parts[name].verdict}")
    first, second = (most.verdict for most in parts.values())
    columns = "loss | label has p < 1e-7 | zero gradient | most have zero gradient"
    return combine(
        parts,
        f"Shares of 256 examples at ÷1 after epoch {early}:\n\n"
        f"{markdown(columns, lines)}\n\n{_GRADIENT.get((first, second), _OPEN)}",
    )


def symmetric(curvature: xr.Dataset) -> Finding:
    """The spectrum of the curvature of single hidden units at initialisation.

    A surface is more or less symmetric if the largest eigenvalue is within ten times
    the median. A median below float64 rounding, eps × size × largest as in
    ``np.linalg.matrix_rank``, counts as zero.
    """
    spectra = curvature.eigenvalue.transpose("divisor", "unit", "rank")
    size = spectra.sizes["rank"]
    lines, parts = [], {}
    for spectrum in spectra:
        values = spectrum.values
        largest, median = values[:, -1], np.median(values, axis=1)
        zero = median <= np.finfo(float).eps * size * largest
        ratios = np.where(zero, np.inf, largest / np.where(zero, 1, median))
        directions = values.sum(1) ** 2 / (values**2).sum(1)
        is_round = ratios.min() <= MAX_SYMMETRIC
        name = f"÷{float(spectrum.divisor):.0f}"
        parts[name] = Finding(SUPPORTED if is_round else CONTRADICTED)
        lines.append(
            f"{name} | {_short(largest.mean())} | "
            f"{_short(ratios.min())} | {zero.sum()} | {directions.mean():.1f}"
        )
    columns = "divisor | largest eigenvalue | minimum ratio to the median"
    columns += " | units with zero median | effective directions"
    return combine(
        parts,
        "Eigenvalues of the Hessian of the loss for the weights and bias of one hidden "
        f"unit at initialisation, {spectra.sizes['unit']} units of one network:\n\n"
        f"{markdown(columns, lines)}\n\nThe largest eigenvalue and the effective "
        f"directions, (Σλ)²/Σλ² out of {size}, are means over the units. The "
        f"threshold is ours: a ratio of at most {MAX_SYMMETRIC} would be symmetric.",
        "the divisor",
    )


def _short(value: float) -> str:
    """Returns a number with two digits: 340, 0.041, 4.1e9 or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{float(f'{value:.2g}'):.6g}".replace("e+0", "e").replace("e+", "e")


def bn_rescues(
    plain: xr.Dataset, frozen: xr.Dataset, normed: xr.Dataset, scaled: xr.Dataset
) -> Finding:
    """Tiny inputs with batch norm, as in the source and corrected, and without."""
    last, common = last_common(plain, frozen, normed), last_common(normed, scaled)
    parts = {
        f"{name}, epoch {epoch}": difference("test_accuracy", runs, plain, epoch)
        for name, runs in {
            "frozen statistics": frozen,
            "running statistics": normed,
        }.items()
        for epoch in (min(10, last), last)
    }
    gap_to_scaled = difference("test_accuracy", normed, scaled, common)
    by_batch = difference("train_accuracy_running", normed, plain, last)
    final = parts[f"running statistics, epoch {last}"].verdict
    reason = ""
    if (by_batch.verdict, final) == (SUPPORTED, CONTRADICTED):
        reason = (
            " So the network trains with batch norm, but its running statistics fail "
            "(docs/explanation/normalizations.md explains why)."
        )
    return combine(
        parts,
        "Test accuracy at ÷2550000, with batch norm minus without. The source froze "
        "the statistics after epoch 1; running statistics correct that:\n\n"
        f"{parts_table('batch norm with | gain | batch norm is better', parts)}\n\n"
        "With running statistics, test accuracy minus that of ÷255 after epoch "
        f"{common}: "
        f"{gap_to_scaled.measured}. With the statistics of each batch, training "
        f"accuracy minus that without batch norm in epoch {last}: {by_batch.measured}."
        f"{reason}",
    )


def unscaled_low_rate(*runs: xr.Dataset) -> Finding:
    """Whether ÷1 is better at the lowest learning rate, and above 50 % there."""
    names = "Adam 1e-1", "Adam 1e-3", "Adam 1e-5", "SGD 1e-2", "SGD 1e-4", "SGD 1e-6"
    last = last_common(*runs)
    accuracies = [by_seed(r, "test_accuracy", last) for r in runs]
    lines = [f"{n} | {percent(a)}" for n, a in zip(names, accuracies, strict=True)]
    parts = {}
    for high in (0, 3):
        low, threshold = high + 2, f"{100 * MIN_ACCURACY:.0f} %"
        above = judge_share(accuracies[low], above=MIN_ACCURACY)
        better = difference("test_accuracy", runs[low], runs[high], last)
        parts[f"{names[low]} exceeds {names[high]}"] = better
        parts[f"{names[low]} exceeds {threshold}"] = above
    return combine(
        parts,
        f"Results at ÷1 after epoch {last}:\n\n"
        f"{markdown('optimizer and learning rate | test accuracy', lines)}\n\n"
        f"The threshold of {100 * MIN_ACCURACY:.0f} % is ours.\n\n"
        f"{parts_table('test accuracy | difference | verdict', parts)}",
    )


def huge_255(*runs: xr.Dataset) -> Finding:
    """Whether dividing by 255 gains more than 10 points, by optimizer and loss."""
    names = (
        "under SGD",
        "under Adam on logits",
        "under Adam with the clipped loss",
    )
    parts, lines = {}, []
    for name, scaled, unscaled in zip(names, runs[::2], runs[1::2], strict=True):
        last = last_common(scaled, unscaled)
        both = [by_seed(r, "test_accuracy", last) for r in (scaled, unscaled)]
        gain = both[0] - both[1]
        huge = judge_share(gain, *both, above=MIN_HUGE)
        measured = judge_share(gain, *both).measured
        parts[name] = dataclasses.replace(huge, measured=measured)
        lines.append(f"{name} | {last} | {measured} | {huge.verdict}")
    columns = "optimizer and loss | epoch | gain | the gain is huge"
    return combine(
        parts,
        "The source does not say what counts as huge. The threshold is ours: a "
        f"difference above {100 * MIN_HUGE:.0f} points. Gain in test accuracy from ÷1 "
        f"to ÷255, networks of book, lab and keras:\n\n{markdown(columns, lines)}",
        "optimizer and loss",
    )
