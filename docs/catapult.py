"""Does the loss rise first where the largest learning rates train? Prints a table.

    python -m docs.catapult FOLDER_WITH_THE_FILES

In a *catapult* (Lewkowycz et al. 2020, arXiv 2003.02218), the learning rate exceeds
2/λ, the loss rises in the first steps, and λ falls until 2/λ exceeds the learning rate.
For each divisor, learning rates 10^0.2 apart are run for 500 steps of SGD with five
seeds, in batches of 32. λ is measured before the first step and after ten steps. Five
minutes on two cores.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from benchmarks import scripts
from docs.predictions import SEEDS, STEPS, Case, settings
from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    epoch_order,
    init,
    load,
    sweep,
    train_step,
    use_cpu_cores,
)
from fmnist_jax.analysis.trainability import LEARNING_RATE, largest_trainable
from fmnist_jax.probes.sharpness import EXAMPLES, sharpness
from fmnist_jax.training.loop import run_keys

DIVISORS = (5.0, 10.0, 30.0, 100.0, 255.0)
FIRST_STEPS = 10
DECADES = np.arange(-2, 10) / 5  # of the learning rates above 2/λ


def first_steps(
    config: Config, data: Data, probed: Dataset, hparams: Hparams, seed: Array
) -> dict[str, Array]:
    """Returns λ before and after the first steps, and the loss before each.

    Args:
      config: static settings.
      data: the training images, of which the first are the batches.
      probed: the images that λ is measured on.
      hparams: traced settings.
      seed: of the initial weights.
    """
    init_key, epochs_key, probe_key = run_keys(seed)
    state = init(config, hparams, init_key, data.image_shape, data.num_classes)
    order = epoch_order(0, 1, len(data.train.labels))
    order = order[: FIRST_STEPS * config.batch_size].reshape(FIRST_STEPS, -1)
    batches = Dataset(data.train.images[order], data.train.labels[order])
    measure = functools.partial(sharpness, config, hparams)
    before = measure(state, probe_key, probed)["sharpness"]
    state, metrics = jax.lax.scan(
        lambda s, batch: train_step(config, hparams, s, epochs_key, batch),
        state,
        jax.tree.map(jnp.asarray, batches),
    )
    after = measure(state, probe_key, probed)["sharpness"]
    return {"before": before, "after": after, "loss": metrics["loss"]}


def rows(data: Data) -> Iterator[dict[str, Any]]:
    """Yields a row for each divisor."""
    for divisor in DIVISORS:
        config, hparams = settings(Case(f"÷{divisor:g}", {}, {"divisor": divisor}))
        train = data.first(train=STEPS * config.batch_size, test=1000)
        probed = Dataset(*(part[-EXAMPLES:] for part in data.train))

        def of(rate: Array, seed: Array) -> dict[str, Array]:
            changed = Hparams(divisor=divisor, learning_rate=rate)  # noqa: B023
            return first_steps(config, train, probed, changed, seed)  # noqa: B023

        early_of = jax.jit(jax.vmap(jax.vmap(of, (None, 0)), (0, None)))
        seeds = jnp.asarray(SEEDS)
        sharpest = np.exp(np.log(early_of(jnp.zeros(1), seeds)["before"]).mean())
        rates = (2 / sharpest * 10.0**DECADES).astype(np.float32)
        early = {name: np.asarray(x) for name, x in early_of(rates, seeds).items()}
        runs = sweep({LEARNING_RATE: rates, "seed": SEEDS}, train, config, hparams)
        largest = float(largest_trainable(runs)[0])
        at = int(np.abs(rates - largest).argmin())
        trained = runs.status.transpose(LEARNING_RATE, "seed").values == "trained"
        stable = rates[:, None] < 2 / early["after"]
        above = (rates[:, None] > 2 / early["before"]) & np.ones_like(stable)
        losses = early["loss"]
        yield {
            "divisor": f"÷{divisor:g}",
            "largest trainable": largest,
            "÷ (2/λ before)": largest * np.median(early["before"][at]) / 2,
            "÷ (2/λ after ten steps)": largest * np.median(early["after"][at]) / 2,
            "highest loss ÷ first": np.median((losses.max(2) / losses[:, :, 0])[at]),
            "runs above 2/λ before": int(above.sum()),
            "of these trained": int((above & trained).sum()),
            "below 2/λ after ten steps": int((above & stable).sum()),
            "both": int((above & stable & trained).sum()),
        }


def main(data_dir: str) -> None:
    """Prints the table."""
    use_cpu_cores()
    table = pd.DataFrame(rows(load("fashion_mnist", data_dir)))
    print(table.to_string(index=False, float_format="%.2g"))


if __name__ == "__main__":
    scripts.run(main, __doc__)
