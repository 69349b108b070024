"""The settings of a sweep: axes and fixed settings, checked. Imports no jax."""

import collections
import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from fmnist_jax.sweeps.grid import (
    SHARED_SETTINGS,
    STATIC_AXES,
    Axes,
    Bundle,
    distinct_runs,
    program_hparams,
    settings_set,
    value_settings,
)
from fmnist_jax.values import plain

MAX_RUNS = 1_000_000
_RESERVED = ("seed", "epoch", "step", "method", "tolerance", "drop", "indexers")


def check_sweep(
    axes: Mapping[str, Any], config: Config, hparams: Hparams
) -> tuple[Axes, Mapping[Config, Sequence[int]]]:
    """Checks the settings of a sweep.

    Returns:
      The axes with plain values, "seed" last; and the programs of the sweep: each
      distinct ``Config`` with the positions of its distinct runs in the flattened grid.
    """
    check_is("axes", axes, Mapping, "a dict of settings to lists of their values")
    check_all(config, hparams)
    checked = _check_axes(axes, hparams.extra)
    names = [name for some in settings_set(checked).values() for name in some]
    if config.record_every and "batch_size" in names:
        raise UserError(
            "record_every is the same number of steps in all runs, but batch_size is "
            "an axis; leave one out."
        )
    programs = _runs(checked, config, hparams)
    _check_learning_rates(names, hparams, programs)
    _check_extra(hparams, programs)
    names += given_settings(config, hparams)
    check_effects(names, programs, names)
    _check_bundles(checked, config, hparams, names)
    return checked, programs


def _runs(axes: Axes, config: Config, hparams: Hparams) -> dict[Config, list[int]]:
    """Returns each program with the positions of its distinct runs in the grid."""
    num_runs = math.prod(len(values) for values in axes.values())
    if num_runs > MAX_RUNS:
        raise UserError(
            f"The axes make {num_runs:,} runs; expected at most {MAX_RUNS:,}."
        )
    programs, _ = distinct_runs(axes, config, hparams)
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
    allowed = [*STATIC_AXES, *TRACED, *extra]
    checked = {}
    for name, given in axes.items():
        given = plain(given)
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise UserError(f"The axis {name} is {given!r}; expected a list of values.")
        if not (values := _with_bundles(name, given, (*SETTINGS, *_RESERVED, *extra))):
            raise UserError(f"The axis {name} has no values; give at least one.")
        for value in values:
            for setting, one in value_settings(name, value).items():
                if setting != "seed" or isinstance(value, Bundle):
                    _check_name(setting, allowed)
                check(setting, one)
        if not isinstance(values[0], Bundle):
            _check_distinct(name, values)
        checked[name] = values
    counts = collections.Counter(n for s in settings_set(checked).values() for n in s)
    if twice := [name for name, count in counts.items() if count > 1]:
        axes_of = [a for a, names in settings_set(checked).items() if twice[0] in names]
        raise UserError(
            f"{twice[0]} is set by the axes {' and '.join(axes_of)}; keep it in one."
        )
    seeds = checked.pop("seed", (0,))
    return {**checked, "seed": seeds}


def _with_bundles(
    name: str, given: Iterable[Any], reserved: Collection[str]
) -> tuple[Any, ...]:
    """Returns the values of an axis, with dicts of settings converted to bundles."""
    is_labelled = isinstance(given, Mapping)
    pairs = given.items() if isinstance(given, Mapping) else enumerate(given)
    entries: list[tuple[Any, Any]] = list(pairs)
    if not is_labelled and not any(isinstance(v, Mapping | Bundle) for _, v in entries):
        return tuple(plain(value) for _, value in entries)
    if name in reserved or not str(name).isidentifier():
        raise UserError(
            f"The axis {name!r} has bundles of settings, so its name must be an "
            "identifier that is neither a setting nor an axis of the results."
        )
    bundles = []
    for label, value in entries:
        if isinstance(value, Bundle):
            label, value = value
        if not isinstance(value, Mapping) or type(label) not in (str, int):
            raise UserError(
                f"The axis {name} has {label!r}: {value!r}; expected a label with a "
                "dict of settings, such as {'usual': {'divisor': 255}}."
            )
        bundles.append(Bundle(label, plain(value)))
    labels = [bundle.label for bundle in bundles]
    if len({*map(str, labels)}) < len(labels) or len({*map(type, labels)}) > 1:
        raise UserError(
            f"The axis {name} has the labels {', '.join(map(repr, labels))}; expected "
            "different ones, all texts or all whole numbers."
        )
    return tuple(bundles)


def _check_name(name: str, allowed: Iterable[str]) -> None:
    """Raises UserError if a setting cannot differ between the runs of a sweep."""
    if name == "seed":
        raise UserError("seed cannot be in a bundle: make it an axis of its own.")
    if name in SHARED_SETTINGS:
        raise UserError(
            f"{name} must be the same in all runs; set it once (in Python, in Config), "
            "not in an axis."
        )
    if name not in allowed:
        raise _unknown_axis(name, allowed)


def _unknown_axis(name: str, allowed: Iterable[str]) -> UserError:
    return UserError(
        f"{unknown('axis', name, allowed)} A setting of your own needs a value in "
        f"Hparams(extra={{{name!r}: …}}); a field of your network is an axis as "
        '{"model": [Net(…), Net(…)]}; settings that change together are an axis as '
        '{"recipe": {"raw": {"divisor": 1}, …}}.'
    )


def _check_bundles(
    axes: Axes, config: Config, hparams: Hparams, given: Collection[str]
) -> None:
    """Refuses bundles with a setting that is unused, or without one that is required.

    A setting is unused if none of the bundle's runs depends on it. It is required if
    the bundle's runs depend on it, it has no default, and other bundles of the axis set
    it.
    """
    for axis, names in settings_set(axes).items():
        values = axes[axis] if names != [axis] else ()
        needed = {*names}.intersection(TRACED)
        # What a bundle needs does not depend on the numbers in it.
        distinct = {_without_numbers(value): value for value in reversed(values)}
        for value in reversed(distinct.values()):
            programs = distinct_runs({**axes, axis: (value,)}, config, hparams)[0]
            try:
                check_effects(value.settings, programs, given)
            except UserError as error:
                raise UserError(f"{axis} {value.label!r}: {error}") from error
            for program in programs:
                run = program_hparams(program, hparams, value.settings, names)
                for name in needed:
                    if getattr(run, name) is None and uses_setting(program, name):
                        raise UserError(
                            f"{axis} {value.label!r} does not set {name}, which has no "
                            f"default; set it in every bundle of {axis}, or in "
                            "Hparams."
                        )


def _without_numbers(bundle: Bundle) -> tuple[tuple[str, Any], ...]:
    """Returns the names of a bundle's settings, and the values of static ones."""
    settings = bundle.settings.items()
    return tuple((name, value if name in STATIC else None) for name, value in settings)


def _check_learning_rates(
    names: Collection[str], hparams: Hparams, programs: Iterable[Config]
) -> None:
    """Refuses an optimizer without defaults that reads a learning rate of None."""
    if "learning_rate" in names or hparams.learning_rate is not None:
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
        value = plain(np.float32(value)) if is_traced else value
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
    varied = [name for names in settings_set(checked).values() for name in names]
    programs = _runs(checked, config, hparams)
    unread = unread_settings(given, programs, {*given, *varied})
    static = {name: getattr(Config(), name) for name in unread if name in STATIC}
    traced = {name: None for name in unread if name in TRACED}
    return dataclasses.replace(config, **static), dataclasses.replace(hparams, **traced)
