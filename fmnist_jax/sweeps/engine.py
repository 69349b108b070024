"""Runs the groups of a plan, one after the other."""

import dataclasses
import math
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh, NamedSharding

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.health import probes_at
from fmnist_jax.probes.probe import WHEN, Probe
from fmnist_jax.sweeps import memory, precompile, programs
from fmnist_jax.sweeps.checks import check_plan
from fmnist_jax.sweeps.labelling import Part, join
from fmnist_jax.sweeps.planning import Group, Plan, plan
from fmnist_jax.sweeps.programs import SHARED
from fmnist_jax.sweeps.run_batch import (
    Halfway,
    RunBatch,
    make_batch,
    restore,
    scatter_to_runs,
    without,
)


def run_groups(plan: Plan, data: Data, skip: Collection[int] = ()) -> Iterator[Part]:
    """Runs the groups of a plan, one after the other.

    Args:
      plan: what to run.
      data: training and test set.
      skip: positions of groups to leave out, such as those that are done already.

    Yields:
      For each group, a part per epoch, and one before and after them where there are
      probes at "init" and "end".

    Raises:
      UserError: before the first run, where network, probes and data do not fit.
    """
    for _, steps in run_groups_resumably(plan, data, skip):
        for part, _ in steps:
            yield part


Steps = Iterator[tuple[Part, RunBatch | None]]


def run_groups_resumably(
    plan: Plan,
    data: Data,
    skip: Collection[int] = (),
    progress: Mapping[int, Halfway] = types.MappingProxyType({}),
) -> Iterator[tuple[int, Steps]]:
    """Does what ``run_groups`` does, in steps that can be left and gone on from.

    Args:
      plan: what to run.
      data: training and test set.
      skip: positions of groups to leave out.
      progress: by position, where groups were left; they go on from there.

    Yields:
      For each group its position and its steps, to be taken before the next group is
      asked for: a part and, where the group can be left after it, the seats, of which
      ``seats.halfway`` tells how to go on. What they hold is gone with the next step.
    """
    check_plan(plan, data, len(jax.local_devices()))
    mesh = programs.device_mesh(plan.num_devices)
    shared = NamedSharding(mesh, SHARED)
    train, test = jax.device_put((data.train, data.test), shared)
    todo = {i: group for i, group in enumerate(plan.groups) if i not in skip}
    with precompile.compiled(plan, todo.values(), data) as wait_for:
        for index, group in todo.items():
            wait_for(group)
            yield (
                index,
                _run_group_halving_on_oom(
                    plan, index, group, mesh, data, train, test, progress.get(index)
                ),
            )


def _run_group_halving_on_oom(
    plan: Plan,
    index: int,
    group: Group,
    mesh: Mesh,
    data: Data,
    train: Dataset,
    test: Dataset,
    left: Halfway | None = None,
) -> Steps:
    """Runs a group, or its halves where the device's memory does not hold it."""
    is_whole = group == plan.groups[index]
    try:
        for epoch, values, seats in _run_group(
            plan, group, mesh, data, train, test, left
        ):
            part = Part(index, group.runs, epoch, values)
            goes_on = epoch is not None and epoch < group.config.num_epochs
            yield part, seats if is_whole and goes_on else None
        return
    except jax.errors.JaxRuntimeError as error:
        if not memory.is_exhausted(error) or group.width == 1:
            raise
    width = math.ceil(group.width / 2)
    size = width * plan.num_devices
    for start in range(0, len(group.runs), size):
        half = Group(group.config, group.runs[start : start + size], width)
        yield from _run_group_halving_on_oom(plan, index, half, mesh, data, train, test)


def _start_config(config: Config, probes: tuple[Probe, ...]) -> Config:
    """Returns a config with the same initial state, and more often the same one."""
    if probes:
        return config
    return dataclasses.replace(
        config, loss="softmax", batch_size=1, num_epochs=1, evaluate_train=True,
        order="shuffled", penalized="all", precision="float32",
    )  # fmt: skip


def _run_group(
    plan: Plan,
    group: Group,
    mesh: Mesh,
    data: Data,
    train: Dataset,
    test: Dataset,
    left: Halfway | None,
) -> Iterator[tuple[int | None, dict[str, np.ndarray], RunBatch]]:
    """Yields what the runs of a group give: once before and after, and each epoch."""
    config, num_runs = group.config, len(group.runs)
    probes = {when: probes_at(when, plan.probes) for when in WHEN}
    seats = make_batch(plan, group, mesh)
    begin = (
        _start_config(config, probes["init"]), probes["init"], mesh, data.num_classes,
        seats.hparams, seats.seeds, train,
    )  # fmt: skip
    if left is None:
        over, latest = 0, {}
        state, values = programs.start(*begin)
        seats = seats._replace(state=state)
        if values:
            yield None, scatter_to_runs(values, seats, {}, num_runs), seats
    else:
        over, latest = left.epoch, left.values
        state, _ = programs.start.eval_shape(*begin)
        seats = restore(plan, group, left, state, mesh)
    # A probe of the user's, other than at "init", may tell more of a settled run.
    may_leave = all(p.when == "init" for p in plan.probes)
    for epoch in range(over + 1, config.num_epochs + 1):
        if len(seats.positions):
            orders = jax.device_put(
                _orders(config, seats, epoch, data.train.labels),
                NamedSharding(mesh, SHARED),
            )
            state, values, is_settled = programs.epoch(
                config, probes["epoch"], mesh, seats.hparams, seats.state, seats.seeds,
                np.int32(epoch), seats.rows, orders, train, test,
            )  # fmt: skip
            seats = seats._replace(state=state)
            latest = scatter_to_runs(values, seats, latest, num_runs)
            if may_leave:
                gone = np.ones(num_runs, bool)
                gone[seats.positions] = np.asarray(is_settled)
                seats = without(seats, gone, group.width, mesh)
        yield epoch, latest, seats
    if probes["end"]:
        values = programs.end(
            config, probes["end"], mesh, seats.hparams, seats.state, seats.seeds, train
        )
        yield None, scatter_to_runs(values, seats, {}, num_runs), seats


def _orders(config: Config, seats: RunBatch, epoch: int, labels: Any) -> np.ndarray:
    labels = np.asarray(labels)
    orders = [training.example_order(config, s, epoch, labels) for s in seats.distinct]
    return np.stack(orders)


def plan_for_local_devices(
    axes: Mapping[str, Any],
    data: Data,
    config: Config,
    hparams: Hparams,
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
) -> Plan:
    """Plans a sweep for the devices of this process; see ``plan``.

    On accelerators without ``max_width``, each program takes as many runs at once as
    memory holds, which two small compilations of it tell. On a CPU the cache decides.

    Raises:
      UserError: likewise, and where network, probes and data do not fit.
    """
    devices = jax.local_devices()
    limit = memory.device_bytes(devices[0])
    memory_decides = limit is not None and max_width is None
    most = 1 if memory_decides else max_width
    todo = plan(axes, config, hparams, len(devices), probes=probes, max_width=most)
    if limit is None or not memory_decides:
        return todo
    check_plan(todo, data, len(devices))
    return memory.fitted(todo, data, limit)


def sweep(
    axes: Mapping[str, Any],
    data: Data,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
) -> xr.Dataset:
    """Trains a run for each combination of the axes' values.

    Args:
      axes: name of a field of ``Config`` or ``Hparams``, or "seed", to its values. Each
        value of a field of ``Config`` makes a program of its own; the rest are vmapped.
      data: training and test set.
      config: static settings that are no axis.
      hparams: traced settings that are no axis.
      probes: what to record beside the metrics.
      max_width: the most runs per device at once; None for what suits the device.

    Returns:
      The metrics of every run and epoch, labelled: dimensions as ``axes``, then "seed",
      then "epoch"; and each run's ``status``.

    Raises:
      UserError: for axes, settings, probes or networks that are not allowed.
    """
    todo = plan_for_local_devices(axes, data, config, hparams, probes, max_width)
    return join(todo, run_groups(todo, data), data)
