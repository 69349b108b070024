"""What decides the claims on batches, depth, optimizers, regularisation and order."""

import math

from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    Finding,
    Runs,
    at,
    gap,
    last_common,
    nats,
    percent,
    points,
    worst,
)
from experiments.reproduction.verdicts import judge_claim

LEVEL = 0.01  # nats: a test loss that rises by no more has not risen
UNEVEN = 0.125  # half of what is missing where a quarter is dropped and not made up for


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
    last = last_common(with_layer, without)
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
    last = last_common(two, one)
    more, said = points(gap(two, last) - gap(one, last))
    _, loss = nats(at(two, "test_loss", last) - at(one, "test_loss", last))
    return Finding(
        judge_claim(more),
        f"Gap from training to test accuracy after epoch {last}, two hidden layers "
        f"minus one: {said}; test loss {loss}.",
    )


def adam_faster(runs: Runs) -> Finding:
    """Adam against SGD at 1e-2, after the first epoch and after the last."""
    adam, sgd = runs["adam-1e-2"], runs["book-255"]
    last = last_common(adam, sgd)
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
    last = last_common(plain, dropped)
    shrinks, said = points(gap(plain, last) - gap(dropped, last))
    _, noisy = points(gap(plain, last) - gap(dropped, last, "_with_dropout"))
    return Finding(
        judge_claim(shrinks),
        f"Gap after epoch {last} without dropout minus with it: {said} measured with "
        f"dropout off, {noisy} with dropout on as the source did.",
    )


def dropout_downscale(runs: Runs) -> Finding:
    """What is scaled, and when: the mean of dropped activations against theirs."""
    ratio, kept = runs["scaling"].ratio.values, runs["scaling"].kept.values
    level = abs(ratio.mean() - 1) <= UNEVEN
    left = "nothing is left" if level else f"a factor of {ratio.mean():.2f} is left"
    return Finding(
        CONTRADICTED if level else SUPPORTED,
        "Activations in training over activations in prediction, at rate 0.25: "
        f"{ratio.mean():.4f} ± {ratio.std(ddof=1):.4f}. What is kept is multiplied by "
        f"{kept.mean():.4f} in training, so that {left} to scale at prediction.",
    )


def l1_gap(runs: Runs) -> Finding:
    """The gap without a penalty against the gap with L1."""
    plain, penalised = runs["adam-1e-3"], runs["l1"]
    last = last_common(plain, penalised)
    shrinks, said = points(gap(plain, last) - gap(penalised, last))
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
    last = last_common(runs["adam-1e-3"], runs["annealing"])
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


def shuffle(runs: Runs) -> Finding:
    """Whether most predictions are the class seen last, after one epoch and the last.

    (At first only the last epoch was to decide; its verdict alone is the same.)
    """
    shuffled = runs["lab-fashion_mnist-255"]
    last = last_common(shuffled, runs["order-sorted"], runs["order-file"])
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


def majority(runs: Runs) -> Finding:
    """What guessing the majority scores."""
    from fmnist_jax.analysis.survey import TUTORIAL, TUTORIAL_CLAIM, majority_share

    name, share = majority_share(TUTORIAL)
    counts = " and ".join(f"{count:,} {each}" for each, count in TUTORIAL.items())
    return Finding(
        SUPPORTED if round(100 * share) == TUTORIAL_CLAIM else CONTRADICTED,
        f"Guessing {name} among {counts} is right for {100 * share:.0f} %.",
    )
