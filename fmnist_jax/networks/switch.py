"""The switch between training and evaluation, by its name among the arguments."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fmnist_jax.errors import UserError

TRAINING = ("train", "training", "is_training", "is_train")
EVALUATION = (
    *("deterministic", "inference", "is_inference", "eval"),
    "use_running_average",
)
_LIBRARIES = ("flax", "haiku", "equinox")


def switches(names: Iterable[str], train: bool) -> dict[str, bool]:
    """Returns the value of each name that is a switch, in training or evaluation."""
    known = (*TRAINING, *EVALUATION)
    return {name: train == (name in TRAINING) for name in names if name in known}


def _further_parameters(
    function: Callable[..., Any], num_inputs: int
) -> list[inspect.Parameter]:
    """Returns the parameters after the inputs, without ``*args``."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # some C functions have no signature
        return []
    cls = inspect.Parameter
    positional = (cls.POSITIONAL_ONLY, cls.POSITIONAL_OR_KEYWORD)
    inputs = [p for p in parameters if p.kind in positional][:num_inputs]
    further = [p for p in parameters if p not in inputs]
    return [p for p in further if p.kind is not cls.VAR_POSITIONAL]


def call_arguments(
    function: Callable[..., Any],
    num_inputs: int,
    train: bool,
    others: Mapping[str, Any] | None = None,
    into_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the keyword arguments of a call in training or in evaluation mode.

    Args:
      function: what is called.
      num_inputs: number of its first arguments, which the caller passes by position.
      train: whether the network is trained.
      others: values of further arguments, passed if the function names them.
      into_kwargs: what is passed to a ``**kwargs``, if no switch is named. None: such a
        function is refused, because the name of its switch is unknown.
    """
    parameters = _further_parameters(function, num_inputs)
    names, others = [p.name for p in parameters], others or {}
    arguments = switches(names, train) | {n: v for n, v in others.items() if n in names}
    subject = getattr(function, "__qualname__", "The network's function")
    for parameter in parameters:
        is_required = parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            if switches(names, train) or _is_of_a_library(function):
                continue
            if into_kwargs is None:
                raise UserError(
                    f"{subject} takes **{parameter.name}, so that the name of its "
                    "switch between training and evaluation is unknown; name it as an "
                    "argument, such as `train`."
                )
            arguments = {**into_kwargs, **arguments}
        elif is_required and parameter.name not in arguments:
            known = ", ".join([*TRAINING, *EVALUATION, *others])
            raise UserError(
                f"{subject} requires the argument `{parameter.name}`, whose value is "
                f"unknown; give it a default, or one of these names: {known}."
            )
    return arguments


def _is_of_a_library(function: Callable[..., Any]) -> bool:
    """Whether a function such as that of ``nn.Sequential`` is not the user's."""
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in _LIBRARIES


def notices(
    function: Callable[..., Any], num_inputs: int, others: Iterable[str] = ()
) -> list[str]:
    """Returns a line for each optional argument that may be an unknown switch."""
    parameters = _further_parameters(function, num_inputs)
    if switches([p.name for p in parameters], True) or _is_of_a_library(function):
        return []
    subject = getattr(function, "__qualname__", "The network's function")
    return [
        f"{subject} keeps the default {p.default} of its argument `{p.name}` in "
        "training and in evaluation. If it is the switch between them, call it `train`."
        for p in parameters
        if p.name not in others
        and (
            isinstance(p.default, bool)
            or (p.default is None and "bool" in str(p.annotation))
        )
    ]
