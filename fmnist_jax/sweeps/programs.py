"""The compiled programs of a group: initial states, an epoch, and probes at the end.

The only module that vmaps, compiles and shards a run.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, PartitionSpec

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.devices import COMPILER_OPTIONS
from fmnist_jax.probes.health import probes_at
from fmnist_jax.probes.probe import Probe, run_probes
from fmnist_jax.sweeps.program_data import ProgramData

RUN, SHARED = PartitionSpec("run"), PartitionSpec()
# This program runs once: full optimisation would cost more time than it saves. At this
# level (not at 0) the initial parameters have the same bits as at the highest.
INIT_OPTIONS = COMPILER_OPTIONS | {"xla_backend_optimization_level": 1}


class Program(NamedTuple):
    """What a program is compiled for: settings, the plan's probes, devices; static."""

    config: Config
    probes: tuple[Probe, ...]
    mesh: Mesh
    num_classes: int

    def init_program(self) -> "Program":
        """Returns a canonical program with the same initial state, to compile fewer."""
        probes = tuple(probe for probe in self.probes if probe.when == "init")
        if probes:
            return self._replace(probes=probes)
        config = dataclasses.replace(
            self.config,
            loss="softmax",
            batch_size=1,
            num_epochs=1,
            record_every=0,
            evaluate_train=True,
            order="shuffled",
            penalized="all",
            normalization="none",
            whitening="zca",
            whitening_eps=0.0,
            precision="float32",
        )
        return self._replace(config=config, probes=())

    def epoch_program(self) -> "Program":
        """Returns the program under which an epoch is compiled; several share it.

        Statistics of a normalization are arguments of the compiled program.
        """
        probes = tuple(probe for probe in self.probes if probe.when == "epoch")
        if probes:  # which may read any setting
            return self._replace(probes=probes)
        config = dataclasses.replace(
            self.config, normalization="none", whitening="zca", whitening_eps=0.0
        )
        if config.schedule != "cosine":
            config = dataclasses.replace(config, num_epochs=1)
        return self._replace(config=config, probes=())


class RunInputs(NamedTuple):
    """What a program takes for each run, ``[slots]`` each."""

    hparams: Hparams
    seeds: Any  # uint32
    order_index: Any  # of its example order, among those of the distinct seeds


def device_mesh(num_devices: int) -> Mesh:
    """Returns a mesh of this process's first ``num_devices`` devices."""
    devices = np.asarray(jax.local_devices()[:num_devices])
    return Mesh(devices, ("run",), axis_types=(AxisType.Auto,))


def _for_each_run(
    mesh: Mesh, function: Callable[[Any, Any], Any], runs: Any, shared: Any
) -> Any:
    """Maps a function of one run over the runs of each device, and over the devices.

    If a device has one run only, the function is called without ``vmap``: XLA would
    copy the operands of matrix products that have an axis of length one, which costs up
    to a fifth of a step on a CPU.
    """

    def on_device(runs: Any, shared: Any) -> Any:
        if jax.tree.leaves(runs)[0].shape[0] > 1:
            return jax.vmap(function, in_axes=(0, None))(runs, shared)
        single = function(jax.tree.map(lambda x: x[0], runs), shared)
        return jax.tree.map(lambda x: jnp.asarray(x)[None], single)

    mapped = jax.shard_map(
        on_device, mesh=mesh, in_specs=(RUN, SHARED), out_specs=RUN, check_vma=False
    )
    return mapped(runs, shared)


def _with_normalization(state: training.State, normalization: Any) -> training.State:
    """Returns a state with a normalization, which the runs of a program share."""
    return dataclasses.replace(state, normalization=normalization)


@functools.partial(jax.jit, static_argnames=("program",), compiler_options=INIT_OPTIONS)
def init_runs(
    program: Program, inputs: RunInputs, data: ProgramData
) -> tuple[training.State, dict[str, Array]]:
    """Returns the initial states and the outputs of the probes at "init"."""
    config = program.config
    probes = probes_at("init", program.probes)

    def init_one(inputs: RunInputs, data: ProgramData) -> Any:
        init_key, _, probes_key = training.run_keys(inputs.seeds)
        splits, normalization = data.for_probes
        shapes = splits.train.images.shape[1:], program.num_classes
        statistics = None if config.normalization == "none" else normalization
        state = training.init(config, inputs.hparams, init_key, *shapes, statistics)
        key = jax.random.fold_in(probes_key, 0)
        values = run_probes(probes, config, inputs.hparams, state, key, splits)
        return _with_normalization(state, None), values

    return _for_each_run(program.mesh, init_one, inputs, data)


def _is_settled(config: Config, before: training.State, after: training.State) -> Array:
    """Whether all further epochs of a run are known after an epoch, a bool scalar.

    The run has stopped, or it began the epoch with NaN in all biases of its logits. Its
    logits and their gradients are then NaN forever, whatever dropout omits. (A network,
    loss or optimizer of the user's may treat NaN differently, and a schedule keeps
    changing.)
    """
    settled = jnp.zeros((), bool)
    if after.stopping is not None:
        settled |= after.stopping.stopped
    is_known = isinstance(config.optimizer, str) and isinstance(config.loss, str)
    if is_known and config.model is None and config.schedule == "constant":
        logits_layer = before.params[f"Dense_{len(config.hidden_sizes)}"]
        settled |= jnp.all(jnp.isnan(logits_layer["bias"]))
    return settled


@functools.partial(
    jax.jit,
    static_argnames=("program",),
    donate_argnames=("state",),
    compiler_options=COMPILER_OPTIONS,
)
def train_epoch_of_runs(
    program: Program,
    state: training.State,
    inputs: RunInputs,
    number: Array,
    orders: Array,
    data: ProgramData,
) -> tuple[training.State, dict[str, Array], Array]:
    """Trains and evaluates every run for an epoch, and probes it.

    The states, ``[slots, …]``, are those before the epoch; their memory is reused. The
    number of the epoch starts at 1. ``orders`` are the example orders of the training
    set, ``[distinct seeds, N]``.

    Returns the states after the epoch; metrics and probe outputs, ``[slots, …]``; and
    whether every further epoch of the run gives the same values, ``[slots]``.
    """
    config = program.config
    probes = probes_at("epoch", program.probes)

    def train_one(runs: tuple[RunInputs, training.State], shared: Any) -> Any:
        inputs, before = runs
        number, orders, data = shared
        splits = data.splits
        before = _with_normalization(before, data.normalization)
        _, epochs_key, probes_key = training.run_keys(inputs.seeds)
        key = jax.random.fold_in(epochs_key, number)
        order = orders[inputs.order_index]
        state, metrics = training.run_epoch(
            config, inputs.hparams, before, key, splits, order
        )
        metrics = {name: m.astype(jnp.float32) for name, m in metrics.items()}
        key = jax.random.fold_in(probes_key, number)
        stored, normalization = data.for_probes
        probed = _with_normalization(state, normalization)
        outputs = run_probes(probes, config, inputs.hparams, probed, key, stored)
        is_settled = _is_settled(config, before, state)
        return _with_normalization(state, None), metrics | outputs, is_settled

    shared = (number, orders, data)
    return _for_each_run(program.mesh, train_one, (inputs, state), shared)


@functools.partial(
    jax.jit, static_argnames=("program",), compiler_options=COMPILER_OPTIONS
)
def run_end_probes(
    program: Program, state: training.State, inputs: RunInputs, data: ProgramData
) -> dict[str, Array]:
    """Returns the outputs of the probes at "end" for every run."""
    config = program.config
    probes = probes_at("end", program.probes)

    def probe_one(runs: tuple[RunInputs, training.State], data: ProgramData) -> Any:
        inputs, state = runs
        stored, normalization = data.for_probes
        state = _with_normalization(state, normalization)
        _, _, probes_key = training.run_keys(inputs.seeds)
        key = jax.random.fold_in(probes_key, config.num_epochs + 1)
        return run_probes(probes, config, inputs.hparams, state, key, stored)

    return _for_each_run(program.mesh, probe_one, (inputs, state), data)
