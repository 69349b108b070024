"""Checks of a user's network, before any training."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, explaining
from fmnist_jax.network_values import is_linen, name_of
from fmnist_jax.networks import calls
from fmnist_jax.networks.linen import has_switch
from fmnist_jax.sweeps.model_size import channel_hint, explaining_network
from fmnist_jax.sweeps.program_data import fitted, normalization_settings
from fmnist_jax.sweeps.programs import INIT_OPTIONS
from fmnist_jax.training.evaluation import EVALUATION_BATCH, JUDGED_EXAMPLES
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.step import scaled_inputs

# Positions, among seven training images, of those of two batches; one is in both.
BATCHES = np.array([[0, 1, 2, 3], [4, 1, 5, 6]])
SHARED = 1  # its position in both
# Of the same logits in two batches, relative to the largest. The logits of an image
# alone have equal bits in both batches; other programs and devices may round.
TOLERANCE = 0.005
SUM_TOLERANCE = 1e-3  # of probabilities


def _batch_sizes(num_examples: int, batch_size: int) -> list[int]:
    """Returns the sizes of the batches of these examples, one or two."""
    size = min(batch_size, num_examples)
    rest = num_examples % size
    return [size, rest] if rest else [size]


def check_network(config: Config, hparams: Any, state: Any, data: Data) -> None:
    """Checks the shapes of the logits of a user's network; computes nothing.

    They are checked for the sizes of all batches that the network gets. ``state`` has
    the shapes of the initial state. Batch statistics that would never be updated are
    refused, too.
    """
    model = config.model
    _check_params(state.params)
    if is_linen(model) and "batch_stats" in state.model_state and not has_switch(model):
        raise UserError(
            "The network keeps batch statistics, but its __call__ takes no argument "
            "`train` (or another name of this switch), so that it would never update "
            "them."
        )
    num_examples = len(data.train.labels)
    counts = {len(part.labels) for part in data.splits if part is not None}
    counts |= set() if config.evaluate_train else {min(num_examples, JUDGED_EXAMPLES)}
    sizes = sorted({size for n in counts for size in _batch_sizes(n, EVALUATION_BATCH)})
    modes = [(size, True) for size in _batch_sizes(num_examples, config.batch_size)]
    modes += [(size, False) for size in sizes]
    modes += [(size, True) for size in sizes if config.evaluate_dropout]
    for size, train in modes:
        _check_logits(config, hparams, state, data, size, train=train)


def _check_params(params: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise UserError("The network has no parameters, so that it cannot be trained.")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(
                f"The network's parameter {name} is {leaf.dtype}; expected floating "
                "arrays. Other arrays belong to the state (stateful=True)."
            )


def _check_logits(
    config: Config, hparams: Any, state: Any, data: Data, size: int, *, train: bool
) -> None:
    stored = data.train.images
    images = jax.ShapeDtypeStruct((size, *stored.shape[1:]), stored.dtype)
    key = jax.eval_shape(lambda: jax.random.key(0)) if train else None
    forward = functools.partial(training.forward, config, hparams, train=train)
    with explaining_network(data, size):
        shape = jax.eval_shape(forward, state, key, images)[0].shape
    expected = (size, data.num_classes)
    if shape != expected:
        raise UserError(
            f"The network returns shape {shape} for a batch of {size}; expected logits "
            f"{expected}: one for each of the {data.num_classes} classes. "
            f"{channel_hint(data)}".rstrip()
        )


def network_notices(config: Config, data: Data) -> list[str]:
    """Returns a line for everything in a user's network that may be a mistake.

    It computes logits of a few training images, once for each ``Data``. A network is
    refused if the logits of an image depend on the other images of its batch.
    """
    memo = (config.model, *normalization_settings(config))
    if memo in data.memo:
        return data.memo[memo]
    with explaining_network(data, BATCHES.shape[1]):
        logits = _logits_of_batches(config, data)
        lines = calls.notices(config.model)
    one, other = logits[:, SHARED]
    size = max(np.abs(one).max(), np.abs(other).max())
    if np.isfinite(size) and np.abs(one - other).max() > TOLERANCE * size:
        axes = ", ".join(["B", *map(str, data.image_shape)])
        cure = "In evaluation, batch norm must use its running statistics."
        raise UserError(
            "The network's logits for an image depend on the other images of its "
            f"batch: the first axis of its input, [{axes}], is the batch. "
            f"{channel_hint(data) or cure}"
        )
    if (logits >= 0).all() and np.allclose(logits.sum(-1), 1, atol=SUM_TOLERANCE):
        lines.append(
            "The network returns probabilities (they sum to 1), but the loss takes "
            "logits; leave out the softmax at its end."
        )
    data.memo[memo] = lines
    return lines


def loss_notices(config: Config, data: Data) -> list[str]:
    """Returns a line if a user's loss of an example depends on the rest of its batch.

    It computes the losses of four random logits, and of the first two of them alone.
    """
    if isinstance(config.loss, str):
        return []
    rows = np.arange(4) % len(data.train.labels)
    labels = jnp.asarray(data.train.labels[rows])
    shape = len(rows), data.num_classes
    logits = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    loss = get_loss(config.loss)
    with explaining(f"The loss {name_of(config.loss)} failed", function=config.loss):
        whole, part = loss(logits, labels)[:2], loss(logits[:2], labels[:2])
    if np.allclose(whole, part, rtol=TOLERANCE, equal_nan=True):
        return []
    return [
        f"The loss {name_of(config.loss)} of an example depends on the other examples "
        "of its batch, so recorded losses depend on the size of the batches: "
        f"{EVALUATION_BATCH:,} images in evaluation."
    ]


def _logits_of_batches(config: Config, data: Data) -> np.ndarray:
    """Returns the evaluation logits of two batches that share an image, ``[2, B, C]``.

    Vectors, such as biases, are those of the initial parameters. The other arrays are
    random, scaled to preserve the magnitude of signals. The initial arrays are not
    used: they may be 0 in the last layer, and would take seconds to compile.
    """
    rows = np.linspace(0, len(data.train.labels) - 1, 7).astype(int)
    images = data.train.images[rows[BATCHES]]
    normalization = fitted(config, data)
    # A suitable scale, whatever the divisors of the sweep are.
    scale = 1.0 if normalization is not None else float(np.abs(images).max()) or 1.0
    hparams = Hparams(divisor=scale)

    def initial() -> Any:
        x = jnp.zeros((1, *data.image_shape), jnp.float32)
        return calls.init_network(config.model, jax.random.key(0), x)

    rng, arrays = np.random.default_rng(0), []
    for like in jax.tree.leaves(jax.eval_shape(initial)[0]):
        shape, array = like.shape, None
        if len(shape) > 1:
            fan = max(math.prod(shape[:-1]), math.prod(shape[1:]))
            array = rng.normal(0, fan**-0.5, shape).astype(like.dtype)
        arrays.append(array)

    @functools.partial(jax.jit, compiler_options=INIT_OPTIONS)
    def logits(arrays: Any, images: Any) -> Any:
        params, state = initial()
        leaves, structure = jax.tree.flatten(params)
        both = zip(arrays, leaves, strict=True)
        leaves = [leaf if array is None else array for array, leaf in both]
        params = jax.tree.unflatten(structure, leaves)

        def evaluated(images: Any) -> Any:
            x = scaled_inputs(hparams, images, normalization)
            return calls.apply_network(config.model, params, state, None, x, False)[0]

        return jax.lax.map(evaluated, images)

    return np.asarray(logits(arrays, images))
