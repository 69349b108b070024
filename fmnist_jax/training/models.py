"""The network, its initialisers, and how any Flax module is called.

Shapes in names: B examples, I inputs of a layer, O its outputs, C classes.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import choose

Variables = dict[str, Any]

BATCH_NORM_MOMENTUM, BATCH_NORM_EPS = 0.1, 1e-5  # PyTorch's
HIDDEN = jax.tree_util.DictKey("hidden")  # what hidden layers put out is sown as
PREACTIVATION = jax.tree_util.DictKey("preactivation")  # and what comes before its ReLU


class Precision(NamedTuple):
    """How exactly matrix products are taken; their sums are float32 in any case.

    Attributes:
      mantissa_bits: what operands are rounded to, ties to even; None: not at all. It is
        spelled out, as a CPU would round nothing and a GPU as it likes.
      name: what JAX calls the product of such operands, here and as the default of
        products that are not ours. (On a GPU its "bfloat16" would be TF32.)
    """

    mantissa_bits: int | None
    name: str


PRECISIONS: dict[str, Precision] = {
    "float32": Precision(None, "float32"),
    "tf32": Precision(10, "tensorfloat32"),
    "bf16": Precision(7, "BF16_BF16_F32"),
}


def _rounded(precision: str, *operands: Array) -> tuple[Array, ...]:
    bits = choose("precision", precision, PRECISIONS).mantissa_bits
    if bits is None:
        return operands
    return tuple(jax.lax.reduce_precision(x, 8, bits) for x in operands)


def _product(precision: str, a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=PRECISIONS[precision].name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x_BxI: Array, w_IxO: Array, precision: str = "float32") -> Array:
    """Returns ``x @ w``; its gradient computes dw as ``xᵀ @ g``, never transposed.

    Left to itself, XLA builds the transpose of dw for a single run and copies it back,
    which costs a 1000-wide network a third of its speed on a CPU.

    Args:
      x_BxI: inputs.
      w_IxO: weights.
      precision: name in ``PRECISIONS``, of this product and those of its gradient.
    """
    return _matmul_forward(x_BxI, w_IxO, precision)[0]


def _matmul_forward(
    x: Array, w: Array, precision: str
) -> tuple[Array, tuple[Array, ...]]:
    x, w = _rounded(precision, x, w)
    return _product(precision, x, w), (x, w)


def _matmul_backward(
    precision: str, saved: tuple[Array, ...], g_BxO: Array
) -> tuple[Array, Array]:
    x_BxI, w_IxO = saved
    (g_BxO,) = _rounded(precision, g_BxO)
    return _product(precision, g_BxO, w_IxO.T), _product(precision, x_BxI.T, g_BxO)


matmul.defvjp(_matmul_forward, _matmul_backward)


def _uniform_by_inputs(num_inputs: int) -> Callable[..., Array]:
    """PyTorch's ``nn.Linear``: U(±1/√inputs), for weights and biases alike."""
    bound = num_inputs**-0.5

    def init(key: Array, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


# Name -> (kernel initialiser, bias initialiser), given the number of inputs.
_INITIALIZERS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "flax": lambda _: (nn.initializers.lecun_normal(), nn.initializers.zeros),
    "keras": lambda _: (nn.initializers.glorot_uniform(), nn.initializers.zeros),
    "pytorch": lambda inputs: (_uniform_by_inputs(inputs), _uniform_by_inputs(inputs)),
}


def dropout(key: Array, rate: Any, x: Array) -> Array:
    """Sets a share of ``x`` to 0 and divides the rest by what is left, ``1 - rate``.

    Unlike ``nn.Dropout`` it takes a traced rate. A rate of 0 gives ``x`` exactly.
    (Srivastava et al. 2014, section 10, in its inverted form.)
    """
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


class BatchNorm(nn.Module):
    """Batch normalisation of vectors with PyTorch's ``BatchNorm1d`` semantics.

    (Ioffe and Szegedy 2015.) Running statistics move by a tenth of the new, and the
    running variance is the unbiased one; ``flax.linen.BatchNorm`` keeps the biased one
    and cannot be frozen by a traced switch.

    Attributes:
      frozen: whether the running statistics are used, and kept, in training too.
    """

    frozen: Any = False

    @nn.compact
    def __call__(self, x_BxF: Array, train: bool) -> Array:
        """Returns ``x`` normalised over its batch, or by the running statistics."""
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
                share = jnp.where(self.frozen, 0, BATCH_NORM_MOMENTUM)
                running_mean.value = mean + share * (batch_mean - mean)
                running_var.value = var + share * (unbiased - var)
            mean = jnp.where(self.frozen, mean, batch_mean)
            var = jnp.where(self.frozen, var, batch_var)
        factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPS)
        return (x_BxF - mean[None, :]) * factor[None, :] + bias[None, :]


class MLP(nn.Module):
    """A multi-layer perceptron with ReLU between its layers.

    It sows what its hidden layers put out as ``intermediates/hidden``, a tuple of
    ``[B, size]``, and what their ReLUs take as ``intermediates/preactivation``, which
    costs nothing unless it is asked for.

    Attributes:
      num_classes: number of logits.
      hidden_sizes: units of each hidden layer; ``()`` is softmax regression.
      initializer: "pytorch" (U(±1/√inputs) for weights and biases), "keras" (Glorot
        uniform, zero biases) or "flax" (LeCun normal, zero biases).
      dropout_rate: of the inputs of each layer, the images included; may be traced.
        None: no dropout at all.
      batch_norm: before each ReLU, "on" or "off".
      frozen: whether batch norm is frozen; may be traced.
      precision: of its matrix products, forward and backward; name in ``PRECISIONS``.
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
            self.sow("intermediates", PREACTIVATION.key, x)
            x = nn.relu(x)
            self.sow("intermediates", HIDDEN.key, x)
        return self._dense(self.num_classes, x, train)

    def _dense(self, size: int, x: Array, train: bool) -> Array:
        if train and self.dropout_rate is not None:
            x = dropout(self.make_rng("dropout"), self.dropout_rate, x)
        kernel_init, bias_init = choose("initializer", self.initializer, _INITIALIZERS)(
            x.shape[-1]
        )

        def product(x: Array, w: Array, *_: Any, **__: Any) -> Array:
            return matmul(x, w, self.precision)

        layer = nn.Dense(
            size, kernel_init=kernel_init, bias_init=bias_init, dot_general=product
        )
        return layer(x)


def make_model(
    config: Config, hparams: Hparams, num_classes: int, epoch: Any = 0
) -> nn.Module:
    """Returns the network of ``config``: its own module, or the MLP it describes.

    Args:
      config: static settings.
      hparams: traced settings.
      num_classes: number of logits C.
      epoch: how many epochs are over, which decides whether batch norm is frozen.
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
    """Whether a module is told that it is being trained."""
    return "train" in inspect.signature(type(model).__call__).parameters


def _train_argument(model: nn.Module, train: bool) -> dict[str, Any]:
    return {"train": train} if takes_train(model) else {}


def init_variables(model: nn.Module, key: Array, x: Array) -> Variables:
    """Returns a module's initial variables for inputs like ``x``."""
    params_key, dropout_key = jax.random.split(key)
    rngs = {"params": params_key, "dropout": dropout_key}
    return dict(model.init(rngs, x, **_train_argument(model, False)))


def apply_model(
    model: nn.Module, variables: Variables, key: Array | None, x: Array, train: bool
) -> tuple[Array, Variables]:
    """Calls a module.

    Args:
      model: any Flax module from inputs to logits.
      variables: its variables, ``params`` and what else it keeps.
      key: for the ``dropout`` stream; None gives none.
      x: inputs, float32 ``[B, *image_shape]``.
      train: passed on to a module that takes it; its other collections, such as batch
        statistics, are updated only in training.

    Returns:
      Logits ``[B, C]`` and the collections beside ``params``, updated in training.
    """
    rngs = {} if key is None else {"dropout": key}
    others = {name: v for name, v in variables.items() if name != "params"}
    arguments = _train_argument(model, train)
    # With nothing to update, mutable=[] still gives a pair.
    mutable = list(others) if train else []
    logits, updated = model.apply(variables, x, rngs=rngs, mutable=mutable, **arguments)
    return logits, {**others, **updated}


def hidden_outputs(
    model: nn.Module, variables: Variables, x: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Returns logits ``[B, C]`` and what hidden layers put out, ``[B, …]`` each.

    The hidden layers are what the module sows as ``intermediates/hidden``.
    """
    return _logits_and_sown(model, variables, x, HIDDEN)


def preactivations(
    model: nn.Module, variables: Variables, x: Array
) -> tuple[Array, tuple[Array, ...]]:
    """Returns logits ``[B, C]`` and what is sown as ``intermediates/preactivation``."""
    return _logits_and_sown(model, variables, x, PREACTIVATION)


def _logits_and_sown(
    model: nn.Module, variables: Variables, x: Array, name: jax.tree_util.DictKey
) -> tuple[Array, tuple[Array, ...]]:
    logits, updated = model.apply(
        variables, x, mutable=["intermediates"], **_train_argument(model, False)
    )
    sown = jax.tree_util.tree_leaves_with_path(updated.get("intermediates", {}))
    return logits, tuple(leaf for path, leaf in sown if name in path)
