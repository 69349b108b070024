"""The status of each run: whether it trained and, if not, why."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# The meaning of each status; the first that applies is taken.
STATUSES = {
    "missing": "not run",
    "diverged": "a loss or a parameter is not finite",
    "stopped": "reached its target accuracy and stopped training",
    "pruned": "ended at a rung, because other settings had better validation results",
    "dead": "every unit of some hidden layer outputs 0 for every probed image",
    "frozen": "not trained; at least half the probed images have exactly zero "
    "gradient, and the training accuracy after the last epoch is that during it, to "
    "2 points",
    "trained": "the training accuracy after the last epoch is at least half-way from "
    "that of predicting the largest class to 100 %",
    "not trained": "the training accuracy after the last epoch is less than half-way "
    "from that of predicting the largest class to 100 %",
    "finished": "losses and parameters are finite; there is no accuracy to judge by",
}
ZERO_GRADIENT_SHARE = 0.5  # of the probed examples
# Of the accuracy, in the last epoch. Two standard deviations of the difference between
# the mean over 2,048 judged images and that over many more, at an accuracy of 30 %.
FROZEN_ACCURACY_CHANGE = 0.02


def trained_accuracy(largest_class_share: float) -> float:
    """Returns the minimum training accuracy of a trained run.

    Half-way from predicting the largest class to no mistake: 55 % for ten equal
    classes. A criterion of the loss would miss networks that classify well at a large
    loss, as those on pixels of 0 to 255 do.
    """
    return (1 + largest_class_share) / 2


def status(values: Mapping[str, Any], largest_class_share: float) -> np.ndarray:
    """Returns the status of each run, a string ``[…]``.

    ``values`` has ``train_loss``, ``test_loss`` and ``train_accuracy_running``, the
    outputs of ``health`` and, if runs may stop or be pruned, ``stopped`` and
    ``pruned``, ``[…, E]`` each; and ``final_train_accuracy``, ``[…]``, unless the loss
    defines no accuracy. ``largest_class_share`` is a share of the training examples.
    """
    v = {name: np.asarray(value) for name, value in values.items()}
    final_accuracy = v.pop("final_train_accuracy", None)
    last = {name: value[..., -1] for name, value in v.items()}
    finite = np.isfinite(v["train_loss"]) & np.isfinite(v["test_loss"])
    conditions = {
        "missing": np.isnan(last["parameters_finite"]),
        "diverged": ~finite.all(-1) | (last["parameters_finite"] != 1),
        "stopped": last.get("stopped", np.zeros(())) == 1,
        "pruned": last.get("pruned", np.zeros(())) == 1,
        "dead": last["dead_layers"] > 0,
    }
    if final_accuracy is None:
        return np.select(list(conditions.values()), list(conditions), "finished")
    is_trained = final_accuracy >= trained_accuracy(largest_class_share)
    change = np.abs(final_accuracy - last["train_accuracy_running"])
    conditions["frozen"] = (
        ~is_trained
        & (last["zero_gradient_share"] >= ZERO_GRADIENT_SHARE)
        & (change <= FROZEN_ACCURACY_CHANGE)
    )
    conditions["trained"] = is_trained
    return np.select(list(conditions.values()), list(conditions), "not trained")
