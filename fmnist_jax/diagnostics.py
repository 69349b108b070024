"""Why a run trains or does not: probes, and the status that they decide."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import Dataset
from fmnist_jax.kinds import check_is, unknown
from fmnist_jax.losses import CLIP, get_loss
from fmnist_jax.training import State, hidden_values

# What the statuses mean, in the order in which they are tried.
STATUSES = {
    "missing": "not run",
    "diverged": "a loss or a parameter is no longer a finite number",
    "stopped": "reached its target accuracy, and was left as it was",
    "dead": "every unit of some hidden layer puts out 0 for each probed image",
    "frozen": "high loss, and at least half the probed images have exactly zero "
    "gradient",
    "trained": "the last training loss is below half of what guessing costs",
    "slow": "the last training loss is not below half of what guessing costs",
}
WHEN = ("init", "epoch", "end")
LOW_LOSS = 0.5  # of ln C, what guessing costs
ZERO_GRADIENT_SHARE = 0.5  # of the probed examples


@dataclasses.dataclass(frozen=True)
class Probe:
    """Something else worth recording of each run.

    Attributes:
      function: pure, ``(config, hparams, state, key, batch) -> dict of arrays``;
        vmapped with the run.
      when: "init" (before the first step), "epoch" (after each) or "end".
      dims: the names of each output's dimensions; none for a scalar.
      examples: how many of the first training images make the batch.
      gradients: about how many gradients of the batch's loss it costs, for the time
        that is expected.

    Raises:
      UserError: for another ``when``.
    """

    function: Callable[[Config, Hparams, State, Array, Dataset], dict[str, Array]]
    when: str = "epoch"
    dims: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict, hash=False
    )
    examples: int = 256
    gradients: float = 0.0

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise unknown("when of a probe", self.when, WHEN)


def health(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """What the status is decided by; a probe's function.

    Returns:
      ``parameters_finite``: 1 or 0. ``dead_layers``: the number of hidden layers (what
      a module sows as ``intermediates/hidden``) that are 0 on the whole batch.
      ``zero_gradient_share``: of the batch's examples, those whose loss has a gradient
      of exactly zero with respect to the logits, and so to every parameter.
    """
    del key
    logits, hidden = hidden_values(config, hparams, state, batch.images)

    def total_loss(logits_BxC: Array) -> Array:
        return jnp.sum(get_loss(config.loss)(logits_BxC, batch.labels))

    is_zero = jnp.all(jax.grad(total_loss)(logits) == 0, axis=-1)
    finite = [jnp.all(jnp.isfinite(p)) for p in jax.tree.leaves(state.params)]
    dead = [jnp.all(h == 0) for h in hidden]
    return {
        "parameters_finite": jnp.all(jnp.stack(finite)).astype(jnp.float32),
        "dead_layers": sum((d.astype(jnp.float32) for d in dead), jnp.zeros(())),
        "zero_gradient_share": jnp.mean(is_zero, dtype=jnp.float32),
    }


def saturation(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """What is saturated in a network; a probe's function.

    Returns:
      Shares; NaN where a logit is not finite. ``saturated_outputs_share``: of the
      softmax outputs of all examples and classes, those within 1e-7 of 0 or 1.
      ``saturated_true_share``: of the examples, those whose own class has p < 1e-7,
      which push nothing under the clipped loss. ``inactive_share``: of the hidden
      layers' outputs, those that are 0. ``dead_units_share``: of the hidden units,
      those that are 0 on the whole batch. The last two are NaN without hidden layers.
    """
    del key
    logits_BxC, hidden = hidden_values(config, hparams, state, batch.images)
    p_BxC = jax.nn.softmax(logits_BxC)
    p_true_B = jnp.take_along_axis(p_BxC, batch.labels[:, None], axis=1)[:, 0]
    found = {
        "saturated_outputs_share": jnp.mean((p_BxC < CLIP) | (p_BxC > 1 - CLIP)),
        "saturated_true_share": jnp.mean(p_true_B < CLIP),
        "inactive_share": jnp.float32(jnp.nan),
        "dead_units_share": jnp.float32(jnp.nan),
    }
    if hidden:
        layers = [h.reshape(h.shape[0], -1) for h in hidden]
        is_zero_BxU = jnp.concatenate(layers, axis=1) == 0
        found["inactive_share"] = jnp.mean(is_zero_BxU)
        found["dead_units_share"] = jnp.mean(jnp.all(is_zero_BxU, axis=0))
    finite = jnp.all(jnp.isfinite(logits_BxC))
    return {name: jnp.where(finite, share, jnp.nan) for name, share in found.items()}


HEALTH = Probe(health)


def probes_at(when: str, probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Returns those of ``HEALTH`` and ``probes`` that are taken then."""
    return tuple(probe for probe in (HEALTH, *probes) if probe.when == when)


def run_probes(
    probes: tuple[Probe, ...],
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    train: Dataset,
) -> dict[str, Array]:
    """Returns what probes say of a run, each on the first of its training images."""
    values: dict[str, Array] = {}
    for index, probe in enumerate(probes):
        batch = Dataset(*(array[: probe.examples] for array in train))
        probe_key = jax.random.fold_in(key, index)
        found = probe.function(config, hparams, state, probe_key, batch)
        check_is("What a probe returns", found, Mapping, "a dict of names to arrays")
        values |= found
    return values


def status(values: Mapping[str, Any], num_classes: int) -> np.ndarray:
    """Returns the status of each run, a string ``[…]``; thresholds stand above.

    Args:
      values: ``train_loss``, ``test_loss``, the outputs of ``health`` and, where there
        was a target, ``stopped``, each ``[…, E]``.
      num_classes: number of classes C.
    """
    v = {name: np.asarray(value) for name, value in values.items()}
    last = {name: value[..., -1] for name, value in v.items()}
    finite = np.isfinite(v["train_loss"]) & np.isfinite(v["test_loss"])
    low_loss = LOW_LOSS * math.log(num_classes)
    conditions = {
        "missing": np.isnan(last["parameters_finite"]),
        "diverged": ~finite.all(-1) | (last["parameters_finite"] != 1),
        "stopped": last.get("stopped", np.zeros(())) == 1,
        "dead": last["dead_layers"] > 0,
        "frozen": (last["train_loss"] > low_loss)
        & (last["zero_gradient_share"] >= ZERO_GRADIENT_SHARE),
        "trained": last["train_loss"] < low_loss,
    }
    return np.select(list(conditions.values()), list(conditions), "slow")
