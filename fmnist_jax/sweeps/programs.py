"""A group's compiled programs: start, epoch and end of its runs.

The only place where a run is vmapped, compiled and spread over devices.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, PartitionSpec

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.devices import COMPILER_OPTIONS
from fmnist_jax.probes.probe import Probe, run_probes

RUN, SHARED = PartitionSpec("run"), PartitionSpec()
# A start is run once: compiling it well takes longer than it saves. At this level (not
# at 0) initial parameters are the same bits as at the highest.
START_OPTIONS = COMPILER_OPTIONS | {"xla_backend_optimization_level": 1}


def device_mesh(num_devices: int) -> Mesh:
    """Returns this process's first so many devices, for runs to be spread over."""
    devices = np.asarray(jax.local_devices()[:num_devices])
    return Mesh(devices, ("run",), axis_types=(AxisType.Auto,))


def _over_runs(mesh: Mesh, function: Any, *specs: PartitionSpec) -> Any:
    """Maps a function of one run over the runs of each device, and over devices.

    The only run of a device is not mapped but called: XLA would copy the operands of
    products with an axis of one, which costs up to a fifth of a step on a CPU.
    """
    axes = tuple(0 if spec == RUN else None for spec in specs)

    def on_device(*arguments: Any) -> Any:
        of_runs = [a for a, axis in zip(arguments, axes, strict=True) if axis == 0]
        if jax.tree.leaves(of_runs)[0].shape[0] > 1:
            return jax.vmap(function, in_axes=axes)(*arguments)
        own = [
            jax.tree.map(lambda x: x[0], a) if axis == 0 else a
            for a, axis in zip(arguments, axes, strict=True)
        ]
        return jax.tree.map(lambda x: jnp.asarray(x)[None], function(*own))

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=specs,
        out_specs=RUN,
        check_vma=False,
    )


@functools.partial(
    jax.jit,
    static_argnames=("config", "probes", "mesh", "num_classes"),
    compiler_options=START_OPTIONS,
)
def start(
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


def _is_settled(config: Config, before: training.State, after: training.State) -> Array:
    """Whether a run's future is known after an epoch, a bool scalar.

    It has stopped; or it began the epoch with the biases of its logits NaN, and so all
    of its logits and their gradients, for ever, whatever dropout leaves out. (A network
    of the user's may do what it likes with NaN, and a schedule goes on.)
    """
    settled = jnp.zeros((), bool)
    if after.stopping is not None:
        settled |= after.stopping.stopped
    if config.model is None and config.schedule == "constant":
        logits_layer = before.params[f"Dense_{len(config.hidden_sizes)}"]
        settled |= jnp.all(jnp.isnan(logits_layer["bias"]))
    return settled


@functools.partial(
    jax.jit,
    static_argnames=("config", "probes", "mesh"),
    donate_argnames=("state",),
    compiler_options=COMPILER_OPTIONS,
)
def epoch(
    config: Config,
    probes: tuple[Probe, ...],
    mesh: Mesh,
    hparams: Hparams,
    state: training.State,
    seeds: Array,
    number: Array,
    rows: Array,
    orders: Array,
    train: Dataset,
    test: Dataset,
) -> tuple[training.State, dict[str, Array], Array]:
    """Trains and evaluates every run for an epoch, and probes it.

    Args:
      config: the runs' program.
      probes: those of "epoch".
      mesh: the devices.
      hparams: traced settings, ``[runs]`` each.
      state: before the epoch; its memory is used again.
      seeds: ``[runs]``.
      number: of the epoch, from 1.
      rows: which of ``orders`` is each run's, ``[runs]``.
      orders: of the training set, ``[distinct seeds, N]``.
      train: the training set, the same for all.
      test: the test set, likewise.

    Returns:
      The states after it; metrics and probes' outputs, ``[runs, …]``; and whether every
      further epoch of the run would say the same, ``[runs]``.
    """

    def one(
        hparams: Hparams,
        state: training.State,
        seed: Array,
        number: Array,
        row: Array,
        orders: Array,
        train: Dataset,
        test: Dataset,
    ) -> Any:
        _, epochs_key, probes_key = training.run_keys(seed)
        key = jax.random.fold_in(epochs_key, number)
        before = state
        state, metrics = training.run_epoch(
            config, hparams, before, key, train, test, orders[row]
        )
        key = jax.random.fold_in(probes_key, number)
        probed = run_probes(probes, config, hparams, state, key, train)
        return state, metrics | probed, _is_settled(config, before, state)

    specs = (RUN, RUN, RUN, SHARED, RUN, SHARED, SHARED, SHARED)
    return _over_runs(mesh, one, *specs)(
        hparams, state, seeds, number, rows, orders, train, test
    )


@functools.partial(
    jax.jit,
    static_argnames=("config", "probes", "mesh"),
    compiler_options=COMPILER_OPTIONS,
)
def end(
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
