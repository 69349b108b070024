"""Calls of Flax Linen modules."""

import dataclasses
import functools
from typing import Any

import jax
from jax import Array

from fmnist_jax.errors import UserError
from fmnist_jax.networks import switch
from fmnist_jax.networks.network import Network

Variables = dict[str, Any]


def from_linen(module: Any) -> Network:
    """Returns a Linen module as a pair; its state is its collections but ``params``."""
    return Network(
        functools.partial(_init, module),
        functools.partial(_apply, module),
        stateful=True,
        name=type(module).__name__,
        notices=functools.partial(_notices, module),
    )


def _init(module: Any, key: Array, x: Array) -> tuple[Any, Variables]:
    variables = init_variables(module, key, x)
    return variables.pop("params", {}), variables


def _apply(
    module: Any,
    params: Any,
    state: Variables,
    x: Array,
    *,
    train: bool,
    key: Array | None,
    sown: tuple[str, ...] = (),
) -> tuple[Array, Variables]:
    return apply_model(module, {"params": params, **state}, key, x, train, sown)


def _call(module: Any) -> Any:
    """Returns the function of the class of a module that is called."""
    cls = type(module)
    if not any("__call__" in vars(base) for base in cls.__mro__):
        raise UserError(f"The module {cls.__name__} has no method __call__.")
    return cls.__call__


def _notices(module: Any) -> list[str]:
    return [] if _attributes(module, True) else switch.notices(_call(module), 2)


def _attributes(module: Any, train: bool) -> dict[str, bool]:
    """Returns the fields of a module that are switches, with their values."""
    fields = {f.name: f for f in dataclasses.fields(module) if f.init}
    return {
        name: value
        for name, value in switch.switches(fields, train).items()
        if isinstance(getattr(module, name), bool) or "bool" in str(fields[name].type)
    }


def _in_mode(module: Any, train: bool) -> tuple[Any, dict[str, bool]]:
    """Returns a module and the arguments of its call in training or evaluation.

    A switch that is an argument takes precedence over one that is an attribute.
    """
    attributes = _attributes(module, train)
    into_kwargs: dict[str, bool] | None = {} if attributes else None
    arguments = switch.call_arguments(_call(module), 2, train, into_kwargs=into_kwargs)
    if attributes and not arguments:
        module = module.clone(**attributes)
    return module, arguments


def has_switch(module: Any) -> bool:
    """Whether a module is told to train or to evaluate."""
    return bool(_attributes(module, True) or _in_mode(module, True)[1])


def init_variables(module: Any, key: Array, x: Array) -> Variables:
    """Returns a module's initial variables for inputs like ``x``."""
    params_key, dropout_key = jax.random.split(key)
    rngs = {"params": params_key, "dropout": dropout_key}
    module, arguments = _in_mode(module, False)
    return dict(module.init(rngs, x, **arguments))


def apply_model(
    module: Any,
    variables: Variables,
    key: Array | None,
    x: Array,
    train: bool,
    sown: tuple[str, ...] = (),
) -> tuple[Array, Variables]:
    """Calls a module in training or in evaluation mode.

    Args:
      module: any Linen module from inputs to logits.
      variables: its collections, ``params`` and any others.
      key: for the ``dropout`` stream, and for all others; None: no stream.
      x: inputs, float32 ``[B, *image_shape]``.
      train: the mode. Collections other than ``params``, such as batch statistics, are
        updated only in training.
      sown: further collections to return, such as ``intermediates``.

    Returns:
      Logits ``[B, C]`` and the collections other than ``params``.
    """
    rngs = {}
    if key is not None:
        # Flax draws from "params" for the streams that are missing.
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 0)}
    others = {name: v for name, v in variables.items() if name != "params"}
    module, arguments = _in_mode(module, train)
    # With nothing to update, mutable=[] still returns a pair.
    mutable = [*(others if train else ()), *sown]
    logits, updated = module.apply(
        variables, x, rngs=rngs, mutable=mutable, **arguments
    )
    return logits, {**others, **updated}
