"""Runs the scripts of ``benchmarks`` and ``docs``, which are not experiments."""

import inspect
import sys
from collections.abc import Callable, Sequence

from fmnist_jax.runner.command_line import run_command
from fmnist_jax.runner.help import asks_for_help


def run(main: Callable[..., None], usage: str = "") -> None:
    """Runs a script and exits with the status of ``run_command``.

    Args:
      main: the script; called with the arguments of the command line.
      usage: the text of ``--help``; "" if ``main`` parses the command line itself.
    """

    def command(argv: Sequence[str]) -> None:
        if usage and asks_for_help(argv):
            print(usage.strip())
            return
        arguments = argv[1:] if usage else []
        try:
            inspect.signature(main).bind(*arguments)
        except TypeError:  # too many arguments, or too few
            sys.exit(usage.strip())
        main(*arguments)

    run_command(command, interrupted="Interrupted.")
