"""A network in Flax Linen."""

import flax.linen as nn


class Net(nn.Module):
    width: int = 32

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)  # [B, 28, 28] to [B, 784]
        x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(10)(x)


network = Net()  # Config(model=network)
