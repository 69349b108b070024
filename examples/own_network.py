"""A sweep of a user's Flax module on NumPy arrays."""

import flax.linen as nn
import numpy as np

from fmnist_jax import Config, Data, Dataset, sweep, use_cpu_cores


class Tanh(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.tanh(nn.Dense(16)(x)))


use_cpu_cores()  # one JAX device per core, before anything else uses JAX
x = np.random.default_rng(0).uniform(-255, 255, size=(600, 2)).astype(np.float32)
inside = (np.hypot(x[:, 0], x[:, 1]) < 200).astype(np.int32)
data = Data(Dataset(x[:500], inside[:500]), Dataset(x[500:], inside[500:]), "disc")
ds = sweep(
    {"divisor": [1, 255], "learning_rate": [1e-3, 1e-2], "seed": range(4)},
    data,
    Config(model=Tanh(), batch_size=20, num_epochs=20),
)
print(ds.test_accuracy.isel(epoch=-1).mean("seed").to_pandas())
