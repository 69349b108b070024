"""The steps of an epoch.

Shapes in names: N examples, B of a batch, K records.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset, Splits
from fmnist_jax.errors import UserError
from fmnist_jax.training.evaluation import (
    evaluate_held_out,
    scan_batches,
    stack_batches,
)
from fmnist_jax.training.step import Metrics, State, train_step


def train_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    dataset: Dataset,
    order: Array,
) -> tuple[State, Metrics]:
    """Trains on each example of ``order`` once, and counts the epoch.

    ``end_epoch`` advances what else changes between epochs: the plateau schedule and
    the target accuracy. ``run_epoch`` does all of it.

    Args:
      config: static settings.
      hparams: traced settings.
      state: before the epoch.
      key: for dropout.
      dataset: the training set, ``[N, …]``.
      order: positions in ``dataset``, int ``[M]`` from 0 to N-1, cut into batches; the
        last may be smaller. If it is traced, its range is not checked.

    Returns:
      The state after the epoch, and the means over the examples of the metrics of
      ``train_step``; each batch is measured before its step.

    Raises:
      UserError: for an order that is not int ``[M]``, or is out of range.
    """
    _check_order(order, len(dataset.labels))
    rows = jnp.asarray(order)
    state, means = _train_steps(config, hparams, state, key, dataset, rows, 0)
    return dataclasses.replace(state, epoch=state.epoch + 1), means


def train_recorded_epoch(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    data: Data | Splits,
    order: Array,
) -> tuple[State, Metrics, Metrics]:
    """Trains like ``train_epoch``, with a record every ``Config.record_every`` steps.

    Returns:
      The state and the means, as ``train_epoch`` returns them; and the records, name to
      ``[K]``: means of the training metrics since the previous record, and the metrics
      of ``evaluate_held_out`` after the step. The last may cover fewer steps.
    """
    _check_order(order, len(data.train.labels))
    size = min(config.batch_size, len(order)) * config.record_every

    def window(state: State, index: Any, rows: Array) -> tuple[State, Metrics]:
        first = index * config.record_every
        state, means = _train_steps(
            config, hparams, state, key, data.train, rows, first
        )
        return state, means | evaluate_held_out(config, hparams, state, data)

    state, means, records = stack_batches(window, state, jnp.asarray(order), size)
    return dataclasses.replace(state, epoch=state.epoch + 1), means, records


def _train_steps(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    dataset: Dataset,
    rows: Array,
    first: Any,
) -> tuple[State, Metrics]:
    """Trains on the examples ``rows`` in batches; ``first`` is the first's number."""

    def step(state: State, index: Any, rows: Array) -> tuple[State, Metrics]:
        batch = jax.tree.map(
            lambda x: jnp.asarray(x).at[rows].get(mode="promise_in_bounds"), dataset
        )
        step_key = jax.random.fold_in(key, first + index)
        return train_step(config, hparams, state, step_key, batch)

    return scan_batches(step, state, rows, config.batch_size)


def _check_order(order: Any, num_examples: int) -> None:
    """Refuses an order that is not int ``[M]``; of a concrete one, also its range."""
    shape, dtype = jnp.shape(order), jnp.result_type(order)
    if len(shape) != 1 or not shape[0] or not jnp.issubdtype(dtype, jnp.integer):
        raise UserError(
            f"order is {dtype} {list(shape)}; expected int [M], M > 0, positions of "
            "examples."
        )
    if isinstance(order, jax.core.Tracer):
        return
    values = np.asarray(order)  # under jit, np.min(order) would be traced
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_examples:
        raise UserError(
            f"order has positions from {low} to {high}; expected 0 to "
            f"{num_examples - 1} for {num_examples} examples."
        )
