"""Predictions of trained runs, and ensembles of them."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import UserError, check_is, explaining
from fmnist_jax.sweeps.states import Run

SHAPE_HINT = "Their shape must be that of the images it was trained on."
NORMAL_95 = 1.96  # standard errors in half of a 95 % confidence interval


def predict(
    config: Config, hparams: Hparams, state: training.State, images: Any
) -> Array:
    """Returns the logits of images, in evaluation mode.

    Args:
      config: static settings.
      hparams: traced settings.
      state: as ``train`` or ``States.sel`` returns it.
      images: ``[N, *image_shape]`` as stored, neither normalized nor divided.

    Returns:
      Float32 ``[N, C]``. ``jax.nn.softmax`` of it gives probabilities.
    """
    check_is("config", config, Config, "a Config: predict(config, hparams, state, …)")
    check_is("hparams", hparams, Hparams, "an Hparams")
    check_is("state", state, training.State, "a State, as States.sel returns it")
    if not hasattr(images, "shape") or not len(images):
        raise UserError(
            f"images is a {type(images).__name__}; expected an array [N, …], such as "
            "data.test.images."
        )
    size = training.EVALUATION_BATCH
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    shape = ", ".join(["N", *map(str, images.shape[1:])])
    with explaining(f"The network failed on images [{shape}]", SHAPE_HINT):
        logits = [_logits(config, hparams, state, jnp.asarray(b)) for b in batches]
    return jnp.concatenate(logits)


@functools.partial(jax.jit, static_argnames="config")
def _logits(
    config: Config, hparams: Hparams, state: training.State, images: Array
) -> Array:
    return training.forward(config, hparams, state, None, images, False)[0]


def ensemble(runs: Sequence[Run], dataset: Dataset) -> dict[str, Any]:
    """Compares an ensemble, which averages probabilities, with its members.

    Args:
      runs: the members, such as ``states.runs(divisor=255)``: all seeds of a setting.
      dataset: images ``[N, *image_shape]`` as stored; labels int ``[N]``.

    Returns:
      ``probabilities`` of the ensemble, float32 ``[N, C]``; ``accuracies`` of the
      members, ``[R]``; ``accuracy`` of the ensemble; ``gain``, the accuracy of the
      ensemble minus the mean accuracy of the members; and ``gain_low`` and
      ``gain_high``, its 95 % confidence interval over examples. The members are taken
      as given: other seeds would give other gains.

    Raises:
      UserError: for fewer than two runs.
    """
    expected = "a list of runs, as states.runs(divisor=255) returns it"
    if isinstance(runs, Run) or not isinstance(runs, Sequence):
        raise UserError(f"runs is a {type(runs).__name__}; expected {expected}.")
    check_is("dataset", dataset, Dataset, "a Dataset, such as data.test")
    if len(runs) < 2:
        raise UserError(f"An ensemble needs at least two runs; these are {len(runs)}.")
    outputs = [jax.nn.softmax(predict(*run, dataset.images)) for run in runs]
    probabilities = np.mean(np.asarray(outputs), axis=0)
    labels = np.asarray(dataset.labels)
    members = np.stack([np.argmax(output, axis=-1) == labels for output in outputs])
    is_correct = np.argmax(probabilities, axis=-1) == labels
    # Paired by example, so that examples that all members get right add no variance.
    gains = is_correct - members.mean(0)
    error = NORMAL_95 * gains.std(ddof=1) / np.sqrt(len(gains))
    return {
        "probabilities": probabilities,
        "accuracies": members.mean(1),
        "accuracy": float(is_correct.mean()),
        "gain": float(gains.mean()),
        "gain_low": float(gains.mean() - error),
        "gain_high": float(gains.mean() + error),
    }
