"""The same network in Haiku."""

import haiku as hk
import jax

from fmnist_jax import from_haiku


def net(x):
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(hk.Linear(32)(x))
    return hk.Linear(10)(x)


network = from_haiku(hk.transform(net))
