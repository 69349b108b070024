"""The number of parameters of a network, and the memory of a run.

jax is imported only for a user's network.
"""

import contextlib
import itertools
import math
from collections.abc import Sequence

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import explaining

NUM_INPUTS, NUM_CLASSES = 28 * 28, 10
# Bytes of state that the runs of one device work on at once: more does not stay in the
# cache. A 128-wide network under Adam is fastest at up to 5 runs per device, a
# 1000-wide one at 1.
CACHE_BYTES = 8.2e6
UNKNOWN_PARAMETERS = 100_000  # of a user's network, if the data are unknown
# Arrays of the size of the parameters in the state of each optimizer; of a function of
# the user's, those of adam are assumed.
SLOTS = {
    "sgd": 0,
    "momentum": 1,
    "nesterov": 1,
    "rmsprop": 1,
    "adagrad": 1,
    "adam": 2,
    "adamw": 2,
    "lion": 1,
}


def mlp_parameters(
    hidden_sizes: Sequence[int],
    num_inputs: int = NUM_INPUTS,
    num_classes: int = NUM_CLASSES,
) -> int:
    """Returns the number of parameters of an MLP."""
    sizes = (num_inputs, *hidden_sizes, num_classes)
    return sum((i + 1) * o for i, o in itertools.pairwise(sizes))


def num_parameters(config: Config, data: Data | None = None) -> int:
    """Returns the number of parameters of a network for some data.

    JAX counts those of a user's network. Without data, Fashion-MNIST is assumed, and
    for a user's network a number.
    """
    if config.model is None:
        shape = (math.prod(data.image_shape), data.num_classes) if data else ()
        return mlp_parameters(config.hidden_sizes, *shape)
    if data is None:
        return UNKNOWN_PARAMETERS
    from fmnist_jax.networks import calls

    with explaining_network(data, 1):
        return max(1, calls.num_parameters(config.model, data.image_shape))


def explaining_network(
    data: Data, batch_size: int
) -> contextlib.AbstractContextManager[None]:
    """Returns a context that explains exceptions of a user's network."""
    subject = f"The network failed for batches of size {batch_size}"
    return explaining(subject, channel_hint(data))


def channel_hint(data: Data) -> str:
    """Returns a hint on images that have no channel axis; or ""."""
    if len(data.image_shape) != 2:
        return ""
    height, width = data.image_shape
    return (
        f"The images are [{height}, {width}]; if the network expects a channel axis, "
        "pass fmnist_jax.add_channel_axis(data)."
    )


def state_bytes(config: Config, data: Data | None = None) -> int:
    """Returns the memory of a run: parameters, gradients and optimizer state."""
    arrays = 2 + SLOTS.get(config.optimizer, SLOTS["adam"])
    return 4 * arrays * num_parameters(config, data)


def forward_flops(config: Config, data: Data) -> float:
    """Returns the floating-point operations of a network for one example, forward.

    Two for each parameter, or what XLA counts in a user's network.
    """
    flops = 0.0
    if config.model is not None:
        from fmnist_jax.networks import calls

        flops = calls.forward_flops(config.model, data.image_shape)
    return max(flops, 2.0 * num_parameters(config, data))


def has_convolutions(config: Config, data: Data) -> bool:
    """Whether a network contains a convolution; not if it fails."""
    if config.model is None:
        return False
    from fmnist_jax.networks import calls

    return calls.has_convolutions(config.model, data.image_shape)


def fastest_width(config: Config, data: Data | None = None) -> int:
    """Returns how many runs a CPU device trains at once in the least time.

    One if the network has convolutions: those of several runs become one with groups,
    which XLA does not optimise for CPUs: with 8 at once, a step takes twice as long for
    each run (``python -m benchmarks.convolutions``).
    """
    if data is not None and has_convolutions(config, data):
        return 1
    return max(1, int(CACHE_BYTES / state_bytes(config, data)))
