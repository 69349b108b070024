"""The exception for mistakes of the user, the warning for possible ones, and texts."""

import contextlib
import difflib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

Choice = TypeVar("Choice")
MAX_NAMES, MAX_CHARACTERS = 5, 30  # of a list of names, and of each of them
# Packages whose code is not the user's: a message names the line that called them.
_PACKAGES = {
    *("chex", "equinox", "flax", "fmnist_jax", "haiku", "jax", "jaxlib", "jaxtyping"),
    *("numpy", "optax"),
    *sys.stdlib_module_names,
}
TRACED_HINT = (
    "Its values are unknown while it is compiled: use jax.numpy instead of NumPy, and "
    "jnp.where or jax.lax.cond instead of if."
)


class UserError(ValueError):
    """A mistake of the user, explained by a message of one line."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep.

    Attributes:
      results: of the epochs that were finished, NaN for the others; None if there are
        none. In a notebook, ``sys.last_value.results`` after the traceback.
    """

    def __init__(
        self, finished: int, total: int, results: Any, *, is_saved: bool = False
    ) -> None:
        how = "To resume, repeat the same call of sweep. " if is_saved else ""
        partial = "The attribute `results` of this exception has the results so far."
        if results is None:
            partial = "No epoch was finished, so there are no results."
        super().__init__(
            f"Interrupted: {finished} of {total} runs are finished. {how}{partial}"
        )
        self.results = results


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


def shown(value: object) -> str:
    """Returns a value as messages show it; of objects with addresses, the type."""
    text = repr(value)
    return f"of type {type(value).__name__}" if " at 0x" in text else text


def shortened(name: str) -> str:
    """Returns a name in one line; the middle of a long one is left out."""
    text, half = " ".join(str(name).split()), MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def listed(names: Sequence[str]) -> str:
    """Returns the first names in one line, and the number of the others."""
    texts = [shortened(name) for name in names[:MAX_NAMES]]
    more = len(names) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


class Nouns(NamedTuple):
    """What messages call an example, such as "image", and a value, such as "pixel"."""

    example: str
    value: str


def nouns(image_shape: Sequence[int]) -> Nouns:
    """Returns the nouns for examples of a shape: one axis is that of a table's row."""
    is_table = len(image_shape) == 1
    return Nouns("row", "column") if is_table else Nouns("image", "pixel")


def reason(error: BaseException) -> str:
    """Returns the message of an error in one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


@contextlib.contextmanager
def explaining(
    subject: str,
    shape_hint: str = "",
    function: Callable[..., Any] | None = None,
    traced_hint: str = TRACED_HINT,
) -> Iterator[None]:
    """Turns exceptions of a user's code into a UserError of one line.

    The line has type, message and place of the exception. ``subject`` is what happened,
    as the start of a sentence: "The network failed". The hints are sentences on the
    likely cure: if shapes do not fit, and if NumPy or Python needs a value. If no line
    of the user's code was running, the place is that of ``function``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        name, lines = type(error).__name__, str(error).strip().splitlines()
        first = ValueError(lines[0].rstrip(".")) if lines else error
        hint = ""
        if name.startswith(("Tracer", "Concretization")):
            hint = traced_hint
        elif type(error).__module__ == "builtins" or "Shape" in name:
            hint = shape_hint
        text = f"{subject}: {name}: {reason(first)}{_place(error, function)}. {hint}"
        raise UserError(text.rstrip()) from error


def _place(error: BaseException, function: Callable[..., Any] | None) -> str:
    """Returns the file and the line of the user's code that raised an error."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").split(".")[0] not in _PACKAGES
    ]
    code = getattr(function, "__code__", None)
    if code is not None:
        frames.insert(0, (code.co_filename, code.co_firstlineno))
    return " ({}:{})".format(*frames[-1]) if frames else ""
