"""The choices of settings, and the defaults that each choice has for other settings.

No NumPy, no jax. The tables are read-only: a compiled program is reused by the names of
its choices, so that a changed entry would not reach it.
"""

import collections
from collections.abc import Mapping
from types import MappingProxyType as Frozen
from typing import TypeVar

Entry = TypeVar("Entry")


def frozen(
    table: Mapping[str, Mapping[str, Entry]],
) -> Mapping[str, Mapping[str, Entry]]:
    """Returns a read-only table of read-only tables."""
    return Frozen({name: Frozen(dict(entries)) for name, entries in table.items()})


INITIALIZERS = ("flax", "keras", "pytorch")
PRECISIONS = ("float32", "tf32", "bf16")
ORDERS = ("shuffled", "file", "sorted")
BATCH_NORMS = ("off", "on", "frozen")
PENALIZED = ("all", "kernels")
WHITENINGS = ("zca", "pca")
LOSS_LEGENDS = {
    "softmax": "cross-entropy computed from the logits",
    "clipped": "cross-entropy of probabilities clipped to [1e-7, 1 - 1e-7], as Keras "
    "computed it on TensorFlow up to 1.13, and still does on JAX and PyTorch; outside "
    "that range the gradient is zero, also for a saturated wrong example (loss 16.1)",
}
# The settings of each optimizer, with its defaults: optax's. optax has no default
# learning rates; they are PyTorch's for adagrad, adam and adamw, Keras's for sgd and
# rmsprop, and a tenth of Adam's for lion (Chen et al. 2023, section 5).
_ADAM = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
OPTIMIZERS: Mapping[str, Mapping[str, float]] = frozen(
    {
        "sgd": {"learning_rate": 1e-2},
        "momentum": {"learning_rate": 1e-2, "momentum": 0.9},
        "nesterov": {"learning_rate": 1e-2, "momentum": 0.9},
        "rmsprop": {"learning_rate": 1e-3, "decay": 0.9, "eps": 1e-8},
        "adagrad": {
            "learning_rate": 1e-2,
            "initial_accumulator_value": 0.1,
            "eps": 1e-7,
        },
        "adam": _ADAM,
        "adamw": {**_ADAM, "weight_decay": 1e-4},
        "lion": {"learning_rate": 1e-4, "b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
    }
)
# The settings of each schedule, with PyTorch's defaults for plateaus; the threshold is
# absolute, like Keras's min_delta.
SCHEDULES: Mapping[str, Mapping[str, float]] = frozen(
    {
        "constant": {},
        "plateau": {
            "plateau_factor": 0.1,
            "plateau_patience": 10,
            "plateau_threshold": 1e-4,
            "min_learning_rate": 0.0,
        },
        "cosine": {"min_learning_rate": 0.0},
    }
)
_NAMES = ("unit", "symmetric", "standard", "per_feature", "per_channel", "whiten")
# Each normalization of the pixels, with the divisor of its result.
NORMALIZATIONS: Mapping[str, Mapping[str, float]] = frozen(
    {
        "none": {"divisor": 255.0},
        **{name: {"divisor": 1.0} for name in _NAMES},
    }
)


def defaults_by_choice(name: str) -> str:
    """Returns a setting's defaults, such as "0.1 for plateau"; "" if there are none.

    ``name`` is that of the setting in the tables of optimizers, schedules and
    normalizations.
    """
    choices = collections.defaultdict(list)
    for table in (OPTIMIZERS, SCHEDULES, NORMALIZATIONS):
        for choice, defaults in table.items():
            if name in defaults:
                choices[defaults[name]].append(choice)
    return "; ".join(f"{value:g} for {', '.join(c)}" for value, c in choices.items())
