"""The state of one run, its initialisation, and one training step.

Every function is pure and works plain, jitted and vmapped.
Shapes in names: B examples of a batch, C classes.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array

from fmnist_jax.config import Config, Hparams, resolve
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import UserError
from fmnist_jax.networks.calls import apply_network, at_least_float32, init_network
from fmnist_jax.networks.convolutions import fast_in_loops
from fmnist_jax.networks.matmul import default_precision
from fmnist_jax.networks.mlp import HIDDEN, make_model
from fmnist_jax.training.losses import get_loss, is_classes, penalty
from fmnist_jax.training.normalization import scaled_inputs
from fmnist_jax.training.optimizers import make_optimizer, scale_first_kernel
from fmnist_jax.training.schedules import epoch_learning_rate, init_schedule

Metrics = dict[str, Array]
Function = Callable[..., Any]


class Stopping(NamedTuple):
    """Early stopping: whether a run has ``stopped``, and its ``last`` metrics."""

    stopped: Array  # a bool scalar: whether the run has reached its target accuracy
    last: Metrics  # of the last epoch; NaN before the first


@flax.struct.dataclass
class State:
    """The state of a run, carried from step to step: a pytree, which ``init`` makes.

    Attributes:
      params: the network's parameters.
      model_state: its state, such as batch statistics; of the MLP a dict.
      opt_state: the state of the optimizer, as optax has it.
      epoch: number of completed epochs, an int32 scalar.
      schedule: state of the plateau rule, or the steps taken (under a schedule of the
        user's); None if there is none.
      stopping: state of early stopping; None without a target accuracy.
      num_classes: number of logits; static.
      normalization: of the images; None if they are only divided.
    """

    params: Any
    model_state: Any
    opt_state: optax.OptState
    epoch: Array
    schedule: Any
    stopping: Stopping | None
    num_classes: int = flax.struct.field(pytree_node=False)
    normalization: Normalization | None = None


def forward(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array | None,
    images: Array,
    train: bool,
    sown: tuple[str, ...] = (),
) -> tuple[Array, Any]:
    """Returns logits ``[B, C]`` of ``images`` and the model state after the call.

    ``images`` are as stored; ``key`` is for dropout, or None; ``train`` is the mode.
    The state has also the collections that a Flax Linen module sows under ``sown``.
    """
    model = make_model(config, hparams, state.num_classes, state.epoch)
    x = scaled_inputs(hparams, images, state.normalization)

    def call(params: Any, state: Any, key: Array | None, x: Array) -> tuple[Array, Any]:
        return apply_network(model, params, state, key, x, train, sown)

    with default_precision(config.precision):
        call = with_fast_convolutions(config, call)
        return call(state.params, state.model_state, key, x)


def with_fast_convolutions(config: Config, function: Function) -> Function:
    """Returns ``function``; of a user's network, with convolutions fast in loops."""
    return function if config.model is None else fast_in_loops(function)


def hidden_values(
    config: Config,
    hparams: Hparams,
    state: State,
    images: Array,
    name: str = HIDDEN,
    train: bool = False,
) -> tuple[Array, tuple[Array, ...]]:
    """Returns logits ``[B, C]`` and values of the hidden layers, ``[B, …]`` each.

    The ``images`` are as stored. With ``train``, the mode is that of training, without
    dropout. The values are those that a Flax Linen module sows under ``name``: "hidden"
    for outputs of hidden layers, "preactivation" for inputs of their ReLUs; none if it
    sows nothing, and for other networks.
    """
    sown = "intermediates"
    logits, after = forward(config, hparams, state, None, images, train, (sown,))
    collection = after.get(sown, {}) if isinstance(after, dict) else {}
    leaves = jax.tree_util.tree_leaves_with_path(collection)
    key = jax.tree_util.DictKey(name)
    return logits, tuple(leaf for path, leaf in leaves if key in path)


def init(
    config: Config,
    hparams: Hparams,
    key: Array,
    image_shape: tuple[int, ...],
    num_classes: int,
    normalization: Normalization | None = None,
) -> State:
    """Returns the state before the first step; ``key`` determines the parameters.

    ``image_shape`` is the shape of one image, such as ``(28, 28)``, ``num_classes`` the
    number of logits, and ``normalization`` what ``fit_normalization(config, train)``
    returns.

    Raises:
      UserError: if only one of ``config`` and ``normalization`` has a normalization.
    """
    if (config.normalization == "none") != (normalization is None):
        got = "no statistics" if normalization is None else "statistics"
        raise UserError(
            f"normalization is {config.normalization!r}, but init got {got}; pass "
            "fit_normalization(config, data.train) as its last argument."
        )
    model = make_model(config, hparams, num_classes)
    x = jnp.zeros((1, *image_shape), jnp.float32)
    params, model_state = init_network(model, key, x)
    if hparams.first_kernel_scale is not None:
        params = scale_first_kernel(params, hparams.first_kernel_scale)
    opt_state = make_optimizer(config, hparams).init(at_least_float32(params))
    stopping = None
    if hparams.target_accuracy is not None:
        last = {name: jnp.full((), jnp.nan) for name in epoch_metric_names(config)}
        stopping = Stopping(jnp.zeros((), bool), last)
    progress = opt_state, jnp.int32(0), init_schedule(config, hparams), stopping
    return State(params, model_state, *progress, num_classes, normalization)


def epoch_metric_names(config: Config) -> list[str]:
    """Returns the names of the metrics of ``run_epoch``, except ``stopped``."""
    evaluated = ["train_accuracy", "test_loss", "test_accuracy"]
    names = ["train_loss", "train_penalty", "train_accuracy_running", *evaluated]
    names += ["validation_loss", "validation_accuracy"]
    names += ["final_train_loss", "final_train_accuracy"]
    if config.evaluate_dropout:
        names += [f"{name}_with_dropout" for name in evaluated]
    return [*names, "epoch_learning_rate"]


def accuracy(logits_BxC: Array, labels_B: Array) -> Array:
    """Returns the share of examples whose largest logit is the label's.

    NaN if any logit is not finite: the argmax of NaNs is class 0, so that a diverged
    network would seem to predict at chance level. Also NaN if the labels are not
    classes, int ``[B]``.
    """
    if not is_classes(labels_B):
        return jnp.full((), jnp.nan)
    correct = jnp.mean(jnp.argmax(logits_BxC, axis=-1) == labels_B, dtype=jnp.float32)
    return jnp.where(jnp.all(jnp.isfinite(logits_BxC)), correct, jnp.nan)


def gradients(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> tuple[Any, tuple[Metrics, Any]]:
    """Returns the gradients of loss plus penalty on one batch, before the optimizer.

    The arguments are those of ``train_step``. With the gradients, a tree like the
    parameters, it returns the metrics of ``train_step`` and the new model state.
    """

    def objective(params: Any) -> tuple[Array, tuple[Metrics, Any]]:
        trial = dataclasses.replace(state, params=params)
        logits, model_state = forward(config, hparams, trial, key, batch.images, True)
        metrics = {
            "loss": jnp.mean(get_loss(config.loss)(logits, batch.labels)),
            "penalty": penalty(config, hparams, params),
            "accuracy": accuracy(logits, batch.labels),
        }
        return metrics["loss"] + metrics["penalty"], (metrics, model_state)

    # By default a GPU rounds float32 products to 10 bits; also those of the gradient.
    gradient = jax.grad(objective, has_aux=True)
    with default_precision(config.precision):
        return with_fast_convolutions(config, gradient)(state.params)


def updates(
    config: Config, hparams: Hparams, state: State, grads: Any
) -> tuple[Any, optax.OptState]:
    """Returns updates of the parameters by ``grads``, and the optimizer's new state.

    Both are float32 (or float64) if the parameters are of lower precision.
    """
    hparams = resolve(config, hparams)
    if callable(config.schedule) or hparams.learning_rate is not None:
        rate = epoch_learning_rate(config, hparams, state.schedule, state.epoch)
        hparams = dataclasses.replace(hparams, learning_rate=rate)
    optimizer = make_optimizer(config, hparams)
    grads, params = at_least_float32((grads, state.params))
    return optimizer.update(grads, state.opt_state, params)


def train_step(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> tuple[State, Metrics]:
    """Takes one step of the optimizer on one batch.

    It advances the parameters, the model state and the optimizer's state. In a loop
    around it, ``end_epoch`` advances the rest after each epoch: the number of epochs,
    the schedule and the target accuracy.

    Args:
      config: static settings.
      hparams: traced settings.
      state: before the step.
      key: for dropout.
      batch: images ``[B, *image_shape]`` as stored, not normalized; labels ``[B]``.

    Returns:
      The state after the step, and the metrics of the batch before the step: mean
      ``loss`` without penalty, ``penalty`` and ``accuracy``, float32 scalars.
    """
    grads, (metrics, model_state) = gradients(config, hparams, state, key, batch)
    param_updates, opt_state = updates(config, hparams, state, grads)
    params = optax.apply_updates(state.params, param_updates)
    changes = {"params": params, "model_state": model_state, "opt_state": opt_state}
    if callable(config.schedule):
        changes["schedule"] = state.schedule + 1  # steps taken
    return dataclasses.replace(state, **changes), metrics
