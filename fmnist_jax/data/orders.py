"""Orders of the training examples. They are data: NumPy computes them from a seed."""

import operator
from typing import Any, SupportsIndex

import numpy as np

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.values import SEED


def epoch_order(
    seed: SupportsIndex, epoch: SupportsIndex, num_examples: SupportsIndex
) -> np.ndarray:
    """Returns the shuffled order of the examples in an epoch, int32 ``[N]``.

    It depends on nothing else, so that all runs of a seed see the same batches. NumPy
    shuffles, because jax.random.permutation takes fifty times as long on a CPU.

    Args:
      seed: of the run, from 0 to 2³² - 1.
      epoch: from 1.
      num_examples: of the training set, N.

    Raises:
      UserError: for a seed that is not allowed, or is traced by JAX.
    """
    try:
        number = operator.index(seed)
    except TypeError:  # also of a traced seed
        number = -1
    if not SEED.accepts(number):
        raise UserError(
            f"seed is {seed!r}; expected {SEED.allowed}. In jit or vmap, train takes "
            "the orders of the examples too: run_orders(config, seeds, data)."
        )
    order = np.random.default_rng([number, operator.index(epoch)])
    return order.permutation(operator.index(num_examples)).astype(np.int32)


def example_order(
    config: Config, seed: SupportsIndex, epoch: SupportsIndex, labels: np.ndarray
) -> np.ndarray:
    """Returns the order of the examples in an epoch by ``config.order``, int32 ``[N]``.

    Args:
      config: with ``order``: "shuffled" as by ``epoch_order``, "file" or "sorted".
      seed: of the run; used by "shuffled" only.
      epoch: from 1; used by "shuffled" only.
      labels: of the training set, ``[N]``.

    Raises:
      UserError: as ``epoch_order``.
    """
    if config.order == "file":
        return np.arange(len(labels), dtype=np.int32)
    if config.order == "sorted":
        return np.argsort(labels, kind="stable").astype(np.int32)
    return epoch_order(seed, epoch, len(labels))


def run_orders(config: Config, seed: Any, data: Data) -> np.ndarray:
    """Returns the orders of the examples in every epoch of a run, as ``train`` uses.

    Args:
      config: with ``order`` and ``num_epochs``, E.
      seed: of the run; or seeds ``[S]``, such as ``range(5)``.
      data: with N training examples.

    Returns:
      int32 ``[E, N]``; of several seeds, ``[S, E, N]``.

    Raises:
      UserError: as ``epoch_order``.
    """
    if np.ndim(seed):
        return np.stack([run_orders(config, s, data) for s in seed])
    labels, epochs = np.asarray(data.train.labels), range(1, config.num_epochs + 1)
    return np.stack([example_order(config, seed, e, labels) for e in epochs])


def check_orders(config: Config, orders: Any) -> None:
    """Raises UserError if ``orders`` do not have the shape of those of one run."""
    shape = np.shape(orders)
    if len(shape) != 2 or shape[0] != config.num_epochs:
        raise UserError(
            f"orders has shape {shape}; expected [E, N], an order of the examples for "
            f"each of the {config.num_epochs} epochs, as run_orders returns it."
        )
