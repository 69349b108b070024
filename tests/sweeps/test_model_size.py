"""The estimates of memory and time know every optimizer."""

import flax.linen as nn
import jax
import pytest

from examples.models.cnn import CNN
from fmnist_jax import load, training
from fmnist_jax.config import OPTIMIZERS, Config, Hparams
from fmnist_jax.sweeps.cost import STREAMS
from fmnist_jax.sweeps.model_size import (
    SLOTS,
    forward_flops,
    has_convolutions,
    mlp_parameters,
)


def test_every_optimizer_has_an_entry() -> None:
    """A new optimizer needs the size of its state, and its passes over memory."""
    assert SLOTS.keys() == STREAMS.keys() == OPTIMIZERS.keys()


class Linear(nn.Module):
    """The built-in network without hidden layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(10)(x.reshape(len(x), -1))


def test_operations_of_users_networks_are_those_of_their_layers() -> None:
    data = load("synthetic", train_examples=50, test_examples=20)
    padded = 28 * 28 * 9 * 8 + 14 * 14 * 9 * 8 * 16 + 7 * 7 * 16 * 10
    expected = {CNN(): 2 * padded, Linear(): 15_680}
    for model, operations in expected.items():
        flops = forward_flops(Config(model=model), data)
        assert flops == pytest.approx(operations, rel=0.05)
        is_cnn = isinstance(model, CNN)
        assert has_convolutions(Config(model=model), data) == is_cnn
    assert forward_flops(Config(), data) == 2 * mlp_parameters((128,))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_are_the_parameter_sized_arrays_of_the_state(optimizer: str) -> None:
    config = Config(optimizer=optimizer, hidden_sizes=(4,))
    state = training.init(config, Hparams(), jax.random.key(0), (6,), 3)
    arrays = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    num_values = sum(leaf.size for leaf in arrays)
    assert num_values == SLOTS[optimizer] * mlp_parameters((4,), 6, 3)
