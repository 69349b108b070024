"""A network with dropout and batch norm in each library, for images ``[28, 28]``."""

import importlib
from typing import Any

import flax.linen as nn
import jax
import pytest
from flax import nnx

from fmnist_jax import from_haiku, from_nnx

RATE = 0.2


class Linen(nn.Module):
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Any, is_training: bool) -> Any:
        types: Any = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.relu(nn.Dense(16, **types)(x.reshape(len(x), -1)))
        x = nn.BatchNorm(not is_training, momentum=0.9, **types)(x)
        x = nn.Dropout(RATE, deterministic=not is_training)(x)
        return nn.Dense(10, **types)(x)


class Nnx(nnx.Module):
    def __init__(self, rngs: Any) -> None:
        self.hidden = nnx.Linear(784, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(RATE, rngs=rngs)
        self.out = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
        return self.out(self.dropout(self.norm(x)))


def equinox() -> Any:
    pytest.importorskip("equinox", reason="in requirements-dev.txt")
    eqx: Any = importlib.import_module("equinox")
    from fmnist_jax import from_equinox

    class Equinox(eqx.Module):
        hidden: Any
        norm: Any
        dropout: Any
        out: Any

        def __init__(self, key: Any) -> None:
            keys = jax.random.split(key)
            self.hidden = eqx.nn.Linear(784, 16, key=keys[0])
            self.norm = eqx.nn.BatchNorm(16, "batch", momentum=0.9, mode="ema")
            self.dropout = eqx.nn.Dropout(RATE)
            self.out = eqx.nn.Linear(16, 10, key=keys[1])

        def __call__(self, x: Any, state: Any, key: Any = None) -> Any:
            x = jax.nn.relu(self.hidden(x.reshape(-1)))
            x, state = self.norm(x, state)
            return self.out(self.dropout(x, key=key)), state

    return from_equinox(Equinox)


def haiku() -> Any:
    hk = pytest.importorskip("haiku", reason="in requirements-dev.txt")

    def network(x: Any, is_training: bool) -> Any:
        x = jax.nn.relu(hk.Linear(16)(x.reshape(len(x), -1)))
        x = hk.BatchNorm(True, True, 0.9)(x, is_training)
        x = hk.dropout(hk.next_rng_key(), RATE, x) if is_training else x
        return hk.Linear(10)(x)

    return from_haiku(hk.transform_with_state(network))


VARIANTS = {
    "linen": Linen,
    "linen bfloat16": lambda: Linen("bfloat16"),
    "nnx": lambda: from_nnx(Nnx),
    "equinox": equinox,
    "haiku": haiku,
}
