"""The same network as a pair of functions."""

import jax
import jax.numpy as jnp

from fmnist_jax import Network


def init(key, x):
    keys = jax.random.split(key)
    sizes = [(x.size // len(x), 32), (32, 10)]
    normal = jax.nn.initializers.lecun_normal()
    weights = [normal(k, size) for k, size in zip(keys, sizes, strict=True)]
    return [(w, jnp.zeros((1, w.shape[1]))) for w in weights]


def apply(params, x):
    (w1, b1), (w2, b2) = params
    hidden = jax.nn.relu(x.reshape(len(x), -1) @ w1 + b1)
    return hidden @ w2 + b2


network = Network(init, apply, name="Pair")
