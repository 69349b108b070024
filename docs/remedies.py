"""Which remedies replace the choice of a divisor? Prints a table.

    python -m docs.remedies FOLDER_WITH_THE_FILES

Each remedy under SGD and under Adam, with learning rates half a decade apart and three
seeds; as on the map, one epoch of 20,000 images. Three minutes on two cores.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import scripts
from experiments.trainability_map import EXPERIMENT
from fmnist_jax import Data, Dataset, load, sweep, use_cpu_cores
from fmnist_jax.analysis.criteria import trains
from fmnist_jax.analysis.trainability import LEARNING_RATE, largest_trainable
from fmnist_jax.config import OPTIMIZERS, PRESETS

SEEDS = range(3)
RATES = tuple(float(f"{rate:.3g}") for rate in np.logspace(-7, 1, 17))
D = 255.0
# Settings of the first kernel that replace the divisor D, by optimizer.
FIRST_KERNEL = {
    "sgd": {"first_kernel_scale": 1 / D, "first_kernel_rate": 1 / D**2},
    "adam": {
        "first_kernel_scale": 1 / D,
        "first_kernel_rate": 1 / D,
        "first_kernel_eps": D,
    },
}


def standardised(data: Data, axis: Any = None) -> Data:
    """Returns the images minus their mean, divided by their standard deviation.

    Args:
      data: images and labels; mean and deviation are those of the training set.
      axis: 0 for statistics of each pixel, None for those of all pixels. A constant
        pixel is only shifted.
    """
    images = data.train.images.astype(np.float32)
    mean, std = images.mean(axis), images.std(axis)
    std = np.where(std == 0, 1, std)

    def shifted(part: Dataset) -> Dataset:
        x = (part.images.astype(np.float32) - mean) / std
        return Dataset(x.astype(np.float32), part.labels)

    return dataclasses.replace(data, train=shifted(data.train), test=shifted(data.test))


def remedies(data: Data, optimizer: str) -> dict[str, tuple[Data, dict[str, Any]]]:
    """Returns the data and the settings of each remedy, by name."""
    return {
        "none: pixels 0…255": (data, {}),
        "÷255": (data, {"divisor": D}),
        "÷1000": (data, {"divisor": 1000.0}),
        "standardised, all pixels alike": (standardised(data), {}),
        "standardised, each pixel": (standardised(data, 0), {}),
        "rescaled first layer": (data, FIRST_KERNEL[optimizer]),
        "batch norm": (data, {"batch_norm": "on"}),
    }


def line(name: str, optimizer: str, runs: xr.Dataset) -> str:
    """Returns the row of a remedy."""
    accuracy = 100 * runs.test_accuracy.isel(epoch=-1).mean("seed", skipna=False)
    rates = runs[LEARNING_RATE].values[trains(runs).values]
    largest, islands = (value.item() for value in largest_trainable(runs))
    span = f"{rates.min():.0e} … {largest:.0e}" if len(rates) else "none"
    span += f" ({islands} more above)" if islands else ""
    count = f"{np.log10(largest / rates.min()):.1f}" if len(rates) else "–"
    best = accuracy.fillna(-1).argmax(LEARNING_RATE).item()
    default = OPTIMIZERS[optimizer]["learning_rate"]
    usual = accuracy.sel({LEARNING_RATE: default}).item()
    return (
        f"| {name} | {optimizer} | {span} | {count} | {accuracy[best].item():.1f} at "
        f"{runs[LEARNING_RATE].values[best]:.0e} | {usual:.1f} |"
    )


def main(data_dir: str) -> None:
    """Trains the runs and prints the table."""
    use_cpu_cores()
    data = load("fashion_mnist", data_dir, train_examples=EXPERIMENT.train_examples)
    config, hparams = PRESETS[EXPERIMENT.preset]
    print(
        "| remedy | optimizer | trainable learning rates | decades | best test "
        "accuracy, % | at the usual learning rate, % |\n|---|---|---|---|---|---|"
    )
    for optimizer in ("sgd", "adam"):
        for name, (scaled, settings) in remedies(data, optimizer).items():
            static = {n: v for n, v in settings.items() if n == "batch_norm"}
            traced = {n: v for n, v in settings.items() if n not in static}
            runs = sweep(
                {LEARNING_RATE: RATES, "seed": SEEDS},
                scaled,
                dataclasses.replace(
                    config, optimizer=optimizer, num_epochs=1, **static
                ),
                dataclasses.replace(hparams, **{"divisor": 1.0, **traced}),
            )
            print(line(name, optimizer, runs), flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
