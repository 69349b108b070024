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
    """Returns a metric by seed after an epoch from 1 on; -1 is the last, float64."""
    position = epoch - 1 if epoch > 0 else epoch
    return runs[name].isel(epoch=position).transpose("seed").values.astype(float)


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
    """Progress at the same number of equally long epochs."""
    scaled, unscaled = runs["book-255"], runs["book-1"]
    last = _last_common(scaled, unscaled)
    lead, said = points(
        at(scaled, "test_accuracy", 1) - at(unscaled, "test_accuracy", last)
    )
    return Finding(
        judge_claim(lead),
        f"Test accuracy ÷255 after epoch 1 minus ÷1 after epoch {last}: {said}. The "
        "program of a step is the same, number for number, whatever the divisor: what "
        "is saved is epochs, not time per step.",
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
    change = np.abs(at(frozen, "test_loss", last) - at(frozen, "test_loss", 2))
    return Finding(
        judge_claim(lead),
        f"÷1 under the clipped loss: test accuracy after epoch {last} minus that of "
        f"÷255 after epoch {early}: {said}; its test loss moved by at most "
        f"{change.max():.3f} from epoch 2 to {last}. ÷1000 reaches the test loss of "
        f"÷255 at epoch {early} {when}.",
    )


def _saturated(runs: xr.Dataset, early: int) -> str:
    outputs = at(runs, "saturated_outputs_share", early)
    dead = at(runs, "dead_units_share", early)
    return f"{percent(outputs)} and {percent(dead)}"


def sigmoid(runs: Runs) -> Finding:
    """What saturates in the networks, and whether those that saturate train."""
    early = min(5, _last_common(*runs.values()))
    names = {
        "keras-255": "÷255", "keras-1": "÷1 clipped", "keras-1-logits": "÷1 on logits",
    }  # fmt: skip
    shares = "; ".join(f"{t} {_saturated(runs[n], early)}" for n, t in names.items())
    logits = at(runs["keras-1-logits"], "test_accuracy", early)
    frozen = at(runs["keras-1"], "test_accuracy", early)
    lead, said = points(logits - frozen)
    return Finding(
        CONTRADICTED if lead.low > 0 else UNDECIDED,
        "No sigmoid is in these networks. Softmax outputs within 1e-7 of 0 or 1, and "
        f"ReLUs that are 0 on all 256 images, after epoch {early}: {shares}. "
        f"With the loss on logits ÷1 trains all the same: {said} over the clipped one.",
    )


def softmax_is_sigmoid(runs: Runs) -> Finding:
    """Whether a saturated softmax stops the gradient, and under which loss."""
    early = min(5, _last_common(*runs.values()))
    clipped = at(runs["keras-1"], "zero_gradient_share", early)
    logits = at(runs["keras-1-logits"], "zero_gradient_share", early)
    more, said = points(clipped - logits)
    return Finding(
        judge_claim(more),
        f"In part. Examples with exactly no gradient at ÷1 after epoch {early}: "
        f"{percent(clipped)} under the clipped loss, {percent(logits)} on logits "
        f"(difference {said}). From the logits a saturated wrong example pushes with "
        "its whole weight; only the clip takes that away.",
    )


def symmetric(runs: Runs) -> Finding:
    """The spectrum of the inputs' second moments, which is the first layer's too.

    The Hessian's block of one hidden unit is a weighted mean of ``x xᵀ``; a divisor d
    multiplies it by 1/d² and leaves its shape as it is.
    """
    spectrum = runs["inputs"].eigenvalue.values
    largest, median = spectrum[-1], np.median(spectrum)
    tenth = np.count_nonzero(spectrum > largest / 10)
    return Finding(
        CONTRADICTED if largest > 10 * median else SUPPORTED,
        "Eigenvalues of the mean of x xᵀ over the training images, to which the first "
        f"layer's curvature is bound: the largest is {largest / spectrum.sum():.0%} of "
        f"their sum and {largest / median:,.0f} times the median; "
        f"{tenth} of {len(spectrum)} are above a tenth of it. Dividing by d divides "
        "all of them by d²: it makes the surface flatter, not rounder.",
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
    """What is scaled, and when: the mean of dropped inputs against the inputs."""
    ratio = runs["scaling"].ratio.values
    found = paired_interval(ratio - 1)
    holds = abs(found.estimate) > 0.125
    return Finding(
        SUPPORTED if holds else CONTRADICTED,
        "Activations in training over activations in prediction, at rate 0.25: "
        f"{ratio.mean():.4f} ± {ratio.std(ddof=1):.4f}. They are scaled up by 4/3 in "
        "training, so that nothing is left to scale down; weights never are.",
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
    """By how much the test loss rises above its least, at a constant rate and not."""
    rises = {}
    last = _last_common(runs["adam-1e-3"], runs["annealing"])
    for name in ("adam-1e-3", "annealing"):
        losses = runs[name].test_loss.isel(epoch=slice(last)).astype(float)
        rises[name] = (losses.isel(epoch=-1) - losses.min("epoch")).values
    less, said = nats(rises["adam-1e-3"] - rises["annealing"])
    means = {name: rise.mean() for name, rise in rises.items()}
    return Finding(
        judge_claim(less),
        f"Rise of the test loss from its least to epoch {last}: "
        f"{means['adam-1e-3']:.3f} at a constant rate, {means['annealing']:.3f} "
        f"annealed (difference {said}).",
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
    lead, _ = points(low - np.nan_to_num(high, nan=CHANCE))
    return Finding(
        judge_claim(lead),
        f"Test accuracy at ÷1 after epoch {last}: {', '.join(listed)}.",
    )


def shuffle(runs: Runs) -> Finding:
    """Whether most predictions are the class seen last, after one epoch by class."""
    shuffled = runs["lab-fashion_mnist-255"]
    last = _last_common(shuffled, runs["order-sorted"], runs["order-file"])
    shares = runs["order-sorted"].predicted_share.isel({"class": -1})
    seen_last = shares.transpose("seed", "epoch").values.astype(float)
    most, _ = points(seen_last[:, 0] - 0.5)
    accuracy = at(runs["order-sorted"], "test_accuracy", last)
    _, file = points(
        at(shuffled, "test_accuracy", last)
        - at(runs["order-file"], "test_accuracy", last)
    )
    return Finding(
        judge_claim(most),
        "Sorted by class, of the predictions the class seen last makes "
        f"{percent(seen_last[:, 0])} after epoch 1 and "
        f"{percent(seen_last[:, last - 1])} after epoch {last}, when test accuracy is "
        f"{percent(accuracy)}. In the file's own mixed order, shuffled minus not: "
        f"{file}.",
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
    dogs, cats = 7200, 1800
    share = max(dogs, cats) / (dogs + cats)
    return Finding(
        SUPPORTED if round(100 * share) == 72 else CONTRADICTED,
        f"{dogs:,} of {dogs + cats:,} is {share:.0%}.",
    )


SCALES = ("keras-255", "keras-1", "keras-1-logits")
# "inputs" and "scaling" are measured without training, in ``measuring``.
DECISIONS: Mapping[str, Decision] = {
    "claim-less-time": Decision(("book-255", "book-1"), less_time),
    "claim-needs-time": Decision(("keras-1", "keras-255", "keras-1000"), needs_time),
    "claim-sigmoid": Decision(SCALES, sigmoid),
    "claim-softmax-is-sigmoid": Decision(SCALES, softmax_is_sigmoid),
    "claim-symmetric": Decision(("inputs",), symmetric),
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
