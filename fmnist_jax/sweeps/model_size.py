"""The number of parameters of a network, and the memory of a run. Imports no jax."""

import itertools

from fmnist_jax.config import Config

NUM_INPUTS, NUM_CLASSES = 28 * 28, 10


UNKNOWN_PARAMETERS = 100_000  # of a network that is not ours: like a small MLP


# Arrays of a parameter's shape that an optimizer keeps; one unless said here.
SLOTS = {"sgd": 0, "adam": 2, "adamw": 2}


def num_parameters(
    config: Config, num_inputs: int = NUM_INPUTS, num_classes: int = NUM_CLASSES
) -> int:
    """Returns how many parameters a network has; a guess for one that is not ours."""
    if config.model is not None:
        return UNKNOWN_PARAMETERS
    sizes = (num_inputs, *config.hidden_sizes, num_classes)
    return sum((i + 1) * o for i, o in itertools.pairwise(sizes))


def state_bytes(
    config: Config, num_inputs: int = NUM_INPUTS, num_classes: int = NUM_CLASSES
) -> int:
    """Returns the memory a run works on: parameters, gradients, optimizer's state."""
    arrays = 2 + SLOTS.get(config.optimizer, 1)
    return 4 * arrays * num_parameters(config, num_inputs, num_classes)
