"""Calls of Flax Linen modules with all of their collections in one dict."""

from typing import Any

from fmnist_jax.networks.linen import from_linen

Variables = dict[str, Any]


def init_variables(module: Any, key: Any, x: Any) -> Variables:
    """Returns a module's initial variables for inputs like ``x``."""
    params, state = from_linen(module).init(key, x)
    return {"params": params, **state}


def apply_model(
    module: Any, variables: Variables, key: Any, x: Any, train: bool, sown: Any = ()
) -> tuple[Any, Variables]:
    """Returns logits, and the collections other than ``params``."""
    state = {name: value for name, value in variables.items() if name != "params"}
    params = variables.get("params", {})
    apply = from_linen(module).apply
    return apply(params, state, x, train=train, key=key, sown=sown)
