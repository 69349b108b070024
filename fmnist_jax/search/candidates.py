"""Default candidates of a recommendation. No NumPy, no jax."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fmnist_jax.choices import NORMALIZATIONS

SCALINGS: Mapping[str, Mapping[str, Any]] = {
    "raw": {"offset": 0.0, "divisor": 1.0},
    **{
        name: {"normalization": name}
        for name in NORMALIZATIONS
        if name not in ("none", "whiten")
    },
}
AXES: Mapping[str, Any] = MappingProxyType(
    {
        "scaling": SCALINGS,
        "optimizer": ("sgd", "adam"),
        "learning_rate": tuple(float(f"{10 ** (k / 3):.2g}") for k in range(-21, 2)),
    }
)
NUM_SEEDS = 5  # of the runs on all data
VALIDATION_SHARE = 1 / 6  # of the training examples, without a validation set
