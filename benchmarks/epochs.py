"""The first epoch of the first group of a plan, on devices of the caller's choice."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from fmnist_jax import Data, Plan, training
from fmnist_jax.sweeps import programs
from fmnist_jax.sweeps.program_data import ProgramData
from fmnist_jax.sweeps.run_batch import make_batch


class Epoch(NamedTuple):
    """What ``programs.train_epoch_of_runs`` takes.

    Attributes:
      program: its static argument.
      state: of the runs, before the epoch; a call reuses its memory.
      inputs: the other arguments.
    """

    program: programs.Program
    state: Any
    inputs: tuple[Any, ...]


def prepare(plan: Plan, data: Data, devices: Sequence[Any]) -> Epoch:
    """Returns the first epoch of the first group of a plan, with initial states.

    Args:
      plan: of programs without normalization, for as many devices.
      data: training and test set.
      devices: of any platform.
    """
    mesh = Mesh(np.asarray(devices), ("run",), axis_types=(AxisType.Auto,))
    batch = make_batch(plan, plan.groups[0], mesh)
    program = programs.Program(plan.groups[0].config, (), mesh, data.num_classes)
    count = len(data.train.labels)
    orders = [training.epoch_order(seed, 1, count) for seed in batch.distinct_seeds]
    shared = np.stack(orders), ProgramData(data.splits)
    orders, arrays = jax.device_put(shared, NamedSharding(mesh, programs.SHARED))
    state, _ = programs.init_runs(program.init_program(), batch.inputs, arrays)
    return Epoch(program, state, (batch.inputs, np.int32(1), orders, arrays))


def train(epoch: Epoch) -> dict[str, np.ndarray]:
    """Trains the epoch and returns the metrics of the runs, ``[R, …]`` each."""
    program, state, inputs = epoch
    _, metrics, _ = programs.train_epoch_of_runs(program, state, *inputs)
    return jax.device_get(metrics)
