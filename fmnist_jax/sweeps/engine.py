"""Runs the groups of a plan, one after the other."""

import math
import types
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import explaining_start
from fmnist_jax.errors import UserError, check_is
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import memory, programs
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.checks import DATA, check_plan
from fmnist_jax.sweeps.cost import seconds_left
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.planning import Group, Plan, plan
from fmnist_jax.sweeps.precompile import precompiled
from fmnist_jax.sweeps.program_data import (
    ProgramData,
    fitted,
    in_advance,
    is_applied_in_advance,
    max_examples,
    normalization_settings,
)
from fmnist_jax.sweeps.programs import SHARED, Program
from fmnist_jax.sweeps.run_batch import (
    RunBatch,
    checkpoint,
    compact,
    make_batch,
    restore,
    scatter_to_runs,
)

Steps = Iterator[tuple[Part, RunBatch | None]]
_DIVIDED = (
    "A batch of runs did not fit into memory and was divided, so it cannot pause at a "
    "rung; in Python, pass a smaller max_width."
)


class Context(NamedTuple):
    """What all groups of a plan share; the arrays are on every device."""

    plan: Plan
    data: Data
    mesh: Mesh
    arrays: Callable[[Config], ProgramData]


def run_groups(
    plan: Plan,
    data: Data,
    skip: Collection[int] = (),
    checkpoints: Mapping[int, Checkpoint] = types.MappingProxyType({}),
) -> Iterator[Part]:
    """Runs the groups of a plan, one after the other.

    Args:
      plan: what to run.
      data: training and test set.
      skip: positions of groups to leave out, such as those that are finished.
      checkpoints: by position, the checkpoints of unfinished groups, which resume.

    Yields:
      For each group, a part per epoch, and one before and after them if there are
      probes at "init" and "end".

    Raises:
      UserError: before the first run, if network, probes and data do not fit.
    """
    groups = run_groups_resumably(plan, data, skip, checkpoints)
    parts = (part for _, steps in groups for part, _ in steps)
    while True:
        with usual_settings():  # not while the caller has a part
            part = next(parts, None)
        if part is None:
            return
        yield part


def run_groups_resumably(
    plan: Plan,
    data: Data,
    skip: Collection[int] = (),
    checkpoints: Mapping[int, Checkpoint] = types.MappingProxyType({}),
) -> Iterator[tuple[int, Steps]]:
    """Resumable variant of ``run_groups``, which has the same arguments.

    Yields the position of each group and its steps, to be consumed before the next
    group is requested. A step is a part and, if the group can be resumed after it, the
    batch for ``checkpoint``. The batch is valid until the next step.
    """
    context = open_plan(plan, data)
    groups = {i: group for i, group in enumerate(plan.groups) if i not in skip}
    with precompiled(plan, groups.values(), data) as wait_for:
        for index, group in groups.items():
            wait_for(group)
            yield index, run_group(context, index, checkpoints.get(index))


def open_plan(plan: Plan, data: Data) -> Context:
    """Returns what ``run_group`` needs for the groups of a plan."""
    check_plan(plan, data, len(jax.local_devices()))
    mesh = programs.device_mesh(plan.num_devices)
    return Context(plan, data, mesh, _arrays(plan, data, mesh))


def run_group(context: Context, index: int, saved: Checkpoint | None) -> Steps:
    """Returns the steps of a group, from a checkpoint or from its start."""
    group = context.plan.groups[index]
    return _run_group_halving_on_oom(context, index, group, saved)


def train_until(
    steps: Steps, parts: list[Part], pause: int | None, is_due: Callable[[], bool]
) -> Generator[Part, None, Checkpoint]:
    """Yields the parts of a group, and appends them to ``parts``.

    Returns the checkpoint at the end of the group, after the epoch ``pause``, or after
    the first epoch when a checkpoint is due. The same steps can then be continued.
    """
    for part, batch in steps:
        parts.append(part)
        yield part
        if part.epoch is not None and part.epoch == pause:
            if batch is None:
                raise UserError(_DIVIDED)
            return checkpoint(parts, batch)
        if batch is not None and is_due():
            return checkpoint(parts, batch)
    return Checkpoint(parts)


def _arrays(plan: Plan, data: Data, mesh: Mesh) -> Callable[[Config], ProgramData]:
    """Returns a function from the settings of a program to its arrays on every device.

    Images normalized in advance are kept for one normalization at a time.
    """
    stored = _replicate(data.splits, mesh)
    latest: dict[Any, ProgramData] = {}

    def arrays(config: Config) -> ProgramData:
        settings = normalization_settings(config)
        if settings not in latest:
            latest.clear()  # before the next ones take memory
            normalization = fitted(config, data)
            shared = ProgramData(stored, normalization)
            if is_applied_in_advance(config, data, plan.num_devices):
                shared = in_advance(shared, max_examples(plan))
            latest[settings] = _replicate(shared, mesh)
        return latest[settings]

    return arrays


def _replicate(arrays: Any, mesh: Mesh) -> Any:
    """Returns arrays copied to every device."""
    return jax.device_put(arrays, NamedSharding(mesh, SHARED))


def _run_group_halving_on_oom(
    context: Context, index: int, group: Group, checkpoint: Checkpoint | None = None
) -> Steps:
    """Runs a group, or its halves if it exceeds the memory of a device."""
    is_whole = group == context.plan.groups[index]
    try:
        for epoch, values, batch in _run_group(context, group, checkpoint):
            is_resumable = is_whole and epoch not in (None, group.config.num_epochs)
            part = Part(index, group.runs, epoch, values)
            yield part, batch if is_resumable else None
        return
    except jax.errors.JaxRuntimeError as error:
        if not memory.is_exhausted(error) or group.width == 1:
            raise
    width = math.ceil(group.width / 2)
    size = width * context.plan.num_devices
    for start in range(0, len(group.runs), size):
        half = Group(group.config, group.runs[start : start + size], width)
        yield from _run_group_halving_on_oom(context, index, half)


def _run_group(
    context: Context, group: Group, checkpoint: Checkpoint | None
) -> Iterator[tuple[int | None, dict[str, np.ndarray], RunBatch]]:
    """Yields epoch (None before and after training), values by run, and batch."""
    plan, data, mesh, arrays = context
    shared = arrays(group.config)
    program = Program(group.config, plan.probes, mesh, data.num_classes)
    num_runs = len(group.runs)
    init_program = program.init_program()
    batch, last_epoch, latest = make_batch(plan, group, mesh), 0, {}
    if checkpoint is None:
        state, values = programs.init_runs(init_program, batch.inputs, shared)
        batch = batch._replace(state=state)
        if values:
            yield None, scatter_to_runs(values, batch, {}, num_runs), batch
    else:
        last = checkpoint.parts[-1]
        last_epoch, latest = last.epoch or 0, last.values
        inputs = batch.inputs
        state, missing = programs.init_runs.eval_shape(init_program, inputs, shared)
        if missing and checkpoint.parts[0].epoch is not None:  # of an earlier sweep
            _, values = programs.init_runs(init_program, inputs, shared)
            yield None, scatter_to_runs(values, batch, {}, num_runs), batch
        batch = restore(plan, group, checkpoint, state, mesh)
    # A later probe of the user's may give other values for a settled run.
    may_compact = all(probe.when == "init" for probe in plan.probes)
    for epoch in range(last_epoch + 1, group.config.num_epochs + 1):
        if len(batch.positions):
            batch, values, is_settled = _train_epoch(context, program, batch, epoch)
            latest = scatter_to_runs(values, batch, latest, num_runs)
            if may_compact:
                finished = np.ones(num_runs, bool)
                finished[batch.positions] = is_settled
                seconds = seconds_left(plan, group, data, epoch)
                batch = compact(batch, finished, group.width, mesh, seconds)
        yield epoch, latest, batch
    if any(probe.when == "end" for probe in plan.probes):
        values = programs.run_end_probes(program, batch.state, batch.inputs, shared)
        yield None, scatter_to_runs(values, batch, {}, num_runs), batch


def _train_epoch(
    context: Context, program: Program, batch: RunBatch, epoch: int
) -> tuple[RunBatch, dict[str, Any], np.ndarray]:
    """Returns the batch after an epoch, its values, and which slots are settled."""
    labels, config = np.asarray(context.data.train.labels), program.config
    seeds = batch.distinct_seeds
    orders = [training.example_order(config, seed, epoch, labels) for seed in seeds]
    state, values, is_settled = programs.train_epoch_of_runs(
        program.epoch_program(),
        batch.state,
        batch.inputs,
        np.int32(epoch),
        _replicate(np.stack(orders), context.mesh),
        context.arrays(program.config),
    )
    return batch._replace(state=state), values, np.asarray(is_settled)


def plan_for_local_devices(
    axes: Mapping[str, Any],
    data: Data,
    config: Config,
    hparams: Hparams,
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
) -> Plan:
    """Plans a sweep for the devices of this process; see ``plan``.

    On accelerators without ``max_width``, a program takes as many runs at once as
    memory holds (two small compilations tell); on a CPU, the ``fastest_width``.
    """
    check_is("data", data, Data, DATA)
    with explaining_start():
        devices = jax.local_devices()
    if isinstance(jax.numpy.zeros(()), jax.core.Tracer):
        raise UserError(
            "A sweep cannot be part of a function that JAX traces (jit, vmap or grad). "
            "Call it outside; inside, call train."
        )
    limit = memory.device_bytes(devices[0])
    memory_decides = limit is not None and max_width is None
    width = 1 if memory_decides else max_width
    planned = plan(
        axes, config, hparams, len(devices), probes=probes, max_width=width, data=data
    )
    if limit is None or not memory_decides:
        return planned
    check_plan(planned, data, len(devices))
    return memory.fit_to_memory(planned, data, limit)
