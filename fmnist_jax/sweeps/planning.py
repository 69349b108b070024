"""From axes to groups of runs, decided before anything runs. Imports no jax."""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, check_is
from fmnist_jax.sweeps.axes import check_sweep, with_plain_values
from fmnist_jax.sweeps.grid import (
    Axes,
    bundled_settings,
    distinct_runs,
    grid_settings,
    program_config,
    program_hparams,
)
from fmnist_jax.sweeps.model_size import fastest_width, state_bytes
from fmnist_jax.values import COUNT, plain

# Two runs with more state than this do not stay in a last-level cache of 32 MiB.
# Trained one at a time on both cores, they are as fast (1000-wide under Adam) or up to
# a fifth faster (two such layers). More than two cores were not measured.
PAIR_BYTES = 12.5e6
MAX_EMPTY = 0.25  # share of empty slots that cost less than another program
SECONDS_PER_PROGRAM = 2.0  # of compilation


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one program that advance together."""

    config: Config  # their program
    runs: tuple[int, ...]  # their positions in the flattened grid of the plan's axes
    width: int  # runs per device; ``width * num_devices`` minus the runs is padding


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs of a sweep, and the groups in which they run.

    Attributes:
      axes: name to values, in the order of the results' dimensions; "seed" is last.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      groups: each distinct run of the grid belongs to one.
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
    def num_distinct_runs(self) -> int:
        """Number of runs that are trained; runs with the same settings count once."""
        return sum(len(group.runs) for group in self.groups)

    @functools.cached_property
    def bundled(self) -> set[str]:
        """Settings that bundles set, which some of them may leave out."""
        return bundled_settings(self.axes)

    @functools.cached_property
    def trained_runs(self) -> np.ndarray:
        """For each run, the position of the run that is trained, ``[num_runs]``."""
        return distinct_runs(self.axes, self.config, self.hparams)[1]

    @functools.cached_property
    def programs(self) -> Mapping[tuple[Config, int], int]:
        """Number of groups of each program, by its settings and width."""
        return collections.Counter((g.config, g.width) for g in self.groups)

    @property
    def num_programs(self) -> int:
        """Number of compiled programs."""
        return len(self.programs)


def plan(
    axes: Mapping[str, Any],
    config: Config,
    hparams: Hparams,
    num_devices: int = 1,
    *,
    probes: Iterable[Any] = (),
    max_width: int | None = None,
    data: Data | None = None,
) -> Plan:
    """Plans a sweep: the fewest programs, and the groups of runs of each.

    ``run_groups`` runs a plan, ``join`` labels the results, and ``sweep`` does it all.

    Args:
      axes: name to values or to bundles of settings, as ``sweep`` takes them.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      num_devices: devices that share the runs. At most as many are used as the largest
        program has runs, and one of two if two runs would not stay in the cache.
      probes: what to record in addition to the metrics.
      max_width: the maximum number of runs per device at once; None for as many as have
        their state in a processor's cache, and one for networks with convolutions.
      data: what the sweep trains on, if known; for the size of the network.

    Returns:
      The plan; ``num_runs`` and ``num_programs`` tell how large it is.

    Raises:
      UserError: for an unknown axis, an axis without values or with equal values, a
        value that is not allowed, or an axis that no run depends on.
    """
    check_is("probes", probes, Iterable, "a list of Probe")
    max_width, num_devices = plain(max_width), plain(num_devices)
    if max_width is not None and not COUNT.accepts(max_width):
        raise UserError(
            f"max_width is {max_width!r}; expected {COUNT.allowed}, or None."
        )
    hparams = with_plain_values(hparams)
    checked, programs = check_sweep(axes, config, hparams)
    smallest = min(state_bytes(program, data) for program in programs)
    if max_width is None and num_devices == 2 and smallest > PAIR_BYTES:
        num_devices = 1
    num_devices = min(num_devices, max(map(len, programs.values())))
    groups: list[Group] = []
    for program, runs in programs.items():
        width = max_width or fastest_width(program, data)
        groups += make_groups(program, runs, num_devices, width)
    return Plan(checked, config, hparams, tuple(groups), num_devices, tuple(probes))


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
    return _cut(config, runs, num_devices, width)


def _cut(
    config: Config, runs: Sequence[int], num_devices: int, width: int
) -> list[Group]:
    size = width * num_devices
    starts = range(0, len(runs), size)
    return [Group(config, tuple(runs[s : s + size]), width) for s in starts]


def with_widths(plan: Plan, max_widths: Mapping[Config, int]) -> Plan:
    """Returns a plan with its runs in other groups.

    ``max_widths`` is the maximum number of runs per device at once, by program.
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


def with_runs(
    plan: Plan,
    runs: Collection[int],
    seconds: Callable[[Config], float] = lambda _: math.inf,
) -> Plan:
    """Returns a plan of some of its distinct runs.

    Their groups are as wide as before, because programs of another width have to be
    compiled, unless a quarter of the slots would be empty and take longer than that.
    ``seconds`` estimates the time of a slot, by its program.
    """
    widths: dict[Config, int] = collections.Counter()
    programs: dict[Config, list[int]] = collections.defaultdict(list)
    for group in plan.groups:
        widths[group.config] = max(widths[group.config], group.width)
        programs[group.config] += [run for run in group.runs if run in runs]
    groups: list[Group] = []
    limit = SECONDS_PER_PROGRAM * plan.num_devices
    for config, some in programs.items():
        width = widths[config]
        slots = math.ceil(len(some) / (width * plan.num_devices))
        slots *= width * plan.num_devices
        empty = slots - len(some)
        is_full = empty < MAX_EMPTY * slots or empty * seconds(config) <= limit
        pack = _cut if is_full else make_groups
        groups += pack(config, some, plan.num_devices, width) if some else []
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


def axis_values(plan: Plan, run: int) -> dict[str, Any]:
    """Returns the axes' values of the run at a position in the flattened grid."""
    index = np.unravel_index(run, plan.shape)
    names_and_values = zip(plan.axes.items(), index, strict=True)
    return {name: values[i] for (name, values), i in names_and_values}


def run_config(plan: Plan, run: int) -> Config:
    """Returns the program of a run; see ``program_config``."""
    return program_config(plan.config, grid_settings(plan.axes, run))


def run_hparams(plan: Plan, config: Config, run: int) -> Hparams:
    """Returns the traced settings of a run of the program ``config``, resolved."""
    settings = grid_settings(plan.axes, run)
    return program_hparams(config, plan.hparams, settings, plan.bundled)
