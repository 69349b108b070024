"""What a step of a run costs in a search, against a plain sweep. Prints a table.

    python -m benchmarks.search_cost [DATA_DIR] [--rounds=3] [--train_examples=2000]

A sweep, successive halving and an adaptive map of the same plane of divisors and
learning rates (784-128-10, SGD, batches of 32) take turns. Everything was compiled in a
first round, which is not counted. The cost is the time of the whole call, divided by
the number of steps that were trained, summed over runs. Without DATA_DIR, the images
are synthetic.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from benchmarks import scripts
from fmnist_jax import Config, Data, halving, load, refined_map, sweep, use_cpu_cores

BATCH, EPOCHS = 32, 9
RUNGS = (1, 3, 9)
DIVISORS = [10.0, 100.0, 1000.0]


class Search(NamedTuple):
    """A call, and the epochs that it trained, summed over runs, by its results."""

    call: Callable[[], xr.Dataset]
    epochs: Callable[[xr.Dataset], float]


def searches(data: Data, points: int) -> dict[str, Search]:
    """Returns the calls to time; the map has ``points`` × ``points`` points."""
    config = Config(
        optimizer="sgd", batch_size=BATCH, num_epochs=EPOCHS, evaluate_train=False
    )
    rates = np.logspace(-4, 0, points * points // 9).round(9)
    axes = {"divisor": DIVISORS, "learning_rate": rates}
    plane = {
        "divisor": np.logspace(-1, 4, points).round(6).tolist(),
        "learning_rate": np.logspace(-6, 1, points).round(9).tolist(),
    }
    return {
        "sweep": Search(
            lambda: sweep(axes, data, config),
            lambda results: EPOCHS * results.status.size,
        ),
        "halving": Search(
            lambda: halving(axes, data, config, rungs=RUNGS),
            lambda results: float(results.pruned_epoch.fillna(EPOCHS).sum()),
        ),
        "adaptive map": Search(
            lambda: refined_map(plane, {}, data, config),
            lambda results: EPOCHS * float(results.is_trained.sum()),
        ),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train_examples", type=int, default=2000)
    parser.add_argument("--points", type=int, default=33)
    given = parser.parse_args()
    use_cpu_cores()
    name = "fashion_mnist" if given.data_dir else "synthetic"
    count = given.train_examples * 6 // 5
    data = load(name, given.data_dir, train_examples=count, test_examples=200)
    data = data.with_validation(count - given.train_examples)
    steps = -(-given.train_examples // BATCH)
    costs: dict[str, list[float]] = {}
    for number in range(given.rounds + 1):
        for label, search in searches(data, given.points).items():
            start = time.perf_counter()
            results = search.call()
            seconds = time.perf_counter() - start
            trained = search.epochs(results) * steps
            if number:
                costs.setdefault(label, []).append(1e6 * seconds / trained)
    print("| | µs per run and step, median (minimum to maximum) | against the sweep |")
    print("|---|---|---|")
    for label, values in costs.items():
        ratio = np.median(np.divide(values, costs["sweep"]))
        ends = f"{min(values):.1f} to {max(values):.1f}"
        print(f"| {label} | {np.median(values):.1f} ({ends}) | {ratio:.2f} |")


if __name__ == "__main__":
    scripts.run(main)
