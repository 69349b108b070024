"""Epochs of one run, pure: every function here works plain, jitted and vmapped.

Shapes in names: N examples, B of a batch, C classes, E epochs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.schedules import epoch_rate, next_schedule
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


ROUNDING = 1e-6  # of an accuracy: that of an epoch without a mistake may be 0.9999999


def _mean_over_batches(metrics: Metrics, last: Metrics | None, share: float) -> Metrics:
    """Returns the means over full batches and a last one with ``share`` of examples."""
    means = jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)
    if last is None:
        return means
    return jax.tree.map(lambda m, b: (1 - share) * m + share * b, means, last)


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
      order: positions in ``dataset``, int ``[M]``, cut into batches; the last may be
        smaller.

    Returns:
      The state after the epoch, and means over its examples of what ``train_step``
      returns, each taken before the step that its example took part in.
    """
    size = min(config.batch_size, len(order))
    num_steps, rest = divmod(len(order), size)

    def step(state: State, step_and_rows: tuple[Any, Array]) -> tuple[State, Metrics]:
        index, rows = step_and_rows
        batch = jax.tree.map(
            lambda x: jnp.asarray(x).at[rows].get(mode="promise_in_bounds"), dataset
        )
        step_key = jax.random.fold_in(key, index)
        return train_step(config, hparams, state, step_key, batch)

    full, left = jnp.split(jnp.asarray(order), [num_steps * size])
    rows = full.reshape(num_steps, size)
    state, metrics = jax.lax.scan(step, state, (jnp.arange(num_steps), rows))
    last = None
    if rest:
        state, last = step(state, (num_steps, left))
    state = dataclasses.replace(state, epoch=state.epoch + 1)
    return state, _mean_over_batches(metrics, last, rest / len(order))


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
      state: of the network to evaluate.
      dataset: images ``[N, *image_shape]`` as stored; labels ``[N]``.
      key: None for evaluation as usual; a key calls the network as in training, with
        dropout on and, where it has batch norm, the statistics of each batch.
    """
    num_examples = len(dataset.labels)
    size = min(EVALUATION_BATCH, num_examples)
    num_batches, rest = divmod(num_examples, size)

    def measure(index: Any, batch: Dataset) -> Metrics:
        batch_key = None if key is None else jax.random.fold_in(key, index)
        train = key is not None
        logits, _ = forward(config, hparams, state, batch_key, batch.images, train)
        loss = jnp.mean(get_loss(config.loss)(logits, batch.labels))
        return {"loss": loss, "accuracy": accuracy(logits, batch.labels)}

    def batches(x: Array) -> Array:
        return x[: num_batches * size].reshape(num_batches, size, *x.shape[1:])

    xs = (jnp.arange(num_batches), jax.tree.map(batches, dataset))
    _, metrics = jax.lax.scan(lambda _, x: (None, measure(*x)), None, xs)
    last = None
    if rest:
        left = jax.tree.map(lambda x: x[num_batches * size :], dataset)
        last = measure(num_batches, left)
    return _mean_over_batches(metrics, last, rest / num_examples)


def _unless(stopped: Array, before: Any, after: Any) -> Any:
    """Returns ``after``, or ``before`` where a run has stopped."""
    return jax.tree.map(lambda b, a: jnp.where(stopped, b, a), before, after)


def run_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    train: Dataset,
    test: Dataset,
    order: Array,
) -> tuple[State, Metrics]:
    """Trains for an epoch and evaluates after it.

    A run that has reached its target accuracy stays as it is, and so do its metrics.

    Returns:
      The state after the epoch and the scalars that the results keep of each epoch:
      ``train_loss``, ``train_penalty`` and ``train_accuracy_running`` over the batches
      of the epoch; ``train_accuracy``, ``test_loss`` and ``test_accuracy`` after it;
      the ``epoch_learning_rate``; with ``Config.evaluate_dropout`` the evaluations
      again with dropout on, ``…_with_dropout``; and where there is a target, whether
      the run has ``stopped``, 0 or 1.
    """
    before = state
    rate = epoch_rate(config, hparams, state.schedule, state.epoch)
    state, during = train_epoch(config, hparams, state, key, train, order)
    metrics = {
        "train_loss": during["loss"],
        "train_penalty": during["penalty"],
        "train_accuracy_running": during["accuracy"],
        **_evaluations(config, hparams, state, train, test, (None, None)),
        "epoch_learning_rate": rate,
    }
    if config.evaluate_dropout:
        # The steps took their keys by number; no epoch has so many.
        keys = jax.random.split(jax.random.fold_in(key, 2**31 - 1))
        again = _evaluations(config, hparams, state, train, test, tuple(keys))
        metrics |= {f"{name}_with_dropout": value for name, value in again.items()}
    schedule = next_schedule(config, hparams, state.schedule, metrics["test_loss"])
    state = dataclasses.replace(state, schedule=schedule)
    if before.stopping is None:
        return state, metrics
    stopped, last = before.stopping
    state, metrics = _unless(stopped, (before, last), (state, metrics))
    stopped |= metrics["train_accuracy_running"] >= hparams.target_accuracy - ROUNDING
    state = dataclasses.replace(state, stopping=Stopping(stopped, metrics))
    return state, metrics | {"stopped": stopped.astype(jnp.float32)}


def _evaluations(
    config: Config,
    hparams: Hparams,
    state: State,
    train: Dataset,
    test: Dataset,
    keys: Sequence[Array | None],
) -> Metrics:
    """Returns what ``run_epoch`` says of the network after an epoch."""
    train_key, test_key = keys
    test_metrics = evaluate(config, hparams, state, test, key=test_key)
    train_accuracy = jnp.full((), jnp.nan)
    if config.evaluate_train:
        on_train = evaluate(config, hparams, state, train, key=train_key)
        train_accuracy = on_train["accuracy"]
    return {
        "train_accuracy": train_accuracy,
        "test_loss": test_metrics["loss"],
        "test_accuracy": test_metrics["accuracy"],
    }


def run_keys(seed: Array | int) -> tuple[Array, Array, Array]:
    """Returns a seed's keys: for initial parameters, for epochs, and for probes."""
    init_key, epochs_key, probes_key = jax.random.split(jax.random.key(seed), 3)
    return init_key, epochs_key, probes_key


def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the order of the examples in an epoch (from 1), int32 ``[N]``.

    It depends on nothing else, so that runs of one seed see the same batches. It is
    made by NumPy: on a CPU jax.random.permutation takes fifty times as long.
    """
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    return order.astype(np.int32)


def example_order(
    config: Config, seed: int, epoch: int, labels: np.ndarray
) -> np.ndarray:
    """Returns the order of the examples that ``config`` asks for, int32 ``[N]``."""
    if config.order == "file":
        return np.arange(len(labels), dtype=np.int32)
    if config.order == "sorted":
        return np.argsort(labels, kind="stable").astype(np.int32)
    return epoch_order(seed, epoch, len(labels))


def train(
    config: Config, hparams: Hparams, seed: int, data: Data
) -> tuple[State, Metrics]:
    """Trains one run from its initial parameters to its last epoch.

    Args:
      config: static settings.
      hparams: traced settings.
      seed: decides initial parameters, batches and dropout.
      data: training and test set.

    Returns:
      The final state, and the metrics of ``run_epoch``, each ``[E]``.
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
