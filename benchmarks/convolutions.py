"""A training step of a convolutional network on a CPU, by layout and runs at once.

    python -m benchmarks.convolutions [--repetitions=3]

Trains the example's CNN on synthetic images, with convolutions as JAX has them and in
the layout that is fast in loops, in turns. Prints a table of milliseconds per run and
step, without compilation: the median over the repetitions, minimum and maximum.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import jax

from benchmarks import scripts
from examples.models.cnn import CNN
from fmnist_jax import Config, Data, load, sweep, use_cpu_cores
from fmnist_jax.training import step

LAYOUTS = {"as JAX has them": lambda function: function, "fast": step.fast_in_loops}
WIDTHS = (1, 4, 8)  # runs per device at once
STEPS, EPOCHS = 20, (1, 3)  # of an epoch; a longer sweep minus a shorter one


def milliseconds(data: Data, width: int) -> float:
    """Returns the time of a step of a run."""
    config = Config(model=CNN(), evaluate_train=False)
    rates = [1e-3 * (1 + i / 100) for i in range(width * len(jax.local_devices()))]
    axes: dict[str, Any] = {"learning_rate": rates, "seed": [0]}
    seconds = []
    for epochs in (EPOCHS[0], *EPOCHS):  # the first compiles
        start = time.perf_counter()
        sweep(
            axes, data, dataclasses.replace(config, num_epochs=epochs), max_width=width
        )
        seconds.append(time.perf_counter() - start)
    steps = STEPS * (EPOCHS[1] - EPOCHS[0])
    return 1000 * (seconds[2] - seconds[1]) / (steps * len(rates))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    use_cpu_cores()
    data = load("synthetic", train_examples=32 * STEPS, test_examples=50)
    cases = [(layout, width) for layout in LAYOUTS for width in WIDTHS]
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for _ in range(given.repetitions):
        for layout, width in cases:
            vars(step)["fast_in_loops"] = LAYOUTS[layout]
            jax.clear_caches()
            times[layout, width].append(milliseconds(data, width))
    print("| convolutions | runs per device at once | ms per run and step |")
    print("|---|---|---|")
    for (layout, width), values in times.items():
        ends = f"{min(values):.1f} to {max(values):.1f}"
        print(f"| {layout} | {width} | {statistics.median(values):.1f} ({ends}) |")


if __name__ == "__main__":
    scripts.run(main)
