"""``--model``: imports a network of the user."""

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from fmnist_jax import network_values
from fmnist_jax.config import check
from fmnist_jax.errors import UserError, explaining, unknown

EXAMPLE = "module:factory, such as my_networks:cnn"


@contextlib.contextmanager
def _staying(text: str) -> Iterator[None]:
    """Turns a SystemExit of the user's code into a UserError."""
    try:
        yield
    except SystemExit as error:
        raise UserError(f"--model={text}: its code calls sys.exit().") from error


def network(text: str) -> Any:
    """Returns the network that ``--model`` gives.

    The text is ``module:factory``: a module of the current folder or of a package, and
    in it a network, or a function or class without arguments that returns one.
    """
    name, _, factory = text.partition(":")
    if not all(part.isidentifier() for part in (*name.split("."), factory)):
        raise UserError(f"--model={text}: expected {EXAMPLE}.")
    try:
        with explaining(f"--model={text}: importing {name} failed"), _staying(text):
            module = importlib.import_module(name)
    except UserError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise UserError(
            f"--model={text}: there is no module {error.__cause__.name} in this folder "
            "or in an installed package."
        ) from error
    if not hasattr(module, factory):
        names = [n for n, v in vars(module).items() if callable(v) and n[0] != "_"]
        raise unknown(f"name in {name} for --model", factory, names)
    value = getattr(module, factory)
    if callable(value) and network_values.problem(value) is not None:
        subject = f"--model={text}: {factory}() failed"
        with explaining(subject, function=value), _staying(text):
            value = value()
    if value is None:
        raise UserError(f"--model={text}: {factory} is None, or returns None.")
    try:
        check("model", value)
    except UserError as error:
        raise UserError(f"--model={text}: {error}") from error
    return value
