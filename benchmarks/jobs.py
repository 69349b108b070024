"""What a worker is asked to do, and what it needs for it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_INPUTS, NUM_CLASSES, BATCH_SIZE = 784, 10, 32
DIVISOR = 255.0
LEARNING_RATES = {"sgd": 1e-2, "adam": 1e-3}

Train = Callable[[int], object]  # trains so many steps, and returns when they are done
Timed = Callable[[int], float]  # likewise; returns the seconds it took


@dataclasses.dataclass(frozen=True)
class Job:
    """One peer's part in the comparison, the same for every round.

    Attributes:
      peer: name in ``peers.PEERS``.
      width: units of the hidden layer of a 784-H-10 ReLU network.
      optimizer: "sgd" or "adam".
      runs: networks trained at once by this process.
      steps: steps of 32 examples in a round; the training set holds exactly these.
      data: folder of ``save_data``.
    """

    peer: str
    width: int
    optimizer: str
    runs: int
    steps: int
    data: str

    @property
    def learning_rate(self) -> float:
        """The optimizer's."""
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
    """Writes the training set where workers read it."""
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)


def orders(rng: np.random.Generator, steps: int, *runs: int) -> np.ndarray:
    """Returns shuffled rows of the examples, int32 ``[steps, *runs, 32]``."""
    shape = (*runs, steps * BATCH_SIZE)
    rows = np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)
    shuffled = rng.permuted(rows, axis=-1).reshape(*runs, steps, BATCH_SIZE)
    return np.moveaxis(shuffled, -2, 0)


def timed(train: Train) -> Timed:
    """Returns a function that says how long ``train`` takes.

    A tenth as many steps go before, untimed: caches and clocks are as warm as ours
    are after a first epoch.
    """

    def seconds(steps: int) -> float:
        train(max(1, steps // 10))
        start = time.perf_counter()
        train(steps)
        return time.perf_counter() - start

    return seconds
