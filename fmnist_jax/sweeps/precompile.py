"""Programs of a plan before there is anything to run them on."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import num_cpu_cores
from fmnist_jax.probes.health import probes_at
from fmnist_jax.probes.probe import WHEN
from fmnist_jax.sweeps import programs
from fmnist_jax.sweeps.planning import Group, Plan, run_hparams
from fmnist_jax.sweeps.programs import RUN, SHARED
from fmnist_jax.sweeps.run_batch import num_orders


@contextlib.contextmanager
def compiled(
    plan: Plan, groups: Iterable[Group], data: Data
) -> Iterator[Callable[[Group], object]]:
    """Compiles the programs of groups in the background, in their order.

    As many at once as there are cores: XLA compiles a program on one. JAX keeps what
    was compiled for whoever calls the program next.

    Yields:
      A function that waits for a group's. It says nothing of what went wrong: the call
      of the program will.
    """

    def compile_all(config: Config, width: int) -> None:
        for program in lowered(plan, config, data, width):
            program.compile()

    wanted = dict.fromkeys((group.config, group.width) for group in groups)
    pool = ThreadPoolExecutor(num_cpu_cores())
    under_way = {key: pool.submit(compile_all, *key) for key in wanted}
    try:
        yield lambda group: under_way[group.config, group.width].exception()
    finally:
        pool.shutdown(cancel_futures=True)


def lowered(plan: Plan, config: Config, data: Data, width: int) -> Iterator[Any]:
    """Yields the programs of ``config`` for so many runs per device.

    They are lowered for shapes alone: nothing is computed. First that of an epoch, then
    those of the start and the end where probes record something there.
    """
    mesh = programs.device_mesh(plan.num_devices)
    places = width * plan.num_devices
    probes = {when: probes_at(when, plan.probes) for when in WHEN}
    hparams = jax.tree.map(
        lambda _: _shaped(mesh, RUN, (places,)), run_hparams(plan, config, 0)
    )
    seeds = _shaped(mesh, RUN, (places,), np.uint32)
    rows = _shaped(mesh, RUN, (places,), np.int32)
    train, test = jax.tree.map(
        lambda x: _shaped(mesh, SHARED, x.shape, x.dtype), (data.train, data.test)
    )
    shape = (num_orders(plan, places), len(data.train.labels))
    orders = _shaped(mesh, SHARED, shape, np.int32)
    begin = (config, probes["init"], mesh, data.num_classes, hparams, seeds, train)
    state, _ = programs.start.eval_shape(*begin)
    state = jax.tree.map(lambda x: _shaped(mesh, RUN, x.shape, x.dtype), state)
    yield programs.epoch.lower(
        config, probes["epoch"], mesh, hparams, state, seeds, np.int32(1), rows,
        orders, train, test,
    )  # fmt: skip
    if probes["init"]:
        yield programs.start.lower(*begin)
    if probes["end"]:
        yield programs.end.lower(
            config, probes["end"], mesh, hparams, state, seeds, train
        )


def _shaped(
    mesh: Mesh, spec: PartitionSpec, shape: tuple[int, ...], dtype: Any = np.float32
) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec))
