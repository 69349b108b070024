"""Compiles programs in background threads."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import num_cpu_cores
from fmnist_jax.sweeps import program_data, programs
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.planning import Group, Plan, run_hparams
from fmnist_jax.sweeps.programs import RUN, SHARED, Program, RunInputs
from fmnist_jax.sweeps.run_batch import num_orders


@contextlib.contextmanager
def precompiled(
    plan: Plan, groups: Iterable[Group], data: Data
) -> Iterator[Callable[[Group], object]]:
    """Compiles the programs of groups in background threads, in the groups' order.

    XLA compiles a program on one core, so there is one thread per core. JAX caches the
    compiled program for its first call.

    Yields a function that waits for the program of a group. Compile errors surface when
    the program is called.
    """

    def compile_all(config: Config, width: int) -> None:
        with usual_settings():  # those of a thread are not those of its parent
            for program in lower_programs(plan, config, data, width):
                program.compile()

    pool = ThreadPoolExecutor(num_cpu_cores())
    by_key: dict[Any, Any] = {}
    futures: dict[tuple[Config, int], Any] = {}
    for config, width in dict.fromkeys((g.config, g.width) for g in groups):
        key = _compiled_from(plan, config, data, width)
        if key not in by_key:
            by_key[key] = pool.submit(compile_all, config, width)
        futures[config, width] = by_key[key]
    try:
        yield lambda group: futures[group.config, group.width].exception()
    finally:
        pool.shutdown(cancel_futures=True)


def _compiled_from(plan: Plan, config: Config, data: Data, width: int) -> Any:
    """Returns the key of the compiled programs; configs may share one."""
    program = Program(
        config, plan.probes, programs.device_mesh(plan.num_devices), data.num_classes
    )
    at_end = config if any(probe.when == "end" for probe in plan.probes) else None
    run = next(group.runs[0] for group in plan.groups if group.config == config)
    hparams = jax.tree.structure(run_hparams(plan, config, run))
    leaves, structure = jax.tree.flatten(program_data.shapes(config, data, plan))
    shared = tuple(leaves), structure, hparams
    return program.epoch_program(), program.init_program(), at_end, shared, width


def lower_programs(plan: Plan, config: Config, data: Data, width: int) -> Iterator[Any]:
    """Yields the lowered programs of ``config`` for ``width`` runs per device.

    First the program of an epoch, then those of start and end if probes record there.
    The programs are lowered from shapes; nothing is computed.
    """
    mesh = programs.device_mesh(plan.num_devices)
    slots = width * plan.num_devices

    def shape_struct(
        spec: PartitionSpec, shape: tuple[int, ...], dtype: Any = np.float32
    ) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))

    run = next(group.runs[0] for group in plan.groups if group.config == config)
    hparams = jax.tree.map(
        lambda _: shape_struct(RUN, (slots,)), run_hparams(plan, config, run)
    )
    seeds, index = (shape_struct(RUN, (slots,), t) for t in (np.uint32, np.int32))
    inputs = RunInputs(hparams, seeds, index)
    shared = jax.tree.map(
        lambda x: shape_struct(SHARED, x.shape, x.dtype),
        program_data.shapes(config, data, plan),
    )
    shape = (num_orders(plan, slots), len(data.train.labels))
    orders = shape_struct(SHARED, shape, np.int32)
    program = Program(config, plan.probes, mesh, data.num_classes)
    state, _ = programs.init_runs.eval_shape(program.init_program(), inputs, shared)
    state = jax.tree.map(lambda x: shape_struct(RUN, x.shape, x.dtype), state)
    yield programs.train_epoch_of_runs.lower(
        program.epoch_program(), state, inputs, np.int32(1), orders, shared
    )
    if any(probe.when == "init" for probe in plan.probes):
        yield programs.init_runs.lower(program.init_program(), inputs, shared)
    if any(probe.when == "end" for probe in plan.probes):
        yield programs.run_end_probes.lower(program, state, inputs, shared)
