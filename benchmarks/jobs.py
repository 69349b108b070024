"""The task of a worker, and its data."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_INPUTS, NUM_CLASSES, BATCH_SIZE = 784, 10, 32
DIVISOR = 255.0
LEARNING_RATES = {"sgd": 1e-2, "adam": 1e-3}

Train = Callable[[int], object]  # trains the given number of steps
Timed = Callable[[int], float]  # the same; returns the time in seconds


@dataclasses.dataclass(frozen=True)
class Job:
    """The task of one peer, the same in every round.

    Attributes:
      peer: its name in ``peers.PEERS``.
      width: units H of the hidden layer of a 784-H-10 ReLU network.
      optimizer: "sgd" or "adam".
      runs: number of networks that the process trains at once.
      steps: steps of 32 examples in a round, which use the whole training set.
      data: the folder of ``save_data``.
    """

    peer: str
    width: int
    optimizer: str
    runs: int
    steps: int
    data: str

    @property
    def learning_rate(self) -> float:
        """The learning rate of the optimizer."""
        return LEARNING_RATES[self.optimizer]

    def uint8(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns images uint8 ``[N, 28, 28]`` and labels int32 ``[N]``."""
        folder = Path(self.data)
        images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
        count = self.steps * BATCH_SIZE
        return images[:count], labels[:count]

    def float32(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns images float32 ``[N, 784]`` in 0…1 and labels int32 ``[N]``."""
        images, labels = self.uint8()
        x = images.reshape(-1, NUM_INPUTS).astype(np.float32) / np.float32(DIVISOR)
        return x, labels


def save_data(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes the training set for ``Job.uint8``."""
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)


def orders(rng: np.random.Generator, steps: int, *runs: int) -> np.ndarray:
    """Returns shuffled rows of the examples, int32 ``[steps, *runs, 32]``."""
    shape = (*runs, steps * BATCH_SIZE)
    rows = np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)
    shuffled = rng.permuted(rows, axis=-1).reshape(*runs, steps, BATCH_SIZE)
    return np.moveaxis(shuffled, -2, 0)


def timed(train: Train) -> Timed:
    """Returns a function that measures the time of ``train`` in seconds.

    A tenth of the steps run first without timing, to warm up caches and clocks as the
    first epoch of fmnist_jax does.
    """

    def seconds(steps: int) -> float:
        train(max(1, steps // 10))
        start = time.perf_counter()
        train(steps)
        return time.perf_counter() - start

    return seconds
