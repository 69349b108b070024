"""The matrix product of the network's layers, and how its operands are rounded.

Shapes in names: B examples, I inputs of a layer, O its outputs.
"""

import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.errors import choose


class Precision(NamedTuple):
    """How operands of matrix products are rounded; sums are always float32.

    The rounding is explicit, because a CPU would not round and GPUs differ.
    """

    mantissa_bits: int | None  # rounded to, ties to even; None: not rounded
    name: str  # JAX's, for such products (on a GPU its "bfloat16" would mean TF32)


PRECISIONS: dict[str, Precision] = {
    "float32": Precision(None, "float32"),
    "tf32": Precision(10, "tensorfloat32"),
    "bf16": Precision(7, "BF16_BF16_F32"),
}


def default_precision(precision: str) -> contextlib.AbstractContextManager[None]:
    """Returns a context that sets the precision of products other than ``matmul``."""
    return jax.default_matmul_precision(PRECISIONS[precision].name)


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

    By default XLA computes the transpose of dw for a single run and copies it back,
    which costs a network of 1000 units a third of its speed on a CPU.

    Args:
      x_BxI: inputs.
      w_IxO: weights.
      precision: a name in ``PRECISIONS``, for this product and those of its gradient.
    """
    return _matmul_forward(x_BxI, w_IxO, precision)[0]


def _matmul_forward(
    x: Array, w: Array, precision: str
) -> tuple[Array, tuple[Array, ...]]:
    x, w = _rounded(precision, x, w)
    return _product(precision, x, w), (x, w)


def _matmul_backward(
    precision: str, operands: tuple[Array, ...], g_BxO: Array
) -> tuple[Array, Array]:
    x_BxI, w_IxO = operands
    (g_BxO,) = _rounded(precision, g_BxO)
    return _product(precision, g_BxO, w_IxO.T), _product(precision, x_BxI.T, g_BxO)


matmul.defvjp(_matmul_forward, _matmul_backward)
