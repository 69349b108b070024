"""The exception for mistakes of the user, the warning for possible ones, and texts."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Choice = TypeVar("Choice")
MAX_NAMES, MAX_CHARACTERS = 5, 30  # of a list of names, and of each of them


class UserError(ValueError):
    """A mistake of the user, explained by a message of one line."""


class Notice(UserWarning):
    """What may be a mistake of the user, or may be meant: a message of one line."""


def unknown(noun: str, value: object, choices: Iterable[str]) -> UserError:
    """Returns the error for a name that is not one of ``choices``."""
    names = sorted(choices)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return UserError(
        f"Unknown {noun} {value!r}; expected one of {', '.join(names)}.{hint}"
    )


def check_is(name: str, value: object, cls: type, expected: str) -> None:
    """Raises UserError if ``value`` is not an instance of ``cls``."""
    if not isinstance(value, cls):
        raise UserError(f"{name} is a {type(value).__name__}; expected {expected}.")


def choose(noun: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """Returns the entry ``name`` of a table; raises UserError if there is none."""
    if name not in table:
        raise unknown(noun, name, table)
    return table[name]


def shortened(name: str) -> str:
    """Returns a name in one line; the middle of a long one is left out."""
    text, half = " ".join(str(name).split()), MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def listed(names: Sequence[str]) -> str:
    """Returns the first names in one line, and the number of the others."""
    texts = [shortened(name) for name in names[:MAX_NAMES]]
    more = len(names) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def reason(error: BaseException) -> str:
    """Returns the message of an error in one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
