"""What ``--help`` says of an experiment and its flags."""

import textwrap
from collections.abc import Sequence
from typing import Any

from fmnist_jax.config import OPTIMIZERS, SCHEDULES, TRACED, Setting, choices_using
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.runner.flags import COMMON, SETTING_FLAGS, taken
from fmnist_jax.runner.jobs import base
from fmnist_jax.runner.plane import VALUES


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help, whatever else it says."""
    return any(argument in ("-h", "-help", "--help") for argument in argv[1:])


def _entry(flag: str, text: str) -> str:
    return textwrap.fill(
        text, 88, initial_indent=f"  --{flag:<20} ", subsequent_indent=" " * 25
    )


def _setting_entry(name: str, setting: Setting, experiment: Experiment) -> str:
    config, hparams = base(experiment, experiment.preset)
    own = getattr(hparams if name in TRACED else config, name)
    own = setting.off if own is None else own
    values = (experiment.axes or {}).get(name, () if own is None else (own,))
    texts = [setting.value_type.text(value) for value in values]
    if name in (experiment.plane or ()) and setting.span:
        texts = [":".join([*map(setting.value_type.text, setting.span), str(VALUES)])]
    default = ",".join(texts) or _own_defaults(name)
    return _entry(
        f"{setting.flag}",
        f"{setting.help}; {setting.value_type.allowed} (default: {default})",
    )


def _own_defaults(name: str) -> str:
    """Returns what each optimizer or schedule that reads a setting takes it to be."""
    own = {**OPTIMIZERS, **SCHEDULES}
    return ", ".join(f"{each} {own[each][name]:g}" for each in choices_using(name))


def _settings_help(experiment: Experiment) -> list[str]:
    return [
        "Settings. Each takes a list: one value fixes the setting, several make it an",
        "axis; start:stop:count is log-spaced. Defaults are this experiment's, with",
        f"--preset={experiment.preset}.",
        *(_setting_entry(n, s, experiment) for n, s in SETTING_FLAGS.values()),
        "",
    ]


def help_text(experiment: Experiment) -> str:
    """Returns what ``--help`` prints of an experiment."""
    defaults: dict[str, Any] = {"dataset": "auto"}
    settings: list[str] = []
    if experiment.trains:
        config, _ = base(experiment, experiment.preset)
        defaults |= {
            "preset": experiment.preset,
            "num_seeds": experiment.num_seeds,
            "epochs": config.num_epochs,
        }
        if experiment.train_examples:
            defaults["train_examples"] = experiment.train_examples
        if experiment.plane:
            defaults |= dict(zip("xy", experiment.plane, strict=True))
        settings = _settings_help(experiment)
    common = {
        name: f"{text} (default: {defaults[name]})" if name in defaults else text
        for name, text in COMMON.items()
        if name in taken(experiment)
    }
    lines = [
        experiment.question,
        "",
        f"  python -m experiments.{experiment.name} --flag=value …",
        "",
        *settings,
        "Common flags:",
        *(_entry(name, text) for name, text in common.items()),
    ]
    return "\n".join(lines)
