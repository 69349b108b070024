"""How a script that measures something, and is no experiment, is run."""

import inspect
import sys
from collections.abc import Callable, Sequence

from fmnist_jax.runner.command_line import command_line
from fmnist_jax.runner.help import asks_for_help


def run(main: Callable[..., None], usage: str = "") -> None:
    """Runs a script and exits, as ``command_line`` does.

    Args:
      main: gets the arguments of the command line.
      usage: what ``--help`` prints; "" where ``main`` reads the command line itself.
    """

    def command(argv: Sequence[str]) -> None:
        if usage and asks_for_help(argv):
            print(usage.strip())
            return
        given = argv[1:] if usage else []
        try:
            inspect.signature(main).bind(*given)
        except TypeError:  # too many arguments, or too few
            sys.exit(usage.strip())
        main(*given)

    command_line(command, interrupted="Interrupted.")
