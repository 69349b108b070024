"""The matrix product of the network's layers, and how its operands are rounded.

Shapes in names: B examples, I inputs of a layer, O its outputs.
"""

import contextlib
import functools
from collections.abc import Mapping
from types import MappingProxyType as Frozen
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fmnist_jax.errors import choose


class Precision(NamedTuple):
    """How operands of matrix products are rounded; sums are always float32.

    The rounding is explicit, because a CPU would not round and GPUs differ.
    """

    mantissa_bits: int | None  # rounded to, ties to even; None: not rounded
    name: str  # JAX's, for such products (on a GPU its "bfloat16" would mean TF32)


PRECISIONS: Mapping[str, Precision] = Frozen(
    {
        "float32": Precision(None, "float32"),
        "tf32": Precision(10, "tensorfloat32"),
        "bf16": Precision(7, "BF16_BF16_F32"),
    }
)


def default_precision(precision: str) -> contextlib.AbstractContextManager[None]:
    """Returns a context that sets the precision of products other than ``matmul``."""
    return jax.default_matmul_precision(PRECISIONS[precision].name)


def _matmul(
    x: Array, w: Array, *, precision: str, transpose_x: bool, transpose_w: bool
) -> Array:
    bits, name = choose("precision", precision, PRECISIONS)
    if bits is not None:
        x, w = (jax.lax.reduce_precision(operand, 8, bits) for operand in (x, w))
    x, w = x.mT if transpose_x else x, w.mT if transpose_w else w
    return jnp.matmul(x, w, precision=name)


def _abstract_matmul(x: Any, w: Any, **settings: Any) -> Any:
    product = jax.eval_shape(functools.partial(_matmul, **settings), x, w)
    return jax.core.ShapedArray(product.shape, product.dtype)


def _transpose_x(
    g: Array, x: Any, w: Array, *, transpose_x: bool, transpose_w: bool, **settings: Any
) -> Array:
    """Returns the cotangent of x, given that of the product."""
    if transpose_x:
        settings |= {"transpose_x": transpose_w, "transpose_w": True}
        return matmul_p.bind(w, g, **settings)
    return matmul_p.bind(
        g, w, transpose_x=False, transpose_w=not transpose_w, **settings
    )


def _transpose_w(
    g: Array, x: Array, w: Any, *, transpose_x: bool, transpose_w: bool, **settings: Any
) -> Array:
    """Returns the cotangent of w, given that of the product."""
    if transpose_w:
        settings |= {"transpose_x": True, "transpose_w": transpose_x}
        return matmul_p.bind(g, x, **settings)
    return matmul_p.bind(
        x, g, transpose_x=not transpose_x, transpose_w=False, **settings
    )


def _batched(
    operands: tuple[Array, Array], axes: tuple[Any, Any], **settings: Any
) -> tuple[Array, int]:
    """Returns the products of a batch, whose axis is the first, and this axis."""
    sizes = zip(operands, axes, strict=True)
    size = next(x.shape[axis] for x, axis in sizes if axis is not None)
    first = [
        jnp.broadcast_to(x, (size, *x.shape))
        if axis is None
        else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    return matmul_p.bind(*first, **settings), 0


# Bilinear, and so differentiable in both modes and to any order.
matmul_p = Primitive("matmul")
matmul_p.def_impl(_matmul)
matmul_p.def_abstract_eval(_abstract_matmul)
mlir.register_lowering(matmul_p, mlir.lower_fun(_matmul, multiple_results=False))
ad.defbilinear(matmul_p, _transpose_x, _transpose_w)
batching.primitive_batchers[matmul_p] = _batched


def matmul(x_BxI: Array, w_IxO: Array, precision: str = "float32") -> Array:
    """Returns ``x @ w``; its gradient computes dw as ``xᵀ @ g``, never transposed.

    By default XLA computes the transpose of dw for some runs and copies it back, which
    costs a network of 1000 units up to a fifth of its speed on a CPU. ``precision`` is
    a name in ``PRECISIONS``, for this product and those of its derivatives.
    """
    settings = {"precision": precision, "transpose_x": False, "transpose_w": False}
    return matmul_p.bind(x_BxI, w_IxO, **settings)
