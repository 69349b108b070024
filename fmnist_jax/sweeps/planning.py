"""From axes to groups of runs: what will be done, decided before anything runs."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fmnist_jax.config import (
    STATIC,
    TRACED,
    Config,
    Hparams,
    check,
    check_all,
    coordinate,
    no_effect_error,
    resolve,
    setting_with_flag,
    uses_setting,
)
from fmnist_jax.errors import UserError, check_is, unknown
from fmnist_jax.sweeps.model_size import state_bytes
from fmnist_jax.values import COUNT

# State that the runs of one device work on at once: more does not stay in the cache.
# A 128-wide network under Adam is fastest at up to 5 runs per device, a 1000-wide at 1.
CACHE_BYTES = 8.2e6
# Two runs with more state than this do not stay in a last-level cache of 32 MiB. One at
# a time, on both cores, is then as fast (1000-wide under Adam) or up to a fifth faster
# (two such layers). What more than two cores bear was not measured.
PAIR_BYTES = 12.5e6
MOST_RUNS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one program that go through together.

    Attributes:
      config: their program.
      runs: their positions in the flattened grid of the plan's axes.
      width: runs per device; ``width * num_devices`` minus the runs is padding.
    """

    config: Config
    runs: tuple[int, ...]
    width: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs of a sweep, and how they go through.

    Attributes:
      axes: name to values, in the order of the results' dimensions; "seed" is last.
      config: what the axes leave as it is.
      hparams: likewise.
      groups: every run of the grid stands in one.
      num_devices: how many devices share the runs of a group.
      probes: what is recorded beside the metrics.
    """

    axes: Mapping[str, tuple[Any, ...]]
    config: Config
    hparams: Hparams
    groups: tuple[Group, ...]
    num_devices: int
    probes: tuple[Any, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def num_runs(self) -> int:
        """Number of runs."""
        return math.prod(self.shape)

    @property
    def num_programs(self) -> int:
        """Number of compiled programs."""
        return len({(group.config, group.width) for group in self.groups})


def plan(
    axes: Mapping[str, Any],
    config: Config,
    hparams: Hparams,
    num_devices: int = 1,
    *,
    probes: Iterable[Any] = (),
    max_width: int | None = None,
) -> Plan:
    """Plans a sweep: the fewest programs, and the groups of runs of each.

    Args:
      axes: name of a field of ``Config`` or ``Hparams``, or "seed", to its values.
      config: static settings that are no axis.
      hparams: traced settings that are no axis.
      num_devices: devices that share the runs; no more are used than a program has
        runs, and one of two where two runs would not stay in the cache.
      probes: what to record beside the metrics.
      max_width: the most runs per device at once; None for those whose state stays in
        a processor's cache.

    Raises:
      UserError: for an unknown axis, one without values or with one twice, a value that
        is not allowed, or an axis that no run depends on.
    """
    check_is("axes", axes, Mapping, "a dict of settings to lists of their values")
    check_is("probes", probes, Iterable, "a list of Probe")
    if max_width is not None and not COUNT.accepts(max_width):
        raise UserError(
            f"max_width is {max_width!r}; expected {COUNT.allowed}, or None."
        )
    check_all(config, hparams)
    checked = _checked_axes(axes)
    programs = _programs(checked, config)
    check_effects(checked, programs)
    _check_penalized(checked, hparams)
    smallest = min(map(state_bytes, programs))
    if max_width is None and num_devices == 2 and smallest > PAIR_BYTES:
        num_devices = 1
    num_devices = min(num_devices, max(map(len, programs.values())))
    groups = []
    for program, runs in programs.items():
        most = max_width or max(1, int(CACHE_BYTES / state_bytes(program)))
        groups += _groups(program, runs, num_devices, most)
    return Plan(checked, config, hparams, tuple(groups), num_devices, tuple(probes))


def _programs(
    axes: Mapping[str, tuple[Any, ...]], config: Config
) -> dict[Config, list[int]]:
    """Returns the positions of the runs of each program in the flattened grid."""
    shape = [len(values) for values in axes.values()]
    if math.prod(shape) > MOST_RUNS:
        raise UserError(
            f"The axes make {math.prod(shape):,} runs; expected at most {MOST_RUNS:,}."
        )
    grid = np.arange(math.prod(shape)).reshape(shape)
    static = [name for name in axes if name in _STATIC_AXES]
    traced = [i for i, name in enumerate(axes) if name not in static]
    by_program = np.transpose(
        grid, [*(i for i in range(len(axes)) if i not in traced), *traced]
    ).reshape(math.prod(len(axes[name]) for name in static), -1)
    programs: dict[Config, list[int]] = {}
    choices = itertools.product(*(axes[name] for name in static))
    for chosen, runs in zip(choices, by_program, strict=True):
        settings = dict(zip(static, chosen, strict=True))
        programs[dataclasses.replace(config, **settings)] = runs.tolist()
    return programs


# What all runs of a sweep share: their results have one epoch axis, and one shape.
_STATIC_AXES = STATIC.keys() - {
    *("num_epochs", "evaluate_train", "evaluate_dropout", "name")
}


def _checked_axes(axes: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    allowed = [*_STATIC_AXES, *TRACED, "seed"]
    checked = {}
    for name, values in axes.items():
        if name in STATIC.keys() - _STATIC_AXES:
            raise UserError(f"{name} is no axis: all runs share it; give it to Config.")
        if name not in allowed:
            raise unknown("axis", name, allowed)
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise UserError(
                f"The axis {name} is {values!r}; expected a list of values."
            )
        listed = tuple(_plain(value) for value in values)
        if not listed:
            raise UserError(f"The axis {name} has no values; give at least one.")
        for value in listed:
            check(name, value)
        _check_distinct(name, [coordinate(name, value) for value in listed])
        checked[name] = listed
    seeds = checked.pop("seed", (0,))
    return {**checked, "seed": seeds}


def _check_distinct(name: str, values: list[Any]) -> None:
    """Refuses values that a run could not tell apart."""
    used = [float(np.float32(v)) for v in values] if name in TRACED else values
    value, count = collections.Counter(used).most_common(1)[0]
    if count > 1:
        raise UserError(f"The axis {name} has {value} twice; give it once.")


def _plain(value: Any) -> Any:
    """Returns NumPy scalars as Python's, and lists as tuples, which can be hashed."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value


def check_effects(names: Iterable[str], configs: Iterable[Config]) -> None:
    """Raises UserError for the first setting that no run of ``configs`` depends on."""
    for name in names:
        if name != "seed" and not any(uses_setting(config, name) for config in configs):
            raise no_effect_error(name)


def _check_penalized(axes: Mapping[str, Any], hparams: Hparams) -> None:
    """Refuses an axis of what penalties count where there is no penalty."""
    penalties = ("l1", "l2", "l2_squared")
    there = [n for n in penalties if n in axes or getattr(hparams, n) is not None]
    if "penalized" in axes and not there:
        raise UserError(
            f"penalized has no effect here: give {', '.join(map(setting_with_flag, penalties))}, "
            "or leave it out."
        )


def _groups(
    config: Config, runs: list[int], num_devices: int, most: int
) -> list[Group]:
    """Cuts the runs of a program into groups of one width, with the least padding.

    None is narrower than half of what suits: fewer runs at once cost more than padding.
    """
    most = min(most, math.ceil(len(runs) / num_devices))

    def slots(width: int) -> int:
        size = width * num_devices
        return math.ceil(len(runs) / size) * size

    width = min(range((most + 1) // 2, most + 1), key=lambda w: (slots(w), -w))
    size = width * num_devices
    starts = range(0, len(runs), size)
    return [Group(config, tuple(runs[s : s + size]), width) for s in starts]


def with_widths(plan: Plan, most: Mapping[Config, int]) -> Plan:
    """Returns a plan in other groups, of so many runs of a program per device at most.

    Args:
      plan: what is to run.
      most: of each program; ``num_devices`` of them make the largest group.
    """
    programs: dict[Config, list[int]] = {}
    for group in plan.groups:
        programs.setdefault(group.config, []).extend(group.runs)
    groups = [
        group
        for config, runs in programs.items()
        for group in _groups(config, runs, plan.num_devices, most[config])
    ]
    return dataclasses.replace(plan, groups=tuple(groups))


def for_shares(plan: Plan, total: int) -> Plan:
    """Returns a plan with at least so many groups, if there are runs for them.

    It is the plan itself where that has as many; else groups of fewer runs at once.
    """
    if len(plan.groups) >= total:
        return plan
    runs = collections.Counter({g.config: 0 for g in plan.groups})
    for group in plan.groups:
        runs[group.config] += len(group.runs)
    size = plan.num_devices * total
    return with_widths(plan, {c: math.ceil(n / size) for c, n in runs.items()})


def run_settings(plan: Plan, run: int) -> dict[str, Any]:
    """Returns the axes' values of the run at a position in the flattened grid."""
    index = np.unravel_index(run, plan.shape)
    names_and_values = zip(plan.axes.items(), index, strict=True)
    return {name: values[i] for (name, values), i in names_and_values}


def run_hparams(plan: Plan, config: Config, run: int) -> Hparams:
    """Returns the traced settings of a run, resolved."""
    settings = run_settings(plan, run)
    traced = {name: float(v) for name, v in settings.items() if name in TRACED}
    return resolve(config, dataclasses.replace(plan.hparams, **traced))
