"""What all runs of a program share: the arrays, and the normalization of the images."""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data, Dataset, Splits
from fmnist_jax.data.normalization import Normalization, fit_normalization
from fmnist_jax.devices import device_bytes, host_bytes
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.training.normalization import normalize

WHITENED_SHARE = 0.25  # of the memory, for all copies of images whitened in advance


class ProgramData(NamedTuple):
    """The arrays of a data set, and the normalization that programs apply to them."""

    splits: Splits  # images as stored, or normalized in advance
    normalization: Normalization | None = None  # fitted to the training set, or None
    # The images that probes take, as stored, and their normalization, if ``splits`` are
    # normalized in advance.
    probed: tuple[Splits, Normalization] | None = None

    @property
    def for_probes(self) -> tuple[Splits, Normalization | None]:
        """Images as stored, and their normalization."""
        return self.probed or (self.splits, self.normalization)


def normalization_settings(config: Config) -> tuple[Any, ...]:
    """Returns what determines a normalization of given data."""
    return config.normalization, config.whitening, config.whitening_eps


def fitted(config: Config, data: Data) -> Normalization | None:
    """Returns the normalization of ``config``, fitted once for each ``Data``."""
    settings = normalization_settings(config)
    if settings not in data.memo:
        data.memo[settings] = fit_normalization(config, data.train)
    return data.memo[settings]


def share_statistics(few: Data, whole: Data, configs: Iterable[Config]) -> None:
    """Gives a part of a data set the normalizations of the whole training set."""
    for config in configs:
        few.memo[normalization_settings(config)] = fitted(config, whole)


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
        size, limit = size * (num_devices + 1), host_bytes()
    return size <= WHITENED_SHARE * limit


def shapes(config: Config, data: Data, plan: Plan) -> ProgramData:
    """Returns the shapes and types of what a program of ``config`` takes."""
    shared = ProgramData(data.splits, fitted(config, data))
    if is_applied_in_advance(config, data, plan.num_devices):
        whiten = functools.partial(in_advance, count=max_examples(plan))
        shared = jax.eval_shape(whiten, shared)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shared)


def max_examples(plan: Plan) -> int:
    """Returns the number of images that the probes of a plan take at most."""
    configs = {group.config for group in plan.groups}
    sizes = (probe.num_examples(config) for probe in plan.probes for config in configs)
    return max(sizes, default=1)


@functools.partial(jax.jit, static_argnames="count")
def in_advance(shared: ProgramData, count: int) -> ProgramData:
    """Returns data with normalized images.

    The first ``count`` images of each split are kept as stored, for probes.
    """
    normalization = shared.normalization
    assert normalization is not None

    def normalized(part: Dataset | None) -> Any:
        if part is None:
            return None
        return part._replace(images=normalize(normalization, part.images))

    probed = jax.tree.map(lambda array: array[:count], shared.splits)
    splits = Splits(*map(normalized, shared.splits))
    return ProgramData(splits, Normalization(), (probed, normalization))
