"""What does each normalization cost?

    python -m benchmarks.normalization

Prints a table: the time to fit each normalization to 60,000 images, and that of a step
of training, with its ratio to a step without a normalization, in turns in one process.
Sweeps whiten in advance where memory allows; "in each step" is for other loops. A
minute on two cores.
"""

import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import scripts
from fmnist_jax import Config, Data, Hparams, load, training
from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.sweeps.program_data import ProgramData, in_advance

EXAMPLES, ROUNDS = 4000, 15
LAST = "whiten, in each step"


class Epoch(NamedTuple):
    """A compiled epoch of one run, with what it takes."""

    run: Any
    state: training.State
    data: ProgramData


def make_epoch(name: str, optimizer: str, data: Data) -> tuple[float, Epoch]:
    """Returns the seconds that fitting takes, and an epoch that is compiled."""
    whole = Config(normalization=name.split(",")[0], optimizer=optimizer)
    start = time.perf_counter()
    fitted = training.fit_normalization(whole, data.train)
    seconds = time.perf_counter() - start
    shared = ProgramData(data.first(train=EXAMPLES, test=1).splits, fitted)
    if fitted is not None and name == "whiten":
        shared = in_advance(fitted, shared.splits)
    shared = jax.device_put(shared)
    key = jax.random.key(0)
    shapes = data.image_shape, data.num_classes
    state = training.init(whole, Hparams(), key, *shapes, shared.normalization)
    order = jnp.asarray(training.epoch_order(0, 1, EXAMPLES))

    def epoch(state: training.State, data: ProgramData) -> Any:
        return training.train_epoch(
            whole, Hparams(), state, key, data.splits.train, order
        )

    return seconds, Epoch(jax.jit(epoch).lower(state, shared).compile(), state, shared)


def main() -> None:
    """Prints the table."""
    data = load("synthetic")
    names = [*NORMALIZATIONS, LAST]
    print("| optimizer | normalization | fit, s | µs per step | ÷ none |")
    print("|---|---|---|---|---|")
    for optimizer in ("sgd", "adam"):
        compiled = {name: make_epoch(name, optimizer, data) for name in names}
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(ROUNDS):
            for name, (_, epoch) in compiled.items():
                start = time.perf_counter()
                jax.block_until_ready(epoch.run(epoch.state, epoch.data))
                times[name].append(time.perf_counter() - start)
        for name in names:
            pairs = zip(times[name], times["none"], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            step = 1e6 * statistics.median(times[name]) / (EXAMPLES / 32)
            print(f"| {optimizer} | {name} | {compiled[name][0]:.1f} | {step:.0f} | "
                  f"{ratio:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    scripts.run(main, __doc__)
