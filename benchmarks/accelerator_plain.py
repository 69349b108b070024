"""A sweep in plain JAX: one jitted function per epoch, vmapped over the runs.

The network, optimizer, batches and evaluations are those of the preset "keras" of
fmnist_jax, and so are the results, to float32 rounding.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from benchmarks.on_jax import Network
from fmnist_jax.data.dataset import Data
from fmnist_jax.training import judged_examples, run_keys
from fmnist_jax.training.losses import clipped

BATCH, EVALUATION_BATCH = 32, 500
EPSILON = 1e-7
NETWORK = Network(128, nn.initializers.glorot_uniform())


class Settings(NamedTuple):
    """The settings of the runs, ``[R]`` each."""

    divisor: Any
    learning_rate: Any
    seed: Any
    order: Any  # the position of its example order among those of the seeds


class Examples(NamedTuple):
    """Images ``[N, 784]`` as stored and labels ``[N]`` of each data set."""

    train: tuple[Any, Any]
    evaluated: tuple[tuple[Any, Any], ...]


def examples(data: Data) -> Examples:
    """Returns the training set, and the sets that are evaluated after an epoch."""

    def flat(images: Any, labels: Any) -> tuple[Any, Any]:
        return jnp.asarray(images).reshape(len(labels), -1), jnp.asarray(labels)

    judged = judged_examples(data.train)
    return Examples(flat(*data.train), (flat(*data.test), flat(*judged)))


def init(settings: Settings) -> Any:
    """Returns the initial parameters and optimizer state of one run."""
    key = jax.random.split(run_keys(settings.seed)[0])[0]
    params = NETWORK.init(key, jnp.zeros((1, 784)))["params"]
    return params, optax.adam(0.0).init(params)


def _logits(params: Any, images: Array, divisor: Array) -> Any:
    x = images.astype(jnp.float32) / divisor
    return NETWORK.apply({"params": params}, x)


def _accuracy(logits: Array, labels: Array) -> Array:
    return jnp.mean(logits.argmax(-1) == labels)


def _evaluate(params: Any, divisor: Array, images: Array, labels: Array) -> Any:
    def logits_of(image: Array) -> Any:
        return _logits(params, image, divisor)

    logits = jax.lax.map(logits_of, images, batch_size=EVALUATION_BATCH)
    return jnp.mean(clipped(logits, labels)), _accuracy(logits, labels)


def train_epoch(
    settings: Settings, state: Any, orders: Array, data: Examples
) -> tuple[Any, dict[str, Array]]:
    """Trains one run for an epoch, and evaluates it.

    Args:
      settings: of the run.
      state: as ``init`` returns it.
      orders: of the examples, ``[S, N]``; N is a multiple of 32.
      data: the data sets.
    """
    images, labels = data.train
    optimizer = optax.adam(settings.learning_rate, eps=EPSILON)

    def step(state: Any, rows: Array) -> Any:
        params, opt_state = state
        x, y = images[rows], labels[rows]

        def objective(params: Any) -> Any:
            logits = _logits(params, x, settings.divisor)
            return jnp.mean(clipped(logits, y)), _accuracy(logits, y)

        values, grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), values

    batches = orders[settings.order].reshape(-1, BATCH)
    state, (losses, accuracies) = jax.lax.scan(step, state, batches)
    test, train = (_evaluate(state[0], settings.divisor, *s) for s in data.evaluated)
    metrics = {"train_loss": losses.mean(), "train_accuracy_running": accuracies.mean()}
    metrics |= {"test_loss": test[0], "test_accuracy": test[1]}
    return state, metrics | {
        "final_train_loss": train[0],
        "final_train_accuracy": train[1],
    }


init_runs = jax.jit(jax.vmap(init))
train_run = jax.jit(train_epoch, donate_argnums=1)
train_runs = functools.partial(jax.jit, donate_argnums=1)(
    jax.vmap(train_epoch, in_axes=(0, 0, None, None))
)
