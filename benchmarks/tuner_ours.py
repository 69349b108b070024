"""fmnist_jax: ``recommend``; and ``halving``, repeated until the time ends."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import tuner_task
from benchmarks.tuner_task import Answer, Outcome, Setting, Task, answer_of
from fmnist_jax import (
    Config,
    Data,
    Hparams,
    SweepInterrupted,
    halving,
    recommend,
    use_cpu_cores,
)
from fmnist_jax.analysis.recommendation import best_position
from fmnist_jax.search.rungs import Rungs
from fmnist_jax.sweeps import cost
from fmnist_jax.sweeps.engine import plan_for_local_devices

# Programs of the first rung may take this share of the budget to compile, by the
# estimate of the library, and the first call as a whole this share.
SHARE_TO_COMPILE, SHARE_OF_FIRST = 1 / 6, 1 / 3
MARGIN = 3.0  # seconds; compilation and an epoch of a batch are not interrupted
SHORT = 200.0  # seconds
FEWEST, MOST = 3, 64  # learning rates of a recipe

Recipe = tuple[str, str, int]  # normalization, optimizer, batch size: a program


def recipes(seed: int) -> list[Recipe]:
    """Returns all programs of the search space, in a random order with balanced starts.

    The first 2 have both optimizers; the first 8 all pairs of a normalization and an
    optimizer, and each batch size twice; and so on.
    """
    random = np.random.default_rng(seed)

    def shuffled(values: Sequence[Any]) -> list[Any]:
        return [values[i] for i in random.permutation(len(values))]

    normalizations = shuffled(tuner_task.NORMALIZATIONS)
    optimizers = shuffled(tuner_task.OPTIMIZERS)
    sizes = shuffled(tuner_task.BATCH_SIZES)
    chosen: list[Recipe] = []
    for i in range(32):
        optimizer, normalization = i % 2, i // 2 % 4
        size = (normalization + 2 * optimizer + i // 8) % 4
        names = normalizations[normalization], optimizers[optimizer]
        chosen.append((*names, sizes[size]))
    return chosen


def num_recipes(budget: float) -> int:
    """Returns how many programs a budget in seconds can pay for, a power of two."""
    affordable = budget * SHARE_TO_COMPILE / cost.SECONDS_PER_PROGRAM
    return 2 ** int(np.clip(math.log2(max(affordable, 1)), 0, 5))


def points(
    some: Sequence[Recipe], num_learning_rates: int, random: np.random.Generator
) -> list[Setting]:
    """Returns settings: per recipe, a learning rate in each of equal log intervals."""
    low, high = np.log(tuner_task.LEARNING_RATES)
    shares = random.random((len(some), num_learning_rates))
    shares = (np.arange(num_learning_rates) + shares) / num_learning_rates
    return [
        Setting(*recipe, float(f"{value:.4g}"))
        for recipe, row in zip(some, shares, strict=True)
        for value in np.exp(low + row * (high - low))
    ]


def axes(task: Task, settings: Sequence[Setting]) -> dict[str, Any]:
    """Returns the axes of a search over settings."""
    bundles = [
        setting._asdict() | {"divisor": task.divisor_of(setting.normalization)}
        for setting in settings
    ]
    return {"point": bundles, "seed": [task.seed]}


def expected_seconds(
    task: Task, data: Data, config: Config, settings: Sequence[Setting]
) -> float:
    """Returns the library's estimate for halving these settings, without start-up."""
    plan = plan_for_local_devices(axes(task, settings), data, config, Hparams())
    share, _ = Rungs(tuner_task.RUNGS).expectation([plan])
    return cost.expected_seconds(plan, data, share) - cost.SECONDS_TO_START


def outcomes_of(results: xr.Dataset, settings: Sequence[Setting]) -> list[Outcome]:
    """Returns the outcome of each setting that was trained and did not diverge."""
    metrics = {
        name: results[name].transpose("point", "seed", "epoch").values[:, 0]
        for name in Outcome._fields[2:]
    }
    outcomes = []
    for i, setting in enumerate(settings):
        # Epochs after pruning, and those that an interrupted search lacks, are NaN.
        if last := int(np.isfinite(metrics["test_accuracy"][i]).sum()):
            values = (float(metrics[name][i, last - 1]) for name in metrics)
            outcomes.append(Outcome(setting, last, *values))
    return outcomes


def next_recipes(
    some: Sequence[Recipe], outcomes: Sequence[Outcome], by: str, num: int
) -> list[Recipe]:
    """Returns the recipes with the best settings, in the order of their ranks."""
    best: dict[Recipe, tuple[bool, float]] = {}
    for outcome in outcomes:
        rank, recipe = outcome.rank(by), outcome.setting[:3]
        best[recipe] = min(rank, best.get(recipe, rank))
    return sorted(some, key=lambda r: best.get(r, (True, math.inf)))[:num]


def search(task: Task) -> Answer:
    """Halves as many settings as the budget allows.

    The first call is to take a third of the budget, by the library's own estimate.
    Further calls have the same number of learning rates for each recipe, so that the
    programs are compiled already, and as many of the best recipes as the time allows.
    """
    use_cpu_cores()
    data = tuner_task.load_data(task.data)
    config = Config(num_epochs=tuner_task.EPOCHS, evaluate_train=False)
    random = np.random.default_rng(task.seed)
    chosen = recipes(task.seed)[: num_recipes(task.budget)]
    number = FEWEST
    while number < MOST and SHARE_OF_FIRST * task.budget > expected_seconds(
        task, data, config, points(chosen, number + 1, random)
    ):
        number += 1
    outcomes: list[Outcome] = []
    settings: list[Setting] = []
    try:
        with task.interrupted_at_end(MARGIN, interval=10):
            while chosen:
                before = task.seconds_left
                settings = points(chosen, number, random)
                results = halving(
                    axes(task, settings), data, config, rungs=tuner_task.RUNGS,
                    by=task.by,
                )  # fmt: skip
                outcomes += outcomes_of(results, settings)
                left = task.seconds_left - MARGIN
                affordable = int(left / (before - task.seconds_left) * len(chosen))
                chosen = next_recipes(chosen, outcomes, task.by, affordable)
    except SweepInterrupted as interrupted:
        if interrupted.results is not None:
            outcomes += outcomes_of(interrupted.results, settings)
    except KeyboardInterrupt:
        pass
    return answer_of(task, outcomes)


def recommended(task: Task) -> Answer:
    """Returns what ``recommend`` answers; it does not know the budget.

    With little time, the batch size is fixed, and fewer seeds are trained in full.
    """
    use_cpu_cores()
    data = tuner_task.load_data(task.data)
    low, high = np.log10(tuner_task.LEARNING_RATES)
    is_short = task.budget < SHORT
    candidates: dict[str, Any] = {
        "scaling": {
            name: {"normalization": name, "divisor": task.divisor_of(name)}
            for name in tuner_task.NORMALIZATIONS
        },
        "optimizer": tuner_task.OPTIMIZERS,
        "learning_rate": np.logspace(low, high, 16).round(7).tolist(),
        "batch_size": [32] if is_short else [32, 128],
        "seed": range(10 * task.seed, 10 * task.seed + (3 if is_short else 5)),
    }
    config = Config(num_epochs=tuner_task.EPOCHS)
    advice = recommend(data, config=config, axes=candidates)
    chosen, results = advice.settings, advice.results
    setting = Setting(
        advice.scaling,
        chosen["optimizer"],
        int(chosen["batch_size"]),
        chosen["learning_rate"],
    )
    best = results.isel(setting=best_position(results), epoch=-1)
    metrics = (best[name].mean().item() for name in Outcome._fields[2:])
    outcome = Outcome(setting, tuner_task.EPOCHS, *metrics)
    seconds = task.budget - task.seconds_left
    epochs = results.status.size * tuner_task.EPOCHS
    return Answer(outcome, results.tried_accuracy.size, epochs, seconds)


def retrain(task: Task, setting: Setting, seeds: Sequence[int]) -> list[float]:
    """Returns the test accuracy of a setting after the last epoch, for each seed."""
    from fmnist_jax import sweep

    data = tuner_task.load_data(task.data)
    config = Config(num_epochs=tuner_task.EPOCHS, evaluate_train=False)
    results = sweep(
        axes(task, [setting]) | {"seed": list(seeds)}, data, config, Hparams()
    )
    return results.test_accuracy.isel(epoch=-1).values.reshape(-1).tolist()
