"""Settings, and how their values are read, checked and shown. No NumPy, no jax."""

import dataclasses
import inspect
import math
import numbers
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

from fmnist_jax import network_values
from fmnist_jax.choices import defaults_by_choice
from fmnist_jax.errors import UserError

Function = Callable[..., Any]  # a loss, an optimizer or a schedule of the user's
FLOAT32_TINY, FLOAT32_MAX = 1.1754944e-38, 3.4028235e38

if TYPE_CHECKING:

    class Traced:
        """The type of a field that is set to a number or an array, and read as Any."""

        def __get__(self, instance: object, owner: type) -> Any: ...
        def __set__(self, instance: object, value: SupportsFloat | None) -> None: ...

else:
    Traced = Any


@dataclasses.dataclass(frozen=True)
class ValueType:
    """How the values of a setting or a flag are read, checked and shown."""

    allowed: str  # the allowed values, for error messages: "a positive number"
    parse: Callable[[str], Any] = str  # text to value; raises ValueError
    accepts: Callable[[Any], bool] = lambda value: True  # whether a value is allowed
    text: Callable[[Any], str] = str  # value to the text that ``parse`` reads
    numeric: bool = False  # other values are coordinates by their text


def real(allowed: str, accepts: Callable[[float], bool]) -> ValueType:
    """Returns the type of the real numbers that ``accepts`` returns True for."""
    return ValueType(
        allowed,
        float,
        lambda v: _is_number(v, numbers.Real) and accepts(float(v)),
        "{:g}".format,
        numeric=True,
    )


def integer(minimum: int, maximum: int) -> ValueType:
    """Returns the type of the integers from ``minimum`` to ``maximum``."""
    return ValueType(
        f"a whole number from {minimum:,} to {maximum:,}",
        int,
        lambda v: _is_number(v, numbers.Integral) and minimum <= v <= maximum,
        "{:d}".format,
        numeric=True,
    )


def choice(names: Iterable[str]) -> ValueType:
    """Returns the type of a value that is one of ``names``."""
    names = tuple(names)
    return ValueType(f"one of {', '.join(names)}", accepts=names.__contains__)


def choice_or_function(names: Iterable[str]) -> ValueType:
    """Returns the type of a value that is one of ``names``, or a hashable function."""
    names = tuple(names)
    return ValueType(
        f"one of {', '.join(names)} (in Python, also a function)",
        accepts=lambda v: v in names if isinstance(v, str) else _is_function(v),
        text=_show_function,
    )


def _is_function(value: object) -> bool:
    return (
        callable(value)
        and not isinstance(value, type)
        and network_values.is_hashable(value)
    )


def _show_function(value: Any) -> str:
    return value if isinstance(value, str) else network_values.name_of(value)


def _is_number(value: object, cls: type) -> bool:
    return isinstance(value, cls) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """Returns scalars of NumPy and JAX as Python's, and lists and arrays as tuples.

    Lists among the attributes of a Linen module become tuples, too.
    """
    if hasattr(value, "__array__") and hasattr(value, "dtype"):
        try:
            value = value.__array__()  # NumPy's, whatever library it is from
        except TypeError as error:
            raise UserError(
                f"A setting is {value}, whose value is unknown while JAX traces a "
                "function (in jit, vmap or grad). Pass numbers, or call train there."
            ) from error
        if value.shape == () and value.dtype.kind == "f":
            # 0.001, not the 0.0010000000474974513 of the same float32.
            return float(str(value) if value.dtype.itemsize == 4 else value)
        value = tuple(value) if value.shape else value.item()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return tuple(map(plain, value))
    return network_values.with_tuples(value)


# Numbers outside the range of float32 would reach the program as 0 or infinity.
POSITIVE = real(
    "a positive number (from 1.2e-38 to 3.4e38 in float32)",
    lambda v: FLOAT32_TINY <= v <= FLOAT32_MAX,
)
NOT_NEGATIVE = real(
    "a non-negative number", lambda v: v == 0 or FLOAT32_TINY <= v <= FLOAT32_MAX
)
FINITE = real(
    "a number (of magnitude 0, or from 1.2e-38 to 3.4e38 in float32)",
    lambda v: v == 0 or FLOAT32_TINY <= abs(v) <= FLOAT32_MAX,
)
BELOW_1 = real("a number of at least 0 and less than 1", lambda v: 0 <= v < 1)
UP_TO_1 = real("a number from 0 to 1", lambda v: 0 <= v <= 1)
WHOLE_NUMBER = real(
    "a whole number from 0 to 1,000,000",
    lambda v: 0 <= v <= 1_000_000 and v == int(v),
)
TARGET = real(
    "a number from 0 to 1, or inf for never", lambda v: 0 <= v <= 1 or v == math.inf
)
COUNT = integer(1, 1_000_000)
WHOLE_COUNT = integer(0, 1_000_000)
SUBSETS = ("first", "stratified")  # the examples that stay if some are left out
SUBSET = choice(SUBSETS)
KEEP = ("none", "best", "all")  # which trained states
KEEP_STATES = choice(KEEP)
SEED = integer(0, 2**32 - 1)
HIDDEN_SIZES = ValueType(
    "none, or sizes from 1 to 1,000,000 such as 128 or 1000x1000 (in Python, tuples: "
    "(), (128,) or (1000, 1000))",
    lambda text: () if text == "none" else tuple(map(int, text.split("x"))),
    lambda v: isinstance(v, tuple) and all(map(COUNT.accepts, v)),
    lambda sizes: "x".join(map(str, sizes)) or "none",
)
MODEL = ValueType(
    "a network",
    accepts=lambda v: network_values.problem(v) is None,
    text=network_values.label,
)
NAME = ValueType("a string or None", accepts=lambda v: v is None or isinstance(v, str))
SWITCH = ValueType("True or False", bool, lambda v: isinstance(v, bool))


@dataclasses.dataclass(frozen=True)
class Setting:
    """Properties of a field of ``Config`` or ``Hparams`` other than its default."""

    value_type: ValueType
    label: str  # on figures and in tables
    help: str  # on the command line
    flag: str | None  # None for settings of the library only
    off: float | None = None  # the value equivalent to None, if None means "not used"
    span: tuple[float, float] | None = None  # default minimum and maximum on a map


def setting(
    default: Any,
    value_type: ValueType,
    flag: str | None = None,
    label: str | None = None,
    **others: Any,
) -> Any:
    """Returns a dataclass field with a default and the attributes of a ``Setting``."""
    metadata = {"value_type": value_type, "flag": flag, "label": label, **others}
    return dataclasses.field(default=default, metadata=metadata)


# An entry of the attributes in the docstring of a class: indent, name, text.
_ENTRY = re.compile(r"^( +)(\w+): (.+(?:\n\1  .+)*)", re.M)


def settings_of(cls: type) -> dict[str, Setting]:
    """Returns the settings of a dataclass whose fields are made by ``setting``.

    Descriptions come from the attributes in the docstring of the class, which gets the
    default, the allowed values and the flag of each. The default label is the name of
    the field.
    """
    text = inspect.cleandoc(cls.__doc__ or "")
    help_texts = {
        name: " ".join(help_text.split()).rstrip(".")
        for _, name, help_text in _ENTRY.findall(text)
    }
    settings, defaults = {}, {}
    for field in dataclasses.fields(cls):
        if not field.metadata:
            continue  # holds settings of the user's
        label = field.metadata["label"] or field.name.replace("_", " ")
        texts = {"label": label, "help": help_texts.get(field.name, "")}
        settings[field.name] = Setting(**{**field.metadata, **texts})
        defaults[field.name] = field.default

    def with_details(entry: re.Match[str]) -> str:
        name, indent = entry[2], entry[1] + "  "
        if name not in settings:
            return entry[0]
        details = _details(name, settings[name], defaults[name])
        wrapped = textwrap.fill(
            details,
            84,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        return f"{entry[0]}\n{wrapped}"

    cls.__doc__ = _ENTRY.sub(with_details, text)
    return settings


def show(name: str, value: Any) -> str:
    """Returns a coordinate as it is written on figures and in tables: ``÷255``."""
    if isinstance(value, str):
        return value
    number = float(value)
    if math.isinf(number) and name == "target_accuracy":
        return "never"
    is_short = number.is_integer() and abs(number) < 1e8
    text = f"{number:.0f}" if is_short else f"{number:g}"
    return f"÷{text}" if name == "divisor" else text


def _details(name: str, setting: Setting, default: Any) -> str:
    """Returns the sentences on a setting that follow its description."""
    means = defaults_by_choice(name)
    if setting.off is not None:
        means = f"the same as {setting.off:g}"
    shown = f"{default}, which means {means}" if means else repr(default)
    flag = f" Flag: --{setting.flag}." if setting.flag else ""
    return f"Default: {shown}. Allowed: {setting.value_type.allowed}.{flag}"


def spaced_values(start: float, stop: float, count: int, is_log: bool) -> list[float]:
    """Returns ``count`` numbers from start to stop, log-spaced or evenly spaced."""
    if is_log:
        ratio = (stop / start) ** (1 / max(1, count - 1))
        inner = [start * ratio**i for i in range(1, count - 1)]
    else:
        step = (stop - start) / max(1, count - 1)
        inner = [start + step * i for i in range(1, count - 1)]
    return [start, *(float(f"{v:.12g}") for v in inner), stop][:count]


STATUS = "status"  # the criterion of when a run counts as trained, unless given


def parse_criterion(text: str) -> tuple[str, float]:
    """Returns "accuracy" or "loss" and its threshold; raises ValueError."""
    match = re.fullmatch(r"(accuracy(?=>=)|loss(?=<=))[<>]=(\S+)", text)
    if match is None:
        raise ValueError(text)
    name, threshold = match[1], float(match[2])
    if not 0 < threshold <= (1.0 if name == "accuracy" else FLOAT32_MAX):
        raise ValueError(text)
    return name, threshold


def _is_criterion(text: str) -> bool:
    try:
        return text == STATUS or bool(parse_criterion(text))
    except ValueError:
        return False


CRITERION = ValueType(
    "status, accuracy>=SHARE or loss<=NATS, such as accuracy>=0.6",
    accepts=_is_criterion,
)
