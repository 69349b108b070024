"""Scalings of the inputs to choose from, and a part of the data to choose on."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmnist_jax.analysis.recommendation import SCALED
from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.statistics import has_channels
from fmnist_jax.errors import UserError

Scalings = Mapping[str, Mapping[str, Any]]  # label to settings
VALIDATION_EXAMPLES = 2_000  # in the part of the data, at most


def part_of(data: Data, train_examples: int) -> Data:
    """Returns a stratified part of the training and validation set, and a test example.

    The search does not use the test set.
    """
    part = data.subset(train_examples, method="stratified").first(test=1)
    if data.validation is None:
        return part
    held_out = dataclasses.replace(data, test=data.validation, validation=None)
    few = held_out.subset(test=VALIDATION_EXAMPLES, method="stratified")
    return dataclasses.replace(part, validation=few.test)


def traced_scalings(scalings: Scalings, data: Data) -> dict[str, dict[str, Any]]:
    """Returns scalings as an offset and a divisor, so that these share a program.

    Scalings are settings by label: normalization, offset and divisor. Those by
    statistics of each pixel or channel of the training set keep their normalization.
    Those that do the same to the data as one before them are left out.
    """
    from fmnist_jax.sweeps.program_data import fitted  # imports jax

    distinct: dict[str, dict[str, Any]] = {}
    for label, settings in scalings.items():
        if others := [name for name in settings if name not in SCALED]:
            raise UserError(
                f"The scaling {label!r} sets {others[0]}; expected only "
                "normalization, offset and divisor. Add other settings as further axes."
            )
        name = settings.get("normalization", "none")
        if name == "per_channel" and not has_channels(data.image_shape):
            continue  # the same as standard
        statistics = fitted(Config(normalization=name), data)
        divisor = float(settings.get("divisor", NORMALIZATIONS[name]["divisor"]))
        offset = float(settings.get("offset", 0))
        if statistics is not None and np.size(statistics.scale) == 1:
            shift, scale = (float(np.squeeze(array)) for array in statistics[:2])
            name, offset, divisor = "none", shift + scale * offset, scale * divisor
        scaling = {"normalization": name, "offset": offset, "divisor": divisor}
        if scaling not in distinct.values():
            distinct[label] = scaling
    return distinct
