"""Why does batch norm without freezing fail on tiny inputs? Prints a table.

    python -m docs.tiny_batch_norm FOLDER_WITH_THE_FILES

The network of --preset=book with batch norm at ÷2,550,000, two epochs under Adam: two
minutes on two cores. The columns are the accuracy with the running statistics and with
those of the whole training set, the error of the running means in units of √(variance +
ε) and of the standard deviation, and the change of the biases before batch norm
(medians over the units). The gradient of these biases is rounding noise around 0, which
Adam normalises to full-size steps.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks import scripts
from experiments.reproduction.configurations import CONFIGURATIONS
from fmnist_jax import Config, Data, Hparams, load, use_cpu_cores
from fmnist_jax.config import resolve
from fmnist_jax.networks.layers import BATCH_NORM_EPS
from fmnist_jax.training import epoch_order, evaluate, run_keys, train_epoch
from fmnist_jax.training.step import State, init, scaled_inputs

SEEDS, EPOCHS = (0, 1), 2
EPS = (1e-8, 1e-4)  # Adam's default; a value far above the gradients' rounding


def before_norm(hparams: Hparams, state: State, images: Array) -> Array:
    """Returns the inputs of the first batch norm, ``[B, units]``."""
    first = state.params["Dense_0"]
    return scaled_inputs(hparams, images).reshape(len(images), -1) @ first[
        "kernel"
    ] + first["bias"].reshape(1, -1)


def with_statistics(state: State, mean: Array, var: Array) -> State:
    """Returns a state whose only batch norm has these running statistics."""
    leaves = {"mean": mean, "var": var}
    model_state = jax.tree_util.tree_map_with_path(
        lambda path, _: leaves[path[-1].key], state.model_state
    )
    return dataclasses.replace(state, model_state=model_state)


def rows(data: Data, config: Config, hparams: Hparams, seed: int) -> list[list[Any]]:
    """Trains one run; returns a row for each epoch."""
    init_key, *_ = run_keys(seed)
    state = init(config, hparams, init_key, data.image_shape, data.num_classes)
    started = state.params["Dense_0"]["bias"]
    epoch_of = jax.jit(functools.partial(train_epoch, config))
    accuracy_of = jax.jit(functools.partial(evaluate, config))
    table = []
    for epoch in range(1, EPOCHS + 1):
        order = epoch_order(seed, epoch, len(data.train.labels))
        key = jax.random.key(epoch)
        state, metrics = epoch_of(hparams, state, key, data.train, order)
        z_BxF = before_norm(hparams, state, data.train.images)
        mean, var = jnp.mean(z_BxF, axis=0), jnp.var(z_BxF, axis=0)
        exact = with_statistics(state, mean, var)
        leaves = jax.tree_util.tree_leaves_with_path(state.model_state)
        running = next(leaf for path, leaf in leaves if path[-1].key == "mean")
        error = jnp.abs(mean - running)
        moved = jnp.abs(state.params["Dense_0"]["bias"] - started)
        errors = (error / jnp.sqrt(var + BATCH_NORM_EPS), error / jnp.sqrt(var))
        accuracies = [
            100 * float(accuracy_of(hparams, variant, data.test)["accuracy"])
            for variant in (state, exact)
        ]
        table.append(
            [f"{hparams.eps:g}", seed, epoch, f"{float(metrics['loss']):.3f}"]
            + [f"{accuracy:.1f}" for accuracy in accuracies]
            + [f"{float(jnp.median(values)):.2g}" for values in (*errors, moved)]
        )
    return table


def main(data_dir: str) -> None:
    """Prints the table."""
    use_cpu_cores()
    data = load("fashion_mnist", data_dir)
    config, hparams = CONFIGURATIONS["tiny-input-bn"].resolved()
    print(
        "| Adam's ε | seed | epoch | training loss | test accuracy, running statistics "
        "(%) | exact statistics (%) | error of running mean ÷ √(variance + ε) | "
        "error of running mean ÷ standard deviation | change of bias |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for eps in EPS:
        for seed in SEEDS:
            divisor = np.float32(hparams.divisor)
            settings = dataclasses.replace(hparams, eps=eps, divisor=divisor)
            for row in rows(data, config, resolve(config, settings), seed):
                print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
