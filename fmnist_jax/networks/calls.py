"""Calls of any network that ``Config.model`` may be."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from fmnist_jax.errors import UserError
from fmnist_jax.networks import convolutions, switch
from fmnist_jax.networks.linen import from_linen
from fmnist_jax.networks.network import Network


def as_network(model: Any) -> Network:
    """Returns a Linen module as a ``Network``; a ``Network`` as it is."""
    return model if isinstance(model, Network) else from_linen(model)


def init_network(model: Any, key: Array, x: Array) -> tuple[Any, Any]:
    """Returns initial parameters and state for inputs like ``x``.

    A network without state has an empty one.
    """
    network = as_network(model)
    initial = network.init(key, x)
    if not network.stateful:
        return initial, {}
    return _checked_pair(initial, f"init of {network.name}", "(params, state)")


def apply_network(
    model: Any,
    params: Any,
    state: Any,
    key: Array | None,
    x: Array,
    train: bool,
    sown: tuple[str, ...] = (),
) -> tuple[Array, Any]:
    """Calls a network in training or in evaluation mode.

    Args:
      model: a Linen module or a ``Network``.
      params: its parameters.
      state: its state, such as batch statistics.
      key: for dropout and the like; None: none.
      x: inputs, float32 ``[B, *image_shape]``.
      train: the mode. The state is updated only in training; its types stay.
      sown: further collections of a Linen module to return, such as "intermediates".

    Returns:
      Logits ``[B, C]``, of at least float32, and the state after the call.
    """
    network = as_network(model)
    inputs = (params, state, x) if network.stateful else (params, x)
    others = {"key": key, "sown": sown}
    into_kwargs = {"train": train, "key": key}
    output = network.apply(
        *inputs,
        **switch.call_arguments(network.apply, len(inputs), train, others, into_kwargs),
    )
    logits, after = output, state
    if network.stateful:
        subject = f"apply of {network.name}"
        logits, after = _checked_pair(output, subject, "(logits, state)")
    if not hasattr(logits, "dtype") or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise UserError(
            f"The network {network.name} returns {_described(logits)}; expected one "
            "floating array, the logits."
        )
    logits = at_least_float32(jnp.asarray(logits))
    if not train and not sown:
        return logits, state
    before: Any = jax.tree.structure(state)
    if before == jax.tree.structure(after):
        after = jax.tree.map(_with_type, after, state)
    return logits, after


def _checked_pair(output: Any, subject: str, expected: str) -> tuple[Any, Any]:
    """Returns what a function of a network with state returns."""
    if not isinstance(output, tuple) or len(output) != 2:
        raise UserError(
            f"{subject}, a network with state, returns {_described(output)}; expected "
            f"{expected}."
        )
    return output


def _with_type(new: Any, old: Any) -> Any:
    """Returns a new value of a state in the type of the old one."""
    new, old = jnp.asarray(new), jnp.asarray(old)
    return new if new.dtype == old.dtype else new.astype(old.dtype)


def _described(output: Any) -> str:
    """Returns the type of a network's output in words."""
    if isinstance(output, tuple):
        return f"a tuple ({', '.join(map(_described, output))})"
    if hasattr(output, "dtype"):
        return f"an array of type {output.dtype}"
    return "None" if output is None else f"a {type(output).__name__}"


def at_least_float32(tree: Any) -> Any:
    """Returns a tree with its arrays of lower precision in float32."""
    return jax.tree.map(
        lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree
    )


def notices(model: Any) -> list[str]:
    """Returns a line for everything in a network that may be a mistake."""
    network = as_network(model)
    if network.notices is not None:
        return network.notices()
    return switch.notices(network.apply, 3 if network.stateful else 2, ("key",))


# Plans and estimates ask again for each program or group of runs.
_remembered = functools.lru_cache(maxsize=64)


@_remembered
def num_parameters(model: Any, image_shape: tuple[int, ...]) -> int:
    """Returns the number of parameters of a network; computes nothing."""

    def params() -> Any:
        x = jnp.zeros((1, *image_shape), jnp.float32)
        return init_network(model, jax.random.key(0), x)[0]

    return sum(math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(params)))


@_remembered
def has_convolutions(model: Any, image_shape: tuple[int, ...]) -> bool:
    """Whether a network contains a convolution; computes nothing.

    False if the network fails, which is explained where it is checked.
    """
    traced = _traced(model, image_shape)
    return traced is not None and convolutions.has_convolutions(traced.jaxpr)


@_remembered
def forward_flops(model: Any, image_shape: tuple[int, ...]) -> float:
    """Returns the floating-point operations of a network for one example, by XLA.

    Computes and compiles nothing. 0 if XLA does not know them, or the network fails.
    """
    traced = _traced(model, image_shape)
    counts = None if traced is None else traced.lower().cost_analysis()
    return float((counts or {}).get("flops", 0))


def _traced(model: Any, image_shape: tuple[int, ...]) -> jax.stages.Traced | None:
    """Returns the traced call of a network with one example; None if it fails."""

    def logits(params: Any, state: Any, x: Array) -> Array:
        return apply_network(model, params, state, None, x, train=False)[0]

    x = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(init_network, model, jax.random.key(0))
    try:
        return jax.jit(logits).trace(*jax.eval_shape(init, x), x)
    except Exception:  # a user's code may raise anything
        return None
