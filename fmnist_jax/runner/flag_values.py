"""The values of flags: single ones, lists, ranges and spans."""

import collections
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fmnist_jax.errors import UserError
from fmnist_jax.values import COUNT, ValueType, spaced_values

MAX_VALUES = 100_000  # of one list


class Span(NamedTuple):
    """A value ``start:stop`` of a flag, to be sampled."""

    low: float
    high: float


def check_apart(flag: str, others: Iterable[str], options: Mapping[str, Any]) -> None:
    """Raises UserError if another flag is given that ``flag`` excludes."""
    for other in given_among(others, options):
        raise UserError(f"--{other} and --{flag} cannot be combined.")


def given_among(names: Iterable[str], options: Mapping[str, Any]) -> list[str]:
    """Returns the flags among ``names`` that are given and ask for something."""
    return [name for name in names if options[name] not in (None, False, "none")]


def parse_value(flag: str, value_type: ValueType, text: str) -> Any:
    """Returns one value of a flag; raises UserError if it is not allowed."""
    try:
        value = value_type.parse(text.strip())
    except ValueError:
        value = None
    if value is None or not value_type.accepts(value):
        raise UserError(
            f"--{flag}: {text!r} is not allowed; expected {value_type.allowed}."
        )
    return value


def parse_list(flag: str, value_type: ValueType, text: str) -> tuple[Any, ...]:
    """Returns the values of a comma-separated list.

    ``start:stop:count`` stands for ``count`` numbers, log-spaced from start to stop,
    and ``start:stop`` is a ``Span``.
    """
    values: list[Any] = []
    for entry in text.split(","):
        if value_type.parse is float and entry.count(":") == 1:
            span = (parse_value(flag, value_type, end) for end in entry.split(":"))
            values.append(Span(*span))
        elif value_type.parse is float and ":" in entry:
            values += _log_spaced(flag, value_type, entry)
        else:
            values.append(parse_value(flag, value_type, entry))
    value, count = collections.Counter(values).most_common(1)[0]
    if count > 1:
        ends: tuple[Any, ...] = value if isinstance(value, Span) else (value,)
        shown = ":".join(map(value_type.text, ends))
        raise UserError(f"--{flag}={text} has {shown} twice; give it once.")
    return tuple(values)


def _log_spaced(flag: str, value_type: ValueType, entry: str) -> list[float]:
    if entry.count(":") != 2:
        raise UserError(
            f"--{flag}: {entry!r} is not start:stop:count, such as 1:1e6:13."
        )
    start, stop, count = (
        parse_value(flag, COUNT if i == 2 else value_type, part)
        for i, part in enumerate(entry.split(":"))
    )
    if count > MAX_VALUES or min(start, stop) <= 0:
        raise UserError(
            f"--{flag}: {entry!r} is not allowed; expected start:stop:count, both ends "
            f"above 0 and at most {MAX_VALUES} values."
        )
    return spaced_values(start, stop, count, is_log=True)
