"""The estimates of memory and time know every optimizer."""

import jax
import pytest

from fmnist_jax import training
from fmnist_jax.config import OPTIMIZERS, Config, Hparams
from fmnist_jax.sweeps.cost import STREAMS
from fmnist_jax.sweeps.model_size import SLOTS, mlp_parameters


def test_every_optimizer_has_an_entry() -> None:
    """A new optimizer needs the size of its state, and its passes over memory."""
    assert SLOTS.keys() == STREAMS.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_are_the_parameter_sized_arrays_of_the_state(optimizer: str) -> None:
    config = Config(optimizer=optimizer, hidden_sizes=(4,))
    state = training.init(config, Hparams(), jax.random.key(0), (6,), 3)
    arrays = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    num_values = sum(leaf.size for leaf in arrays)
    assert num_values == SLOTS[optimizer] * mlp_parameters((4,), 6, 3)
