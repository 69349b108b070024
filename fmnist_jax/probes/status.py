"""The status of each run: whether it trained, and if not, why."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

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


LOW_LOSS = 0.5  # of ln C, what guessing costs


ZERO_GRADIENT_SHARE = 0.5  # of the probed examples


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
