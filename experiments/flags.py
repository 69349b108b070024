"""The command line: flags made from the settings, and lists of values."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from fmnist_jax.config import (
    COUNT,
    PRESETS,
    SETTINGS,
    Kind,
    Setting,
    UserError,
    coordinate,
    show,
)

if TYPE_CHECKING:
    from experiments.common import Experiment

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
    if not text.strip():
        raise UserError(f"--{flag} is empty; expected {kind.allowed}, or several.")
    values: list[Any] = []
    for entry in text.split(","):
        if kind.parse is float and ":" in entry:
            values += _spaced(flag, kind, entry)
        else:
            values.append(parse_value(flag, kind, entry))
    twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
    if twice is not None and len(values) <= MOST_VALUES:
        raise UserError(f"--{flag}={text} has {kind.show(twice)} twice; give it once.")
    return tuple(values)


def _spaced(flag: str, kind: Kind, entry: str) -> list[float]:
    parts = entry.split(":")
    if len(parts) != 3:
        raise UserError(f"--{flag}: {entry!r} is not start:stop:count.")
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
    try:
        stray = values(list(argv))[1:]
    except flags.Error as error:
        raise UserError(f"{error} (--help lists the flags)") from error
    if stray:
        raise UserError(
            f"Stray argument {stray[0]!r}; expected flags only, such as "
            "--divisors=1,255,1000 (--help lists them)."
        )
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


def _entry(flag: str, text: str) -> str:
    return textwrap.fill(
        text, 88, initial_indent=f"  --{flag:<21}", subsequent_indent=" " * 25
    )


def _setting_entry(name: str, setting: Setting, experiment: "Experiment") -> str:
    config, hparams = PRESETS[experiment.preset]
    if name in experiment.axes:
        default = ",".join(
            show("", coordinate(name, value)) for value in experiment.axes[name]
        )
    else:
        value = getattr(hparams, name, getattr(config, name, None))
        own = value is None
        default = "the optimizer's own" if own else show("", coordinate(name, value))
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
