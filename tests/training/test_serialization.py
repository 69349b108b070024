"""A state that is saved by Flax or orbax, or pickled, is the same bit for bit."""

import copy
import dataclasses
import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Config, Data, Hparams, State, evaluate, fit_normalization, init
from fmnist_jax.training import run_epoch
from tests.training.test_training import make_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_unoptimised")]

DATA = Data(make_data(30), make_data(20, seed=1))


class Mixed(nn.Module):
    """A user's network with batch statistics and parameters of bfloat16."""

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = x.reshape(len(x), -1)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3, param_dtype=jnp.bfloat16)(x)


ADAM = Config(hidden_sizes=(6,), batch_size=8)
CASES = {
    "adam": (ADAM, Hparams()),
    "sgd without state": (dataclasses.replace(ADAM, optimizer="sgd"), Hparams()),
    "plateau, target, batch norm, normalization": (
        dataclasses.replace(
            ADAM, schedule="plateau", batch_norm="on", normalization="per_feature"
        ),
        Hparams(target_accuracy=0.5),
    ),
    "whitening, chain of transformations": (
        dataclasses.replace(ADAM, optimizer="momentum", normalization="whiten"),
        Hparams(first_kernel_rate=0.5, first_kernel_scale=2.0),
    ),
    "own network": (dataclasses.replace(ADAM, model=Mixed()), Hparams()),
}


def initial(config: Config, hparams: Hparams, seed: int = 0) -> State:
    return init(
        config,
        hparams,
        jax.random.key(seed),
        DATA.image_shape,
        DATA.num_classes,
        fit_normalization(config, DATA.train),
    )


def trained(config: Config, hparams: Hparams) -> State:
    epoch = jax.jit(run_epoch, static_argnums=0)
    state, key = initial(config, hparams), jax.random.key(1)
    return epoch(config, hparams, state, key, DATA.splits, jnp.arange(30))[0]


def with_bytes(state: State, target: State, _: Path) -> State:
    content = flax.serialization.to_bytes(state)
    return flax.serialization.from_bytes(target, content)


def with_state_dict(state: State, target: State, _: Path) -> State:
    content = flax.serialization.to_state_dict(state)
    assert set(content) == {f.name for f in dataclasses.fields(State)} - {"num_classes"}
    return flax.serialization.from_state_dict(target, content)


def with_orbax(state: State, target: State, folder: Path) -> State:
    if importlib.util.find_spec("orbax.checkpoint") is None:
        pytest.skip("orbax-checkpoint is not installed (requirements-dev.txt)")
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "state", target)


def with_pickle(state: State, _: State, __: Path) -> State:
    return pickle.loads(pickle.dumps(copy.deepcopy(state)))


def bits(state: State) -> State:
    """Returns a state with shape, type and bytes of each array; NaN equals NaN."""

    def of_leaf(leaf: Any) -> tuple[Any, Any, bytes]:
        array = np.asarray(leaf)
        return array.shape, array.dtype, array.tobytes()

    return jax.tree.map(of_leaf, state)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "save_and_load", [with_bytes, with_state_dict, with_orbax, with_pickle]
)
def test_a_state_is_restored(
    case: str,
    save_and_load: Callable[[State, State, Path], State],
    tmp_path: Path,
) -> None:
    config, hparams = CASES[case]
    state, target = trained(config, hparams), initial(config, hparams, seed=5)
    assert bits(state) != bits(target)
    restored = save_and_load(state, target, tmp_path)
    assert isinstance(restored, State)
    assert bits(restored) == bits(state)
    values = [
        evaluate(config, hparams, s, DATA.test)["loss"] for s in (state, restored)
    ]
    assert values[0] == values[1]
