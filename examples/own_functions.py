"""A sweep of a user's loss, optimizer, and setting of this optimizer."""

import jax.numpy as jnp
import optax

from fmnist_jax import Config, Hparams, load, sweep, use_cpu_cores


def smoothed(logits, labels):
    targets = optax.smooth_labels(jnp.eye(10)[labels], 0.1)
    return optax.softmax_cross_entropy(logits, targets)


def clipped_adam(hparams):
    clip = optax.clip_by_global_norm(hparams.extra["clip_norm"])
    return optax.chain(clip, optax.adam(hparams.learning_rate))


use_cpu_cores()
data = load("synthetic", train_examples=1000, test_examples=500)
config = Config(loss=smoothed, optimizer=clipped_adam, num_epochs=3)
axes = {"clip_norm": [0.01, 1], "learning_rate": [1e-3, 1e-2], "seed": range(2)}
ds = sweep(axes, data, config, Hparams(extra={"clip_norm": 1.0}))
print(ds.test_accuracy.isel(epoch=-1).mean("seed").to_pandas())
