"""The settings of a sweep: axes and fixed settings, checked. Imports no jax."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fmnist_jax.config import (
    SETTINGS,
    STATIC,
    TRACED,
    Config,
    Hparams,
    check,
    check_all,
    coordinate,
)
from fmnist_jax.effects import (
    check_effects,
    given_settings,
    settings_read,
    unread_settings,
    uses_setting,
)
from fmnist_jax.errors import UserError, check_is, unknown
from fmnist_jax.network_values import name_of
from fmnist_jax.values import plain

MAX_RUNS = 1_000_000

# All runs of a sweep share these: their results have one epoch axis and one shape.
_NO_AXES = ("num_epochs", "record_every", "evaluate_train", "evaluate_dropout", "name")
_RESERVED = ("seed", "epoch", "step", "method", "tolerance", "drop", "indexers")
_STATIC_AXES = STATIC.keys() - {*_NO_AXES}

Axes = Mapping[str, tuple[Any, ...]]


def check_sweep(
    axes: Mapping[str, Any], config: Config, hparams: Hparams
) -> tuple[Axes, Mapping[Config, Sequence[int]]]:
    """Checks the settings of a sweep.

    Returns:
      The axes with plain values, "seed" last; and the programs of the sweep: each
      distinct ``Config`` with the positions of its runs in the flattened grid.

    Raises:
      UserError: as ``plan`` does for axes and settings.
    """
    check_is("axes", axes, Mapping, "a dict of settings to lists of their values")
    check_all(config, hparams)
    checked = _check_axes(axes, hparams.extra)
    if config.record_every and "batch_size" in checked:
        raise UserError(
            "record_every is the same number of steps in all runs, but batch_size is "
            "an axis; leave one out."
        )
    programs = _programs(checked, config)
    _check_learning_rates(checked, hparams, programs)
    _check_extra(hparams, programs)
    names = [*checked, *given_settings(config, hparams)]
    check_effects(names, programs, names)
    return checked, programs


def _programs(axes: Axes, config: Config) -> dict[Config, list[int]]:
    """Returns each program with the positions of its runs in the flattened grid."""
    shape = [len(values) for values in axes.values()]
    if math.prod(shape) > MAX_RUNS:
        raise UserError(
            f"The axes make {math.prod(shape):,} runs; expected at most {MAX_RUNS:,}."
        )
    names = list(axes)
    static = [i for i, name in enumerate(names) if name in _STATIC_AXES]
    traced = [i for i in range(len(names)) if i not in static]
    grid = np.arange(math.prod(shape)).reshape(shape).transpose(*static, *traced)
    runs_by_program = grid.reshape(math.prod(shape[i] for i in static), -1)
    choices = itertools.product(*(axes[names[i]] for i in static))
    programs: dict[Config, list[int]] = {}
    for choice, runs in zip(choices, runs_by_program, strict=True):
        settings = {names[i]: value for i, value in zip(static, choice, strict=True)}
        programs[dataclasses.replace(config, **settings)] = runs.tolist()
    return programs


def _check_axes(
    axes: Mapping[str, Any], extra: Mapping[str, Any]
) -> dict[str, tuple[Any, ...]]:
    """Returns the axes with plain values, "seed" last; checks also ``extra``."""
    check_is("Hparams.extra", extra, Mapping, "a dict of names to numbers")
    for name, value in extra.items():
        if name in (*SETTINGS, *_RESERVED) or not str(name).isidentifier():
            raise UserError(
                f"Hparams.extra has the name {name!r}; expected an identifier that is "
                "no setting and no axis of the results."
            )
        check(name, value)
    allowed = [*_STATIC_AXES, *TRACED, *extra, "seed"]
    checked = {}
    for name, given in axes.items():
        if name in _NO_AXES:
            raise UserError(
                f"{name} cannot be an axis: give it one value for all runs (in Python, "
                "in Config)."
            )
        if name not in allowed:
            raise _unknown_axis(name, allowed)
        given = plain(given)
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise UserError(f"The axis {name} is {given!r}; expected a list of values.")
        values = tuple(map(plain, given))
        if not values:
            raise UserError(f"The axis {name} has no values; give at least one.")
        for value in values:
            check(name, value)
        _check_distinct(name, values)
        checked[name] = values
    seeds = checked.pop("seed", (0,))
    return {**checked, "seed": seeds}


def _unknown_axis(name: str, allowed: Iterable[str]) -> UserError:
    return UserError(
        f"{unknown('axis', name, allowed)} A setting of your own needs a value in "
        f"Hparams(extra={{{name!r}: …}}); a field of your network is an axis as "
        '{"model": [Net(…), Net(…)]}.'
    )


def _check_learning_rates(
    axes: Axes, hparams: Hparams, programs: Iterable[Config]
) -> None:
    """Refuses an optimizer without defaults that reads a learning rate of None."""
    if "learning_rate" in axes or hparams.learning_rate is not None:
        return
    for config in programs:
        if callable(config.optimizer) and uses_setting(config, "learning_rate"):
            raise UserError(
                f"The optimizer {name_of(config.optimizer)} has no default "
                "learning rate: set Hparams(learning_rate=…), or make it an axis."
            )


def _check_extra(hparams: Hparams, programs: Iterable[Config]) -> None:
    """Refuses functions that read a setting that ``Hparams.extra`` has not."""
    for config in programs:
        for function in filter(callable, (config.optimizer, config.schedule)):
            for name in sorted(settings_read(function) - {*TRACED, *hparams.extra}):
                raise UserError(
                    f"{name_of(function)} reads hparams.extra[{name!r}], which is not "
                    f"set; pass Hparams(extra={{{name!r}: …}})."
                )


def _check_distinct(name: str, values: Sequence[Any]) -> None:
    """Refuses values that are the same to a run, or in the results."""
    is_traced = name not in STATIC and name != "seed"
    shown = [coordinate(name, value) for value in values]
    used = [float(np.float32(v)) for v in shown] if is_traced else shown
    value, count = collections.Counter(used).most_common(1)[0]
    if count > 1 and any(map(callable, values)) and len({*values}) == len(values):
        raise UserError(
            f"The axis {name} has different values that are all called {value}; give "
            "them different names."
        )
    if count > 1:
        cure = ", or give each network a name" if name == "model" else ""
        raise UserError(f"The axis {name} has {value} twice; give it once{cure}.")


def with_plain_values(hparams: Any) -> Any:
    """Returns an ``Hparams`` whose numbers are Python's, as those of a ``Config``."""
    if not isinstance(hparams, Hparams):
        return hparams  # check_sweep refuses it
    numbers = {name: plain(value) for name, value in vars(hparams).items()}
    return dataclasses.replace(hparams, **numbers)


def drop_unread(
    axes: Mapping[str, Any], config: Config, hparams: Hparams
) -> tuple[Config, Hparams]:
    """Returns settings without those that no run of the axes depends on.

    For settings that the user did not give, such as those of a preset: ``check_sweep``
    refuses them.
    """
    check_all(config, hparams)
    checked = _check_axes(axes, hparams.extra)
    given = given_settings(config, hparams)
    programs = _programs(checked, config)
    unread = unread_settings(given, programs, {*given, *checked})
    static = {name: getattr(Config(), name) for name in unread if name in STATIC}
    traced = {name: None for name in unread if name in TRACED}
    return dataclasses.replace(config, **static), dataclasses.replace(hparams, **traced)


def with_traced(hparams: Hparams, values: Mapping[str, Any]) -> Hparams:
    """Returns ``hparams`` with other values; those of ``extra`` by their own names."""
    traced = {name: value for name, value in values.items() if name in TRACED}
    extra = {name: values.get(name, value) for name, value in hparams.extra.items()}
    return dataclasses.replace(hparams, **traced, extra=extra)
