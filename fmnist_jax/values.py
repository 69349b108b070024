"""What the values of settings may be: how they are read, checked and shown.

Imports nothing that is slow to import, as config.py promises.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

FLOAT32_TINY, FLOAT32_MAX = 1.1754944e-38, 3.4028235e38


@dataclasses.dataclass(frozen=True)
class ValueType:
    """How the values of a setting are read, checked and shown.

    Attributes:
      allowed: what a value may be, for error messages: "a positive number".
      parse: text to value; raises ValueError.
      accepts: whether a value is allowed.
      text: value to text, as it is typed; what ``parse`` reads.
      numeric: whether values are numbers; others are coordinates by their text.
    """

    allowed: str
    parse: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    text: Callable[[Any], str] = "{:g}".format
    numeric: bool = True


def _number(allowed: str, accepts: Callable[[float], bool]) -> ValueType:
    return ValueType(allowed, float, lambda v: _is_real(v) and accepts(float(v)))


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_model(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    is_module = callable(getattr(value, "apply", None)) and not isinstance(value, type)
    return value is None or is_module


def _show_model(model: Any) -> str:
    if model is None:
        return "MLP"
    return getattr(model, "name", None) or type(model).__name__


def spaced(start: float, stop: float, count: int, is_log: bool = True) -> list[float]:
    """Returns so many numbers from start to stop, log-spaced or evenly."""
    if is_log:
        ratio = (stop / start) ** (1 / max(1, count - 1))
        inner = [start * ratio**i for i in range(1, count - 1)]
    else:
        step = (stop - start) / max(1, count - 1)
        inner = [start + step * i for i in range(1, count - 1)]
    return [start, *(float(f"{v:.12g}") for v in inner), stop][:count]


def choice(names: Iterable[str]) -> ValueType:
    """Returns the kind of a value that is one of some names."""
    names = tuple(names)
    return ValueType(f"one of {', '.join(names)}", str, names.__contains__, str, False)


def _parse_hidden_sizes(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(size) for size in text.split("x"))


def _show_hidden_sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "none"


# Numbers that leave the range of float32 would reach the program as 0 or infinity.
POSITIVE = _number(
    "a positive number (from 1.2e-38 to 3.4e38, as float32 goes)",
    lambda v: FLOAT32_TINY <= v <= FLOAT32_MAX,
)
NOT_NEGATIVE = _number(
    "a number not below 0", lambda v: v == 0 or FLOAT32_TINY <= v <= FLOAT32_MAX
)
FRACTION = _number("a number from 0 to below 1", lambda v: 0 <= v < 1)
SHARE = _number("a number from 0 to 1", lambda v: 0 <= v <= 1)
WHOLE = _number(
    "a whole number from 0 to 1,000,000",
    lambda v: 0 <= v <= 1_000_000 and v == int(v),
)
TARGET = _number(
    "a number from 0 to 1, or inf for never", lambda v: 0 <= v <= 1 or v == math.inf
)
COUNT = ValueType(
    "a whole number from 1 to 1,000,000",
    int,
    lambda v: _is_count(v) and 1 <= v <= 1_000_000,
    "{:d}".format,
)
HIDDEN_SIZES = ValueType(
    "none, or sizes from 1 to 1,000,000 such as 128 or 1000x1000 (in Python a tuple "
    "each: (), (128,) or (1000, 1000))",
    _parse_hidden_sizes,
    lambda v: isinstance(v, tuple) and all(COUNT.accepts(size) for size in v),
    _show_hidden_sizes,
    False,
)

SEED = ValueType(
    "a whole number from 0 on, below 2^32",
    int,
    lambda v: _is_count(v) and 0 <= v < 2**32,
    "{:d}".format,
)
MODEL = ValueType(
    "a Flax module (an instance) that is hashable, with tuples for lists, or None",
    str,
    _is_model,
    _show_model,
    False,
)
NAME = ValueType(
    "a text or None", str, lambda v: v is None or isinstance(v, str), str, False
)
SWITCH = ValueType("True or False", bool, lambda v: isinstance(v, bool), str, False)
