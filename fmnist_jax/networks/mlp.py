"""The built-in network and its initialisers."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import choose
from fmnist_jax.networks.layers import BatchNorm, dropout
from fmnist_jax.networks.matmul import matmul

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
) -> Any:
    """Returns the network of ``config``: the user's, or the built-in MLP.

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
