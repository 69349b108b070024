"""The built-in network, its initialisers, and calls of any Flax module.

Shapes in names: B examples, F features.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import choose
from fmnist_jax.training.matmul import matmul

Variables = dict[str, Any]

BATCH_NORM_MOMENTUM, BATCH_NORM_EPS = 0.1, 1e-5  # PyTorch's
HIDDEN = "hidden"  # the outputs of hidden layers, as a network sows them
PREACTIVATION = "preactivation"  # the inputs of the MLP's ReLUs


def _uniform_by_inputs(num_inputs: int) -> Callable[..., Array]:
    """PyTorch's ``nn.Linear``: U(±1/√inputs), for weights and biases alike."""
    bound = num_inputs**-0.5
    return functools.partial(jax.random.uniform, minval=-bound, maxval=bound)


# Name -> (kernel initialiser, bias initialiser), given the number of inputs.
_INITIALIZERS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "flax": lambda _: (nn.initializers.lecun_normal(), nn.initializers.zeros),
    "keras": lambda _: (nn.initializers.glorot_uniform(), nn.initializers.zeros),
    "pytorch": lambda inputs: (_uniform_by_inputs(inputs), _uniform_by_inputs(inputs)),
}


def dropout(key: Array, rate: Any, x: Array) -> Array:
    """Sets a random share of ``x`` to 0 and divides the rest by ``1 - rate``.

    Inverted dropout (Srivastava et al. 2014, section 10). Unlike ``nn.Dropout`` it
    takes a traced dropout rate; a dropout rate of 0 returns ``x`` exactly.
    """
    is_retained = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(is_retained, x / (1 - rate), 0)


class BatchNorm(nn.Module):
    """Batch normalisation of vectors with the semantics of PyTorch's ``BatchNorm1d``.

    Ioffe and Szegedy 2015. The running statistics are exponential averages with weight
    0.1 for the current batch, and the running variance is unbiased. With ``frozen``,
    which may be traced, training also uses the running statistics, unchanged.
    ``flax.linen.BatchNorm`` keeps the biased variance and cannot be frozen in this way.
    """

    frozen: Any = False

    @nn.compact
    def __call__(self, x_BxF: Array, train: bool) -> Array:
        """Returns ``x`` normalised by its batch or by the running statistics."""
        shape = x_BxF.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        mean, var = running_mean.value, running_var.value
        if train:
            batch_mean, batch_var = jnp.mean(x_BxF, axis=0), jnp.var(x_BxF, axis=0)
            count = x_BxF.shape[0]
            unbiased = batch_var * (count / max(1, count - 1))
            if not self.is_initializing():
                momentum = jnp.where(self.frozen, 0, BATCH_NORM_MOMENTUM)
                running_mean.value = mean + momentum * (batch_mean - mean)
                running_var.value = var + momentum * (unbiased - var)
            mean = jnp.where(self.frozen, mean, batch_mean)
            var = jnp.where(self.frozen, var, batch_var)
        factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPS)
        return (x_BxF - mean[None, :]) * factor[None, :] + bias[None, :]


class MLP(nn.Module):
    """A multi-layer perceptron with ReLU between its layers.

    It sows the outputs of its hidden layers as ``intermediates/hidden``, a tuple of
    ``[B, size]``, and the inputs of its ReLUs as ``intermediates/preactivation``.
    Sowing costs nothing unless the collection is mutable.

    Attributes:
      num_classes: number of logits.
      hidden_sizes: units of each hidden layer; ``()`` is softmax regression.
      initializer: "pytorch" (U(±1/√inputs) for weights and biases), "keras" (Glorot
        uniform, zero biases) or "flax" (LeCun normal, zero biases).
      dropout_rate: of the inputs of each layer, the images included; may be traced.
        None: no dropout.
      batch_norm: before each ReLU, "on" or "off".
      frozen: whether batch norm is frozen; may be traced.
      precision: of its matrix products, forward and backward; a name in ``PRECISIONS``.
    """

    num_classes: int
    hidden_sizes: tuple[int, ...] = (128,)
    initializer: str = "keras"
    dropout_rate: Any = None
    batch_norm: str = "off"
    frozen: Any = False
    precision: str = "float32"

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Returns logits ``[B, C]`` of ``x``, float32 ``[B, *image_shape]``."""
        x = x.reshape(x.shape[0], -1)
        for size in self.hidden_sizes:
            x = self._dense(size, x, train)
            if self.batch_norm != "off":
                x = BatchNorm(self.frozen)(x, train)
            self.sow("intermediates", PREACTIVATION, x)
            x = nn.relu(x)
            self.sow("intermediates", HIDDEN, x)
        return self._dense(self.num_classes, x, train)

    def _dense(self, size: int, x: Array, train: bool) -> Array:
        if train and self.dropout_rate is not None:
            x = dropout(self.make_rng("dropout"), self.dropout_rate, x)
        initializers = choose("initializer", self.initializer, _INITIALIZERS)
        kernel_init, bias_init = initializers(x.shape[-1])

        def product(x: Array, w: Array, *_: Any, **__: Any) -> Array:
            return matmul(x, w, self.precision)

        layer = nn.Dense(
            size, kernel_init=kernel_init, bias_init=bias_init, dot_general=product
        )
        return layer(x)


def make_model(
    config: Config, hparams: Hparams, num_classes: int, epoch: Any = 0
) -> nn.Module:
    """Returns the network of ``config``: the user's module, or the built-in MLP.

    ``epoch`` is the number of completed epochs: batch norm is "frozen" from 1 on.
    """
    if config.model is not None:
        return config.model
    return MLP(
        num_classes,
        config.hidden_sizes,
        config.initializer,
        hparams.dropout_rate,
        config.batch_norm,
        config.batch_norm == "frozen" and epoch > 0,
        config.precision,
    )


def takes_train(model: nn.Module) -> bool:
    """Whether a module has the argument ``train``."""
    return "train" in inspect.signature(type(model).__call__).parameters


def _train_argument(model: nn.Module, train: bool) -> dict[str, Any]:
    return {"train": train} if takes_train(model) else {}


def init_variables(model: nn.Module, key: Array, x: Array) -> Variables:
    """Returns a module's initial variables for inputs like ``x``."""
    params_key, dropout_key = jax.random.split(key)
    rngs = {"params": params_key, "dropout": dropout_key}
    return dict(model.init(rngs, x, **_train_argument(model, False)))


def apply_model(
    model: nn.Module,
    variables: Variables,
    key: Array | None,
    x: Array,
    train: bool,
    sown: tuple[str, ...] = (),
) -> tuple[Array, Variables]:
    """Calls a module in training or in evaluation mode.

    Args:
      model: any Flax module from inputs to logits.
      variables: its collections, ``params`` and any others.
      key: for the ``dropout`` stream; None: no stream.
      x: inputs, float32 ``[B, *image_shape]``.
      train: passed to a module with this argument. Collections other than ``params``,
        such as batch statistics, are updated only in training.
      sown: further collections to return, such as ``intermediates``.

    Returns:
      Logits ``[B, C]`` and the collections other than ``params``.
    """
    rngs = {} if key is None else {"dropout": key}
    others = {name: v for name, v in variables.items() if name != "params"}
    arguments = _train_argument(model, train)
    # With nothing to update, mutable=[] still returns a pair.
    mutable = [*(others if train else ()), *sown]
    logits, updated = model.apply(variables, x, rngs=rngs, mutable=mutable, **arguments)
    return logits, {**others, **updated}
