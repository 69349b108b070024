"""Calls of Flax Linen modules."""

import dataclasses
from typing import Any

import jax
from jax import Array

from fmnist_jax.errors import UserError
from fmnist_jax.networks import switch
from fmnist_jax.networks.network import Network

Variables = dict[str, Any]


def from_linen(module: Any) -> Network:
    """Returns a Linen module as a pair; its state is its collections but ``params``."""

    def init(key: Array, x: Array) -> tuple[Any, Variables]:
        params_key, dropout_key = jax.random.split(key)
        rngs = {"params": params_key, "dropout": dropout_key}
        switched, arguments = _in_mode(module, False)
        variables = dict(switched.init(rngs, x, **arguments))
        return variables.pop("params", {}), variables

    def apply(
        params: Any,
        state: Variables,
        x: Array,
        *,
        train: bool,
        key: Array | None,
        sown: tuple[str, ...] = (),
    ) -> tuple[Array, Variables]:
        rngs = {}
        if key is not None:
            # Flax draws from "params" for the streams that are missing.
            rngs = {"dropout": key, "params": jax.random.fold_in(key, 0)}
        switched, arguments = _in_mode(module, train)
        # With nothing to update, mutable=[] still returns a pair.
        mutable = [*(state if train else ()), *sown]
        variables = {"params": params, **state}
        logits, updated = switched.apply(
            variables, x, rngs=rngs, mutable=mutable, **arguments
        )
        return logits, {**state, **updated}

    def notices() -> list[str]:
        is_field = bool(_attributes(module, True))
        return [] if is_field else switch.notices(_call(module), 2)

    name = type(module).__name__
    return Network(init, apply, stateful=True, name=name, notices=notices)


def _call(module: Any) -> Any:
    """Returns the function of the class of a module that is called."""
    cls = type(module)
    if not any("__call__" in vars(base) for base in cls.__mro__):
        raise UserError(f"The module {cls.__name__} has no method __call__.")
    return cls.__call__


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
