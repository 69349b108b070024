"""JAX as in tutorials: a Python loop over a jitted step."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.jobs import NUM_CLASSES, NUM_INPUTS, Job, Train, orders


class Network(nn.Module):
    """A network with one hidden layer of ReLUs."""

    width: int
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits ``[B, 10]`` of ``x``, ``[B, 784]``."""
        hidden = nn.relu(nn.Dense(self.width, kernel_init=self.kernel_init)(x))
        return nn.Dense(NUM_CLASSES, kernel_init=self.kernel_init)(hidden)


def _optimizer(job: Job) -> optax.GradientTransformation:
    return {"sgd": optax.sgd, "adam": optax.adam}[job.optimizer](job.learning_rate)


def _loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def _train_step(state: TrainState, images: Any, labels: Any) -> Any:
    def loss_fn(params: Any) -> jax.Array:
        return _loss(state.apply_fn({"params": params}, images), labels)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def flax_loop(job: Job) -> dict[str, Train]:
    """Returns the loop of the Flax MNIST example, with JAX or NumPy arrays."""
    model, rng = Network(job.width), np.random.default_rng(0)
    params = model.init(jax.random.key(0), jnp.zeros((1, NUM_INPUTS)))["params"]
    tx = _optimizer(job)

    def loop(images: Any, labels: Any) -> Train:
        state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)

        def train(steps: int) -> Any:
            nonlocal state
            losses = []
            for rows in orders(rng, len(labels) // 32)[:steps]:
                state, loss = _train_step(state, images[rows], labels[rows])
                losses.append(loss)
            return jax.block_until_ready((state, jnp.stack(losses).mean()))

        return train

    x, y = job.float32()
    return {
        "JAX arrays": loop(jnp.asarray(x), jnp.asarray(y)),
        "NumPy arrays": loop(x, y),
    }


def vmap_sweep(job: Job) -> dict[str, Train]:
    """Returns a Python loop over a vmapped step of all runs."""
    model, tx = Network(job.width), _optimizer(job)
    images, labels = map(jnp.asarray, job.float32())
    rng = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), job.runs)
    params = jax.vmap(model.init, in_axes=(0, None))(keys, jnp.zeros((1, NUM_INPUTS)))
    state = (params, jax.vmap(tx.init)(params))

    @functools.partial(jax.jit, donate_argnums=0)
    @functools.partial(jax.vmap, in_axes=(0, 0, None, None))
    def step(state: Any, rows: Any, images: Any, labels: Any) -> Any:
        params, opt_state = state

        def loss_fn(params: Any) -> jax.Array:
            logits: Any = model.apply(params, images[rows])
            return _loss(logits, labels[rows])

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def train(steps: int) -> Any:
        nonlocal state
        losses = []
        for rows in orders(rng, len(labels) // 32, job.runs)[:steps]:
            state, loss = step(state, rows, images, labels)
            losses.append(loss)
        return jax.block_until_ready((state, jnp.stack(losses).mean(0)))

    return {"": train}
