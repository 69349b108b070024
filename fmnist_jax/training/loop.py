"""Epochs, evaluations and whole runs: pure functions, plain, jitted or vmapped.

Shapes in names: N examples, B of a batch, C classes, E epochs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.schedules import epoch_learning_rate, next_schedule
from fmnist_jax.training.step import (
    Metrics,
    State,
    Stopping,
    accuracy,
    forward,
    init,
    train_step,
)

EVALUATION_BATCH = 500  # 250 to 1000 are equally fast; divides 60,000 and 10,000
ROUNDING = 1e-6  # an epoch without a mistake may have accuracy 0.9999999


def _scan_batches(
    step: Callable[..., tuple[Any, Metrics]], carry: Any, arrays: Any, batch_size: int
) -> tuple[Any, Metrics]:
    """Scans ``step`` over the batches of arrays; the last batch may be smaller.

    ``step`` maps a carry, the number of a batch and the batch to a carry and metrics.
    Returns the last carry, and the means of the metrics over the examples.
    """
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
    return carry, means


def train_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    dataset: Dataset,
    order: Array,
) -> tuple[State, Metrics]:
    """Trains on each example of ``order`` once.

    Args:
      config: static settings.
      hparams: traced settings.
      state: before the epoch.
      key: for dropout.
      dataset: the training set, ``[N, …]``.
      order: positions in ``dataset``, int ``[M]``, cut into batches; the last batch may
        be smaller.

    Returns:
      The state after the epoch, and the means over the examples of the metrics of
      ``train_step``; each batch is measured before its step.
    """

    def step(state: State, index: Any, rows: Array) -> tuple[State, Metrics]:
        batch = jax.tree.map(
            lambda x: jnp.asarray(x).at[rows].get(mode="promise_in_bounds"), dataset
        )
        step_key = jax.random.fold_in(key, index)
        return train_step(config, hparams, state, step_key, batch)

    state, means = _scan_batches(step, state, jnp.asarray(order), config.batch_size)
    return dataclasses.replace(state, epoch=state.epoch + 1), means


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

    _, means = _scan_batches(step, None, dataset, EVALUATION_BATCH)
    return means


def run_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    train: Dataset,
    test: Dataset,
    order: Array,
) -> tuple[State, Metrics]:
    """Trains for one epoch and evaluates the network after it.

    Once a run has reached its target accuracy, its state and metrics do not change.

    Returns:
      The state after the epoch, and its metrics, float32 scalars: ``train_loss``,
      ``train_penalty`` and ``train_accuracy_running`` over the batches of the epoch;
      ``train_accuracy``, ``test_loss`` and ``test_accuracy`` after it; the
      ``epoch_learning_rate``; with ``Config.evaluate_dropout`` the evaluations with
      dropout on, ``…_with_dropout``; and with a target accuracy ``stopped``, 0 or 1.
    """
    before = state
    learning_rate = epoch_learning_rate(config, hparams, state.schedule, state.epoch)
    state, means = train_epoch(config, hparams, state, key, train, order)
    metrics = {
        "train_loss": means["loss"],
        "train_penalty": means["penalty"],
        "train_accuracy_running": means["accuracy"],
        "epoch_learning_rate": learning_rate,
    }
    evaluate_both = functools.partial(_evaluate_both, config, hparams, state)
    metrics |= evaluate_both(train, test)
    if config.evaluate_dropout:
        # The keys of steps are folded from their numbers, which are all smaller.
        values = evaluate_both(train, test, jax.random.fold_in(key, 2**31 - 1))
        metrics |= {f"{name}_with_dropout": value for name, value in values.items()}
    schedule = next_schedule(config, hparams, state.schedule, metrics["test_loss"])
    state = dataclasses.replace(state, schedule=schedule)
    return _stop_at_target(hparams, before, state, metrics)


def _evaluate_both(
    config: Config,
    hparams: Hparams,
    state: State,
    train: Dataset,
    test: Dataset,
    key: Array | None = None,
) -> Metrics:
    train_key, test_key = (None, None) if key is None else jax.random.split(key)
    test_metrics = evaluate(config, hparams, state, test, key=test_key)
    train_metrics = {"accuracy": jnp.full((), jnp.nan)}
    if config.evaluate_train:
        train_metrics = evaluate(config, hparams, state, train, key=train_key)
    return {
        "train_accuracy": train_metrics["accuracy"],
        "test_loss": test_metrics["loss"],
        "test_accuracy": test_metrics["accuracy"],
    }


def _stop_at_target(
    hparams: Hparams, before: State, after: State, metrics: Metrics
) -> tuple[State, Metrics]:
    """Returns an epoch's state and metrics; those before it if the run has stopped."""
    if before.stopping is None:
        return after, metrics
    stopped, last = before.stopping
    after, metrics = jax.tree.map(
        lambda b, a: jnp.where(stopped, b, a), (before, last), (after, metrics)
    )
    stopped |= metrics["train_accuracy_running"] >= hparams.target_accuracy - ROUNDING
    after = dataclasses.replace(after, stopping=Stopping(stopped, metrics))
    return after, metrics | {"stopped": stopped.astype(jnp.float32)}


def run_keys(seed: Array | int) -> tuple[Array, Array, Array]:
    """Returns a seed's keys: for initial parameters, for epochs, and for probes."""
    init_key, epochs_key, probes_key = jax.random.split(jax.random.key(seed), 3)
    return init_key, epochs_key, probes_key


def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the order of the examples in an epoch (from 1), int32 ``[N]``.

    It depends on nothing else, so that all runs of a seed see the same batches. NumPy
    shuffles, because jax.random.permutation takes fifty times as long on a CPU.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    return order.astype(np.int32)


def example_order(
    config: Config, seed: int, epoch: int, labels: np.ndarray
) -> np.ndarray:
    """Returns the order of the examples by ``config.order``, int32 ``[N]``."""
    if config.order == "file":
        return np.arange(len(labels), dtype=np.int32)
    if config.order == "sorted":
        return np.argsort(labels, kind="stable").astype(np.int32)
    return epoch_order(seed, epoch, len(labels))


def train(
    config: Config, hparams: Hparams, seed: int, data: Data
) -> tuple[State, Metrics]:
    """Trains one run from its initial parameters to its last epoch.

    The seed determines initial parameters, batches and dropout masks.

    Returns:
      The state after the last epoch, and the metrics of ``run_epoch``, ``[E]`` each.
    """
    init_key, epochs_key, _ = run_keys(seed)
    state = init(config, hparams, init_key, data.image_shape, data.num_classes)
    train, test = jax.tree.map(jnp.asarray, (data.train, data.test))
    epochs = range(1, config.num_epochs + 1)
    labels = np.asarray(data.train.labels)
    orders = np.stack([example_order(config, seed, e, labels) for e in epochs])

    def step(state: State, epoch_and_order: tuple[Array, Array]) -> Any:
        epoch, order = epoch_and_order
        key = jax.random.fold_in(epochs_key, epoch)
        return run_epoch(config, hparams, state, key, train, test, order)

    return jax.lax.scan(step, state, (jnp.asarray(epochs), jnp.asarray(orders)))
