"""What decides the claims on the scale of inputs."""

import math

import numpy as np
import xarray as xr

from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    Runs,
    at,
    last_common,
    percent,
    points,
    worst,
)
from experiments.reproduction.verdicts import judge_claim
from fmnist_jax.analysis.intervals import paired_interval

LEARNT = 0.5  # of the test images right: five times what guessing gets
SYMMETRIC = 10  # largest over median eigenvalue of a surface that still counts as such
HUGE = 0.1  # of the test images: what we call a huge difference in accuracy
# What the verdicts on parts of claim-sigmoid and of claim-softmax-is-sigmoid say.
_MORE = {
    SUPPORTED: "more", CONTRADICTED: "fewer", UNDECIDED: "not surely more or fewer",
}  # fmt: skip
_TRAINS = {
    SUPPORTED: "trains",
    CONTRADICTED: "does not train",
    UNDECIDED: "trains or not, by seed",
}
_SATURATION = {
    CONTRADICTED: "So saturation does not keep a network from training.",
    SUPPORTED: "So saturation may be what keeps it from training.",
    UNDECIDED: "That does not tell whether saturation is the reason.",
}
# Whether most examples have no gradient under the clipped loss, and on logits.
_GRADIENT = {
    (SUPPORTED, SUPPORTED): "So the saturated softmax stops learning under both.",
    (SUPPORTED, CONTRADICTED): "So the clip takes the gradient away, not the softmax.",
    (CONTRADICTED, CONTRADICTED): "So neither takes most of the gradients away.",
    (UNDECIDED, UNDECIDED): "Which of clip and softmax takes gradients away is open.",
}


def less_time(runs: Runs) -> Finding:
    """Progress and time apart: accuracy by epoch, and the seconds of an epoch."""
    scaled, unscaled = runs["book-255"], runs["book-1"]
    last = last_common(scaled, unscaled)
    lead, said = points(
        at(scaled, "test_accuracy", 1) - at(unscaled, "test_accuracy", last)
    )
    seconds = runs["epoch-seconds"].seconds.transpose("divisor", "repeat").values
    ratio = paired_interval(np.log(seconds[1] / seconds[0]))
    low, mean, high = np.exp([ratio.low, ratio.estimate, ratio.high])
    return Finding(
        judge_claim(lead),
        f"In epochs: test accuracy ÷255 after epoch 1 minus ÷1 after epoch {last}: "
        f"{said}. In seconds: an epoch at ÷255 takes {mean:.2f} times as long as one "
        f"at ÷1 ({low:.2f} to {high:.2f}).",
    )


def needs_time(runs: Runs) -> Finding:
    """Whether the unscaled network of the question catches up with the scaled one."""
    frozen, scaled, small = runs["keras-1"], runs["keras-255"], runs["keras-1000"]
    last = last_common(frozen, scaled, small)
    early = min(5, last)
    lead, said = points(
        at(frozen, "test_accuracy", last) - at(scaled, "test_accuracy", early)
    )
    goal = at(scaled, "test_loss", early).mean()
    losses = small.test_loss.mean("seed").values
    reached = np.flatnonzero(losses <= goal)
    when = f"by epoch {reached[0] + 1}" if len(reached) else f"not in {last} epochs"
    change = np.abs(
        at(frozen, "test_loss", last) - at(frozen, "test_loss", min(2, last))
    )
    return Finding(
        judge_claim(lead),
        f"÷1 under the clipped loss: test accuracy after epoch {last} minus that of "
        f"÷255 after epoch {early}: {said}; from epoch 2 to {last} its test "
        f"loss moved by {np.median(change):.3f} in the median seed and by "
        f"{change.max():.3f} at most. ÷1000 reaches the test loss of "
        f"÷255 at epoch {early} {when}.",
    )


def _shares(runs: xr.Dataset, epoch: int) -> str:
    outputs = at(runs, "saturated_outputs_share", epoch)
    dead = at(runs, "dead_units_share", epoch)
    return f"{percent(outputs)} and {percent(dead)}"


def sigmoid(runs: Runs) -> Finding:
    """Whether a network that saturates no less than the scaled one trains.

    If it does, saturation is not the reason; if it does not, it may be.
    """
    early = min(5, last_common(*runs.values()))
    names = {
        "keras-255": "÷255", "keras-1": "÷1 clipped", "keras-1-logits": "÷1 on logits",
    }  # fmt: skip
    shares = "; ".join(f"{t} {_shares(runs[n], early)}" for n, t in names.items())
    logits, scaled = runs["keras-1-logits"], runs["keras-255"]
    more, how_much = points(
        at(logits, "saturated_outputs_share", early)
        - at(scaled, "saturated_outputs_share", early)
    )
    trains, above = points(at(logits, "test_accuracy", early) - LEARNT)
    verdict = UNDECIDED
    if more.low > 0:
        verdict = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}.get(
            judge_claim(trains), UNDECIDED
        )
    return Finding(
        verdict,
        "No sigmoid is in these networks. Softmax outputs within 1e-7 of 0 or 1, and "
        f"ReLUs that are 0 on all 256 images, after epoch {early}: {shares}. At ÷1 on "
        f"logits {_MORE[judge_claim(more)]} outputs are saturated than at ÷255 "
        f"({how_much}), and the network {_TRAINS[judge_claim(trains)]}: test accuracy "
        f"{percent(at(logits, 'test_accuracy', early))}, {above} above "
        f"{100 * LEARNT:.0f} %. {_SATURATION[verdict]}",
    )


def softmax_is_sigmoid(runs: Runs) -> Finding:
    """Whether a saturated softmax stops the gradient under both losses.

    It does where most examples have exactly none.
    """
    early = min(5, last_common(*runs.values()))
    verdicts, said = [], []
    for name, text in (("keras-1", "clipped loss"), ("keras-1-logits", "on logits")):
        none = at(runs[name], "zero_gradient_share", early)
        wrong = at(runs[name], "saturated_true_share", early)
        most, _ = points(none - 0.5)
        verdicts.append(judge_claim(most))
        said.append(
            f"{text} {percent(none)} without gradient, {percent(wrong)} saturated and "
            f"wrong ({verdicts[-1]})"
        )
    clipped, on_logits = verdicts
    reason = _GRADIENT.get((clipped, on_logits), _GRADIENT[UNDECIDED, UNDECIDED])
    return Finding(
        worst(*verdicts),
        f"Of 256 examples at ÷1 after epoch {early}: {'; '.join(said)}. {reason}",
    )


def symmetric(runs: Runs) -> Finding:
    """The spectrum of the curvature of single hidden units at initialisation.

    More or less symmetric would be a largest eigenvalue within ten medians. A median
    below what float64 rounds off the largest is none: eps × size × largest, as
    ``np.linalg.matrix_rank`` has it.
    """
    spectra = runs["curvature"].eigenvalue.transpose("divisor", "unit", "rank")
    size = spectra.sizes["rank"]
    said, least = [], []
    for spectrum in spectra:
        values = spectrum.values
        largest, median = values[:, -1], np.median(values, axis=1)
        zero = median <= np.finfo(float).eps * size * largest
        ratios = np.where(zero, np.inf, largest / np.where(zero, 1, median))
        least.append(ratios.min())
        directions = values.sum(1) ** 2 / (values**2).sum(1)
        said.append(
            f"÷{float(spectrum.divisor):.0f}: largest {_short(largest.mean())}, "
            f"{_short(ratios.min())} times the median in the roundest unit, median "
            f"zero to rounding in {zero.sum()}, {directions.mean():.1f} directions"
        )
    return Finding(
        CONTRADICTED if min(least) > SYMMETRIC else SUPPORTED,
        "Eigenvalues of the loss's curvature for one hidden unit's weights and bias at "
        f"initialisation, {spectra.sizes['unit']} units: {'; '.join(said)}. "
        f"Directions, (Σλ)²/Σλ²: as many equal eigenvalues, of {size}, would be as "
        "uneven.",
    )


def _short(value: float) -> str:
    """Returns two digits of a number: 340, 0.041, 4.1e9 or ∞."""
    if math.isinf(value):
        return "∞"
    return f"{float(f'{value:.2g}'):.6g}".replace("e+0", "e").replace("e+", "e")


def bn_rescues(runs: Runs) -> Finding:
    """Tiny inputs with batch norm against without, and against usual inputs."""
    plain, normed, usual = runs["tiny-input"], runs["tiny-input-bn"], runs["adam-1e-3"]
    last = last_common(plain, normed)
    early = min(10, last)
    lead, said = points(
        at(normed, "test_accuracy", last) - at(plain, "test_accuracy", last)
    )
    _, soon = points(
        at(normed, "test_accuracy", early) - at(plain, "test_accuracy", early)
    )
    common = last_common(normed, usual)
    _, behind = points(
        at(normed, "test_accuracy", common) - at(usual, "test_accuracy", common)
    )
    in_training, by_batch = points(
        at(normed, "train_accuracy_running", last)
        - at(plain, "train_accuracy_running", last)
    )
    verdict = judge_claim(lead)
    why = ""
    if judge_claim(in_training) == "supported" and verdict == "contradicted":
        why = (
            " So the network is rescued, and its running statistics are not "
            "(docs/why_scaling.md says why)."
        )
    return Finding(
        verdict,
        "Test accuracy at ÷2550000, batch norm minus none: "
        f"{soon} after epoch {early}, {said} after epoch {last}; and minus ÷255 "
        f"without batch norm: {behind} after epoch {common}. In training, with the "
        f"statistics of each batch: {by_batch} in epoch {last}.{why}",
    )


def unscaled_low_rate(runs: Runs) -> Finding:
    """Unscaled runs at ever lower rates."""
    names = {
        "lr-.1-unscaled": "Adam 1e-1", "lr-1e-3-unscaled": "Adam 1e-3",
        "lr-1e-5-unscaled": "Adam 1e-5", "book-1": "SGD 1e-2",
        "book-1-rate-0.0001": "SGD 1e-4", "book-1-rate-1e-06": "SGD 1e-6",
    }  # fmt: skip
    last = last_common(*(runs[name] for name in names))
    listed = [
        f"{text} {percent(at(runs[name], 'test_accuracy', last))}"
        for name, text in names.items()
    ]
    low = at(runs["lr-1e-5-unscaled"], "test_accuracy", last)
    high = at(runs["lr-.1-unscaled"], "test_accuracy", last)
    lead, _ = points(low - high)
    return Finding(
        judge_claim(lead),
        f"Test accuracy at ÷1 after epoch {last}: {', '.join(listed)}.",
    )


def huge_255(runs: Runs) -> Finding:
    """What dividing by 255 gains under SGD and under Adam."""
    parts = {
        "SGD (book)": ("book-255", "book-1"),
        "Adam on logits (lab)": ("lab-fashion_mnist-255", "lab-fashion_mnist-1"),
        "Adam, clipped loss (keras)": ("keras-255", "keras-1"),
    }
    verdicts, said = [], []
    for text, (scaled, unscaled) in parts.items():
        last = last_common(runs[scaled], runs[unscaled])
        gain = at(runs[scaled], "test_accuracy", last)
        gain = gain - at(runs[unscaled], "test_accuracy", last)
        found, _ = points(gain - HUGE)
        _, shown = points(gain)
        verdicts.append(judge_claim(found))
        said.append(f"{text} {shown} after epoch {last} ({verdicts[-1]})")
    return Finding(
        worst(*verdicts),
        f"Test accuracy, ÷255 minus ÷1; huge is above {100 * HUGE:.0f} points: "
        f"{'; '.join(said)}.",
    )
