"""The search space of ``benchmarks.tuners``, the task of a contestant, and its result.

Imports no contestant.
"""

import dataclasses
import math
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax import Config, Data, Dataset, fit_normalization

NORMALIZATIONS = ("none", "symmetric", "standard", "per_feature")
OPTIMIZERS = ("sgd", "adam")
BATCH_SIZES = (32, 64, 128, 512)
LEARNING_RATES = (1e-5, 1.0)  # log-uniform between these
EPOCHS, RUNGS = 9, (1, 3, 9)
WIDTH, NUM_CLASSES = 128, 10
SIGNS = {"validation_loss": 1, "validation_accuracy": -1}  # all scores are minimised
FILE = "data.npz"


class Setting(NamedTuple):
    """A point of the search space."""

    normalization: str
    optimizer: str
    batch_size: int
    learning_rate: float


class Outcome(NamedTuple):
    """The metrics of a setting after its last epoch; NaN if they are not known."""

    setting: Setting
    epochs: int
    validation_loss: float
    validation_accuracy: float
    test_accuracy: float

    def rank(self, by: str) -> tuple[bool, float]:
        """Returns what is minimal for the best setting: trained to the end comes first.

        Args:
          by: the metric that ranks the settings.
        """
        score = SIGNS[by] * getattr(self, by)
        if not math.isfinite(score):
            return True, math.inf
        return self.epochs < EPOCHS, score


@dataclasses.dataclass(frozen=True)
class Task:
    """The task of a contestant's process.

    Attributes:
      contestant: its name in ``tuners.CONTESTANTS``.
      data: the folder of ``save_data``.
      budget: seconds from the start of the process to the end of the search.
      seed: of the search and of training.
      by: the validation metric to optimise.
      divisor: number that pixels without a normalization are divided by.
      start: when the process was started, as ``time.time`` returns it.
    """

    contestant: str
    data: str
    budget: float
    seed: int
    by: str = "validation_loss"
    divisor: float = 1.0
    start: float = dataclasses.field(default_factory=time.time)

    @property
    def seconds_left(self) -> float:
        """The time until the end of the budget, in seconds."""
        return self.start + self.budget - time.time()

    @contextmanager
    def interrupted_at_end(
        self, margin: float = 0.0, interval: float = 1.0
    ) -> Iterator[None]:
        """Raises KeyboardInterrupt, as Ctrl-C does, when the budget ends.

        Args:
          margin: seconds before the end of the budget.
          interval: seconds until it is raised again: one that is raised in a callback
            of the garbage collector is lost.
        """
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(
            signal.ITIMER_REAL, max(self.seconds_left - margin, 1e-3), interval
        )
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def divisor_of(self, normalization: str) -> float:
        """Returns the divisor that follows a normalization."""
        return self.divisor if normalization == "none" else 1.0


class Answer(NamedTuple):
    """What a contestant recommends.

    Attributes:
      best: the recommended setting, with the metrics of its model.
      num_settings: how many settings were trained for at least an epoch.
      num_epochs: how many epochs were trained, summed over all settings.
      seconds: from the start of the process to the end of the search.
    """

    best: Outcome
    num_settings: int
    num_epochs: int
    seconds: float


def answer_of(task: Task, outcomes: Iterable[Outcome]) -> Answer:
    """Returns the best outcome; call it as soon as the search has ended.

    Raises:
      RuntimeError: if no epoch was trained.
    """
    some = list(outcomes)
    if not some:
        raise RuntimeError("No setting was trained for an epoch within the budget.")
    best = min(some, key=lambda outcome: outcome.rank(task.by))
    seconds = task.budget - task.seconds_left
    return Answer(best, len(some), sum(outcome.epochs for outcome in some), seconds)


def save_data(folder: Path, data: Data) -> None:
    """Writes the arrays that all contestants read."""
    arrays = {
        f"{split}_{name}": array
        for split, part in data.splits.by_name.items()
        for name, array in part._asdict().items()
    }
    np.savez(folder / FILE, **arrays)


def load_data(folder: str) -> Data:
    """Returns the arrays of ``save_data``."""
    with np.load(Path(folder) / FILE) as arrays:
        train, test, validation = (
            Dataset(arrays[f"{split}_images"], arrays[f"{split}_labels"])
            for split in ("train", "test", "validation")
        )
    return Data(train, test, validation=validation)


def inputs_of(task: Task, data: Data, normalization: str) -> dict[str, np.ndarray]:
    """Returns the inputs of a network by split, float32 ``[N, 784]``."""
    fitted = fit_normalization(Config(normalization=normalization), data.train)
    inputs = {}
    for split, part in data.splits.by_name.items():
        x: Any = np.asarray(part.images, np.float32)
        if fitted is not None:
            x = x if fitted.shift is None else x - fitted.shift
            x = x if fitted.scale is None else x / fitted.scale
        x = x / np.float32(task.divisor_of(normalization))
        inputs[split] = np.ascontiguousarray(x.reshape(len(x), -1), np.float32)
    return inputs
