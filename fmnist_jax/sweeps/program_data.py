"""What all runs of a program share: the arrays, and the normalization of the images."""

import os
from typing import Any, NamedTuple

import jax

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data, Dataset, Splits
from fmnist_jax.devices import device_bytes
from fmnist_jax.training.normalization import (
    Normalization,
    fit_normalization,
    normalize,
)

WHITENED_SHARE = 0.25  # of the memory, for all copies of images whitened in advance


class ProgramData(NamedTuple):
    """The arrays of a data set, and the normalization that its programs apply to them.

    Attributes:
      splits: images as stored, or normalized in advance.
      normalization: fitted to the training set; None for none.
    """

    splits: Splits
    normalization: Normalization | None = None


def fitted(config: Config, data: Data) -> Normalization | None:
    """Returns the normalization of ``config``, fitted once for each ``Data``.

    Raises:
      UserError: as ``fit_normalization``.
    """
    settings = config.normalization, config.whitening, config.whitening_eps
    if settings not in data.memo:
        train = data.train if data.fitted_to is None else data.fitted_to
        data.memo[settings] = fit_normalization(config, train)
    return data.memo[settings]


def is_applied_in_advance(config: Config, data: Data, num_devices: int) -> bool:
    """Whether images are whitened once for a program, and not in each step.

    The product with a matrix would cost more than a step; its result needs four bytes
    for each pixel on each device.
    """
    if config.normalization != "whiten":
        return False
    splits = [part for part in data.splits if part is not None]
    size = sum(4 * part.images.size for part in splits)
    limit = device_bytes(jax.local_devices()[0])
    if limit is None:
        size *= num_devices + 1
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return size <= WHITENED_SHARE * limit


def shapes(config: Config, data: Data, num_devices: int) -> ProgramData:
    """Returns the shapes and types of what a program of ``config`` takes."""
    splits = data.splits
    normalization = fitted(config, data)
    if is_applied_in_advance(config, data, num_devices):
        splits, normalization = jax.eval_shape(in_advance, normalization, splits)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        ProgramData(splits, normalization),
    )


@jax.jit
def in_advance(normalization: Normalization, splits: Splits) -> ProgramData:
    """Returns data whose images are normalized, and need no normalization."""

    def normalized(part: Dataset | None) -> Any:
        if part is None:
            return None
        return part._replace(images=normalize(normalization, part.images))

    return ProgramData(Splits(*map(normalized, splits)), Normalization())
