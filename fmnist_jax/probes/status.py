"""The status of each run: whether it trained and, if not, why."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# The meaning of each status; the first that applies is taken.
STATUSES = {
    "missing": "not run",
    "diverged": "a loss or a parameter is not finite",
    "stopped": "reached its target accuracy and stopped training",
    "dead": "every unit of some hidden layer outputs 0 for every probed image",
    "frozen": "high loss, and at least half the probed images have exactly zero "
    "gradient",
    "trained": "the last training loss is below half of ln C, the loss of a uniform "
    "prediction",
    "slow": "the last training loss is not below half of ln C, the loss of a uniform "
    "prediction",
}
LOW_LOSS = 0.5  # of ln C
ZERO_GRADIENT_SHARE = 0.5  # of the probed examples


def status(values: Mapping[str, Any], num_classes: int) -> np.ndarray:
    """Returns the status of each run, a string ``[…]``.

    Args:
      values: ``train_loss``, ``test_loss``, the outputs of ``health`` and, with a
        target accuracy, ``stopped``, ``[…, E]`` each.
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
