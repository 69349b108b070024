"""The same network in Flax NNX."""

from flax import nnx

from fmnist_jax import from_nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(784, 32, rngs=rngs)
        self.out = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return self.out(nnx.relu(self.hidden(x)))


network = from_nnx(Net)  # a function of rngs that makes the module
