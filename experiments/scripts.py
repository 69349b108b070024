"""How a script that measures something, and is no experiment, is run."""

import inspect
import sys
from collections.abc import Callable
from typing import NoReturn

from experiments.common import line_of
from experiments.help import asks_for_help
from fmnist_jax.kinds import UserError


def run(main: Callable[..., None], usage: str = "") -> NoReturn:
    """Runs a script and exits: 0, 2 with one line for a user's mistake, 130.

    Args:
      main: gets the arguments of the command line.
      usage: what ``--help`` prints; "" where ``main`` reads the command line itself.
    """
    given = sys.argv[1:] if usage else []
    if usage and asks_for_help(sys.argv):
        print(usage.strip())
        sys.exit(0)
    try:
        inspect.signature(main).bind(*given)
    except TypeError:  # too many arguments, or too few
        sys.exit(usage.strip())
    try:
        main(*given)
    except UserError as error:
        print(line_of(error), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
