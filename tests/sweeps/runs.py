"""Settings and data of the runs that sweeps are compared with."""

import numpy as np

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.orders import epoch_order

CONFIG = Config(hidden_sizes=(6,), batch_size=16, num_epochs=8)
HPARAMS = Hparams(divisor=100.0, learning_rate=0.01)
SEED = 2


def make_data(num_examples: int, seed: int) -> Dataset:
    """Images of noise with a brighter pixel at the position of the label."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, 3, num_examples).astype(np.int32)
    images = random.randint(0, 200, (num_examples, 10))
    images[np.arange(num_examples), labels] += 40
    return Dataset(images.astype(np.uint8), labels)


DATA = Data(make_data(64, 0), make_data(40, 1))


def shuffled() -> list[np.ndarray]:
    return [epoch_order(SEED, e, 64) for e in range(1, CONFIG.num_epochs + 1)]
