"""Command lines to the values of flags."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from fmnist_jax.config import SETTINGS
from fmnist_jax.errors import UserError
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.flag_table import FLAGS, TEXT, Flag, flags_of
from fmnist_jax.runner.flag_values import parse_list, parse_value
from fmnist_jax.values import SWITCH

Given = Mapping[str, Any]  # texts of flags, in the order typed; True for a switch


# Other names of flags: the names of settings in the library, and short names.
_ALIASES = {flag.setting: flag.name for flag in FLAGS.values() if flag.setting} | {
    "num_epochs": "epochs",
    "lr": "learning_rates",
    "seed": "num_seeds",
    "seeds": "num_seeds",
}


def parse(
    argv: Sequence[str], experiments: Sequence[Experiment] = ()
) -> dict[str, Any]:
    """Returns the values of a command line.

    Those of settings are under "settings", and the texts that were given under "given",
    by the names of the flags. The first entry of ``argv`` is the program. Flags that
    none of the experiments uses are refused.
    """
    given = read(argv)
    _check_used(given, experiments)
    values = _values(given, FLAGS.values())
    settings = {f.setting: values.pop(f.name) for f in FLAGS.values() if f.setting}
    values["settings"] = {name: v for name, v in settings.items() if v is not None}
    return {**values, "given": given}


def parse_flags(argv: Sequence[str], known: Collection[Flag]) -> dict[str, Any]:
    """Returns the value of each known flag; None or False if it is not given."""
    return _values(read(argv, known), known)


def _values(given: Given, known: Iterable[Flag]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for flag in known:
        value = given.get(flag.name, False if flag.value_type is SWITCH else None)
        if isinstance(value, str) and flag.value_type is not TEXT:
            parse_text = parse_list if flag.setting else parse_value
            value = parse_text(flag.name, flag.value_type, value)
        values[flag.name] = value
    return values


def _check_used(names: Iterable[str], experiments: Sequence[Experiment]) -> None:
    """Refuses flags that none of the experiments uses."""
    used = {flag.name for experiment in experiments for flag in flags_of(experiment)}
    unused = [name for name in names if name not in used]
    if experiments and unused:
        first = experiments[0]
        expected = ", --".join(flag.name for flag in flags_of(first))
        reason = f"trains nothing; expected --{expected}"
        if first.trains:
            reason = "draws no map, but trainability_map does"
        raise UserError(f"--{unused[0]} has no effect: {first.name} {reason}.")


def read(argv: Sequence[str], known: Collection[Flag] = FLAGS.values()) -> Given:
    """Returns the texts of the flags on a command line."""
    values = flags.FlagValues()
    for flag in known:
        if flag.value_type is SWITCH:
            flags.DEFINE_boolean(flag.name, False, "", flag_values=values)
        else:
            flags.DEFINE_string(flag.name, None, "", flag_values=values)
    for argument in argv[1:]:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name in ("flagfile", "undefok"):  # defined by absl
            raise UserError(f"Unknown flag {argument!r} (--help lists the flags).")
        if argument[:1] == "-" and equals and name in values and values[name].boolean:
            raise UserError(
                f"--{name} is a switch: give it without a value, or leave it out."
            )
    try:
        stray = values(list(argv))[1:]
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, list(values)) from error
    except (flags.Error, ValueError) as error:  # ValueError: for --noflag=value
        raise UserError(f"{error} (--help lists the flags).") from error
    if stray:
        raise UserError(
            f"Stray argument {stray[0]!r}; expected flags only, such as "
            "--out_dir=FOLDER (--help lists them)."
        )
    typed = [argument.lstrip("-").partition("=")[0] for argument in argv]
    given = {name: text for name, text in values.flag_values_dict().items() if text}
    for name in values:
        text = values[name].value
        if isinstance(text, str) and values[name].present > 1:
            raise UserError(f"--{name} is given twice; give it once.")
        if isinstance(text, str) and not text.strip():
            raise UserError(f"--{name} is empty; give it a value, or leave it out.")
    return dict(sorted(given.items(), key=lambda item: typed.index(item[0])))


def _unknown(name: str, known: Sequence[str]) -> UserError:
    """Returns the error for an unknown flag, with the nearest known one."""
    nearest = _ALIASES.get(name)
    if nearest not in known:
        others = [] if name in SETTINGS else known  # a setting of the library only
        nearest = next(iter(difflib.get_close_matches(name, others, n=1)), None)
    hint = f" Did you mean --{nearest}?" if nearest else ""
    return UserError(f"Unknown flag --{name}.{hint} --help lists the flags.")
