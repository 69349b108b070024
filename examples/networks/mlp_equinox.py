"""The same network in Equinox."""

import equinox as eqx
import jax

from fmnist_jax import from_equinox


class Net(eqx.Module):
    hidden: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, key):
        hidden_key, out_key = jax.random.split(key)
        self.hidden = eqx.nn.Linear(784, 32, key=hidden_key)
        self.out = eqx.nn.Linear(32, 10, key=out_key)

    def __call__(self, x):  # of one image; the library vmaps it
        return self.out(jax.nn.relu(self.hidden(x.reshape(-1))))


network = from_equinox(Net)  # a function of a key that makes the module
