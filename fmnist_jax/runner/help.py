"""The text of ``--help``."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.choices import defaults_by_choice
from fmnist_jax.config import SETTINGS, resolve
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.flag_table import Flag, flags_of
from fmnist_jax.runner.jobs import base_settings
from fmnist_jax.runner.plane import NUM_VALUES

SETTINGS_HEADING = """\
Settings. Each takes a list: one value fixes the setting, several make it an
axis; start:stop:count is log-spaced. Defaults are this experiment's, with
--preset={}."""


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether a command line contains a help flag."""
    return any(argument in ("-h", "-help", "--help") for argument in argv[1:])


def help_text(experiment: Experiment) -> str:
    """Returns the ``--help`` text of an experiment."""
    defaults = _defaults(experiment)
    used = flags_of(experiment)
    settings = [_entry(flag, defaults) for flag in used if flag.setting]
    if settings:
        heading = SETTINGS_HEADING.format(defaults["preset"])
        settings = [heading, *settings, ""]
    lines = [
        experiment.question,
        "",
        f"  python -m experiments.{experiment.name} --flag=value …",
        "",
        *settings,
        "Common flags:",
        *(_entry(flag, defaults) for flag in used if not flag.setting),
    ]
    return "\n".join(lines)


def _entry(flag: Flag, defaults: Mapping[str, Any]) -> str:
    allowed = f"; {flag.value_type.allowed}" if flag.setting else ""
    default = f" (default: {defaults[flag.name]})" if flag.name in defaults else ""
    return textwrap.fill(
        f"{flag.help}{allowed}{default}",
        88,
        initial_indent=f"  --{flag.name:<20} ",
        subsequent_indent=" " * 25,
    )


def _defaults(experiment: Experiment) -> dict[str, Any]:
    """Returns the defaults of an experiment's flags, by name of the flag."""
    defaults: dict[str, Any] = {"dataset": "auto"}
    if not experiment.trains:
        return defaults
    config, hparams = base_settings(experiment, experiment.preset)
    divisor = resolve(config, hparams).divisor
    values = {**vars(config), **vars(hparams), "divisor": divisor}
    defaults["preset"] = experiment.preset
    defaults["num_seeds"], defaults["epochs"] = experiment.num_seeds, config.num_epochs
    if experiment.train_examples:
        defaults["train_examples"] = experiment.train_examples
    if experiment.plane:
        defaults["x"], defaults["y"] = experiment.plane
    for flag in flags_of(experiment):
        if flag.setting:
            value = values[flag.setting]
            defaults[flag.name] = _setting_default(flag.setting, value, experiment)
    return defaults


def _setting_default(name: str, value: Any, experiment: Experiment) -> str:
    setting = SETTINGS[name]
    text = setting.value_type.text
    if name in (experiment.plane or ()) and setting.span:
        return ":".join([*map(text, setting.span), str(NUM_VALUES)])
    value = setting.off if value is None else value
    axes = experiment.axes or {}
    if name not in axes and value is None:  # the default of optimizer or schedule
        return defaults_by_choice(name)
    return ",".join(map(text, axes.get(name, [value])))
