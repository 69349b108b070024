"""The rules for the claims on batches, depth, optimizers, regularisation and order."""

import dataclasses
import math

import numpy as np
import xarray as xr

from experiments.reproduction.findings import (
    ARITHMETIC_ERROR,
    CONTRADICTED,
    SUPPORTED,
    Finding,
    by_seed,
    combine,
    difference,
    judge_loss,
    judge_share,
    last_common,
    percent,
)
from experiments.reproduction.tables import markdown, parts_table

MAX_RISE = 0.01  # nats; a smaller rise of the test loss does not count
MAX_RATIO_ERROR = 0.125  # half of the deficit if dropout at 0.25 were not compensated
ANIMALS = {"dogs": 7200, "cats": 1800}  # the data tutorial's example
ANIMALS_CLAIM = 72  # %


def batch_updates(large_batches: xr.Dataset) -> Finding:
    """The number of updates in an epoch."""
    examples = large_batches.attrs["train_examples"]
    small = math.ceil(examples / 32)
    large = math.ceil(examples / min(10_000, examples))
    return Finding(
        ARITHMETIC_ERROR if small >= large else SUPPORTED,
        f"An epoch of {examples:,} examples has {small:,} updates with batches of 32, "
        f"and {large} with batches of 10,000.",
    )


def depth_0(without: xr.Dataset, with_layer: xr.Dataset) -> Finding:
    """A hidden layer against none."""
    last = last_common(with_layer, without)
    gain = difference("test_accuracy", with_layer, without, last)
    text = f"Test accuracy after epoch {last}, one hidden layer minus none: "
    return dataclasses.replace(gain, measured=f"{text}{gain.measured}.")


def depth_2(two: xr.Dataset, one: xr.Dataset) -> Finding:
    """The gap of two hidden layers against the gap of one."""
    last = last_common(two, one)
    more = difference("accuracy_gap", two, one, last)
    loss = difference("test_loss", two, one, last)
    return dataclasses.replace(
        more,
        measured=f"Two hidden layers minus one after epoch {last}. Gap from training "
        f"to test accuracy: {more.measured}. Test loss: {loss.measured}.",
    )


def adam_faster(adam: xr.Dataset, sgd: xr.Dataset) -> Finding:
    """Adam against SGD at 1e-2, after the first epoch and after the last."""
    last = last_common(adam, sgd)
    parts = {
        f"after epoch {epoch}": difference("test_accuracy", adam, sgd, epoch)
        for epoch in (1, last)
    }
    return combine(
        parts,
        "Gain in test accuracy from SGD to Adam at learning rate 1e-2:\n\n"
        f"{parts_table('time | gain | Adam is better', parts)}",
    )


def dropout_gap(plain: xr.Dataset, dropped: xr.Dataset) -> Finding:
    """The gap without dropout against the gap with it, evaluated in both modes."""
    last = last_common(plain, dropped)
    gap = by_seed(plain, "accuracy_gap", last)
    noisy_gap = by_seed(dropped, "accuracy_gap_with_dropout", last)
    parts = {
        "dropout off": difference("accuracy_gap", plain, dropped, last),
        "dropout on, as in the source": judge_share(gap - noisy_gap),
    }
    return combine(
        parts,
        f"Gap after epoch {last}, without dropout minus with dropout:\n\n"
        f"{parts_table('evaluated | difference | the gap shrinks', parts)}",
        "the mode of evaluation",
    )


def dropout_downscale(scaling: xr.Dataset) -> Finding:
    """The mean of activations with dropout against their mean without.

    It is the same in inverted dropout, which compensates in training. The paper of 2014
    multiplies the weights at prediction, by definition.
    """
    ratio, factor = scaling.ratio.values, scaling.factor.values
    is_compensated = abs(ratio.mean() - 1) <= MAX_RATIO_ERROR
    rest = "no scaling" if is_compensated else f"a factor of {ratio.mean():.2f}"
    parts = {
        "dropout of Srivastava et al., 2014": Finding(SUPPORTED),
        "dropout of this package": Finding(
            CONTRADICTED if is_compensated else SUPPORTED
        ),
    }
    return combine(
        parts,
        "Srivastava et al. (2014) introduced dropout with weights that are multiplied "
        "at prediction by the probability that a unit is retained. Later "
        "implementations, PyTorch and Keras among them, use inverted dropout, which "
        "multiplies the remaining activations in training. This package, at dropout "
        "rate 0.25: activations in training divided by activations in prediction are "
        f"{ratio.mean():.4f} ± {ratio.std(ddof=1):.4f}. Dropout multiplies the "
        f"remaining activations by {factor.mean():.4f} in training, so {rest} is left "
        "for prediction.",
        "the implementation",
    )


def l1_gap(plain: xr.Dataset, penalised: xr.Dataset) -> Finding:
    """The gap without a penalty against the gap with L1."""
    last = last_common(plain, penalised)
    shrinks = difference("accuracy_gap", plain, penalised, last)
    gain = difference("test_accuracy", penalised, plain, last)
    return dataclasses.replace(
        shrinks,
        measured=f"Gap after epoch {last} without L1 minus with L1: {shrinks.measured}"
        f". Test accuracy with L1 minus without: {gain.measured}.",
    )


def anneal(constant: xr.Dataset, annealed: xr.Dataset) -> Finding:
    """Whether the annealed test loss rises above its minimum less than the other."""
    last = last_common(constant, annealed)
    constant_rise, annealed_rise = (_rise(r, last) for r in (constant, annealed))
    is_small = f"the rise with annealing is at most {MAX_RISE}"
    parts = {
        "the rise is smaller with annealing": judge_loss(constant_rise - annealed_rise),
        is_small: judge_loss(MAX_RISE - annealed_rise),
    }
    return combine(
        parts,
        f"Mean rise of the test loss from its minimum to epoch {last}: "
        f"{constant_rise.mean():.3f} at a constant learning rate, and "
        f"{annealed_rise.mean():.3f} with annealing. The threshold of {MAX_RISE} is "
        f"ours.\n\n{parts_table('part | difference | verdict', parts)}",
    )


def _rise(runs: xr.Dataset, last: int) -> np.ndarray:
    losses = runs.test_loss.isel(epoch=slice(last)).astype(float)
    return (losses.isel(epoch=-1) - losses.min("epoch")).values


def shuffle(shuffled: xr.Dataset, mixed: xr.Dataset, by_class: xr.Dataset) -> Finding:
    """Whether most predictions are the last class, after the first epoch and the last.

    The original rule was on the last epoch only.
    """
    last = last_common(shuffled, by_class, mixed)
    last_class = by_class.isel({"class": -1})
    parts, lines = {}, []
    for epoch in (1, last):
        share = by_seed(last_class, "predicted_share", epoch)
        most = judge_share(share, above=0.5)
        parts[f"after epoch {epoch}"] = most
        lines.append(f"{epoch} | {percent(share)} | {most.verdict}")
    accuracy = by_seed(by_class, "test_accuracy", last)
    gain = difference("test_accuracy", shuffled, mixed, last)
    columns = "epoch | predicted as the last class | most predictions"
    return combine(
        parts,
        "Predictions if the training examples are sorted by class:\n\n"
        f"{markdown(columns, lines)}\n\nThe final test accuracy is then "
        f"{percent(accuracy)}. Test accuracy, shuffled minus the mixed order of the "
        f"file: {gain.measured}.",
    )


def majority() -> Finding:
    """The accuracy of always predicting the majority."""
    name = max(ANIMALS, key=ANIMALS.__getitem__)
    percentage = 100 * ANIMALS[name] / sum(ANIMALS.values())
    counts = " and ".join(f"{count:,} {animal}" for animal, count in ANIMALS.items())
    return Finding(
        SUPPORTED if round(percentage) == ANIMALS_CLAIM else ARITHMETIC_ERROR,
        f"With {counts}, always predicting '{name.removesuffix('s')}' is correct for "
        f"{percentage:.0f} % of the images.",
    )
