"""Batches of runs: what moves when finished runs leave."""

import jax
import jax.numpy as jnp
import numpy as np

from fmnist_jax.sweeps.programs import RunInputs, device_mesh
from fmnist_jax.sweeps.run_batch import RunBatch, compact
from tests.sweeps.runs import HPARAMS


def test_states_of_any_dtype_move() -> None:
    """Also random keys, which an optimizer or a network of the user's may hold."""
    keys = jax.random.split(jax.random.key(0), 8)
    state = {"key": keys, "half": jnp.arange(8, dtype=jnp.bfloat16)}
    seeds = np.arange(8, dtype=np.uint32)
    inputs = RunInputs(jax.tree.map(lambda x: jnp.full(8, x), HPARAMS), seeds, seeds)
    batch = RunBatch(np.arange(8), seeds, inputs, state)
    finished = np.isin(np.arange(8), [0, 1, 2, 4, 6])
    left = compact(batch, finished, 4, device_mesh(2), 1e9)
    assert left.positions.tolist() == [3, 5, 7, 7]
    assert left.inputs.seeds.tolist() == [3, 5, 7, 7]
    assert left.state["half"].astype(int).tolist() == [3, 5, 7, 7]
    data = jax.random.key_data(left.state["key"])
    expected = jax.random.key_data(keys)[jnp.array([3, 5, 7, 7])]
    np.testing.assert_array_equal(data, expected)
