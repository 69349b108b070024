"""How ``recommend`` should rank settings: by accuracy, by loss, or by both.

    python -m benchmarks.ranking FOLDER [DATA …] [--seeds=10]

FOLDER contains the folders fashion_mnist and mnist. DATA are names of ``CASES``; by
default, all. Trains a grid of every candidate of ``recommend`` with several seeds, and
replays the search once for each seed: that seed decides at the rungs which settings
continue, and the next five seeds choose among the finalists. The regret is the test
accuracy of the grid's best setting, by validation, minus that of the chosen one, both
as means over all seeds. Prints a table. The data are so small that the search trains on
all of them.
"""

import argparse
import collections
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import scripts
from benchmarks.halving import flat
from benchmarks.recommend import divided, of_sklearn, official, photographs
from fmnist_jax import Config, Data, Hparams, sweep, use_cpu_cores
from fmnist_jax.analysis.recommendation import SETTING, best_position
from fmnist_jax.analysis.windows import final_accuracy
from fmnist_jax.search.candidates import AXES, VALIDATION_SHARE
from fmnist_jax.search.finalists import FINALISTS, PER_PAIR, Recommending
from fmnist_jax.search.recommending import prepared

FINAL_SEEDS, SHAPES, SIDE = 5, 300, 16
FEW = {"train_examples": 300, "test_examples": 600}


def shapes() -> Data:
    """Returns few noisy images of discs, crosses and squares, uint8 ``[N, 16, 16]``."""
    random, pixels = np.random.default_rng(0), np.mgrid[:SIDE, :SIDE]
    images, labels = [], np.arange(SHAPES) % 3
    for label in labels:
        radius, centre = random.uniform(2.5, 4.5), random.uniform(5, 11, (2, 1, 1))
        down, right = np.abs(pixels - centre)
        disc, cross = np.hypot(down, right) < radius, np.minimum(down, right) < 1.5
        square = np.maximum(down, right) < radius
        shape = (disc, cross, square)[label] * random.uniform(80, 150)
        images.append(shape + random.uniform(0, 50, (SIDE, SIDE)))
    return divided(np.array(images, np.uint8), labels, "shapes")


CASES: dict[str, Callable[[Path], Data]] = {
    "wine": lambda _: of_sklearn("wine"),
    "breast_cancer": lambda _: of_sklearn("breast_cancer"),
    "digits": lambda _: of_sklearn("digits"),
    "photographs": lambda _: photographs(),
    "shapes": lambda _: shapes(),
    "fashion_mnist": official("fashion_mnist", **FEW),
    "mnist": official("mnist", **FEW),
}
Order = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_accuracy(accuracies: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Returns the order from the best to the worst; the loss decides between ties."""
    return np.lexsort([losses, -accuracies])


def by_loss(accuracies: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Returns the order from the best to the worst."""
    return np.argsort(losses, kind="stable")


def by_either(accuracies: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Returns the order by the better of the two ranks."""
    ranks = [np.argsort(np.argsort(v, kind="stable")) for v in (-accuracies, losses)]
    return np.lexsort([np.add(*ranks), np.minimum(*ranks)])


RANKINGS: dict[str, Order] = {
    "accuracy": by_accuracy,
    "loss": by_loss,
    "the better of both ranks": by_either,
}


def finalists(
    grid: xr.Dataset, seed: int, search: Recommending, order: Order
) -> list[int]:
    """Returns the settings that the search of one seed leaves, by their position."""
    accuracy = np.nan_to_num(flat(grid, "validation_accuracy")[:, seed], nan=-1)
    loss = np.nan_to_num(flat(grid, "validation_loss")[:, seed], nan=np.inf)
    alive, rungs = np.arange(len(loss)), search.rungs
    for epoch in rungs.epochs:
        best = alive[order(accuracy[alive, epoch - 1], loss[alive, epoch - 1])]
        alive = best[: rungs.num_kept(len(best))]
    chosen: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    for setting in best[np.isfinite(loss[best, epoch - 1])].tolist():
        pair = setting // grid.sizes["learning_rate"]
        counts[pair] += 1
        if counts[pair] <= PER_PAIR:
            chosen.append(setting)
    return chosen[:FINALISTS]


def best_of(grid: xr.Dataset, settings: list[int], seeds: list[int], epoch: int) -> int:
    """Returns the best of some settings, by validation as ``recommend`` does."""
    along = ("scaling", "optimizer", "learning_rate")
    runs = grid.isel(seed=seeds, epoch=slice(epoch)).stack({SETTING: along})
    return settings[best_position(runs.isel({SETTING: settings}))]


def regrets(grid: xr.Dataset, search: Recommending, order: Order) -> Iterator[float]:
    """Yields the points of test accuracy that the search of each seed loses."""
    epoch, every = search.config.num_epochs, [*range(grid.sizes["seed"])]
    trained = final_accuracy(grid.isel(epoch=slice(epoch)), "test")
    test = trained.mean("seed").values.ravel()
    best = test[best_of(grid, [*range(len(test))], every, epoch)]
    for seed in every:
        further = [(seed + 1 + i) % len(every) for i in range(FINAL_SEEDS)]
        left = finalists(grid, seed, search, order)
        yield 100 * (best - test[best_of(grid, left, further, epoch)])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*CASES])
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    use_cpu_cores()
    print(f"| data | {' | '.join(f'by {name}' for name in RANKINGS)} |")
    print(f"|---|{'---|' * len(RANKINGS)}")
    for name in given.names:
        data = CASES[name](given.folder).with_validation_share(VALIDATION_SHARE)
        axes: dict[str, Any] = {**AXES, "seed": range(given.seeds)}
        axes, config, search = prepared(axes, data, Config(), Hparams())
        grid = sweep({**axes, "seed": range(given.seeds)}, data, config)
        cells = []
        for order in RANKINGS.values():
            lost = np.array([*regrets(grid, search, order)])
            cells.append(f"{lost.mean():+.2f} (at most {lost.max():+.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    scripts.run(main)
