"""Which settings a run depends on, and the error for a setting without effect."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from fmnist_jax.choices import NORMALIZATIONS, OPTIMIZERS, SCHEDULES
from fmnist_jax.config import SETTINGS, TRACED, Config, Hparams
from fmnist_jax.errors import UserError, reason, shown
from fmnist_jax.network_values import name_of
from fmnist_jax.values import Function

_SAME_USERS = {"first_kernel_eps": "eps"}  # the same optimizers use both
_FIRST_KERNEL = ("first_kernel_scale", "first_kernel_rate", "first_kernel_eps")
_MLP_SETTINGS = ("hidden_sizes", "initializer", "dropout_rate", *_FIRST_KERNEL)
_WHITENING = ("whitening", "whitening_eps")
_PENALTIES = {"l1", "l2", "l2_squared"}
# What a setting needs, in words and as a condition.
_CONDITIONS: Mapping[str, tuple[str, Callable[[Config], bool]]] = {
    "model": ("a network in place of the MLP", lambda config: config.model is not None),
    "schedule": ("an optimizer that reads the learning rate", lambda config: True),
    "penalized": ("a penalty: --l1s, --l2s or --l2s_squared", lambda config: True),
    "batch_norm": (
        "the built-in MLP with hidden layers",
        lambda config: config.model is None and bool(config.hidden_sizes),
    ),
    **dict.fromkeys(
        _MLP_SETTINGS, ("the built-in MLP", lambda config: config.model is None)
    ),
    **dict.fromkeys(
        _WHITENING,
        ("--normalizations=whiten", lambda config: config.normalization == "whiten"),
    ),
}


def owning_choice(name: str) -> str | None:
    """Returns the choice that has defaults for a setting, such as "optimizer"; or None.

    The others are "schedule" and "normalization".
    """
    tables = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for choice, table in {**tables, "normalization": NORMALIZATIONS}.items():
        if any(name in defaults for defaults in table.values()):
            return choice
    return None


def choices_using(name: str) -> list[str]:
    """Returns the optimizers or schedules that use a setting; [] if all runs use it."""
    name = _SAME_USERS.get(name, name)
    tables = [*OPTIMIZERS.items(), *SCHEDULES.items()]
    return [choice for choice, defaults in tables if name in defaults]


def _returned(function: Function, hparams: Hparams) -> Any:
    """Returns what a user's function returns; UserError if it is no optimizer or such.

    The settings in ``hparams`` are 0.5.
    """
    try:
        returned = function(hparams)
    except Exception as error:
        raise UserError(
            f"{name_of(function)}(hparams), with 0.5 for each setting, failed: "
            f"{type(error).__name__}: {reason(error)}. Pass a function of Hparams, as "
            "lambda hparams: optax.adam(hparams.learning_rate)."
        ) from error
    if not (hasattr(returned, "update") or callable(returned)):
        raise UserError(
            f"{name_of(function)}(hparams) returns {shown(returned)}. Pass a "
            "function of Hparams that returns an optax optimizer (Config.optimizer), "
            "or a learning rate for each step (Config.schedule): lambda hparams: "
            "lambda step: hparams.learning_rate / (1 + step)."
        )
    return returned


@functools.cache
def settings_read(function: Function) -> frozenset[str]:
    """Returns the settings that an optimizer or a schedule of the user's reads.

    The function is called with 0.5 for every setting, and what it returns is called
    too, because it may read more.
    """
    names: set[str] = set()

    class Recorder(Hparams):
        def __getattribute__(self, name: str) -> Any:
            if name == "extra":
                return RecordedExtra()
            if name in TRACED:
                names.add(name)
                return 0.5
            return super().__getattribute__(name)

    class RecordedExtra(dict[str, Any]):
        def __missing__(self, name: str) -> float:
            names.add(name)
            return 0.5

    Recorder.__name__ = Hparams.__name__  # in the messages of Python
    returned = _returned(function, Recorder())
    with contextlib.suppress(Exception):  # it may need the user's own parameters
        if hasattr(returned, "update"):
            import numpy as np  # not at the top: command lines are checked without

            ones = np.ones((1, 1), np.float32)
            params = {"Dense_0": {"kernel": ones, "bias": ones[0]}}
            returned.update(params, returned.init(params), params)
        else:
            returned(0)
    return frozenset(names)


def uses_setting(config: Config, name: str) -> bool:
    """Whether a run of ``config`` depends on the setting ``name``."""
    optimizer, schedule = (
        settings_read(choice) if callable(choice) else None
        for choice in (config.optimizer, config.schedule)
    )
    reads_learning_rate = optimizer is None or "learning_rate" in optimizer
    if name == "learning_rate":
        return reads_learning_rate and (schedule is None or name in schedule)
    if name == "schedule":
        return reads_learning_rate
    if name in (optimizer or ()) or (reads_learning_rate and name in (schedule or ())):
        return True
    if name not in SETTINGS:  # of Hparams.extra
        return False
    if name in _CONDITIONS and not _CONDITIONS[name][1](config):
        return False
    users = choices_using(name)
    is_scheduled = reads_learning_rate and config.schedule in users
    return not users or config.optimizer in users or is_scheduled


def setting_with_flag(name: str) -> str:
    """Returns the name of a setting with its flag, for messages."""
    flag = SETTINGS[name].flag if name in SETTINGS else None
    return f"{name} (--{flag})" if flag not in (None, name) else name


def settings_by_name(config: Config, hparams: Hparams) -> dict[str, Any]:
    """Returns all settings, those of ``Hparams.extra`` by their own names."""
    settings = {**vars(config), **vars(hparams)}
    return settings | dict(settings.pop("extra"))


def given_settings(config: Config, hparams: Hparams) -> list[str]:
    """Returns the names of the settings that differ from their defaults."""
    defaults = settings_by_name(Config(), Hparams())
    given = settings_by_name(config, hparams)
    return [name for name, value in given.items() if value != defaults.get(name)]


def unread_settings(
    names: Iterable[str], configs: Iterable[Config], given: Collection[str]
) -> list[str]:
    """Returns those of ``names`` that no run of ``configs`` depends on.

    ``given`` are the names of all axes and given settings, because a setting may need
    another one.
    """
    unread = []
    for name in names:
        if name == "penalized":
            is_read = not _PENALTIES.isdisjoint(given)
        else:
            is_read = name == "seed" or any(uses_setting(c, name) for c in configs)
        if not is_read:
            unread.append(name)
    return unread


def check_effects(
    names: Iterable[str], configs: Iterable[Config], given: Collection[str]
) -> None:
    """Raises UserError for the first setting that no run of ``configs`` depends on."""
    configs = list(configs)
    for name in unread_settings(names, configs, given):
        raise no_effect_error(name, configs)


def no_effect_error(name: str, configs: Iterable[Config] = ()) -> UserError:
    """Returns the error for a setting that no run of ``configs`` depends on."""
    choices = (choice for c in configs for choice in (c.optimizer, c.schedule))
    given = dict.fromkeys(choice for choice in choices if callable(choice))
    functions = [function for function in given if name not in settings_read(function)]
    if name == "learning_rate" and functions:
        names = " and ".join(map(name_of, functions))
        return UserError(
            f"{setting_with_flag(name)} has no effect here: {names} does not read "
            f"hparams.{name}. Read it there, or leave {name} out."
        )
    needs = [_CONDITIONS[name][0]] if name in _CONDITIONS else []
    if name not in SETTINGS:
        needs.append(f"an optimizer or a schedule that reads hparams.extra[{name!r}]")
    if users := choices_using(name):
        choice = owning_choice(_SAME_USERS.get(name, name)) or ""
        needs.append(f"{setting_with_flag(choice)} {' or '.join(users)}")
    return UserError(
        f"{setting_with_flag(name)} has no effect here: it needs "
        f"{' and '.join(needs)}. Choose that, or leave {name} out."
    )


def check_first_kernel(config: Config, hparams: Hparams) -> None:
    """Raises UserError for settings of the first kernel without the built-in MLP."""
    for name in _FIRST_KERNEL:
        if config.model is not None and getattr(hparams, name) is not None:
            raise no_effect_error(name)
