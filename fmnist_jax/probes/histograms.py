"""Probes' functions that draw up what a network holds: parameters, hidden values."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes.probe import Probe
from fmnist_jax.training.step import State, forward, hidden_values

NEAR_ZERO = 1e-3
BINS = 10  # as in the sources' figures
# Our layers' names in the sources' words; the number of the layer follows.
_NAMES = {
    ("Dense", "kernel"): "w",
    ("Dense", "bias"): "b",
    ("BatchNorm", "scale"): "gamma",
    ("BatchNorm", "bias"): "beta",
}


def histogram(x: Array) -> tuple[Array, Array]:
    """Returns how many values lie in each of ten equal bins, and their least and most.

    As ``np.histogram``: the bins go from the least value to the greatest, which is in
    the last; float32 ``[BINS]`` and ``[2]``. NaN where a value is not finite.
    """
    x = x.reshape(-1)
    low, high = jnp.min(x), jnp.max(x)
    width = jnp.where(high > low, high - low, 1)
    bins = jnp.clip(jnp.floor((x - low) / width * BINS), 0, BINS - 1)
    counts = jnp.stack([jnp.sum(bins == k, dtype=jnp.float32) for k in range(BINS)])
    finite = jnp.isfinite(low) & jnp.isfinite(high)
    return jnp.where(finite, counts, jnp.nan), jnp.stack([low, high])


def parameter_name(path: tuple[jax.tree_util.DictKey, ...]) -> str:
    """Returns ``w1`` for the first layer's kernel; for a user's network its path."""
    *layers, kind = (key.key for key in path)
    layer, _, number = layers[-1].rpartition("_") if layers else ("", "", "")
    if len(layers) == 1 and (layer, kind) in _NAMES:
        return f"{_NAMES[layer, kind]}{int(number) + 1}"
    return "_".join([*layers, kind]).lower()


def parameter_histograms(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns a histogram of each array of parameters.

    ``w1_counts`` ``[BINS]`` and ``w1_range`` ``[2]`` of the first layer's kernel,
    ``b1_…`` of its bias, ``gamma1_…`` and ``beta1_…`` of its batch norm, and so on.
    """
    del config, hparams, key, batch
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        name = parameter_name(path)
        found[f"{name}_counts"], found[f"{name}_range"] = histogram(leaf)
    return found


def hidden_histogram(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns ``hidden_counts`` and ``hidden_range`` of the first hidden layer.

    All values of all examples of the batch; NaN without a hidden layer.
    """
    del key
    _, hidden = hidden_values(config, hparams, state, batch.images)
    first = hidden[0] if hidden else jnp.full(1, jnp.nan)
    counts, ends = histogram(first)
    return {"hidden_counts": counts, "hidden_range": ends}


def predicted_shares(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns ``predicted_share`` ``[C]``: what share is taken for each class."""
    del key
    logits_BxC, _ = forward(config, hparams, state, None, batch.images, False)
    predicted_B = jnp.argmax(logits_BxC, axis=-1)
    is_class_BxC = jax.nn.one_hot(predicted_B, state.num_classes)
    return {"predicted_share": jnp.mean(is_class_BxC, axis=0)}


def near_zero_share(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Returns ``near_zero_share``: of all kernels' weights, those within 0.001 of 0."""
    del config, hparams, key, batch
    leaves = jax.tree.leaves(state.params)
    weights = jnp.concatenate([leaf.reshape(-1) for leaf in leaves if leaf.ndim > 1])
    share = jnp.mean(jnp.abs(weights) < NEAR_ZERO, dtype=jnp.float32)
    return {"near_zero_share": share}


def parameter_probe(configs: Iterable[Config], when: str = "epoch") -> Probe:
    """Returns the probe of ``parameter_histograms`` for networks of ``configs``."""
    configs = list(configs)
    layers = max(len(config.hidden_sizes) for config in configs) + 1
    has_batch_norm = any(config.batch_norm != "off" for config in configs)
    names = [f"{p}{n + 1}" for n in range(layers) for p in "wb"]
    if has_batch_norm:
        names += [f"{p}{n + 1}" for n in range(layers - 1) for p in ("gamma", "beta")]
    dims = {f"{n}_counts": ("bin",) for n in names}
    dims |= {f"{n}_range": ("end",) for n in names}
    return Probe(parameter_histograms, when, dims)


def hidden_probe(when: str = "epoch") -> Probe:
    """Returns the probe of ``hidden_histogram``."""
    dims = {"hidden_counts": ("bin",), "hidden_range": ("end",)}
    return Probe(hidden_histogram, when, dims)


def predictions_probe(examples: int = 10_000) -> Probe:
    """Returns the probe of ``predicted_shares`` on the first training images."""
    dims = {"predicted_share": ("class",)}
    return Probe(predicted_shares, "epoch", dims, examples)


def near_zero_probe() -> Probe:
    """Returns the probe of ``near_zero_share``."""
    return Probe(near_zero_share)
