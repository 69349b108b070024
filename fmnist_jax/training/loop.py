"""Epochs and whole runs: pure functions, plain, jitted or vmapped.

Shapes in names: N examples, B of a batch, C classes, E epochs.
"""

import dataclasses
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Splits
from fmnist_jax.data.normalization import fit_normalization
from fmnist_jax.data.orders import check_orders, run_orders
from fmnist_jax.errors import UserError
from fmnist_jax.training.epoch import train_epoch, train_recorded_epoch
from fmnist_jax.training.evaluation import evaluate_dropout, evaluate_splits
from fmnist_jax.training.schedules import epoch_learning_rate, next_schedule
from fmnist_jax.training.step import Metrics, State, Stopping, init

# Metrics of a step, and the names of their means over an epoch.
METRICS = {
    "loss": "train_loss",
    "penalty": "train_penalty",
    "accuracy": "train_accuracy_running",
}
ROUNDING = 1e-6  # an epoch without a mistake may have accuracy 0.9999999


def run_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    data: Data | Splits,
    order: Array,
) -> tuple[State, Metrics]:
    """Trains an epoch, as ``train_epoch``, and evaluates on all splits of ``data``.

    Once a run has reached its target accuracy, its state and metrics do not change. The
    plateau rule reads the validation loss or, without such a set, the test loss.

    Returns:
      The state after the epoch, and its metrics, float32 scalars: ``train_loss``,
      ``train_penalty`` and ``train_accuracy_running`` over the batches of the epoch;
      ``train_accuracy``, ``test_loss``, ``test_accuracy``, ``validation_loss`` and
      ``validation_accuracy`` after it (NaN if not evaluated); ``final_train_loss`` and
      ``final_train_accuracy`` after it, over the training set or, without
      ``Config.evaluate_train``, over ``judged_examples``; the ``epoch_learning_rate``;
      with ``Config.evaluate_dropout`` the evaluations with dropout on,
      ``…_with_dropout``; with a target accuracy ``stopped``, 0 or 1; and with
      ``Config.record_every`` also losses and accuracies ``…_by_step``, ``[K]`` each.
    """
    run = config, hparams, state, key
    records: Metrics = {}
    if config.record_every:
        after, means, records = train_recorded_epoch(*run, data, order)
    else:
        after, means = train_epoch(*run, data.train, order)
    metrics = {METRICS[name]: means[name] for name in METRICS}
    metrics |= evaluate_splits(config, hparams, after, data)
    if config.evaluate_dropout:
        # The keys of steps are folded from their numbers, which are all smaller.
        dropout_key = jax.random.fold_in(key, 2**31 - 1)
        metrics |= evaluate_dropout(config, hparams, after, dropout_key, data)
    chosen_by = "test_loss" if data.validation is None else "validation_loss"
    loss = metrics[chosen_by]
    after, metrics = end_epoch(config, hparams, state, after, metrics, loss)
    return after, metrics | _named_records(state, records)


def _named_records(before: State, records: Metrics) -> Metrics:
    """Returns records by the names of results; NaN for a run that has stopped."""
    records = {f"{METRICS.get(name, name)}_by_step": r for name, r in records.items()}
    if before.stopping is None:
        return records
    stopped = before.stopping.stopped
    return {name: jnp.where(stopped, jnp.nan, r) for name, r in records.items()}


def end_epoch(
    config: Config,
    hparams: Hparams,
    before: State,
    after: State,
    metrics: Metrics,
    loss: Array,
) -> tuple[State, Metrics]:
    """Ends an epoch of a loop around ``train_step`` or ``train_epoch``.

    It counts the epoch, on which cosine schedules and frozen batch norm depend, applies
    the plateau rule, and stops a run at its target accuracy. ``run_epoch`` calls it.

    Args:
      config: static settings.
      hparams: traced settings.
      before: the state before the first step of the epoch.
      after: the state after its last step.
      metrics: of the epoch; with a target accuracy, ``train_accuracy_running`` among
        them, which is the mean ``accuracy`` of the steps.
      loss: after the epoch, which the plateau rule reads; a float32 scalar.

    Returns:
      The state before the next epoch; and ``metrics`` with ``epoch_learning_rate`` and,
      with a target accuracy, ``stopped``. Of a run that had reached its target, both
      are those of the epoch in which it did.

    Raises:
      UserError: if ``metrics`` lacks ``train_accuracy_running``, with a target.
    """
    learning_rate = epoch_learning_rate(config, hparams, before.schedule, before.epoch)
    metrics = {**metrics, "epoch_learning_rate": learning_rate}
    schedule = next_schedule(config, hparams, after.schedule, loss)
    after = dataclasses.replace(after, epoch=before.epoch + 1, schedule=schedule)
    return _stop_at_target(hparams, before, after, metrics)


def _stop_at_target(
    hparams: Hparams, before: State, after: State, metrics: Metrics
) -> tuple[State, Metrics]:
    """Returns an epoch's state and metrics; those before it if the run has stopped."""
    if before.stopping is None:
        return after, metrics
    if "train_accuracy_running" not in metrics:
        raise UserError(
            "target_accuracy needs the metric 'train_accuracy_running' of each epoch: "
            "the mean of the accuracies that train_step returns."
        )
    stopped, last = before.stopping
    previous = {name: last.get(name, value) for name, value in metrics.items()}
    after, metrics = jax.tree.map(
        lambda b, a: jnp.where(stopped, b, a), (before, previous), (after, metrics)
    )
    stopped |= metrics["train_accuracy_running"] >= hparams.target_accuracy - ROUNDING
    kept = {name: metrics.get(name, value) for name, value in last.items()}
    after = dataclasses.replace(after, stopping=Stopping(stopped, kept))
    return after, metrics | {"stopped": stopped.astype(jnp.float32)}


def run_keys(seed: Any) -> tuple[Array, Array, Array]:
    """Returns the keys of ``seed``: for initial parameters, epochs and probes.

    ``jax.random.fold_in`` of the second and an epoch's number (from 1) is its key.
    """
    init_key, epochs_key, probes_key = jax.random.split(jax.random.key(seed), 3)
    return init_key, epochs_key, probes_key


def train(
    config: Config,
    hparams: Hparams,
    seed: SupportsIndex,
    data: Data,
    orders: Any = None,
) -> tuple[State, Metrics]:
    """Trains one run from its initial parameters to its last epoch.

    The seed determines initial parameters, batches and dropout masks. Over seeds:

        orders = run_orders(config, range(5), data)
        run = lambda seed, orders: train(config, hparams, seed, data, orders)
        states, metrics = jax.vmap(run)(jnp.arange(5), orders)

    Args:
      config: static settings.
      hparams: traced settings.
      seed: a whole number from 0 to 2³² - 1; if it is traced, ``orders`` are needed.
      data: training and test set, and perhaps a validation set.
      orders: of the examples in each epoch, int ``[E, N]``; None: as by ``run_orders``.

    Returns:
      The state after the last epoch, and the metrics of ``run_epoch``, ``[E]`` each.
    """
    orders = run_orders(config, seed, data) if orders is None else orders
    check_orders(config, orders)
    init_key, epochs_key, _ = run_keys(seed)
    normalization = fit_normalization(config, data.train)
    shapes = data.image_shape, data.num_classes
    state = init(config, hparams, init_key, *shapes, normalization)
    splits = jax.tree.map(jnp.asarray, data.splits)

    def step(state: State, epoch_and_order: tuple[Array, Array]) -> Any:
        epoch, order = epoch_and_order
        key = jax.random.fold_in(epochs_key, epoch)
        return run_epoch(config, hparams, state, key, splits, order)

    epochs = jnp.arange(1, config.num_epochs + 1)
    return jax.lax.scan(step, state, (epochs, jnp.asarray(orders)))
