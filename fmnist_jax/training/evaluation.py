"""Evaluation of a network on whole data sets, in batches.

Shapes in names: N examples, B of a batch, C classes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset, Splits
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.step import Metrics, State, accuracy, forward

EVALUATION_BATCH = 500  # 250 to 1000 are equally fast; divides 60,000 and 10,000
JUDGED_EXAMPLES = 2048  # a standard deviation of 1 point at an accuracy of 55 %


def scan_batches(
    step: Callable[..., tuple[Any, Metrics]], carry: Any, arrays: Any, batch_size: int
) -> tuple[Any, Metrics]:
    """Scans ``step`` over the batches of arrays; the last batch may be smaller.

    ``step`` maps a carry, the number of a batch and the batch to a carry and metrics.
    Returns the last carry, and the means of the metrics over the examples.
    """
    carry, means, _ = stack_batches(step, carry, arrays, batch_size)
    return carry, means


def stack_batches(
    step: Callable[..., tuple[Any, Metrics]], carry: Any, arrays: Any, batch_size: int
) -> tuple[Any, Metrics, Metrics]:
    """Scans as ``scan_batches``; returns also the metrics of each batch, ``[K]``."""
    num_examples = len(jax.tree.leaves(arrays)[0])
    size = min(batch_size, num_examples)
    count, rest = divmod(num_examples, size)
    full = jax.tree.map(
        lambda x: x[: count * size].reshape(count, size, *x.shape[1:]), arrays
    )
    partial = jax.tree.map(lambda x: x[count * size :], arrays)
    carry, metrics = jax.lax.scan(
        lambda carry, x: step(carry, *x), carry, (jnp.arange(count), full)
    )
    if rest:
        carry, last = step(carry, count, partial)
    means = jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)
    if rest:
        weight = rest / num_examples  # of the last batch
        means = jax.tree.map(lambda m, b: (1 - weight) * m + weight * b, means, last)
        metrics = jax.tree.map(jnp.append, metrics, last)
    return carry, means, metrics


def evaluate(
    config: Config,
    hparams: Hparams,
    state: State,
    dataset: Dataset,
    *,
    key: Array | None = None,
) -> Metrics:
    """Returns mean ``loss`` and ``accuracy`` over a data set, float32 scalars.

    Args:
      config: static settings.
      hparams: traced settings.
      state: of the network.
      dataset: images ``[N, *image_shape]`` as stored; labels ``[N]``.
      key: None for evaluation mode. With a key the network is called as in training:
        dropout is on, and batch norm uses the statistics of each batch.
    """

    def step(carry: None, index: Any, batch: Dataset) -> tuple[None, Metrics]:
        batch_key = None if key is None else jax.random.fold_in(key, index)
        train = key is not None
        logits, _ = forward(config, hparams, state, batch_key, batch.images, train)
        loss = jnp.mean(get_loss(config.loss)(logits, batch.labels))
        return carry, {"loss": loss, "accuracy": accuracy(logits, batch.labels)}

    _, means = scan_batches(step, None, dataset, EVALUATION_BATCH)
    return means


def judged_examples(train: Dataset) -> Dataset:
    """Returns the examples of ``train`` that judge runs: all, or 2,048 of more.

    They are the same for all runs, and not the first ones, which may be of one class.
    """
    count = len(train.labels)
    if count <= JUDGED_EXAMPLES:
        return train
    rows = np.random.default_rng(0).choice(count, JUDGED_EXAMPLES, replace=False)
    return Dataset(*(jnp.asarray(array)[np.sort(rows)] for array in train))


def evaluate_held_out(
    config: Config, hparams: Hparams, state: State, data: Data | Splits
) -> Metrics:
    """Returns loss and accuracy of the test and, if there is one, validation set."""
    parts = {"test": data.test, "validation": data.validation}
    return {
        f"{name}_{metric}": value
        for name, part in parts.items()
        if part is not None
        for metric, value in evaluate(config, hparams, state, part).items()
    }


def evaluate_splits(
    config: Config, hparams: Hparams, state: State, data: Data | Splits
) -> Metrics:
    """Returns the evaluations after an epoch, as ``run_epoch`` describes them."""
    judged = data.train if config.evaluate_train else judged_examples(data.train)
    nan = jnp.full((), jnp.nan)
    metrics = {"train_accuracy": nan}
    metrics |= {"validation_loss": nan, "validation_accuracy": nan}
    values = evaluate(config, hparams, state, judged)
    metrics |= {f"final_train_{metric}": value for metric, value in values.items()}
    metrics |= evaluate_held_out(config, hparams, state, data)
    if config.evaluate_train:
        metrics["train_accuracy"] = metrics["final_train_accuracy"]
    return metrics


def evaluate_dropout(
    config: Config, hparams: Hparams, state: State, key: Array, data: Data | Splits
) -> Metrics:
    """Returns the evaluations with dropout on."""
    evaluate_on = functools.partial(evaluate, config, hparams, state)
    train_key, test_key = jax.random.split(key)
    test = evaluate_on(data.test, key=test_key)
    train_accuracy = jnp.full((), jnp.nan)
    if config.evaluate_train:
        train_accuracy = evaluate_on(data.train, key=train_key)["accuracy"]
    return {
        "train_accuracy_with_dropout": train_accuracy,
        "test_loss_with_dropout": test["loss"],
        "test_accuracy_with_dropout": test["accuracy"],
    }
