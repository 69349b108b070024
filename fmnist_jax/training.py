"""One run, pure: every function here works plain, jitted and vmapped.

Shapes in names: N examples, B of a batch, C classes, E epochs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import Data, Dataset
from fmnist_jax.losses import get_loss, penalty
from fmnist_jax.models import (
    PRECISIONS,
    Variables,
    apply_model,
    hidden_outputs,
    init_variables,
    make_model,
)
from fmnist_jax.optimizers import make_optimizer, scale_first_kernel
from fmnist_jax.schedules import Plateau, epoch_rate, init_schedule, next_schedule

Metrics = dict[str, Array]

EVALUATION_BATCH = 500  # 250 to 1000 are equally fast; divides 60,000 and 10,000
ROUNDING = 1e-6  # of an accuracy: that of an epoch without a mistake may be 0.9999999


class Stopping(NamedTuple):
    """What early stopping carries.

    Attributes:
      stopped: whether the target has been reached, a bool scalar.
      last: the metrics of the last epoch, NaN before the first.
    """

    stopped: Array
    last: Metrics


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """What a run carries from step to step.

    Attributes:
      params: the network's parameters.
      model_state: its other collections, such as batch statistics.
      opt_state: the optimizer's state.
      epoch: how many epochs are over, an int32 scalar.
      schedule: what the learning rate's schedule carries; None for nothing.
      stopping: what early stopping carries; None where there is no target.
      num_classes: number of logits; static.
    """

    params: Any
    model_state: Variables
    opt_state: optax.OptState
    epoch: Array
    schedule: Plateau | None
    stopping: Stopping | None
    num_classes: int = dataclasses.field(metadata={"static": True})


def scaled_inputs(hparams: Hparams, images: Array) -> Array:
    """Returns what the network sees: ``images / divisor``, float32."""
    return jnp.asarray(images, jnp.float32) / hparams.divisor


def forward(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array | None,
    images: Array,
    train: bool,
) -> tuple[Array, Variables]:
    """Returns logits ``[B, C]`` of ``images`` and the model state after the call."""
    model = make_model(config, hparams, state.num_classes, state.epoch)
    variables = {"params": state.params, **state.model_state}
    x = scaled_inputs(hparams, images)
    with jax.default_matmul_precision(PRECISIONS[config.precision].name):
        return apply_model(model, variables, key, x, train)


def hidden_values(
    config: Config, hparams: Hparams, state: State, images: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Returns logits ``[B, C]`` and what hidden layers put out, ``[B, …]`` each.

    As in evaluation; the hidden layers are what the network sows as such.
    """
    model = make_model(config, hparams, state.num_classes, state.epoch)
    variables = {"params": state.params, **state.model_state}
    return hidden_outputs(model, variables, scaled_inputs(hparams, images))


def init(
    config: Config,
    hparams: Hparams,
    key: Array,
    image_shape: tuple[int, ...],
    num_classes: int,
) -> State:
    """Returns the state before the first step.

    Args:
      config: static settings.
      hparams: traced settings.
      key: decides the initial parameters.
      image_shape: shape of one image, such as ``(28, 28)``.
      num_classes: number of classes C.
    """
    model = make_model(config, hparams, num_classes)
    variables = init_variables(model, key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables.pop("params")
    if hparams.first_kernel_scale is not None:
        params = scale_first_kernel(params, hparams.first_kernel_scale)
    opt_state = make_optimizer(config, hparams).init(params)
    stopping = None
    if hparams.target_accuracy is not None:
        nothing = {name: jnp.full((), jnp.nan) for name in _metric_names(config)}
        stopping = Stopping(jnp.zeros((), bool), nothing)
    schedule = init_schedule(config, hparams)
    epoch = jnp.zeros((), jnp.int32)
    return State(params, variables, opt_state, epoch, schedule, stopping, num_classes)


def accuracy(logits_BxC: Array, labels_B: Array) -> Array:
    """Share of examples whose largest logit is the label's; NaN if one is not finite.

    (The argmax of NaNs is class 0: a diverged network would seem to guess.)
    """
    correct = jnp.mean(jnp.argmax(logits_BxC, axis=-1) == labels_B, dtype=jnp.float32)
    return jnp.where(jnp.all(jnp.isfinite(logits_BxC)), correct, jnp.nan)


def gradients(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> tuple[Any, tuple[Metrics, Variables]]:
    """Returns what one batch asks for, before the optimizer has seen it.

    Args:
      config: static settings.
      hparams: traced settings.
      state: of the network.
      key: for dropout.
      batch: images ``[B, *image_shape]`` as stored, not divided; labels ``[B]``.

    Returns:
      The gradients of loss and penalty, like the parameters; and of the batch the mean
      ``loss`` without penalty, the ``penalty`` and the ``accuracy``, float32 scalars,
      and the model state after it.
    """

    def objective(params: Any) -> tuple[Array, tuple[Metrics, Variables]]:
        before = dataclasses.replace(state, params=params)
        logits, model_state = forward(config, hparams, before, key, batch.images, True)
        metrics = {
            "loss": jnp.mean(get_loss(config.loss)(logits, batch.labels)),
            "penalty": penalty(config, hparams, params),
            "accuracy": accuracy(logits, batch.labels),
        }
        return metrics["loss"] + metrics["penalty"], (metrics, model_state)

    # Left to itself, a GPU takes float32 products in 10 bits of mantissa, not 23. The
    # backward pass's are traced here, outside the network's call.
    with jax.default_matmul_precision(PRECISIONS[config.precision].name):
        return jax.grad(objective, has_aux=True)(state.params)


def updates(
    config: Config, hparams: Hparams, state: State, grads: Any
) -> tuple[Any, optax.OptState]:
    """Returns what a step adds to the parameters, and the optimizer's state after."""
    rate = epoch_rate(config, hparams, state.schedule, state.epoch)
    optimizer = make_optimizer(config, dataclasses.replace(hparams, learning_rate=rate))
    return optimizer.update(grads, state.opt_state, state.params)


def train_step(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> tuple[State, Metrics]:
    """Takes one step of the optimizer on one batch.

    Args:
      config: static settings.
      hparams: traced settings.
      state: before the step.
      key: for dropout.
      batch: images ``[B, *image_shape]`` as stored, not divided; labels ``[B]``.

    Returns:
      The state after the step and, of the batch before it, the mean ``loss`` without
      penalty, the ``penalty`` and the ``accuracy``, float32 scalars.
    """
    grads, (metrics, model_state) = gradients(config, hparams, state, key, batch)
    added, opt_state = updates(config, hparams, state, grads)
    params = optax.apply_updates(state.params, added)
    after = dataclasses.replace(
        state, params=params, model_state=model_state, opt_state=opt_state
    )
    return after, metrics


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


def _metric_names(config: Config) -> list[str]:
    """Returns the names of what ``run_epoch`` says of an epoch, but ``stopped``."""
    after = ["train_accuracy", "test_loss", "test_accuracy"]
    names = ["train_loss", "train_penalty", "train_accuracy_running", *after]
    if config.evaluate_dropout:
        names += [f"{name}_with_dropout" for name in after]
    return [*names, "epoch_learning_rate"]


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
