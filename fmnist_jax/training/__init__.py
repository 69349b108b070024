"""One run, pure: every function here works plain, jitted and vmapped."""

from fmnist_jax.training.loop import (
    epoch_order,
    evaluate,
    example_order,
    run_epoch,
    run_keys,
    train,
    train_epoch,
)
from fmnist_jax.training.step import (
    Metrics,
    State,
    Stopping,
    accuracy,
    forward,
    gradients,
    hidden_values,
    init,
    scaled_inputs,
    train_step,
    updates,
)

__all__ = [
    "Metrics",
    "State",
    "Stopping",
    "accuracy",
    "epoch_order",
    "evaluate",
    "example_order",
    "forward",
    "gradients",
    "hidden_values",
    "init",
    "run_epoch",
    "run_keys",
    "scaled_inputs",
    "train",
    "train_epoch",
    "train_step",
    "updates",
]
