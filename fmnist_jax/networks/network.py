"""A network as a pair of pure functions; what the adapters return."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.network_values import library_of, name_of
from fmnist_jax.networks import switch


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a pair of pure functions, for ``Config(model=…)``.

    Both get ``x``, float32 ``[B, *image_shape]``, already normalized; B varies, and is
    1 for ``init``. ``apply`` also gets these keywords, if its signature names them or
    has ``**kwargs``: ``train``, a bool (or under one of the other names of a switch,
    such as ``deterministic``), and ``key``, a JAX key in training, or else None.

    Attributes:
      init: ``init(key, x) -> params``, a pytree of floating arrays; with ``stateful``
        ``-> (params, state)``, where ``state`` is any pytree of arrays.
      apply: ``apply(params, x, …) -> logits``, float ``[B, num_classes]``; with
        ``stateful`` ``apply(params, state, x, …) -> (logits, state)``. The new state,
        of the same shapes, is kept in training only.
      stateful: whether there is a state besides the parameters, such as statistics.
      name: of the network in results; by default that of ``apply``.
      notices: returns lines for the user; set by adapters.

    Raises:
      UserError: if ``init`` or ``apply`` is not a function.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    stateful: bool = False
    name: str = ""
    notices: Callable[[], list[str]] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for field in ("init", "apply"):
            function = getattr(self, field)
            if not callable(function):
                raise UserError(
                    f"Network.{field} is a {type(function).__name__}; expected a "
                    "function."
                )
        name = self.name or name_of(self.apply)
        object.__setattr__(self, "name", "Network" if name == "<lambda>" else name)


def from_make(
    make: Any,
    name: str,
    init: Callable[..., Any],
    apply: Callable[..., Any],
    module_class: Callable[[Any], type],
    arguments: tuple[str, ...],
) -> Network:
    """Returns a network whose modules a function makes; the adapters use it.

    ``init`` and ``apply`` take ``make`` before their other arguments. ``arguments`` are
    the names of the arguments that modules may take besides ``x`` and a switch. The
    first name is also that of the argument of ``make``.
    """
    library = None if isinstance(make, type) else library_of(type(make))
    if library is not None or not callable(make):
        given = f"{library or ''} {type(make).__name__}".strip()
        adapter = f"from_{init.__module__.rpartition('.')[2]}"
        raise UserError(
            f"{adapter} got a {given}; expected a function make({arguments[0]}) that "
            "returns a module, so that each seed has its own initial parameters."
        )
    default = name_of(make)
    if not name and default.startswith(("<lambda>", "make_with_state")):
        default = module_class(make).__name__
    return Network(
        _bound(init, make),
        _bound(apply, make),
        stateful=True,
        name=name or default,
        notices=lambda: switch.notices(module_class(make).__call__, 2, arguments),
    )


# Cached, because two partial functions are never equal.
_bound = functools.cache(functools.partial)
