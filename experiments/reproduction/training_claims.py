"""The rules for the claims on batches, depth, optimizers, regularisation and order."""

import math

import numpy as np
import xarray as xr

from experiments.reproduction.findings import (
    CONTRADICTED,
    SUPPORTED,
    Finding,
    by_seed,
    difference,
    last_common,
    nats,
    percent,
    points,
    worst,
)

LEVEL = 0.01  # nats; a smaller rise of the test loss does not count
UNEVEN = 0.125  # half of the deficit if dropout at .25 were not compensated
ANIMALS = {"dogs": 7200, "cats": 1800}  # the data tutorial's example
ANIMALS_CLAIM = 72  # %


def batch_updates(large_batches: xr.Dataset) -> Finding:
    """The number of updates in an epoch."""
    examples = large_batches.attrs["train_examples"]
    small = math.ceil(examples / 32)
    large = math.ceil(examples / min(10_000, examples))
    return Finding(
        CONTRADICTED if small > large else SUPPORTED,
        f"Batches of 32 give {small:,} updates in an epoch of {examples:,} examples, "
        f"batches of 10,000 give {large}.",
    )


def depth_0(without: xr.Dataset, with_layer: xr.Dataset) -> Finding:
    """A hidden layer against none."""
    last = last_common(with_layer, without)
    lead = difference("test_accuracy", with_layer, without, last)
    return Finding(
        lead.verdict,
        f"Test accuracy after epoch {last}, one hidden layer minus none: "
        f"{lead.measured}.",
    )


def depth_2(two: xr.Dataset, one: xr.Dataset) -> Finding:
    """The gap of two hidden layers against the gap of one."""
    last = last_common(two, one)
    more = difference("accuracy_gap", two, one, last)
    loss = difference("test_loss", two, one, last)
    return Finding(
        more.verdict,
        f"Gap from training to test accuracy after epoch {last}, two hidden layers "
        f"minus one: {more.measured}; test loss {loss.measured}.",
    )


def adam_faster(adam: xr.Dataset, sgd: xr.Dataset) -> Finding:
    """Adam against SGD at 1e-2, after the first epoch and after the last."""
    last = last_common(adam, sgd)
    start = difference("test_accuracy", adam, sgd, 1)
    end = difference("test_accuracy", adam, sgd, last)
    return Finding(
        worst(start, end),
        f"Test accuracy, Adam minus SGD, both at 1e-2: {start.measured} after epoch 1 "
        f"({start.verdict}), {end.measured} after epoch {last} ({end.verdict}).",
    )


def dropout_gap(plain: xr.Dataset, dropped: xr.Dataset) -> Finding:
    """The gap without dropout against the gap with it, evaluated in both modes."""
    last = last_common(plain, dropped)
    shrinks = difference("accuracy_gap", plain, dropped, last)
    noisy_gap = by_seed(dropped, "accuracy_gap_with_dropout", last)
    noisy = points(by_seed(plain, "accuracy_gap", last) - noisy_gap)
    return Finding(
        shrinks.verdict,
        f"Gap after epoch {last} without dropout minus with dropout: "
        f"{shrinks.measured} if dropout is off during evaluation, {noisy.measured} if "
        "it is on, as in the source.",
    )


def dropout_downscale(scaling: xr.Dataset) -> Finding:
    """The mean of activations with dropout against their mean without."""
    ratio, factor = scaling.ratio.values, scaling.factor.values
    level = abs(ratio.mean() - 1) <= UNEVEN
    rest = "nothing is left" if level else f"a factor of {ratio.mean():.2f} is left"
    return Finding(
        CONTRADICTED if level else SUPPORTED,
        "Activations in training divided by activations in prediction, at dropout rate "
        f"0.25: {ratio.mean():.4f} ± {ratio.std(ddof=1):.4f}. Dropout multiplies the "
        f"remaining activations by {factor.mean():.4f} in training, so {rest} to scale "
        "at prediction.",
    )


def l1_gap(plain: xr.Dataset, penalised: xr.Dataset) -> Finding:
    """The gap without a penalty against the gap with L1."""
    last = last_common(plain, penalised)
    shrinks = difference("accuracy_gap", plain, penalised, last)
    lead = difference("test_accuracy", penalised, plain, last)
    return Finding(
        shrinks.verdict,
        f"Gap after epoch {last} without L1 minus with L1: {shrinks.measured}; test "
        f"accuracy with L1 minus without: {lead.measured}.",
    )


def anneal(constant: xr.Dataset, annealed: xr.Dataset) -> Finding:
    """Whether the annealed test loss rises above its minimum less than the other."""
    last = last_common(constant, annealed)
    constant_rise, annealed_rise = (_rise(r, last) for r in (constant, annealed))
    less = nats(constant_rise - annealed_rise)
    level = nats(LEVEL - annealed_rise)
    return Finding(
        worst(less, level),
        f"Rise of the test loss from its minimum to epoch {last}: "
        f"{constant_rise.mean():.3f} at a constant learning rate, "
        f"{annealed_rise.mean():.3f} annealed; difference {less.measured} "
        f"({less.verdict}); annealed by at most {LEVEL} ({level.verdict}).",
    )


def _rise(runs: xr.Dataset, last: int) -> np.ndarray:
    losses = runs.test_loss.isel(epoch=slice(last)).astype(float)
    return (losses.isel(epoch=-1) - losses.min("epoch")).values


def shuffle(shuffled: xr.Dataset, mixed: xr.Dataset, by_class: xr.Dataset) -> Finding:
    """Whether most predictions are the last class, after the first epoch and the last.

    The original rule was on the last epoch only, whose verdict is the same.
    """
    last = last_common(shuffled, by_class, mixed)
    shares = by_class.predicted_share.isel({"class": -1})
    shares_SxE = shares.transpose("seed", "epoch").values.astype(float)
    findings, texts = [], []
    for epoch in (1, last):
        share = shares_SxE[:, epoch - 1]
        most = points(share - 0.5)
        findings.append(most)
        texts.append(f"{percent(share)} after epoch {epoch} ({most.verdict})")
    accuracy = by_seed(by_class, "test_accuracy", last)
    lead = difference("test_accuracy", shuffled, mixed, last)
    return Finding(
        worst(*findings),
        "In training sorted by class, the last class is predicted for "
        f"{', '.join(texts)}; the final test accuracy is {percent(accuracy)}. Test "
        f"accuracy, shuffled minus the mixed order of the file: {lead.measured}.",
    )


def majority() -> Finding:
    """The accuracy of always predicting the majority."""
    name = max(ANIMALS, key=ANIMALS.__getitem__)
    percentage = 100 * ANIMALS[name] / sum(ANIMALS.values())
    counts = " and ".join(f"{count:,} {animal}" for animal, count in ANIMALS.items())
    return Finding(
        SUPPORTED if round(percentage) == ANIMALS_CLAIM else CONTRADICTED,
        f"Always predicting {name} is right for {percentage:.0f} % of {counts}.",
    )
