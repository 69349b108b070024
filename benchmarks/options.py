"""The command line of ``benchmarks.throughput``."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks.jobs import LEARNING_RATES
from benchmarks.peers import PEERS
from fmnist_jax.errors import UserError, unknown


def parse(argv: Sequence[str]) -> flags.FlagValues:
    """Returns the flags of a command line.

    Raises:
      UserError: for an unknown flag, an unexpected argument or an invalid value.
    """
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "rounds", 7, "rounds; in each, every peer trains once", 1, flag_values=values
    )
    flags.DEFINE_integer(
        "steps", 1875, "steps of 32 examples per round", 1, flag_values=values
    )
    lists = {
        "widths": ("128,1000", "units of the hidden layer"),
        "optimizers": ("sgd,adam", "sgd, adam"),
        "peers": (",".join(PEERS), "the peers to compare"),
    }
    for name, (default, text) in lists.items():
        flags.DEFINE_list(name, default, text, flag_values=values)
    texts = {
        "data_dir": "folder with the files of the data set (default: $FMNIST_JAX_DATA)",
        "out": "JSON file for all measurements",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_boolean("help", False, "print this help", flag_values=values)
    try:
        arguments = values(list(argv))[1:]
    except flags.Error as error:
        raise UserError(f"{error} (--help lists the flags).") from error
    if arguments:
        argument = arguments[0]
        raise UserError(f"Unexpected argument {argument!r} (--help lists the flags).")
    _check(values)
    return values


def _check(values: flags.FlagValues) -> None:
    for flag, choices in (("peers", PEERS), ("optimizers", LEARNING_RATES)):
        if not getattr(values, flag):
            raise UserError(f"--{flag} is empty; give it a value, or leave it out.")
        for name in getattr(values, flag):
            if name not in choices:
                raise unknown(f"value of --{flag}", name, choices)
    for width in values.widths:
        if not width.isdecimal() or int(width) < 1:
            raise UserError(f"--widths: {width!r} is not a whole number of at least 1.")
    if values.out and not Path(values.out).resolve().parent.is_dir():
        raise UserError(f"--out={values.out}: its folder does not exist.")
