"""Equinox modules as a ``Network``."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lazy_loader
from jax import Array
from jax.extend.core import jaxpr_as_fun

from fmnist_jax.errors import UserError
from fmnist_jax.networks import switch
from fmnist_jax.networks.network import Network, from_make

eqx = lazy_loader.load("equinox")  # no dependency of the library


def from_equinox(make: Callable[[Array], Any], name: str = "") -> Network:
    """Returns the network of an Equinox module, which takes one example.

    The module is vmapped over the batch, along the axis named "batch", with a key for
    each example. It is called as ``module(x)``, with ``key=…`` if its ``__call__`` has
    this argument; if layers such as ``eqx.nn.BatchNorm`` have a state, it is called as
    ``module(x, state)`` and returns ``(logits, state)``. In evaluation the module is
    ``eqx.nn.inference_mode(module)``, and the key is None.

    The network's parameters are the module's floating arrays, as ``eqx.partition``
    returns them. ``eqx.combine(params, make(key))`` is a trained module, if it has no
    state.

    Args:
      make: ``make(key) -> module``, such as a class, or ``-> (module, state)`` as
        ``eqx.nn.make_with_state`` returns them. Networks of the same function are
        equal, and share a program.
      name: of the network in results; by default that of the function, or of the class
        of the module if the function has none.

    Raises:
      UserError: if ``make`` is not a function, or Equinox is not installed.
    """
    if importlib.util.find_spec("equinox") is None:
        raise UserError("from_equinox needs a package: pip install equinox.")
    return from_make(make, name, _init, _apply, _module_class, ("key", "state"))


def _parts(make: Callable[..., Any], key: Array) -> tuple[Any, Any, Any]:
    """Returns the parameters of a module, its other arrays with its state, the rest."""
    created = make(key)
    if not isinstance(created, tuple):
        created = eqx.nn.make_with_state(lambda: created)()
    module, state = created
    arrays, static = eqx.partition(module, lambda leaf: hasattr(leaf, "dtype"))
    params, buffers = eqx.partition(
        arrays, lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    )
    return params, (buffers, state if jax.tree.leaves(state) else None), static


@functools.cache
def _structure(make: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Returns a module without arrays, and the structure of its arrays.

    Fields that are not arrays may differ from call to call, as functions do that
    ``make`` defines: those of one call are used.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, (buffers, _), static = eqx.filter_eval_shape(_parts, make, key)
    return static, jax.tree.structure(params), jax.tree.structure(buffers)


def _module_class(make: Callable[..., Any]) -> type:
    return type(_structure(make)[0])


def _init(make: Callable[..., Any], key: Array, x: Array) -> tuple[Any, Any]:
    return _parts(make, key)[:2]


def _apply(
    make: Callable[..., Any],
    params: Any,
    state: tuple[Any, Any],
    x: Array,
    *,
    train: bool,
    key: Array | None,
) -> tuple[Array, Any]:
    static, *structures = _structure(make)
    buffers, layer_state = state
    arrays = [
        jax.tree.unflatten(structure, jax.tree.leaves(tree))
        for structure, tree in zip(structures, (params, buffers), strict=True)
    ]
    # A copy, because a layer that sets a new state makes its old one invalid.
    states = [] if layer_state is None else [jax.tree.map(lambda x: x, layer_state)]

    def batch(arrays: Any, states: Any, x: Array, keys: Array | None) -> Any:
        module = eqx.nn.inference_mode(eqx.combine(*arrays, static), value=not train)

        def one(x: Array, key: Array | None) -> Any:
            call, keyword = type(module).__call__, {"key": key}
            num_inputs = 2 + len(states)
            arguments = switch.call_arguments(call, num_inputs, train, keyword, keyword)
            return module(x, *states, **arguments)

        out_axes = (0, None) if states else 0
        return jax.vmap(one, out_axes=out_axes, axis_name="batch")(x, keys)

    keys = None if key is None else jax.random.split(key, len(x))
    if not states:
        return batch(arrays, states, x, keys), state
    logits, layer_state = _without_mesh(batch, arrays, states, x, keys)
    return logits, (buffers, layer_state)


def _without_mesh(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function that is traced apart from the mesh of a sweep.

    Equinox refuses a new state whose values have another sharding than the old ones, as
    constants have if the runs are sharded.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        jaxpr, output = jax.make_jaxpr(function, return_shape=True)(*shapes)
    leaves = jaxpr_as_fun(jaxpr)(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(output), leaves)
