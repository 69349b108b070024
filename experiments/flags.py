"""The command line: flags made from the settings, and lists of values."""

import collections
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from fmnist_jax.config import (
    COUNT,
    PRESETS,
    SETTINGS,
    TRACED,
    Kind,
    Setting,
    UserError,
    chooser,
)

if TYPE_CHECKING:
    from experiments.jobs import Experiment

MOST_VALUES = 100_000  # of one list
_COUNTS = {
    "train_examples": "keep the first so many training examples",
    "test_examples": "keep the first so many test examples",
    "num_seeds": "how many seeds, from 0 on",
    "epochs": "passes over the training set",
}
_TEXTS = {
    "preset": f"settings to start from: {', '.join(PRESETS)}",
    "dataset": "auto (Fashion-MNIST, or a synthetic stand-in where it cannot be had), "
    "fashion_mnist, mnist, synthetic, idx (unknown files), or a TFDS image set",
    "data_dir": "folder with the data set's files (default: $FMNIST_JAX_DATA)",
    "out_dir": "folder for the results (default: runs/NAME/UTC-TIME)",
}
_SWITCHES = {
    "overwrite": "replace results that stand in --out_dir",
    "dry_run": "print what would be done, and stop",
    "help": "print this help, and stop",
}
_SETTINGS = {s.flag: (name, s) for name, s in SETTINGS.items() if s.flag}


def parse_value(flag: str, kind: Kind, text: str) -> Any:
    """Returns one value of a flag.

    Raises:
      UserError: where it is not one that is allowed.
    """
    try:
        value = kind.parse(text.strip())
    except ValueError:
        value = None
    if value is None or not kind.accepts(value):
        raise UserError(f"--{flag}: {text!r} is not allowed; expected {kind.allowed}.")
    return value


def parse_list(flag: str, kind: Kind, text: str) -> tuple[Any, ...]:
    """Returns the values of a comma-separated list.

    ``start:stop:count`` stands for so many numbers, log-spaced from start to stop.

    Raises:
      UserError: where it has no values, or one that is not allowed.
    """
    values: list[Any] = []
    for entry in text.split(","):
        if kind.parse is float and ":" in entry:
            values += _spaced(flag, kind, entry)
        else:
            values.append(parse_value(flag, kind, entry))
    counts = collections.Counter(values)
    twice = next((value for value, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UserError(f"--{flag}={text} has {kind.text(twice)} twice; give it once.")
    return tuple(values)


def _spaced(flag: str, kind: Kind, entry: str) -> list[float]:
    parts = entry.split(":")
    if len(parts) != 3:
        raise UserError(
            f"--{flag}: {entry!r} is not start:stop:count, such as 1:1e6:13."
        )
    start, stop = (parse_value(flag, kind, part) for part in parts[:2])
    count = parse_value(flag, COUNT, parts[2])
    if count > MOST_VALUES or min(start, stop) <= 0:
        raise UserError(
            f"--{flag}: {entry!r} is not allowed; expected start:stop:count, both ends "
            f"above 0 and at most {MOST_VALUES} values."
        )
    ratio = (stop / start) ** (1 / max(1, count - 1))
    inner = [float(f"{start * ratio**i:.12g}") for i in range(1, count - 1)]
    return [start, *inner, stop][:count]


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the flags of a command line.

    Returns:
      Each common flag's value, None or False where it was not given, and under
      "settings" the values of each setting that was.

    Raises:
      UserError: for an unknown flag, a stray argument, or a value that is not allowed.
    """
    values = flags.FlagValues()
    for name in (*_TEXTS, *_COUNTS, *_SETTINGS):
        flags.DEFINE_string(name, None, "", flag_values=values)
    for name in _SWITCHES:
        flags.DEFINE_boolean(name, False, "", flag_values=values)
    stray = _read(values, argv)
    if stray:
        raise UserError(
            f"Stray argument {stray[0]!r}; expected flags only, such as "
            "--divisors=1,255,1000 (--help lists them)."
        )
    for name in (*_TEXTS, *_COUNTS, *_SETTINGS):
        if values[name].present > 1:
            raise UserError(f"--{name} is given twice; give it once.")
        text = values[name].value
        if text is not None and not text.strip():
            raise UserError(f"--{name} is empty; give it a value, or leave it out.")
    given: dict[str, Any] = {name: values[name].value for name in (*_TEXTS, *_SWITCHES)}
    for name in _COUNTS:
        text = values[name].value
        given[name] = None if text is None else parse_value(name, COUNT, text)
    given["settings"] = {
        name: parse_list(flag, setting.kind, text)
        for flag, (name, setting) in _SETTINGS.items()
        if (text := values[flag].value) is not None
    }
    return given


def _read(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Has absl read the flags; returns what is left over."""
    for argument in argv[1:]:  # absl's own flags, which no one is told of
        if argument.lstrip("-").split("=")[0] in ("flagfile", "undefok"):
            raise UserError(f"Unknown flag {argument!r} (--help lists the flags).")
    try:
        return values(list(argv))[1:]
    except flags.IllegalFlagValueError as error:
        name = str(error).split("=")[0].split("--")[-1]
        raise UserError(f"--{name} is a switch; give it without a value.") from error
    except flags.Error as error:
        raise UserError(f"{error} (--help lists the flags).") from error


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help, whatever else it says."""
    return any(argument in ("-h", "-help", "--help") for argument in argv[1:])


def _entry(flag: str, text: str) -> str:
    return textwrap.fill(
        text, 88, initial_indent=f"  --{flag:<21}", subsequent_indent=" " * 25
    )


def _setting_entry(name: str, setting: Setting, experiment: "Experiment") -> str:
    config, hparams = PRESETS[experiment.preset]
    own = getattr(hparams if name in TRACED else config, name)
    own = setting.off if own is None else own
    values = experiment.axes.get(name, () if own is None else (own,))
    texts = [setting.kind.text(value) for value in values]
    default = ",".join(texts) or f"the {chooser(name)}'s own"
    return _entry(
        f"{setting.flag}",
        f"{setting.help}; {setting.kind.allowed} (default: {default})",
    )


def help_text(experiment: "Experiment") -> str:
    """Returns what ``--help`` prints of an experiment."""
    config, _ = PRESETS[experiment.preset]
    defaults = {
        "preset": experiment.preset,
        "dataset": "auto",
        "num_seeds": experiment.num_seeds,
        "epochs": f"{config.num_epochs}, of the preset",
    }
    common = {
        name: f"{text} (default: {defaults[name]})" if name in defaults else text
        for name, text in {**_TEXTS, **_COUNTS, **_SWITCHES}.items()
    }
    lines = [
        experiment.question,
        "",
        f"  python -m experiments.{experiment.name} --flag=value …",
        "",
        "Settings. Each takes a list: one value fixes the setting, several make it an",
        "axis; start:stop:count is log-spaced. Defaults are the preset's.",
        *(_setting_entry(n, s, experiment) for n, s in _SETTINGS.values()),
        "",
        "Common flags:",
        *(_entry(name, text) for name, text in common.items()),
    ]
    return "\n".join(lines)
