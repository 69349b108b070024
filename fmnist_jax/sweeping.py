"""Runs the groups of a plan.

The only place where a run is vmapped, compiled and spread over devices.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fmnist_jax import training
from fmnist_jax.checks import check_plan
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data import Data, Dataset
from fmnist_jax.diagnostics import HEALTH, Probe, run_probes
from fmnist_jax.joining import Part, join
from fmnist_jax.planning import (
    CACHE_BYTES,
    Group,
    Plan,
    plan,
    run_hparams,
    run_settings,
)

RUN, SHARED = PartitionSpec("run"), PartitionSpec()
ACCELERATOR_SHARE = 0.2  # of its memory for states; a step's temporaries need as much


def _over_runs(mesh: Mesh, function: Any, *specs: PartitionSpec) -> Any:
    """Maps a function of one run over the runs of each device, and over devices."""
    axes = tuple(0 if spec == RUN else None for spec in specs)
    return jax.shard_map(
        jax.vmap(function, in_axes=axes),
        mesh=mesh,
        in_specs=specs,
        out_specs=RUN,
        check_vma=False,
    )


@functools.partial(jax.jit, static_argnames=("config", "probes", "mesh", "num_classes"))
def _start(
    config: Config,
    probes: tuple[Probe, ...],
    mesh: Mesh,
    num_classes: int,
    hparams: Hparams,
    seeds: Array,
    train: Dataset,
) -> tuple[training.State, dict[str, Array]]:
    """Returns the initial states, and what the probes at "init" say of them."""

    def one(hparams: Hparams, seed: Array, train: Dataset) -> Any:
        init_key, _, probes_key = training.run_keys(seed)
        shape = train.images.shape[1:]
        state = training.init(config, hparams, init_key, shape, num_classes)
        key = jax.random.fold_in(probes_key, 0)
        return state, run_probes(probes, config, hparams, state, key, train)

    return _over_runs(mesh, one, RUN, RUN, SHARED)(hparams, seeds, train)


@functools.partial(
    jax.jit,
    static_argnames=("config", "probes", "mesh"),
    donate_argnames=("state",),
)
def _epoch(
    config: Config,
    probes: tuple[Probe, ...],
    mesh: Mesh,
    hparams: Hparams,
    state: training.State,
    seeds: Array,
    epoch: Array,
    rows: Array,
    orders: Array,
    train: Dataset,
    test: Dataset,
) -> tuple[training.State, dict[str, Array]]:
    """Trains and evaluates every run for an epoch, and probes it."""

    def one(
        hparams: Hparams,
        state: training.State,
        seed: Array,
        epoch: Array,
        row: Array,
        orders: Array,
        train: Dataset,
        test: Dataset,
    ) -> Any:
        _, epochs_key, probes_key = training.run_keys(seed)
        key = jax.random.fold_in(epochs_key, epoch)
        state, metrics = training.run_epoch(
            config, hparams, state, key, train, test, orders[row]
        )
        key = jax.random.fold_in(probes_key, epoch)
        return state, metrics | run_probes(probes, config, hparams, state, key, train)

    specs = (RUN, RUN, RUN, SHARED, RUN, SHARED, SHARED, SHARED)
    return _over_runs(mesh, one, *specs)(
        hparams, state, seeds, epoch, rows, orders, train, test
    )


@functools.partial(jax.jit, static_argnames=("config", "probes", "mesh"))
def _end(
    config: Config,
    probes: tuple[Probe, ...],
    mesh: Mesh,
    hparams: Hparams,
    state: training.State,
    seeds: Array,
    train: Dataset,
) -> dict[str, Array]:
    """Returns what the probes at "end" say of every run."""

    def one(
        hparams: Hparams, state: training.State, seed: Array, train: Dataset
    ) -> Any:
        _, _, probes_key = training.run_keys(seed)
        key = jax.random.fold_in(probes_key, config.num_epochs + 1)
        return run_probes(probes, config, hparams, state, key, train)

    return _over_runs(mesh, one, RUN, RUN, RUN, SHARED)(hparams, state, seeds, train)


def _stacked(plan: Plan, group: Group) -> tuple[Hparams, np.ndarray]:
    """Returns a group's traced settings and seeds, ``[width * num_devices]`` each.

    The last run fills up what is left; its copies are dropped from the results.
    """
    size = group.width * plan.num_devices
    runs = [*group.runs, *[group.runs[-1]] * (size - len(group.runs))]
    hparams = [run_hparams(plan, group.config, run) for run in runs]
    stacked = jax.tree.map(lambda *v: np.asarray(v, np.float32), *hparams)
    seeds = [run_settings(plan, run)["seed"] for run in runs]
    return stacked, np.asarray(seeds, np.uint32)


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
    check_plan(plan, data, len(jax.devices()))
    devices = jax.devices()[: plan.num_devices]
    mesh = Mesh(np.asarray(devices), ("run",), axis_types=(AxisType.Auto,))
    shared = NamedSharding(mesh, SHARED)
    train, test = jax.device_put((data.train, data.test), shared)
    for index, group in enumerate(plan.groups):
        if index not in skip:
            for part in _fitting(plan, group, mesh, data, train, test):
                yield Part(index, *part)


def _fitting(
    plan: Plan, group: Group, mesh: Mesh, data: Data, train: Dataset, test: Dataset
) -> Iterator[tuple[tuple[int, ...], int | None, dict[str, np.ndarray]]]:
    """Runs a group, or its halves where the device's memory does not hold it."""
    try:
        for epoch, values in _run_group(plan, group, mesh, data, train, test):
            real = {n: np.asarray(v)[: len(group.runs)] for n, v in values.items()}
            yield group.runs, epoch, real
        return
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or group.width == 1:
            raise
    width = math.ceil(group.width / 2)
    size = width * plan.num_devices
    for start in range(0, len(group.runs), size):
        half = Group(group.config, group.runs[start : start + size], width)
        yield from _fitting(plan, half, mesh, data, train, test)


def _start_config(config: Config, probes: tuple[Probe, ...]) -> Config:
    """Returns a config with the same initial state, and more often the same one."""
    if probes:
        return config
    return dataclasses.replace(
        config, loss="softmax", batch_size=1, num_epochs=1, evaluate_train=True
    )


def _run_group(
    plan: Plan, group: Group, mesh: Mesh, data: Data, train: Dataset, test: Dataset
) -> Iterator[tuple[int | None, dict[str, Array]]]:
    per_run, shared = NamedSharding(mesh, RUN), NamedSharding(mesh, SHARED)
    config = group.config
    probes = {
        when: tuple(p for p in (HEALTH, *plan.probes) if p.when == when)
        for when in ("init", "epoch", "end")
    }
    stacked = _stacked(plan, group)
    hparams, seeds = jax.device_put(stacked, per_run)
    distinct, rows = np.unique(stacked[1], return_inverse=True)
    rows = jax.device_put(rows.astype(np.int32), per_run)
    state, values = _start(
        _start_config(config, probes["init"]), probes["init"], mesh, data.num_classes,
        hparams, seeds, train,
    )  # fmt: skip
    if values:
        yield None, values
    for epoch in range(1, config.num_epochs + 1):
        orders = np.stack(
            [training.epoch_order(s, epoch, len(data.train.labels)) for s in distinct]
        )
        state, values = _epoch(
            config, probes["epoch"], mesh, hparams, state, seeds,
            jnp.int32(epoch), rows, jax.device_put(orders, shared), train, test,
        )  # fmt: skip
        yield epoch, values
    if probes["end"]:
        yield None, _end(config, probes["end"], mesh, hparams, state, seeds, train)


def plan_here(
    axes: Mapping[str, Any],
    config: Config,
    hparams: Hparams,
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
) -> Plan:
    """Plans a sweep for the devices of this process; see ``plan``."""
    device = jax.devices()[0]
    working_bytes = CACHE_BYTES
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        working_bytes = ACCELERATOR_SHARE * stats.get("bytes_limit", 8e9)
    return plan(
        axes, config, hparams, len(jax.devices()), probes=probes,
        working_bytes=working_bytes, max_width=max_width,
    )  # fmt: skip


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
    todo = plan_here(axes, config, hparams, probes, max_width)
    return join(todo, run_groups(todo, data), data)
