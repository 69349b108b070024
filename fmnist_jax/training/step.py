"""One run, pure: every function here works plain, jitted and vmapped.

Shapes in names: N examples, B of a batch, C classes, E epochs.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.training.losses import get_loss, penalty
from fmnist_jax.training.models import (
    PRECISIONS,
    Variables,
    apply_model,
    hidden_outputs,
    init_variables,
    make_model,
)
from fmnist_jax.training.optimizers import make_optimizer, scale_first_kernel
from fmnist_jax.training.schedules import (
    Plateau,
    epoch_rate,
    init_schedule,
)

Metrics = dict[str, Array]


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


def _metric_names(config: Config) -> list[str]:
    """Returns the names of what ``run_epoch`` says of an epoch, but ``stopped``."""
    after = ["train_accuracy", "test_loss", "test_accuracy"]
    names = ["train_loss", "train_penalty", "train_accuracy_running", *after]
    if config.evaluate_dropout:
        names += [f"{name}_with_dropout" for name in after]
    return [*names, "epoch_learning_rate"]
