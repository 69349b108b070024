"""What ``Config.model`` may be, and how it is shown. No jax, no flax.

The objects of Flax, Equinox and Haiku are recognised by the modules of their classes.
"""

import dataclasses
import functools
import re
from typing import Any

# Libraries by the package that defines their base class "Module".
_LIBRARIES = {
    "flax.linen": "Flax Linen",
    "flax.nnx": "Flax NNX",
    "equinox": "Equinox",
    "haiku": "Haiku",
}
_ADAPTERS = {
    "Flax NNX": "from_nnx(make), with a function or class make(rngs)",
    "Equinox": "from_equinox(make), with a function or class make(key)",
}
_EXPECTED = (
    "expected a Flax Linen module (an instance), a Network(init, apply), from_nnx(make)"
    ", from_equinox(make), from_haiku(transformed), or None"
)


def library_of(cls: type) -> str | None:
    """Returns the library of a class of modules, such as "Flax NNX"; or None."""
    for base in cls.__mro__:
        for package, library in _LIBRARIES.items():
            if base.__name__ == "Module" and base.__module__.startswith(package):
                return library
    return None


def is_linen(value: object) -> bool:
    """Whether a value is a Linen module, an instance."""
    return library_of(type(value)) == "Flax Linen"


def problem(value: Any) -> str | None:
    """Returns why a value cannot be a network, and what to pass; None if it can be."""
    if value is None:
        return None
    is_class = isinstance(value, type)
    cls = value if is_class else type(value)
    library, name = library_of(cls), cls.__name__
    is_network = f"{cls.__module__}.{name}" == "fmnist_jax.networks.network.Network"
    if not is_class and (is_network or library == "Flax Linen"):
        return _unhashable(value)
    subject, cure = f"the class {name}" if is_class else f"a {name}", _EXPECTED
    if library == "Flax Linen":
        cure = f"pass an instance, such as {name}()"
    elif library in _ADAPTERS:
        subject = subject if is_class else f"the {library} module {name}"
        cure = f"pass {_ADAPTERS[library]} that returns a {name}"
    elif name in ("Transformed", "TransformedWithState"):
        subject, cure = f"the {name} of Haiku", "pass from_haiku(transformed)"
    elif not is_class and (cls is functools.partial or hasattr(value, "__name__")):
        subject = f"the function {name_of(value)}"
        cure = (
            "pass Network(init, apply), a pair of functions, or from_nnx(make) or "
            "from_equinox(make) if the function makes a module"
        )
    return f"model is {subject}; {cure}."


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
    of_flax = ("parent", "name")
    return [(f, getattr(module, f.name)) for f in fields if f.name not in of_flax]


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
