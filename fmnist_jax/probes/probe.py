"""What else is recorded of a run: a pure function of its state."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.errors import check_is, unknown
from fmnist_jax.training.step import State

WHEN = ("init", "epoch", "end")


@dataclasses.dataclass(frozen=True)
class Probe:
    """Something else worth recording of each run.

    Attributes:
      function: pure, ``(config, hparams, state, key, batch) -> dict of arrays``;
        vmapped with the run.
      when: "init" (before the first step), "epoch" (after each) or "end".
      dims: the names of each output's dimensions; none for a scalar.
      examples: how many of the first training images make the batch.
      gradients: about how many gradients of the batch's loss it costs, for the time
        that is expected.

    Raises:
      UserError: for another ``when``.
    """

    function: Callable[[Config, Hparams, State, Array, Dataset], dict[str, Array]]
    when: str = "epoch"
    dims: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict, hash=False
    )
    examples: int = 256
    gradients: float = 0.0

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise unknown("when of a probe", self.when, WHEN)


def run_probes(
    probes: tuple[Probe, ...],
    config: Config,
    hparams: Hparams,
    state: State,
    key: Array,
    train: Dataset,
) -> dict[str, Array]:
    """Returns what probes say of a run, each on the first of its training images."""
    values: dict[str, Array] = {}
    for index, probe in enumerate(probes):
        batch = Dataset(*(array[: probe.examples] for array in train))
        probe_key = jax.random.fold_in(key, index)
        found = probe.function(config, hparams, state, probe_key, batch)
        check_is("What a probe returns", found, Mapping, "a dict of names to arrays")
        values |= found
    return values
