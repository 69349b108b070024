"""The state of one run, its initialisation, and one training step.

Every function is pure and works plain, jitted and vmapped.
Shapes in names: B examples of a batch, C classes.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.config import Config, Hparams, resolve
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import UserError
from fmnist_jax.training.losses import get_loss, is_classes, penalty
from fmnist_jax.training.matmul import default_precision
from fmnist_jax.training.models import (
    HIDDEN,
    Variables,
    apply_model,
    init_variables,
    make_model,
)
from fmnist_jax.training.normalization import normalize
from fmnist_jax.training.optimizers import make_optimizer, scale_first_kernel
from fmnist_jax.training.schedules import epoch_learning_rate, init_schedule

Metrics = dict[str, Array]


class Stopping(NamedTuple):
    """The state of early stopping."""

    stopped: Array  # whether the run has reached its target accuracy, a bool scalar
    last: Metrics  # of the last epoch; NaN before the first


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The state of a run, carried from step to step."""

    params: Any  # the network's parameters
    model_state: Variables  # its other collections, such as batch statistics
    opt_state: optax.OptState
    epoch: Array  # number of completed epochs, an int32 scalar
    schedule: Any  # Plateau, or the steps taken (own schedules); None: no state
    stopping: Stopping | None  # None: no target accuracy
    num_classes: int = dataclasses.field(metadata={"static": True})
    normalization: Normalization | None = None  # None: pixels are only divided


def scaled_inputs(
    hparams: Hparams, images: Any, normalization: Normalization | None = None
) -> Array:
    """Returns the network's inputs, ``(normalized images - offset) / divisor``.

    Args:
      hparams: with ``divisor`` and ``offset``. A divisor of None is 255 without a
        normalization, and 1 with one.
      images: ``[B, *image_shape]``, as stored.
      normalization: as ``fit_normalization`` returns it; None for the pixels as stored.

    Returns:
      Float32 ``[B, *image_shape]``.
    """
    x = jnp.asarray(images, jnp.float32)
    x = x if normalization is None else normalize(normalization, x)
    x = x if hparams.offset is None else x - hparams.offset
    choice = "none" if normalization is None else "unit"
    default = NORMALIZATIONS[choice]["divisor"]
    return x / (default if hparams.divisor is None else hparams.divisor)


def _model_call(
    config: Config, hparams: Hparams, state: State, images: Array
) -> tuple[Any, Variables, Array]:
    """Returns the network, its variables, and its inputs."""
    model = make_model(config, hparams, state.num_classes, state.epoch)
    variables = {"params": state.params, **state.model_state}
    return model, variables, scaled_inputs(hparams, images, state.normalization)


def forward(
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array | None,
    images: Array,
    train: bool,
) -> tuple[Array, Variables]:
    """Returns logits ``[B, C]`` of ``images`` and the model state after the call."""
    model, variables, x = _model_call(config, hparams, state, images)
    with default_precision(config.precision):
        return apply_model(model, variables, key, x, train)


def hidden_values(
    config: Config,
    hparams: Hparams,
    state: State,
    images: Array,
    name: str = HIDDEN,
    train: bool = False,
) -> tuple[Array, tuple[Array, ...]]:
    """Returns logits ``[B, C]`` and values of the hidden layers, ``[B, …]`` each.

    The network is called in training mode (without a key for dropout) if ``train``, or
    else in evaluation mode. The values are those that it sows under
    ``name``: "hidden" for the outputs of hidden layers, "preactivation" for the inputs
    of their ReLUs; none if it sows nothing.
    """
    model, variables, x = _model_call(config, hparams, state, images)
    sown = ("intermediates",)
    logits, collections = apply_model(model, variables, None, x, train, sown)
    leaves = jax.tree_util.tree_leaves_with_path(collections.get(*sown, {}))
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

    ``image_shape`` is the shape of one image, such as ``(28, 28)``, and
    ``normalization`` is what ``fit_normalization(config, train)`` returns.

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
    variables = init_variables(model, key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables.pop("params")
    if hparams.first_kernel_scale is not None:
        params = scale_first_kernel(params, hparams.first_kernel_scale)
    opt_state = make_optimizer(config, hparams).init(params)
    stopping = None
    if hparams.target_accuracy is not None:
        last = {name: jnp.full((), jnp.nan) for name in epoch_metric_names(config)}
        stopping = Stopping(jnp.zeros((), bool), last)
    schedule = init_schedule(config, hparams)
    epoch = jnp.zeros((), jnp.int32)
    progress = opt_state, epoch, schedule, stopping
    return State(params, variables, *progress, num_classes, normalization)


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
) -> tuple[Any, tuple[Metrics, Variables]]:
    """Returns the gradients of loss plus penalty on one batch, before the optimizer.

    The arguments are those of ``train_step``. In addition to the gradients, a tree
    like the parameters, it returns the metrics of ``train_step`` and the model state
    after the batch.
    """

    def objective(params: Any) -> tuple[Array, tuple[Metrics, Variables]]:
        trial = dataclasses.replace(state, params=params)
        logits, model_state = forward(config, hparams, trial, key, batch.images, True)
        metrics = {
            "loss": jnp.mean(get_loss(config.loss)(logits, batch.labels)),
            "penalty": penalty(config, hparams, params),
            "accuracy": accuracy(logits, batch.labels),
        }
        return metrics["loss"] + metrics["penalty"], (metrics, model_state)

    # A GPU's default for float32 products is a mantissa of 10 bits instead of 23. The
    # products of the backward pass are traced here, outside the network's call.
    with default_precision(config.precision):
        return jax.grad(objective, has_aux=True)(state.params)


def updates(
    config: Config, hparams: Hparams, state: State, grads: Any
) -> tuple[Any, optax.OptState]:
    """Returns the optimizer's updates of the parameters, and its new state."""
    hparams = resolve(config, hparams)
    if callable(config.schedule) or hparams.learning_rate is not None:
        rate = epoch_learning_rate(config, hparams, state.schedule, state.epoch)
        hparams = dataclasses.replace(hparams, learning_rate=rate)
    optimizer = make_optimizer(config, hparams)
    changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
    # float32 settings would promote the state of parameters of lower precision.
    opt_state = jax.tree.map(
        lambda new, old: new.astype(old.dtype), opt_state, state.opt_state
    )
    return changes, opt_state


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
