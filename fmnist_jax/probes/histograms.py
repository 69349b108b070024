"""Probes of distributions: parameters, hidden values and predicted classes.

Shapes in names: B examples, C classes.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.probe import Probe
from fmnist_jax.training.step import State, forward, hidden_values

NEAR_ZERO = 1e-3
BINS = 10  # as in the sources' figures
# Flax's names of a layer and its parameter -> the sources' name, without its number.
_NAMES = {
    ("Dense", "kernel"): "w",
    ("Dense", "bias"): "b",
    ("BatchNorm", "scale"): "gamma",
    ("BatchNorm", "bias"): "beta",
}


def histogram(name: str, x: Array) -> dict[str, Array]:
    """Returns ``{name}_counts`` in ten equal bins, and ``{name}_range``.

    As ``np.histogram``: the bins span the minimum to the maximum, which is in the last
    bin. The counts, float32 ``[BINS]``, are NaN if a value is not finite; the range,
    ``[2]``, is minimum and maximum.
    """
    x = x.reshape(-1)
    low, high = jnp.min(x), jnp.max(x)
    width = jnp.where(high > low, high - low, 1)
    bins = jnp.clip(jnp.floor((x - low) / width * BINS), 0, BINS - 1)
    counts = jnp.stack([jnp.sum(bins == k, dtype=jnp.float32) for k in range(BINS)])
    finite = jnp.isfinite(low) & jnp.isfinite(high)
    counts = jnp.where(finite, counts, jnp.nan)
    return {f"{name}_counts": counts, f"{name}_range": jnp.stack([low, high])}


def _histogram_dims(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    dims = {"counts": ("bin",), "range": ("end",)}
    return {f"{name}_{part}": dims[part] for name in names for part in dims}


def by_name(params: Any) -> dict[str, Array]:
    """Returns the arrays of a tree like the parameters by short names.

    The first layer's kernel and bias are ``w1`` and ``b1``, those of its batch norm
    ``gamma1`` and ``beta1``. Other arrays of a user's network have their paths, whose
    parts are joined with underscores.
    """
    arrays = {}
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        text = jax.tree_util.keystr(path, simple=True, separator="/") or "params"
        *layers, parameter = text.split("/")
        name = "_".join([*layers, parameter]).lower()
        layer, _, number = layers[-1].rpartition("_") if layers else ("", "", "")
        if len(layers) == 1 and (layer, parameter) in _NAMES:
            name = f"{_NAMES[layer, parameter]}{int(number) + 1}"
        arrays[name] = array
    return arrays


def parameter_histograms(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns the histogram of each array of parameters, such as ``w1_counts``."""
    values: dict[str, Array] = {}
    for name, array in by_name(state.params).items():
        values |= histogram(name, array)
    return values


def hidden_histogram(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns the histogram ``hidden`` of the first hidden layer's outputs.

    It counts all values of all examples of the batch; NaN without a hidden layer.
    """
    _, hidden = hidden_values(config, hparams, state, batch.images)
    return histogram("hidden", hidden[0] if hidden else jnp.full(1, jnp.nan))


def predicted_shares(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns ``predicted_share`` ``[C]``, the share of examples put in each class."""
    logits_BxC, _ = forward(config, hparams, state, None, batch.images, False)
    predicted_B = jnp.argmax(logits_BxC, axis=-1)
    is_class_BxC = jax.nn.one_hot(predicted_B, state.num_classes)
    return {"predicted_share": jnp.mean(is_class_BxC, axis=0)}


def near_zero_share(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns ``near_zero_share``, the share of kernel weights within 0.001 of 0."""
    leaves = jax.tree.leaves(state.params)
    weights = jnp.concatenate([leaf.reshape(-1) for leaf in leaves if leaf.ndim > 1])
    share = jnp.mean(jnp.abs(weights) < NEAR_ZERO, dtype=jnp.float32)
    return {"near_zero_share": share}


def parameter_probe(configs: Iterable[Config], when: str = "epoch") -> Probe:
    """Returns the probe of ``parameter_histograms`` for the MLPs of ``configs``."""
    configs = list(configs)
    layers = max(len(config.hidden_sizes) for config in configs) + 1
    names = [f"{p}{n + 1}" for n in range(layers) for p in "wb"]
    if any(config.batch_norm != "off" for config in configs):
        names += [f"{p}{n + 1}" for n in range(layers - 1) for p in ("gamma", "beta")]
    return Probe(parameter_histograms, when, _histogram_dims(names))


def hidden_probe(when: str = "epoch") -> Probe:
    """Returns the probe of ``hidden_histogram``."""
    return Probe(hidden_histogram, when, _histogram_dims(["hidden"]))


def predictions_probe(examples: int = 10_000) -> Probe:
    """Returns the probe of ``predicted_shares`` on the first training images."""
    return Probe(predicted_shares, "epoch", {"predicted_share": ("class",)}, examples)


def near_zero_probe() -> Probe:
    """Returns the probe of ``near_zero_share``."""
    return Probe(near_zero_share)
