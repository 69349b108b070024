"""Convolutions in the only layout that XLA optimises inside a loop on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Jaxpr, Literal

INLINED = ("jit", "pjit", "closed_call")  # what JAX calls functions within functions


def fast_in_loops(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function with the same results, whose convolutions are fast in loops.

    On a CPU, XLA has one fast kernel, for inputs ``[B, *spatial, features]`` and
    weights ``[*spatial, in, out]``. It rearranges the operands of other convolutions,
    such as those of gradients, but not inside loops (jax-ml/jax#12868); so they are
    rearranged here. On other platforms, and if JAX does not trace the arguments, the
    function is called as it is. Its arguments are trees of arrays.
    """

    def rearranged(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        if not is_traced or jax.default_backend() != "cpu":
            return function(*args)
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _evaluated(traced.jaxpr, traced.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return rearranged


def has_convolutions(jaxpr: Any) -> bool:
    """Whether a traced function, or one that it calls, contains a convolution."""
    return lax.conv_general_dilated_p.name in str(jaxpr)


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Returns the results of a traced function, with its convolutions rearranged."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(variable: Any) -> Any:
        is_literal = isinstance(variable, Literal)
        return variable.val if is_literal else values[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        primitive, params = equation.primitive, equation.params
        if primitive.name == lax.conv_general_dilated_p.name:
            results = [_convolution(*operands, **params)]
        elif primitive.name in INLINED and has_convolutions(params["jaxpr"]):
            inner = params["jaxpr"]
            results = _evaluated(inner.jaxpr, inner.consts, operands)
        else:
            bound: Any = primitive.get_bind_params(params)
            functions, bound = bound if isinstance(bound, tuple) else ((), bound)
            results = primitive.bind(*functions, *operands, **bound)
            results = results if primitive.multiple_results else [results]
        values |= zip(equation.outvars, results, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _convolution(x: Any, w: Any, *, dimension_numbers: Any, **params: Any) -> Any:
    """Returns ``lax.conv_general_dilated``, computed in the fast layout."""
    x_axes, w_axes, y_axes = dimension_numbers
    last = x.ndim - 1
    fast = (0, last, *range(1, last))
    numbers = lax.ConvDimensionNumbers(fast, (last, last - 1, *range(last - 1)), fast)
    y = lax.conv_general_dilated(
        lax.transpose(x, (x_axes[0], *x_axes[2:], x_axes[1])),
        lax.transpose(w, (*w_axes[2:], w_axes[1], w_axes[0])),
        dimension_numbers=numbers,
        **params,
    )
    order = (y_axes[0], *y_axes[2:], y_axes[1])
    return lax.transpose(y, sorted(range(y.ndim), key=order.__getitem__))
