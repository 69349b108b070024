"""A user's training loop around the library's pure training step."""

import jax

from fmnist_jax import Config, Dataset, Hparams, init, load, train_step

data = load("synthetic", train_examples=1000, test_examples=100)
config, hparams = Config(hidden_sizes=(64,)), Hparams(divisor=255.0)
init_key, key = jax.random.split(jax.random.key(0))
state = init(config, hparams, init_key, data.image_shape, data.num_classes)
step = jax.jit(train_step, static_argnums=0)
for start in range(0, 992, 32):
    images, labels = (array[start : start + 32] for array in data.train)
    step_key = jax.random.fold_in(key, start)
    state, metrics = step(config, hparams, state, step_key, Dataset(images, labels))
    if start % 256 == 0:
        print(f"example {start}: loss {metrics['loss']:.3f}")
