"""Flax NNX modules as a ``Network``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from fmnist_jax.networks import switch
from fmnist_jax.networks.network import Network, from_make


def from_nnx(make: Callable[[nnx.Rngs], Any], name: str = "") -> Network:
    """Returns the network of a Flax NNX module.

    Its parameters are the module's ``nnx.Param``, a nested dict of arrays; its state is
    the other variables, such as batch statistics. Streams of random numbers are seeded
    anew in each step. ``module.train()`` and ``module.eval()`` set the mode.
    ``nnx.update(make(nnx.Rngs(0)), params)`` makes a trained module.

    Args:
      make: ``make(rngs) -> module``, such as ``lambda rngs: Net(784, 10, rngs=rngs)``
        or a class. Networks of the same function are equal, and share a program.
      name: of the network in results; by default that of the function, or of the class
        of the module if the function has none.

    Raises:
      UserError: if ``make`` is not a function.
    """
    return from_make(make, name, _init, _apply, _module_class, ("rngs",))


def _split(module: Any) -> tuple[Any, Any, Any, Any]:
    """Returns a module's structure, parameters, random state and other variables.

    Values that it sows are left out: they would change the shape of the state.
    """
    filters = (nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    parts: Any = nnx.split(module, *filters)
    graph, params, rng_state, _, others = parts
    return graph, params, rng_state, others


@functools.cache
def _structure(make: Callable[..., Any]) -> Any:
    """Returns the module without its arrays, and the shapes of its random state."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, _, rng_state, _ = _split(module)
    return type(module), graph, rng_state


def _module_class(make: Callable[..., Any]) -> type:
    return _structure(make)[0]


def _init(make: Callable[..., Any], key: Array, x: Array) -> tuple[Any, Any]:
    _, params, _, state = _split(make(nnx.Rngs(key)))
    return nnx.to_pure_dict(params), nnx.to_pure_dict(state)


def _apply(
    make: Callable[..., Any],
    params: Any,
    state: Any,
    x: Array,
    *,
    train: bool,
    key: Array | None,
) -> tuple[Array, Any]:
    _, graph, rng_state = _structure(make)
    key = jax.random.key(0) if key is None else key  # unused in evaluation
    key, call_key = jax.random.split(key)
    module = nnx.merge(graph, params, _seeded(rng_state, key), state)
    module.train() if train else module.eval()
    arguments = switch.call_arguments(
        type(module).__call__, 2, train, {"rngs": nnx.Rngs(call_key)}, into_kwargs={}
    )
    logits = module(x, **arguments)
    return logits, nnx.to_pure_dict(_split(module)[-1])


def _seeded(rng_state: Any, key: Array) -> Any:
    """Returns random state with a key of its own for each stream, and counts of 0."""
    leaves, treedef = jax.tree.flatten(rng_state)
    new = [
        jax.random.fold_in(key, number)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for number, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, new)
