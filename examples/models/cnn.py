"""A convolutional network in Flax Linen, for images [H, W] and [H, W, C].

python -m experiments.recommend --model=examples.models.cnn:CNN --train_examples=6000
"""

import flax.linen as nn


class CNN(nn.Module):
    features: int = 8
    num_classes: int = 10

    @nn.compact
    def __call__(self, x):
        x = x if x.ndim == 4 else x[..., None]  # [B, H, W, C]
        for factor in (1, 2):
            x = nn.relu(nn.Conv(factor * self.features, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))
