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
    config: Config,
    data: Data,
    probed: Dataset,
    hparams: Hparams,
    seed: Array,
    order: Array,
) -> dict[str, Array]:
    """Returns λ before and after the first steps of a run, and the loss before each.

    Args:
      config: static settings.
      data: the training images.
      probed: the images that λ is measured on.
      hparams: traced settings.
      seed: of the initial weights.
      order: of the training images, as ``epoch_order`` gives it for the seed; its first
        batches are the steps.
    """
    init_key, epochs_key, probes_key = run_keys(seed)
    before_key, after_key = jax.random.split(probes_key)
    state = init(config, hparams, init_key, data.image_shape, data.num_classes)
    order = order[: FIRST_STEPS * config.batch_size].reshape(FIRST_STEPS, -1)
    batches = Dataset(*(jnp.asarray(part)[order] for part in data.train))
    measure = functools.partial(sharpness, config, hparams)
    before = measure(state, before_key, probed)["sharpness"]
    state, metrics = jax.lax.scan(
        lambda s, batch: train_step(config, hparams, s, epochs_key, batch),
        state,
        batches,
    )
    after = measure(state, after_key, probed)["sharpness"]
    return {"before": before, "after": after, "loss": metrics["loss"]}


def rows(data: Data) -> Iterator[dict[str, Any]]:
    """Yields a row for each divisor; medians are those of the trained runs."""
    for divisor in DIVISORS:
        config, hparams = settings(Case(f"÷{divisor:g}", {}, {"divisor": divisor}))
        train = data.first(train=STEPS * config.batch_size, test=1000)
        probed = Dataset(*(part[-EXAMPLES:] for part in data.train))

        def early(rate: Array, seed: Array, order: Array) -> dict[str, Array]:
            changed = Hparams(divisor=divisor, learning_rate=rate)  # noqa: B023
            return first_steps(config, train, probed, changed, seed, order)  # noqa: B023

        by_rate = jax.jit(jax.vmap(jax.vmap(early, (None, 0, 0)), (0, None, None)))
        count = len(train.train.labels)
        orders = jnp.stack([epoch_order(seed, 1, count) for seed in SEEDS])
        seeds = jnp.asarray(SEEDS)
        sharpest = by_rate(jnp.zeros(1), seeds, orders)["before"]
        sharpest = np.exp(np.log(sharpest).mean())
        rates = (2 / sharpest * 10.0**DECADES).astype(np.float32)
        values = by_rate(rates, seeds, orders)
        before, after, loss = (
            np.asarray(values[name]) for name in ("before", "after", "loss")
        )
        runs = sweep({LEARNING_RATE: rates, "seed": SEEDS}, train, config, hparams)
        status = runs.status.transpose(LEARNING_RATE, "seed").values
        trained, dead = status == "trained", status == "dead"
        largest = float(largest_trainable(runs)[0])
        at = int(np.abs(rates - largest).argmin())
        chosen = at, trained[at]
        stable = rates[:, None] < 2 / after
        above = rates[:, None] > 2 / before
        yield {
            "divisor": f"÷{divisor:g}",
            "largest trainable": largest,
            "÷ (2/λ before)": largest * np.median(before[chosen]) / 2,
            "÷ (2/λ after ten steps)": largest * np.median(after[chosen]) / 2,
            "highest loss ÷ first": np.median((loss.max(2) / loss[:, :, 0])[chosen]),
            "above 2/λ before": int(above.sum()),
            "below 2/λ after": int((above & stable & ~dead).sum()),
            "below 2/λ after, trained": int((above & stable & trained).sum()),
            "above 2/λ after": int((above & ~stable & ~dead).sum()),
            "above 2/λ after, trained": int((above & ~stable & trained).sum()),
            "dead": int((above & dead).sum()),
        }


def main(data_dir: str) -> None:
    """Prints the table."""
    use_cpu_cores()
    table = pd.DataFrame(rows(load("fashion_mnist", data_dir)))
    print(table.to_string(index=False, float_format="%.2g"))


if __name__ == "__main__":
    scripts.run(main, __doc__)
