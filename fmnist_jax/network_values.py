"""What ``Config.model`` may be, and how it is shown. No jax, no flax.

The objects of Flax, Equinox and Haiku are recognised by the modules of their classes.
"""

import dataclasses
import functools
import re
from typing import Any

# The packages that define the base classes named "Module" of each library.
_LIBRARIES = {
    "flax.linen": "Flax Linen",
    "flax.nnx": "Flax NNX",
    "equinox": "Equinox",
    "haiku": "Haiku",
}
_EXPECTED = (
    "expected a Flax Linen module (an instance), a Network(init, apply), from_nnx(make)"
    ", from_equinox(make), from_haiku(transformed), or None"
)


def library_of(cls: type) -> str | None:
    """Returns the library of a class of modules, such as "Flax NNX"; or None."""
    for base in cls.__mro__:
        for package, library in _LIBRARIES.items():
            if base.__name__ == "Module" and f"{base.__module__}.".startswith(
                f"{package}."
            ):
                return library
    return None


def is_linen(value: object) -> bool:
    """Whether a value is a Linen module, an instance."""
    return library_of(type(value)) == "Flax Linen"


def problem(value: Any) -> str | None:
    """Returns why a value cannot be a network, and what to pass; None if it can be."""
    if value is None:
        return None
    cls = type(value)
    is_network = (cls.__module__, cls.__name__) == (
        "fmnist_jax.networks.network",
        "Network",
    )
    if is_network or is_linen(value):
        return _unhashable(value)
    if isinstance(value, type):
        return _problem_of_class(value)
    if library := library_of(cls):
        adapter = f"from_{library.split()[-1].lower()}"
        call = {"Flax NNX": "rngs", "Equinox": "key"}.get(library)
        if call is None:  # a Haiku module
            return f"model is a {library} module; {_EXPECTED}."
        return (
            f"model is the {library} module {cls.__name__}; pass {adapter}(make), with "
            f"a function make({call}) that returns such a module."
        )
    if cls.__name__ in ("Transformed", "TransformedWithState"):
        return f"model is the {cls.__name__} of Haiku; pass from_haiku(transformed)."
    if isinstance(value, functools.partial) or hasattr(value, "__name__"):
        return (
            f"model is the function {name_of(value)}; pass Network(init, apply), a "
            "pair of functions, or from_nnx(make) or from_equinox(make) if the "
            "function makes a module."
        )
    return f"model is a {cls.__name__}; {_EXPECTED}."


def _problem_of_class(cls: type) -> str:
    name = cls.__name__
    cure = {
        "Flax Linen": f"pass an instance, such as {name}()",
        "Flax NNX": f"pass from_nnx({name}), or from_nnx(make) with make(rngs)",
        "Equinox": f"pass from_equinox(make), with make(key) that returns a {name}",
    }.get(library_of(cls) or "", _EXPECTED)
    return f"model is the class {name}; {cure}."


def is_hashable(value: Any) -> bool:
    """Whether a value can be a part of the key of a compiled program."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _fields(module: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """Returns the fields of a module that its class defines, with their values."""
    fields = [f for f in dataclasses.fields(module) if f.init]
    return [(f, getattr(module, f.name)) for f in fields if f.name not in _FLAX_FIELDS]


_FLAX_FIELDS = ("parent", "name")


def _unhashable(model: Any) -> str | None:
    """Returns which field makes a module unhashable; None if it is hashable."""
    if is_hashable(model):
        return None
    for field, value in _fields(model):
        if not is_hashable(value):
            return (
                f"model is a {type(model).__name__} whose attribute `{field.name}`, a "
                f"{type(value).__name__}, is not hashable; give it a number, a string, "
                "a function or a tuple of these."
            )
    return f"model is a {type(model).__name__} that is not hashable."


def with_tuples(model: Any) -> Any:
    """Returns a Linen module with tuples instead of lists, so that it is hashable.

    Another value is returned as it is, and so is a module that is hashable already.
    """
    if not is_linen(model) or is_hashable(model):
        return model
    return model.clone(**{field.name: _tuples(v) for field, v in _fields(model)})


def _tuples(value: Any) -> Any:
    is_sequence = isinstance(value, list | tuple)
    return tuple(map(_tuples, value)) if is_sequence else with_tuples(value)


def label(model: Any) -> str:
    """Returns the coordinate of a network: ``W(width=8)``; its own name if it has one.

    In parentheses are the fields of a Linen module that differ from their defaults.
    """
    if model is None:
        return "MLP"
    if name := getattr(model, "name", None):
        return str(name)
    if not is_linen(model):
        return type(model).__name__
    texts = [
        f"{field.name}={_text(value)}"
        for field, value in _fields(model)
        if field.default is dataclasses.MISSING or field.default != value
    ]
    name = type(model).__name__
    return f"{name}({', '.join(texts)})" if texts else name


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if is_linen(value):
        return label(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return name_of(value)


def name_of(thing: Any) -> str:
    """Returns the name of a function or a class, and what is bound to it; or a repr."""
    if isinstance(thing, functools.partial):
        keywords = [f"{name}={_text(value)}" for name, value in thing.keywords.items()]
        arguments = ", ".join([*map(_text, thing.args), *keywords])
        return f"{name_of(thing.func)}({arguments})"
    if hasattr(thing, "__self__") and not isinstance(thing.__self__, type):
        return type(thing.__self__).__name__  # net.apply
    if hasattr(thing, "__name__"):
        return str(thing.__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))
