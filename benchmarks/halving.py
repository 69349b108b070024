"""Successive halving against the full grid: epochs trained, time, and regret.

    python -m benchmarks.halving DATA_DIR [--dataset=mnist] [--learning_rates=32] …

Trains a grid of normalizations × learning rates × optimizers × batch sizes to the last
rung, and halves the same settings, in turn. Then replays halving 20 times on the
validation curves of the grid, each time with a random seed for each setting. The regret
is the test accuracy of the grid's best setting, by the mean validation loss of all
seeds, minus that of the setting that halving finds, both as means over all seeds.
Prints a table. 784-128-10; a sixth of the training set is held out.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from benchmarks import scripts
from fmnist_jax import Config, Hparams, halving, load, sweep, use_cpu_cores
from fmnist_jax.analysis.intervals import paired_interval
from fmnist_jax.search.rungs import Rungs

REPETITIONS = 20
NORMALIZATIONS = ["none", "symmetric", "standard", "per_feature"]


def survivor(losses: np.ndarray, rungs: Rungs) -> int:
    """Returns the setting that halving finds by losses ``[settings, epochs]``."""
    alive = np.arange(len(losses))
    for epoch in rungs.epochs:
        scores = losses[alive, epoch - 1]
        order = np.argsort(np.where(np.isfinite(scores), scores, np.inf), kind="stable")
        is_last = epoch == rungs.epochs[-1]
        alive = alive[order[: 1 if is_last else rungs.num_kept(len(alive))]]
    return int(alive[0])


def flat(results: xr.Dataset, name: str) -> np.ndarray:
    """Returns a metric by setting, seed and epoch."""
    values = results[name].transpose(..., "seed", "epoch").values
    return values.reshape(-1, *values.shape[-2:])


def regrets(grid: xr.Dataset, rungs: Rungs, repetitions: int) -> np.ndarray:
    """Returns the regret of each repetition, in points of test accuracy."""
    losses, accuracy = flat(grid, "validation_loss"), flat(grid, "test_accuracy")
    final = np.nan_to_num(accuracy[:, :, -1].mean(-1), nan=0.0)
    mean_losses = losses[:, :, -1].mean(-1)
    best = final[int(np.nanargmin(mean_losses))]
    random = np.random.default_rng(0)
    accuracies = []
    for _ in range(repetitions):
        seeds = random.integers(losses.shape[1], size=len(losses))
        chosen = losses[np.arange(len(losses)), seeds]
        accuracies.append(final[survivor(chosen, rungs)])
    return 100 * (best - np.asarray(accuracies))


class Seconds(NamedTuple):
    """Wall-clock time, and the time on all cores, which other work affects less."""

    wall: float
    cores: float


def timed(function: Callable[[], xr.Dataset]) -> tuple[xr.Dataset, Seconds]:
    """Returns the results of a call, and its time."""
    wall, cores = time.perf_counter(), time.process_time()
    results = function()
    seconds = time.perf_counter() - wall, time.process_time() - cores
    return results, Seconds(*seconds)


def table(
    halved: xr.Dataset, grid: xr.Dataset, rungs: Rungs, seconds: tuple[Seconds, Seconds]
) -> str:
    """Returns the table; ``seconds`` are those of halving and of the grid."""
    ours, whole_grid = seconds
    wall, cores = ours.wall / whole_grid.wall, ours.cores / whole_grid.cores
    seeds = grid.sizes["seed"]
    trained = halved.pruned_epoch.fillna(rungs.epochs[-1]).sum().item()
    whole = grid.status.size * rungs.epochs[-1]
    last = {n: flat(grid, n)[:, :, -1] for n in ("validation_loss", "test_accuracy")}
    best = int(np.nanargmin(last["validation_loss"].mean(-1)))
    by_halving = int(np.nanargmin(flat(halved, "validation_loss")[:, :, -1].mean(-1)))
    lost = 100 * (last["test_accuracy"][best] - last["test_accuracy"][by_halving])
    interval = ""
    if seeds > 1 and np.ptp(lost):
        ends = paired_interval(lost)
        interval = f" ({ends.low:+.2f} to {ends.high:+.2f})"
    regret = regrets(grid, rungs, REPETITIONS)
    worst = f"{regret.mean():.2f} (at most {regret.max():.2f})"
    settings = f"{grid.status.size // seeds:,} settings, {seeds} seeds"
    lines = [
        f"| {settings}, rungs {rungs.settings['rungs']} | |",
        "|---|---|",
        f"| epochs trained / those of the grid | {trained / whole:.3f} |",
        f"| time / that of the grid | {wall:.3f} |",
        f"| time on all cores / that of the grid | {cores:.3f} |",
        f"| time of the grid | {whole_grid.wall / 60:.1f} min |",
        f"| points lost, paired over seeds | {lost.mean():+.2f}{interval} |",
        f"| regret of {REPETITIONS} repetitions in points, mean | {worst} |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", nargs="?")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--train_examples", type=int)
    parser.add_argument("--test_examples", type=int)
    parser.add_argument("--learning_rates", type=int, default=32)
    parser.add_argument(
        "--batch_sizes", type=int, nargs="+", default=[32, 64, 128, 512]
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=9)
    given = parser.parse_args()
    use_cpu_cores()
    data = load(given.dataset, given.data_dir, train_examples=given.train_examples)
    data = data.first(test=given.test_examples)
    data = data.with_validation(len(data.train.labels) // 6)
    axes: dict[str, Any] = {
        "normalization": NORMALIZATIONS,
        "optimizer": ["sgd", "adam"],
        "learning_rate": np.logspace(-5, 0, given.learning_rates).round(8),
        "batch_size": given.batch_sizes,
        "seed": range(given.seeds),
    }
    epochs = {given.epochs // 9 or 1, given.epochs // 3 or 1, given.epochs}
    rungs = Rungs(tuple(sorted(epochs)))
    config = Config(num_epochs=given.epochs, evaluate_train=False)
    halved, ours = timed(lambda: halving(axes, data, config, Hparams(), rungs.epochs))
    jax.clear_caches()  # both compile their programs
    grid, whole_grid = timed(lambda: sweep(axes, data, config))
    print(f"{data.title}, {len(data.train.labels):,} training images")
    print(table(halved, grid, rungs, (ours, whole_grid)))


if __name__ == "__main__":
    scripts.run(main)
