"""What the sections of ``benchmarks.accelerator`` share: sizes, runs and rows."""

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax import Config, Data, Hparams, Plan
from fmnist_jax.config import PRESETS

KERAS, ADAM = PRESETS["keras"]
SEEDS = 4  # of each setting
TOLERANCE, MIN_CLOSE = 1e-5, 0.9  # relative error; share of runs within it


class LeftOutError(Exception):
    """A section cannot run here; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of all sections.

    Attributes:
      runs: of the sweep under Adam, and of the peers.
      epochs: of the sweep under Adam.
      sgd_runs: of the sweep under SGD, which has one epoch.
      counts: numbers of runs of which the speed is measured.
      steps: of the parts of a step.
      single_runs: that the loop of single runs trains.
      rounds: of comparisons.
      stream_bytes: of an array that measures the bandwidth.
    """

    runs: int = 1024
    epochs: int = 5
    sgd_runs: int = 65_536
    counts: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    steps: int = 300
    single_runs: int = 4
    rounds: int = 2
    stream_bytes: int = 1 << 30


SMALL = Sizes(8, 2, 16, (1, 4), 10, 2, 1, 1 << 22)
SMALL_EXAMPLES: dict[str, Any] = {"train_examples": 320, "test_examples": 100}


class Bench(NamedTuple):
    """What a section takes."""

    data: Data
    sizes: Sizes


class Row(NamedTuple):
    """A result: a number, its unit, and the goal if there is one."""

    name: str
    value: float
    unit: str = ""
    goal: str = ""
    is_met: bool | None = None


Rows = Iterator[Row]


def at_most(name: str, value: float, unit: str, limit: float) -> Row:
    """Returns a row whose goal is a maximum."""
    return Row(name, value, unit, f"at most {limit:g}", value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Row:
    """Returns a row whose goal is a minimum."""
    return Row(name, value, unit, f"at least {limit:g}", value >= limit)


def keras(**settings: Any) -> Config:
    """Returns the preset "keras" without evaluation on the whole training set."""
    return dataclasses.replace(KERAS, evaluate_train=False, **settings)


def hparams(config: Config) -> Hparams:
    """Returns the settings of the preset "keras" that are not axes."""
    return Hparams(eps=ADAM.eps) if config.optimizer == "adam" else Hparams()


def axes(runs: int) -> dict[str, Any]:
    """Returns a grid of divisors, learning rates and seeds; ``runs`` is a power of 2.

    No run under Adam diverges, so that all take the same time.
    """
    seeds = min(SEEDS, runs)
    rates = 1 << math.ceil(math.log2(runs // seeds) / 2)
    divisors = runs // seeds // rates
    return {
        "divisor": np.geomspace(1e3, 1e2, divisors),
        "learning_rate": np.geomspace(1e-4, 1e-2, rates),
        "seed": range(seeds),
    }


def planned(bench: Bench, runs: int, config: Config, width: int | None = None) -> Plan:
    """Returns the plan of a sweep over ``axes``."""
    from fmnist_jax.sweeps.engine import plan_for_local_devices

    settings = axes(runs), bench.data, config, hparams(config)
    return plan_for_local_devices(*settings, max_width=width)


def compile_all(plan: Plan, data: Data) -> float:
    """Compiles the programs of a plan's epochs, for this process; returns the time."""
    from fmnist_jax.sweeps.precompile import precompiled

    start = time.perf_counter()
    with precompiled(plan, plan.groups, data) as wait_for:
        for group in plan.groups:
            if error := wait_for(group):
                assert isinstance(error, Exception)
                raise error
    return time.perf_counter() - start


class Timed(NamedTuple):
    """A sweep that has run.

    Attributes:
      seconds: from the first group's start to the last one's end.
      runs: number of runs that finished their last epoch.
      last_epoch: seconds of the last epoch, all groups together.
      groups: into how many the runs were divided in the end.
      values: of the last epoch of all runs, in the order of the plan, by name.
    """

    seconds: float
    runs: int
    last_epoch: float
    groups: int
    values: Mapping[str, np.ndarray]


def timed(plan: Plan, data: Data) -> Timed:
    """Runs a plan with compiled programs."""
    from fmnist_jax import run_groups

    start = last = time.perf_counter()
    seconds, parts = 0.0, []
    for part in run_groups(plan, data):
        now = time.perf_counter()
        if part.epoch == plan.config.num_epochs:
            seconds += now - last
            parts.append(part)
        last = now
    order = np.argsort(np.concatenate([part.runs for part in parts]))
    values = {
        name: np.concatenate([part.values[name] for part in parts])[order]
        for name in parts[0].values
    }
    return Timed(last - start, len(order), seconds, len(parts), values)


def device_name() -> str:
    """Returns the name of the device that trains, and its platform."""
    import jax

    device = jax.local_devices()[0]
    return f"{device.device_kind} ({device.platform})"


def errors(ours: Any, theirs: Any) -> np.ndarray:
    """Returns |ours - theirs| / |theirs| of each run, its maximum over steps, ``[R]``.

    A few runs differ by much more than rounding on any two devices, and in two programs
    on one device: where rounding moves an input of a ReLU across 0, or a probability
    across the limit of the clipped loss, the gradient jumps.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.max((abs(ours - theirs) / abs(theirs)).reshape(len(ours), -1), axis=1)


def compared(name: str, ours: Any, theirs: Any, is_checked: bool = True) -> Rows:
    """Yields how much the values of runs differ; ``is_checked``: the goal is 1e-5."""
    differences = errors(ours, theirs)
    share = float(np.mean(differences <= TOLERANCE))
    yield Row(f"{name}: median error", float(np.median(differences)))
    yield Row(f"{name}: largest error", float(np.max(differences)))
    title = f"{name}: share of runs within {TOLERANCE:g}"
    yield at_least(title, share, "", MIN_CLOSE) if is_checked else Row(title, share)
