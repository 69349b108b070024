"""What decides each claim of the sources: a measurement, and the verdict it gives."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from experiments.sources.intervals import Interval, paired_interval
from experiments.sources.verdicts import judge_claim

Runs = Mapping[str, xr.Dataset]
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
CHANCE = 0.1
LEARNT = 0.5  # of the test images right: five times what guessing gets
SYMMETRIC = 10  # largest over median eigenvalue of a surface that still counts as such
LEVEL = 0.01  # nats: a test loss that rises by no more has not risen
HUGE = 0.1  # of the test images: what we call a huge difference in accuracy


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim's verdict, and what was measured, in words."""

    verdict: str
    measured: str


@dataclasses.dataclass(frozen=True)
class Decision:
    """How a claim is decided.

    Attributes:
      trainings: names of the configurations it needs.
      find: runs of these, over the same seeds, to the finding.
    """

    trainings: tuple[str, ...]
    find: Callable[[Runs], Finding]


def at(runs: xr.Dataset, name: str, epoch: int = -1) -> np.ndarray:
    """Returns a metric by seed after an epoch from 1 on; -1 is the last, float64.

    The accuracy of a run that diverged is that of guessing.
    """
    position = epoch - 1 if epoch > 0 else epoch
    found = runs[name].isel(epoch=position).transpose("seed").values.astype(float)
    return np.nan_to_num(found, nan=CHANCE) if "accuracy" in name else found


def _last_common(*runs: xr.Dataset) -> int:
    return min(each.sizes["epoch"] for each in runs)


def points(difference: np.ndarray) -> tuple[Interval, str]:
    """Returns a paired difference of accuracies, and the same in words."""
    found = paired_interval(difference)
    text = (
        f"{100 * found.estimate:+.2f} points ({100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f})"
    )
    return found, text


def nats(difference: np.ndarray) -> tuple[Interval, str]:
    """Returns a paired difference of losses, and the same in words."""
    found = paired_interval(difference)
    return found, f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def percent(values: np.ndarray) -> str:
    """Returns the mean of shares, and their spread over seeds, in percent."""
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f} %"


def worst(*verdicts: str) -> str:
    """Returns the verdict of a claim that says several things at once."""
    order = (CONTRADICTED, UNDECIDED, SUPPORTED)
    return min(verdicts, key=order.index)


def _gap(runs: xr.Dataset, epoch: int = -1, ending: str = "") -> np.ndarray:
    train = at(runs, f"train_accuracy{ending}", epoch)
    return train - at(runs, f"test_accuracy{ending}", epoch)


def less_time(runs: Runs) -> Finding:
    """Progress and time apart: accuracy by epoch, and the seconds of an epoch."""
    scaled, unscaled = runs["book-255"], runs["book-1"]
    last = _last_common(scaled, unscaled)
    lead, said = points(
        at(scaled, "test_accuracy", 1) - at(unscaled, "test_accuracy", last)
    )
    seconds = runs["epoch-seconds"].seconds.transpose("divisor", "repeat").values
    ratio = paired_interval(np.log(seconds[1] / seconds[0]))
    low, mean, high = np.exp([ratio.low, ratio.estimate, ratio.high])
    return Finding(
        judge_claim(lead),
        f"In epochs: test accuracy ÷255 after epoch 1 minus ÷1 after epoch {last}: "
        f"{said}. An epoch itself takes {mean:.2f} times as long ({low:.2f} to "
        f"{high:.2f}).",
    )


def needs_time(runs: Runs) -> Finding:
    """Whether the unscaled network of the question catches up with the scaled one."""
    frozen, scaled, small = runs["keras-1"], runs["keras-255"], runs["keras-1000"]
    last = _last_common(frozen, scaled, small)
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
    early = min(5, _last_common(*runs.values()))
    names = {
        "keras-255": "÷255", "keras-1": "÷1 clipped", "keras-1-logits": "÷1 on logits",
    }  # fmt: skip
    shares = "; ".join(f"{t} {_shares(runs[n], early)}" for n, t in names.items())
    logits, scaled = runs["keras-1-logits"], runs["keras-255"]
    more, _ = points(
        at(logits, "saturated_outputs_share", early)
        - at(scaled, "saturated_outputs_share", early)
    )
    trains, said = points(at(logits, "test_accuracy", early) - LEARNT)
    verdict = UNDECIDED
    if more.low > 0:
        verdict = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}.get(
            judge_claim(trains), UNDECIDED
        )
    return Finding(
        verdict,
        "No sigmoid is in these networks. Softmax outputs within 1e-7 of 0 or 1, and "
        f"ReLUs that are 0 on all 256 images, after epoch {early}: {shares}. The one "
        "on logits saturates more than the scaled one and trains: test accuracy "
        f"{percent(at(logits, 'test_accuracy', early))}, {said} above "
        f"{LEARNT:.0%}.",
    )


def softmax_is_sigmoid(runs: Runs) -> Finding:
    """Whether a saturated softmax stops the gradient under both losses.

    It does where most examples have exactly none.
    """
    early = min(5, _last_common(*runs.values()))
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
    return Finding(
        worst(*verdicts),
        f"Of 256 examples at ÷1 after epoch {early}: {'; '.join(said)}. The clip is "
        "what takes the gradient away, not the softmax.",
    )


def symmetric(runs: Runs) -> Finding:
    """The spectrum of the curvature of single hidden units at initialisation.

    More or less symmetric would be a largest eigenvalue within ten medians.
    """
    spectra = runs["curvature"].eigenvalue.transpose("divisor", "unit", "rank")
    said, ratios = [], []
    for spectrum in spectra:
        values = spectrum.values
        with np.errstate(divide="ignore"):  # of fewer images than pixels
            ratio = values[:, -1] / np.maximum(np.median(values, axis=1), 0)
        ratios.append(ratio)
        said.append(
            f"÷{float(spectrum.divisor):.0f} largest {values[:, -1].mean():.2g}, "
            f"{np.median(ratio):.0e} times the median eigenvalue"
        )
    return Finding(
        CONTRADICTED if np.min(ratios) > SYMMETRIC else SUPPORTED,
        "Curvature of the loss for one hidden unit's weights and bias at "
        f"initialisation, mean of {spectra.sizes['unit']} units: {'; '.join(said)}.",
    )


def batch_updates(runs: Runs) -> Finding:
    """How many updates there are in an epoch."""
    examples = runs["batch-10000"].attrs["train_examples"]
    small = math.ceil(examples / 32)
    large = math.ceil(examples / min(10_000, examples))
    return Finding(
        CONTRADICTED if small > large else SUPPORTED,
        f"Batches of 32 make {small:,} updates in an epoch of {examples:,} examples, "
        f"batches of 10,000 make {large}.",
    )


def depth_0(runs: Runs) -> Finding:
    """A hidden layer against none."""
    with_layer, without = runs["adam-1e-3"], runs["depth-0"]
    last = _last_common(with_layer, without)
    lead, said = points(
        at(with_layer, "test_accuracy", last) - at(without, "test_accuracy", last)
    )
    return Finding(
        judge_claim(lead),
        f"Test accuracy after epoch {last}, one hidden layer minus none: {said}.",
    )


def depth_2(runs: Runs) -> Finding:
    """Two hidden layers' gap against one's."""
    two, one = runs["depth-2"], runs["adam-1e-3"]
    last = _last_common(two, one)
    more, said = points(_gap(two, last) - _gap(one, last))
    _, loss = nats(at(two, "test_loss", last) - at(one, "test_loss", last))
    return Finding(
        judge_claim(more),
        f"Gap from training to test accuracy after epoch {last}, two hidden layers "
        f"minus one: {said}; test loss {loss}.",
    )


def adam_faster(runs: Runs) -> Finding:
    """Adam against SGD at 1e-2, after the first epoch and after the last."""
    adam, sgd = runs["adam-1e-2"], runs["book-255"]
    last = _last_common(adam, sgd)
    start, early = points(at(adam, "test_accuracy", 1) - at(sgd, "test_accuracy", 1))
    end, late = points(at(adam, "test_accuracy", last) - at(sgd, "test_accuracy", last))
    verdicts = judge_claim(start), judge_claim(end)
    return Finding(
        worst(*verdicts),
        f"Test accuracy, Adam minus SGD, both at 1e-2: {early} after epoch 1 "
        f"({verdicts[0]}), {late} after epoch {last} ({verdicts[1]}).",
    )


def dropout_gap(runs: Runs) -> Finding:
    """The gap without dropout against the gap with it, measured both ways."""
    plain, dropped = runs["adam-1e-3"], runs["dropout"]
    last = _last_common(plain, dropped)
    shrinks, said = points(_gap(plain, last) - _gap(dropped, last))
    _, noisy = points(_gap(plain, last) - _gap(dropped, last, "_with_dropout"))
    return Finding(
        judge_claim(shrinks),
        f"Gap after epoch {last} without dropout minus with it: {said} measured with "
        f"dropout off, {noisy} with dropout on as the source did.",
    )


def dropout_downscale(runs: Runs) -> Finding:
    """What is scaled, and when: the mean of dropped activations against theirs."""
    ratio, kept = runs["scaling"].ratio.values, runs["scaling"].kept.values
    return Finding(
        SUPPORTED if abs(ratio.mean() - 1) > 0.125 else CONTRADICTED,
        "Activations in training over activations in prediction, at rate 0.25: "
        f"{ratio.mean():.4f} ± {ratio.std(ddof=1):.4f}. What is kept is multiplied by "
        f"{kept.mean():.4f} in training, so that nothing is left to scale at "
        "prediction; weights never are.",
    )


def l1_gap(runs: Runs) -> Finding:
    """The gap without a penalty against the gap with L1."""
    plain, penalised = runs["adam-1e-3"], runs["l1"]
    last = _last_common(plain, penalised)
    shrinks, said = points(_gap(plain, last) - _gap(penalised, last))
    _, lead = points(
        at(penalised, "test_accuracy", last) - at(plain, "test_accuracy", last)
    )
    return Finding(
        judge_claim(shrinks),
        f"Gap after epoch {last} without L1 minus with it: {said}; test accuracy with "
        f"L1 minus without: {lead}.",
    )


def anneal(runs: Runs) -> Finding:
    """Whether the annealed test loss rises above its least, and less than the other."""
    rises = {}
    last = _last_common(runs["adam-1e-3"], runs["annealing"])
    for name in ("adam-1e-3", "annealing"):
        losses = runs[name].test_loss.isel(epoch=slice(last)).astype(float)
        rises[name] = (losses.isel(epoch=-1) - losses.min("epoch")).values
    less, said = nats(rises["adam-1e-3"] - rises["annealing"])
    level, _ = nats(LEVEL - rises["annealing"])
    verdicts = judge_claim(less), judge_claim(level)
    means = {name: rise.mean() for name, rise in rises.items()}
    return Finding(
        worst(*verdicts),
        f"Rise of the test loss from its least to epoch {last}: "
        f"{means['adam-1e-3']:.3f} at a constant rate, {means['annealing']:.3f} "
        f"annealed; difference {said} ({verdicts[0]}); annealed by no more than "
        f"{LEVEL} ({verdicts[1]}).",
    )


def bn_rescues(runs: Runs) -> Finding:
    """Tiny inputs with batch norm against without, and against usual inputs."""
    plain, normed, usual = runs["tiny-input"], runs["tiny-input-bn"], runs["adam-1e-3"]
    last = _last_common(plain, normed)
    early = min(10, last)
    lead, said = points(
        at(normed, "test_accuracy", last) - at(plain, "test_accuracy", last)
    )
    _, soon = points(
        at(normed, "test_accuracy", early) - at(plain, "test_accuracy", early)
    )
    common = _last_common(normed, usual)
    _, behind = points(
        at(normed, "test_accuracy", common) - at(usual, "test_accuracy", common)
    )
    return Finding(
        judge_claim(lead),
        "Test accuracy at ÷2550000, batch norm minus none: "
        f"{soon} after epoch {early}, {said} after epoch {last}; and minus ÷255 "
        f"without batch norm: {behind} after epoch {common}.",
    )


def unscaled_low_rate(runs: Runs) -> Finding:
    """Unscaled runs at ever lower rates."""
    names = {
        "lr-.1-unscaled": "Adam 1e-1", "lr-1e-3-unscaled": "Adam 1e-3",
        "lr-1e-5-unscaled": "Adam 1e-5", "book-1": "SGD 1e-2",
        "book-1-rate-0.0001": "SGD 1e-4", "book-1-rate-1e-06": "SGD 1e-6",
    }  # fmt: skip
    last = _last_common(*(runs[name] for name in names))
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


def shuffle(runs: Runs) -> Finding:
    """Whether most predictions are the class seen last, after one epoch and the last.

    (At first only the last epoch was to decide; its verdict alone is the same.)
    """
    shuffled = runs["lab-fashion_mnist-255"]
    last = _last_common(shuffled, runs["order-sorted"], runs["order-file"])
    shares = runs["order-sorted"].predicted_share.isel({"class": -1})
    seen_last = shares.transpose("seed", "epoch").values.astype(float)
    verdicts, said = [], []
    for epoch in (1, last):
        most, _ = points(seen_last[:, epoch - 1] - 0.5)
        verdicts.append(judge_claim(most))
        share = percent(seen_last[:, epoch - 1])
        said.append(f"{share} after epoch {epoch} ({verdicts[-1]})")
    accuracy = at(runs["order-sorted"], "test_accuracy", last)
    _, file = points(
        at(shuffled, "test_accuracy", last)
        - at(runs["order-file"], "test_accuracy", last)
    )
    return Finding(
        worst(*verdicts),
        "Sorted by class, the class seen last makes of the predictions "
        f"{', '.join(said)}; test accuracy is then {percent(accuracy)}. In the file's "
        f"own mixed order, shuffled minus not: {file}.",
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
        last = _last_common(runs[scaled], runs[unscaled])
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


def majority(runs: Runs) -> Finding:
    """What guessing the majority scores."""
    from fmnist_jax.survey import TUTORIAL, TUTORIAL_CLAIM, majority_share

    name, share = majority_share(TUTORIAL)
    counts = " and ".join(f"{count:,} {each}" for each, count in TUTORIAL.items())
    return Finding(
        SUPPORTED if round(100 * share) == TUTORIAL_CLAIM else CONTRADICTED,
        f"Guessing {name} among {counts} is right for {share:.0%}.",
    )


SCALES = ("keras-255", "keras-1", "keras-1-logits")
# "curvature", "epoch-seconds" and "scaling" are no trainings: see ``measuring``.
DECISIONS: Mapping[str, Decision] = {
    "claim-less-time": Decision(
        ("epoch-seconds", "book-255", "book-1"), less_time
    ),
    "claim-needs-time": Decision(("keras-1", "keras-255", "keras-1000"), needs_time),
    "claim-sigmoid": Decision(SCALES, sigmoid),
    "claim-softmax-is-sigmoid": Decision(SCALES, softmax_is_sigmoid),
    "claim-symmetric": Decision(("curvature",), symmetric),
    "claim-batch-updates": Decision(("batch-10000",), batch_updates),
    "claim-depth-0": Decision(("depth-0", "adam-1e-3"), depth_0),
    "claim-depth-2": Decision(("depth-2", "adam-1e-3"), depth_2),
    "claim-adam-faster": Decision(("adam-1e-2", "book-255"), adam_faster),
    "claim-dropout-gap": Decision(("adam-1e-3", "dropout"), dropout_gap),
    "claim-dropout-downscale": Decision(("scaling",), dropout_downscale),
    "claim-l1-gap": Decision(("adam-1e-3", "l1"), l1_gap),
    "claim-anneal": Decision(("adam-1e-3", "annealing"), anneal),
    "claim-bn-rescues": Decision(
        ("tiny-input", "tiny-input-bn", "adam-1e-3"), bn_rescues
    ),
    "claim-unscaled-low-rate": Decision(
        (
            "lr-.1-unscaled", "lr-1e-3-unscaled", "lr-1e-5-unscaled", "book-1",
            "book-1-rate-0.0001", "book-1-rate-1e-06",
        ),
        unscaled_low_rate,
    ),
    "claim-shuffle": Decision(
        ("lab-fashion_mnist-255", "order-file", "order-sorted"), shuffle
    ),
    "claim-255-huge": Decision(
        (
            "book-255", "book-1", "lab-fashion_mnist-255", "lab-fashion_mnist-1",
            "keras-255", "keras-1",
        ),
        huge_255,
    ),
    "claim-majority": Decision((), majority),
}  # fmt: skip
