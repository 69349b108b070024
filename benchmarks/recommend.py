"""Recommendations against full grids: time, answer and regret. Prints a table.

    python -m benchmarks.recommend FOLDER [DATA …] [--seeds=1]

FOLDER contains the folders fashion_mnist and mnist. DATA are names of ``CASES``; by
default, all. The grid trains every candidate on all data for as many epochs. The regret
is the test accuracy of the grid's best candidate, by validation, minus that of the
recommended setting in the same grid, in points, paired over the seeds of the grid.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scripts
from examples.models.cnn import CNN
from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    load,
    recommend,
    sweep,
    use_cpu_cores,
)
from fmnist_jax.analysis.intervals import paired_interval
from fmnist_jax.analysis.recommendation import (
    SETTING,
    Recommendation,
    best_position,
)
from fmnist_jax.analysis.windows import final_accuracy
from fmnist_jax.search.candidates import AXES, VALIDATION_SHARE
from fmnist_jax.search.recommending import prepared

PATCH = 12  # pixels along a side of a patch of a photograph


def official(name: str, **options: Any) -> Callable[[Path], Data]:
    """Returns a function from the folder of the data sets to one of them."""
    return lambda folder: load(name, folder / name, **options)


def of_sklearn(name: str) -> Data:
    """Returns a table or the digits of scikit-learn; a fifth of it is the test set."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    images = bunch.images if name == "digits" else bunch.data
    return divided(images.astype(np.float32), bunch.target, name)


def photographs() -> Data:
    """Returns patches of two photographs of scikit-learn, uint8 ``[N, 12, 12, 3]``."""
    from sklearn import datasets

    patches = []
    for photograph in datasets.load_sample_images().images:
        rows, columns = (length // PATCH for length in photograph.shape[:2])
        whole = photograph[: rows * PATCH, : columns * PATCH]
        grid = whole.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2)
        patches.append(grid.reshape(-1, PATCH, PATCH, 3))
    labels = np.repeat([0, 1], [len(some) for some in patches])
    return divided(np.concatenate(patches), labels, "two photographs")


def divided(images: np.ndarray, labels: np.ndarray, name: str) -> Data:
    """Returns data of which a random fifth is the test set."""
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order].astype(np.int32)
    cut = len(labels) // 5
    train = Dataset(images[cut:], labels[cut:])
    return Data(train, Dataset(images[:cut], labels[:cut]), name=name)


CASES: dict[str, tuple[Callable[[Path], Data], Any]] = {
    "fashion_mnist": (official("fashion_mnist"), None),
    "mnist": (official("mnist"), None),
    "digits": (lambda folder: of_sklearn("digits"), None),
    "breast_cancer": (lambda folder: of_sklearn("breast_cancer"), None),
    "wine": (lambda folder: of_sklearn("wine"), None),
    "photographs": (lambda folder: photographs(), None),
    "cnn": (official("fashion_mnist", train_examples=6000, test_examples=2000), CNN()),
}


def regret(data: Data, model: Any, advice: Recommendation, seeds: int) -> np.ndarray:
    """Returns the points of test accuracy lost, by seed of the grid."""
    config = dataclasses.replace(Config(), model=model)
    axes: Any = {**AXES, "seed": range(seeds)}
    candidates, _, search = prepared(axes, data, config, Hparams())
    grid = sweep({**candidates, "seed": range(seeds)}, data, search.config)
    test = final_accuracy(grid, "test")
    flat = grid.stack({SETTING: ["scaling", "optimizer", "learning_rate"]})
    of_best = final_accuracy(flat, "test").isel({SETTING: best_position(flat)})
    mine = test.sel(
        scaling=advice.scaling,
        optimizer=advice.settings["optimizer"],
        learning_rate=advice.settings["learning_rate"],
    )
    return 100 * (of_best - mine).values


def row(name: str, folder: Path, seeds: int) -> str:
    """Returns a row of the table."""
    make, model = CASES[name]
    data = make(folder)
    data = data.with_validation_share(VALIDATION_SHARE)
    start = time.perf_counter()
    advice = recommend(data, model)
    seconds = time.perf_counter() - start
    mean, low, high = (100 * value for value in advice.accuracy)
    print(f"{name}: {seconds:.0f} s; the grid follows", file=sys.stderr, flush=True)
    lost = regret(data, model, advice, seeds)
    text = f"{lost.mean():+.2f}"
    if seeds > 1:
        ends = paired_interval(lost)
        text += f" ({ends.low:+.2f} to {ends.high:+.2f})"
    optimizer, rate = advice.settings["optimizer"], advice.settings["learning_rate"]
    answer = f"{advice.scaling}, {optimizer}, {rate:g}"
    accuracy = f"{mean:.1f} ({low:.1f} to {high:.1f})"
    return f"| {name} | {seconds:.0f} s | {answer} | {accuracy} | {text} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*CASES])
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    use_cpu_cores()
    print("| data | time | answer | test accuracy, % | regret, points |")
    print("|---|---|---|---|---|")
    for name in given.names:
        print(row(name, given.folder, given.seeds), flush=True)


if __name__ == "__main__":
    scripts.run(main)
