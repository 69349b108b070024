"""The number of parameters of a network, and the memory of a run. Imports no jax."""

import itertools

from fmnist_jax.config import Config

NUM_INPUTS, NUM_CLASSES = 28 * 28, 10
UNKNOWN_PARAMETERS = 100_000  # assumed for a user's own network, like a small MLP
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


def num_parameters(
    config: Config, num_inputs: int = NUM_INPUTS, num_classes: int = NUM_CLASSES
) -> int:
    """Returns the number of parameters of a network; assumed for a user's own."""
    if config.model is not None:
        return UNKNOWN_PARAMETERS
    sizes = (num_inputs, *config.hidden_sizes, num_classes)
    return sum((i + 1) * o for i, o in itertools.pairwise(sizes))


def state_bytes(
    config: Config, num_inputs: int = NUM_INPUTS, num_classes: int = NUM_CLASSES
) -> int:
    """Returns the memory of a run: parameters, gradients and optimizer state."""
    arrays = 2 + SLOTS.get(config.optimizer, SLOTS["adam"])
    return 4 * arrays * num_parameters(config, num_inputs, num_classes)
