"""Haiku's transformed functions as a ``Network``."""

import functools
import inspect
from typing import Any

from jax import Array

from fmnist_jax.errors import UserError
from fmnist_jax.network_values import name_of
from fmnist_jax.networks import switch
from fmnist_jax.networks.network import Network


def from_haiku(transformed: Any, name: str = "") -> Network:
    """Returns the network of a Haiku function that has been transformed.

    Args:
      transformed: what ``hk.transform(function)``, ``hk.transform_with_state`` or
        ``hk.without_apply_rng`` returns, of a ``function(x, …)`` whose switch, such as
        ``is_training``, is an argument.
      name: of the network in results; by default that of the function.

    Raises:
      UserError: for anything else.
    """
    if type(transformed).__name__ not in ("Transformed", "TransformedWithState"):
        raise UserError(
            f"from_haiku got a {type(transformed).__name__}; expected what "
            "hk.transform(function) or hk.transform_with_state(function) returns."
        )
    function = getattr(transformed.init, "_original_fn", transformed.apply)
    return Network(
        *_pair(transformed, function),
        stateful=True,
        name=name or name_of(function),
        notices=lambda: switch.notices(function, 1),
    )


@functools.cache
def _pair(transformed: Any, function: Any) -> tuple[Any, Any]:
    """Returns ``init`` and ``apply``, the same for the same function."""
    is_stateful = type(transformed).__name__ == "TransformedWithState"
    takes_rng = "rng" in inspect.signature(transformed.apply).parameters

    def init(key: Array, x: Array) -> tuple[Any, Any]:
        # In training mode, because batch norm creates its averages in it.
        arguments = switch.call_arguments(function, 1, True)
        initial = transformed.init(key, x, **arguments)
        return initial if is_stateful else (initial, {})

    def apply(
        params: Any, state: Any, x: Array, *, train: bool, key: Array | None
    ) -> tuple[Array, Any]:
        arguments = switch.call_arguments(function, 1, train)
        inputs = [params, *[state] * is_stateful, *[key] * takes_rng, x]
        output = transformed.apply(*inputs, **arguments)
        return output if is_stateful else (output, state)

    return init, apply
