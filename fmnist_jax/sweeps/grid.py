"""The runs of a grid of axes: their settings, their programs, and equal runs.

Imports no jax.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.config import (
    SETTINGS,
    STATIC,
    TRACED,
    Config,
    Hparams,
    coordinate,
    resolve,
)
from fmnist_jax.effects import settings_by_name, uses_setting

Axes = Mapping[str, tuple[Any, ...]]
# All runs of a sweep share these: their results have one epoch axis and one shape.
SHARED_SETTINGS = (
    "num_epochs",
    "record_every",
    "evaluate_train",
    "evaluate_dropout",
    "name",
)
STATIC_AXES = STATIC.keys() - {*SHARED_SETTINGS}


class Bundle(NamedTuple):
    """Settings that change together: one value of an axis that is not a setting."""

    label: str | int  # the coordinate in the results
    settings: Mapping[str, Any]  # name to value


def axis_coordinate(name: str, value: Any) -> Any:
    """Returns the coordinate in the results of a value of the axis ``name``."""
    return value.label if isinstance(value, Bundle) else coordinate(name, value)


def value_settings(name: str, value: Any) -> Mapping[str, Any]:
    """Returns the settings that a value of the axis ``name`` stands for."""
    return value.settings if isinstance(value, Bundle) else {name: value}


def settings_set(axes: Axes) -> dict[str, list[str]]:
    """Returns, for each axis, the settings that its values set."""
    return {
        axis: list(dict.fromkeys(n for v in values for n in value_settings(axis, v)))
        for axis, values in axes.items()
    }


def axes_setting(axes: Axes, *names: str | None) -> tuple[str, ...]:
    """Returns the axes that set one of the settings ``names``."""
    pairs = settings_set(axes).items()
    return tuple(axis for axis, some in pairs if not {*some}.isdisjoint(names))


def bundled_settings(axes: Axes) -> set[str]:
    """Returns the settings that bundles set, which some of them may leave out."""
    names = settings_set(axes)
    return {n for axis, some in names.items() if some != [axis] for n in some}


def grid_settings(axes: Axes, run: int) -> dict[str, Any]:
    """Returns the settings of the run at a position in the flattened grid."""
    index = np.unravel_index(run, [len(values) for values in axes.values()])
    settings: dict[str, Any] = {}
    for (name, values), i in zip(axes.items(), index, strict=True):
        settings.update(value_settings(name, values[i]))
    return settings


def with_traced(hparams: Hparams, values: Mapping[str, Any]) -> Hparams:
    """Returns ``hparams`` with other values; those of ``extra`` by their own names."""
    traced = {name: value for name, value in values.items() if name in TRACED}
    extra = {name: values.get(name, value) for name, value in hparams.extra.items()}
    return dataclasses.replace(hparams, **traced, extra=extra)


def program_config(config: Config, settings: Mapping[str, Any]) -> Config:
    """Returns the program of a run.

    Static settings that the run does not depend on have their defaults, so that runs
    which differ in nothing else share a program. ``settings`` are those that the axes
    set; traced ones are ignored.
    """
    static = {name: value for name, value in settings.items() if name in STATIC}
    config = dataclasses.replace(config, **static)
    unused = (name for name in STATIC_AXES if not uses_setting(config, name))
    defaults = {name: getattr(Config(), name) for name in unused}
    return dataclasses.replace(config, **defaults)


def program_hparams(
    program: Config,
    hparams: Hparams,
    settings: Mapping[str, Any],
    bundled: Iterable[str] = (),
) -> Hparams:
    """Returns the traced settings of a run of a program, resolved.

    ``settings`` are those that the axes set. Those that the program does not depend on,
    and static ones, are ignored. All runs of a program must have a number for the
    ``bundled_settings``, so a ``None`` among these is replaced by the number with the
    same meaning.
    """
    traced = {
        name: float(value)
        for name, value in settings.items()
        if name not in (*STATIC, "seed") and uses_setting(program, name)
    }
    resolved = resolve(program, with_traced(hparams, traced))
    missing = {
        name: SETTINGS[name].off
        for name in bundled
        if name in TRACED and getattr(resolved, name) is None
        if uses_setting(program, name)
    }
    return dataclasses.replace(resolved, **missing)


def distinct_runs(
    axes: Axes, config: Config, hparams: Hparams
) -> tuple[dict[Config, list[int]], np.ndarray]:
    """Returns the runs to train.

    Returns each program with the positions of its distinct runs in the flattened grid;
    and for each run of the grid, ``[num_runs]``, the position of the run that is
    trained for it: the first that differs from it only in settings on which neither
    depends. The last of the axes is "seed".
    """
    shape = [len(values) for values in axes.values()]
    grid = np.arange(math.prod(shape)).reshape(shape)
    trained = np.empty_like(grid)
    bundled = bundled_settings(axes)
    settings = {
        name: [value_settings(name, value) for value in values]
        for name, values in axes.items()
    }
    static = [name for name in axes if _sets_static(settings[name])]
    traced = [name for name in axes if name not in static]
    choices: list[Iterable[Any]] = [
        range(len(axes[name])) if name in static else [slice(None)] for name in axes
    ]
    programs: dict[Config, list[int]] = {}
    first: dict[Any, Any] = {}
    for index in itertools.product(*choices):
        pairs = zip(axes, index, strict=True)
        chosen = [settings[name][i] for name, i in pairs if isinstance(i, int)]
        common = {name: value for some in chosen for name, value in some.items()}
        program = program_config(config, common)
        key = program, _identity(program_hparams(program, hparams, common, bundled))
        cells, source = grid[index], grid[first.setdefault(key, index)]
        for dim, name in enumerate(traced):
            if name != "seed":
                runs = [
                    program_hparams(program, hparams, {**common, **some}, bundled)
                    for some in settings[name]
                ]
                source = source.take(_first_equal(runs), axis=dim)
        trained[index] = source
        programs.setdefault(program, []).extend(cells[source == cells].tolist())
    return programs, trained.ravel()


def _sets_static(settings: Sequence[Mapping[str, Any]]) -> bool:
    return any(name in STATIC for some in settings for name in some)


def _identity(hparams: Hparams) -> tuple[tuple[str, Any], ...]:
    return tuple(settings_by_name(Config(), hparams).items())


def _first_equal(runs: Sequence[Hparams]) -> list[int]:
    """Returns, for each run, the position of the first with the same settings."""
    first: dict[Any, int] = {}
    identities = enumerate(map(_identity, runs))
    return [first.setdefault(identity, position) for position, identity in identities]
