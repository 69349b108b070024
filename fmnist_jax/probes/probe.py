"""Probes: further measurements of a run, each a pure function of its state."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset, Splits
from fmnist_jax.errors import UserError, check_is, unknown
from fmnist_jax.training.step import State
from fmnist_jax.values import plain

WHEN = ("init", "epoch", "end")


@dataclasses.dataclass(frozen=True)
class Probe:
    """A measurement of each run whose outputs are part of the results.

    Attributes:
      function: pure, ``(config, hparams, state, key, batch) -> dict of arrays``;
        vmapped with the run. The batch is a ``Dataset`` of images as stored, and
        ``forward(config, hparams, state, None, batch.images, False)`` returns their
        logits. The names of the outputs become variables of the results. The dict may
        be nested: ``{"a": {"b": x}}`` is recorded as ``a.b`` (NetCDF has no slashes in
        names).
      when: "init" (before the first step), "epoch" (after each epoch) or "end".
      dims: the names of each output's dimensions; scalars need no entry.
      examples: number of images in the batch, the first ones of ``split`` (all of them
        if there are fewer); or a function from the run's ``Config`` to this number.
      split: "train", "test" or "validation".
      gradients: approximate cost, as a number of gradients of the batch's loss; used
        for the expected time.

    Raises:
      UserError: for another ``when`` or ``split``.
    """

    function: Callable[[Config, Hparams, State, Array, Dataset], dict[str, Any]]
    when: str = "epoch"
    dims: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict, hash=False
    )
    examples: int | Callable[[Config], int] = 256
    gradients: float = 0.0
    split: str = "train"

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise unknown("Probe.when", self.when, WHEN)
        if self.split not in Splits._fields:
            raise unknown("Probe.split", self.split, Splits._fields)
        object.__setattr__(self, "examples", plain(self.examples))

    def num_examples(self, config: Config) -> int:
        """Returns the size of the batch for runs of ``config``."""
        return (
            self.examples if isinstance(self.examples, int) else self.examples(config)
        )


def mini_batches(batch: Dataset, size: int, count: int | None = None) -> Dataset:
    """Returns a batch cut into mini-batches, ``[K, size, …]``.

    ``count`` is the number of mini-batches K; None for all. The size is capped at that
    of the batch. A partial last mini-batch is left out.
    """
    size = min(size, len(batch.labels))
    count = len(batch.labels) // size if count is None else count
    return Dataset(
        *(
            jnp.asarray(array)[: count * size].reshape(count, size, *array.shape[1:])
            for array in batch
        )
    )


def run_probes(
    probes: tuple[Probe, ...],
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    splits: Splits,
) -> dict[str, Array]:
    """Returns the outputs of all probes; batches are the first images of a split."""
    values: dict[str, Array] = {}
    for index, probe in enumerate(probes):
        size = probe.num_examples(config)
        batch = Dataset(*(array[:size] for array in getattr(splits, probe.split)))
        probe_key = jax.random.fold_in(key, index)
        output = probe.function(config, hparams, state, probe_key, batch)
        check_is("The output of a probe", output, Mapping, "a dict of names to arrays")
        values |= flattened(output)
    return values


def flattened(output: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the arrays of a nested dict by their joined names, such as ``a.b``."""
    values: dict[str, Any] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(output):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int):
            raise UserError(
                f"The probe output {name!r} is a {type(value).__name__}; expected an "
                "array or a number."
            )
        if name in values or "/" in name:
            problem = "contains a slash" if "/" in name else "occurs twice"
            raise UserError(
                f"The probe output {name!r} {problem}; give it another name."
            )
        values[name] = value
    return values
