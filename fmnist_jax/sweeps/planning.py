"""From axes to groups of runs, decided before anything runs. Imports no jax."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
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
    resolve,
)
from fmnist_jax.effects import no_effect_error, setting_with_flag, uses_setting
from fmnist_jax.errors import UserError, check_is, unknown
from fmnist_jax.sweeps.model_size import state_bytes
from fmnist_jax.values import COUNT, plain

# Bytes of state that the runs of one device work on at once: more does not stay in the
# cache. A 128-wide network under Adam is fastest at up to 5 runs per device, a
# 1000-wide one at 1.
CACHE_BYTES = 8.2e6
# Two runs with more state than this do not stay in a last-level cache of 32 MiB.
# Trained one at a time on both cores, they are as fast (1000-wide under Adam) or up to
# a fifth faster (two such layers). More than two cores were not measured.
PAIR_BYTES = 12.5e6
MAX_RUNS = 1_000_000

# All runs of a sweep share these: their results have one epoch axis and one shape.
_NO_AXES = ("num_epochs", "evaluate_train", "evaluate_dropout", "name")
_STATIC_AXES = STATIC.keys() - {*_NO_AXES}

Axes = Mapping[str, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one program that advance together.

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
    """All runs of a sweep, and the groups in which they run.

    Attributes:
      axes: name to values, in the order of the results' dimensions; "seed" is last.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      groups: each run of the grid belongs to one.
      num_devices: how many devices share the runs of a group.
      probes: what is recorded in addition to the metrics.
    """

    axes: Axes
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
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      num_devices: devices that share the runs. At most as many are used as the largest
        program has runs, and one of two if two runs would not stay in the cache.
      probes: what to record in addition to the metrics.
      max_width: the maximum number of runs per device at once; None for as many as have
        their state in a processor's cache.

    Raises:
      UserError: for an unknown axis, an axis without values or with equal values, a
        value that is not allowed, or an axis that no run depends on.
    """
    check_is("probes", probes, Iterable, "a list of Probe")
    if max_width is not None and not COUNT.accepts(max_width):
        raise UserError(
            f"max_width is {max_width!r}; expected {COUNT.allowed}, or None."
        )
    check_is("config", config, Config, "a Config")
    check_is("hparams", hparams, Hparams, "an Hparams")
    config, hparams = map(_with_plain_values, (config, hparams))
    checked, programs = check_sweep(axes, config, hparams)
    smallest = min(map(state_bytes, programs))
    if max_width is None and num_devices == 2 and smallest > PAIR_BYTES:
        num_devices = 1
    num_devices = min(num_devices, max(map(len, programs.values())))
    groups: list[Group] = []
    for program, runs in programs.items():
        width = max_width or max(1, int(CACHE_BYTES / state_bytes(program)))
        groups += make_groups(program, runs, num_devices, width)
    return Plan(checked, config, hparams, tuple(groups), num_devices, tuple(probes))


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
    checked = _check_axes(axes)
    programs = _programs(checked, config)
    check_effects(checked, programs)
    _check_penalized(checked, hparams)
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


def _check_axes(axes: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns the axes with plain values, "seed" last."""
    allowed = [*_STATIC_AXES, *TRACED, "seed"]
    checked = {}
    for name, given in axes.items():
        if name in _NO_AXES:
            raise UserError(f"{name} cannot be an axis: set it in Config for all runs.")
        if name not in allowed:
            raise unknown("axis", name, allowed)
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise UserError(f"The axis {name} is {given!r}; expected a list of values.")
        values = tuple(map(plain, given))
        if not values:
            raise UserError(f"The axis {name} has no values; give at least one.")
        for value in values:
            check(name, value)
        _check_distinct(name, [coordinate(name, value) for value in values])
        checked[name] = values
    seeds = checked.pop("seed", (0,))
    return {**checked, "seed": seeds}


def _check_distinct(name: str, values: Iterable[Any]) -> None:
    """Refuses values that are the same to a run."""
    used = [float(np.float32(v)) for v in values] if name in TRACED else values
    value, count = collections.Counter(used).most_common(1)[0]
    if count > 1:
        raise UserError(f"The axis {name} has {value} twice; give it once.")


def _with_plain_values(settings: Any) -> Any:
    """Returns a ``Config`` or ``Hparams`` whose numbers are Python's."""
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{n: plain(v) for n, v in values.items()})


def check_effects(names: Iterable[str], configs: Iterable[Config]) -> None:
    """Raises UserError for the first setting that no run of ``configs`` depends on."""
    for name in names:
        if name != "seed" and not any(uses_setting(c, name) for c in configs):
            raise no_effect_error(name)


def _check_penalized(axes: Axes, hparams: Hparams) -> None:
    """Refuses the axis "penalized" if there is no penalty."""
    penalties = ("l1", "l2", "l2_squared")
    has_penalty = any(n in axes or getattr(hparams, n) is not None for n in penalties)
    if "penalized" in axes and not has_penalty:
        flags = ", ".join(map(setting_with_flag, penalties))
        raise UserError(f"penalized has no effect here: give {flags}, or leave it out.")


def make_groups(
    config: Config, runs: Sequence[int], num_devices: int, max_width: int
) -> list[Group]:
    """Cuts the runs of a program into groups of one width, with the least padding.

    No group is narrower than half of the suitable width: fewer runs at once cost more
    time than padding does.
    """
    max_width = min(max_width, math.ceil(len(runs) / num_devices))

    def slots(width: int) -> int:
        size = width * num_devices
        return math.ceil(len(runs) / size) * size

    widths = range((max_width + 1) // 2, max_width + 1)
    width = min(widths, key=lambda w: (slots(w), -w))
    size = width * num_devices
    starts = range(0, len(runs), size)
    return [Group(config, tuple(runs[s : s + size]), width) for s in starts]


def with_widths(plan: Plan, max_widths: Mapping[Config, int]) -> Plan:
    """Returns a plan with its runs in other groups.

    Args:
      plan: what is to run.
      max_widths: of each program, the maximum number of runs per device at once.
    """
    programs: dict[Config, list[int]] = collections.defaultdict(list)
    for group in plan.groups:
        programs[group.config].extend(group.runs)
    groups = [
        group
        for config, runs in programs.items()
        for group in make_groups(config, runs, plan.num_devices, max_widths[config])
    ]
    return dataclasses.replace(plan, groups=tuple(groups))


def split_for_shards(plan: Plan, total: int) -> Plan:
    """Returns a plan with at least ``total`` groups if possible, narrower if needed."""
    if len(plan.groups) >= total:
        return plan
    runs: dict[Config, int] = collections.Counter()
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
