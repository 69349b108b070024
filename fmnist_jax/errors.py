"""Mistakes of a user: one exception, and how its line is made."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Choice = TypeVar("Choice")


class UserError(ValueError):
    """A mistake of the user's: its one-line message is all that they need to see."""


def unknown(kind: str, value: object, choices: Iterable[str]) -> UserError:
    """Returns the error for a name that is not among ``choices``."""
    names = sorted(choices)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return UserError(
        f"Unknown {kind} {value!r}; expected one of {', '.join(names)}.{hint}"
    )


def check_is(name: str, value: object, cls: type, expected: str) -> None:
    """Raises UserError where ``value`` is no ``cls``."""
    if not isinstance(value, cls):
        raise UserError(f"{name} is a {type(value).__name__}; expected {expected}.")


def choose(kind: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """Returns what ``name`` stands for in a table; raises UserError where nothing."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def reason(error: BaseException) -> str:
    """What went wrong, in one short line for people."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
