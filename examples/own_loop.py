"""A user's training loop around the library's pure training step."""

import jax

from fmnist_jax import Config, Dataset, Hparams, load, training

data = load("synthetic", train_examples=1000, test_examples=100)
config = Config(hidden_sizes=(64,), schedule="cosine", num_epochs=3)
hparams = Hparams(divisor=255.0)
key, init_key = jax.random.split(jax.random.key(0))
state = training.init(config, hparams, init_key, data.image_shape, data.num_classes)
step = jax.jit(training.train_step, static_argnums=0)
for epoch in range(1, config.num_epochs + 1):
    before, order = state, training.epoch_order(0, epoch, 1000)
    for rows in order[:992].reshape(-1, 32):
        key, step_key = jax.random.split(key)
        batch = Dataset(*(array[rows] for array in data.train))
        state, _ = step(config, hparams, state, step_key, batch)
    test = training.evaluate(config, hparams, state, data.test)
    state, test = training.end_epoch(config, hparams, before, state, test, test["loss"])
    learning_rate, loss = test["epoch_learning_rate"], test["loss"]
    print(f"epoch {epoch}: learning rate {learning_rate:.1e}, test loss {loss:.3f}")
