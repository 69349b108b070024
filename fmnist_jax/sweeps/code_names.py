"""Names of functions, classes and networks that tell their code apart. No jax."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import re
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.sweeps.checkpoints import digest

# The code of installed packages is not read: their versions are compared elsewhere.
_PACKAGES = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")]
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
Within = tuple[Any, ...]  # the functions and classes that refer to a value


def code_name(thing: Any, within: Within = ()) -> str:
    """Returns where code is defined; of another object, its class and content.

    Functions and classes have a digest of their code, so that another one of the same
    name, such as a second lambda, differs. It includes the defaults, the closure, and
    the functions, classes and constants of the same module that the code refers to.
    """
    if isinstance(thing, functools.partial):
        parts = [thing.func, *thing.args, *sorted(thing.keywords.items())]
        return "partial: " + " ".join(code_name(part, within) for part in parts)
    if isinstance(thing, _PLAIN):
        return repr(thing)
    if hasattr(thing, "__qualname__"):
        return _definition(thing, within)
    if isinstance(thing, list | tuple | dict | set | frozenset):
        return _collection(thing, within)
    if (array := _array(thing)) is not None:
        if array.dtype.hasobject:
            return _collection(array.tolist(), within)
        total = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype} {array.shape} {total[:8]}"
    cls = type(thing)
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing) if field.compare]
        values = [(name, getattr(thing, name)) for name in names]
    elif vars_ := getattr(thing, "__dict__", None):
        values = sorted(vars_.items())
    else:
        content = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))
        return f"{code_name(cls, within)}: {content}"
    if any(thing is other for other in within):
        return code_name(cls, within)
    parts = [f"{name}={code_name(v, (*within, thing))}" for name, v in values]
    return f"{code_name(cls, within)}({', '.join(parts)})"


def _collection(things: Any, within: Within) -> str:
    values = things.items() if isinstance(things, dict) else things
    names = [code_name(value, within) for value in values]
    is_ordered = isinstance(things, list | tuple | dict)
    return f"({', '.join(names if is_ordered else sorted(names))})"


def _array(thing: Any) -> np.ndarray | None:
    """Returns an array of NumPy or JAX; None for anything else."""
    if hasattr(thing, "__array__") and hasattr(thing, "dtype"):
        with contextlib.suppress(TypeError):  # random keys
            return np.asarray(thing)
    return None


def _definition(thing: Any, within: Within) -> str:
    """Returns the name of a function or class and, if its code is read, a digest."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    if any(thing is other for other in within):
        return name
    owner = getattr(thing, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        name = f"{name} of {code_name(owner, (*within, thing))}"
    if _is_installed(thing):
        return name
    if isinstance(thing, type):
        parts = [code_name(v, (*within, thing)) for v in _class_values(thing)]
        return f"{name} {digest(parts)[:8]}"
    function = inspect.unwrap(getattr(thing, "__func__", thing))  # of jax.jit
    return f"{name} {_code_digest(function, within)}" if _has_code(function) else name


@functools.cache
def _is_installed_module(name: str) -> bool:
    """Whether a module is this package, of Python, or of an installed package."""
    top = name.partition(".")[0]
    if top == "__main__":  # in a notebook, its file is that of an installed package
        return False
    if top in sys.builtin_module_names or top == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and any(Path(file).is_relative_to(p) for p in _PACKAGES)


def _is_installed(thing: Any) -> bool:
    return _is_installed_module(str(thing.__module__))


def _has_code(thing: Any) -> bool:
    return isinstance(getattr(thing, "__code__", None), types.CodeType)


def _class_values(cls: type) -> Iterator[Any]:
    """Yields the methods and constants of a class and its bases in the same module."""
    for base in cls.__mro__:
        if base.__module__ != cls.__module__:
            continue
        for name, value in sorted(vars(base).items()):
            function: Any = value.fget if isinstance(value, property) else value
            function = inspect.unwrap(getattr(function, "__func__", function))
            if _has_code(function):
                yield function
            elif isinstance(value, _PLAIN) and not name.startswith("__"):
                yield name, value


def _code_digest(function: Any, within: Within) -> str:
    """Returns 8 digits for the code of a function and what it refers to."""
    within = (*within, function)

    def describe(value: Any) -> Any:
        if not isinstance(value, types.CodeType):
            return code_name(value, within)
        constants = [describe(constant) for constant in value.co_consts]
        globals_ = [code_name(v, within) for v in _globals(function, value.co_names)]
        return [value.co_code.hex(), value.co_names, constants, globals_]

    values = [function.__code__, function.__defaults__, function.__kwdefaults__]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            values.append(cell.cell_contents)
    return digest([describe(value) for value in values])[:8]


def _globals(function: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """Yields what a function uses of its own module: functions, classes, constants."""
    kept = (*_PLAIN, list, tuple, dict, set, frozenset, functools.partial)
    for name in names:
        value = function.__globals__.get(name)
        is_defined_there = getattr(value, "__module__", "") == function.__module__
        if is_defined_there or isinstance(value, kept) or _array(value) is not None:
            yield value
