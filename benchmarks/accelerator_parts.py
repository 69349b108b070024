"""The parts of a training step, each in a loop of its own, and one run alone.

Every function is that of the library, vmapped over the runs and scanned over steps. A
barrier with the number of the step keeps the compiler from moving work out of a loop.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fmnist_jax import Config, Data, Dataset, Plan, training
from fmnist_jax.sweeps.planning import run_hparams

ROUNDS = 3


class Inputs(NamedTuple):
    """The runs and the data of the loops.

    Attributes:
      hparams: of each run, ``[R]``.
      state: of each run, before the first step.
      dataset: the training set.
      rows: positions of the examples of each step, ``[steps, B]``, for all runs.
    """

    hparams: Any
    state: Any
    dataset: Dataset
    rows: Any


def inputs(plan: Plan, data: Data, steps: int) -> Inputs:
    """Returns initial states of the runs of a plan, and batches for them."""
    config = plan.config
    hparams = [run_hparams(plan, config, run) for run in range(plan.num_runs)]
    stacked = jax.tree.map(lambda *v: np.asarray(v, np.float32), *hparams)
    shapes = data.image_shape, data.num_classes
    keys = jax.random.split(jax.random.key(0), plan.num_runs)
    init = jax.vmap(lambda h, k: training.init(config, h, k, *shapes))
    order = np.random.default_rng(0).permutation(len(data.train.labels))
    rows = np.resize(order, (steps, config.batch_size)).astype(np.int32)
    arrays = jax.device_put((stacked, data.train, rows))
    return Inputs(arrays[0], jax.jit(init)(stacked, keys), *arrays[1:])


def loops(config: Config) -> dict[str, Callable[..., Any]]:
    """Returns functions of one run, which take ``Inputs``, by part of a step."""
    key = jax.random.key(0)

    def batch_of(dataset: Dataset, rows: Any) -> Dataset:
        return Dataset(*(array[rows] for array in dataset))

    def gather(hparams: Any, state: Any, dataset: Any, rows: Any) -> Any:
        def step(_: Any, rows: Any) -> Any:
            batch = batch_of(dataset, rows)
            return (training.scaled_inputs(hparams, batch.images), batch.labels), None

        first = step(None, rows[0])[0]
        return jax.lax.scan(step, first, rows)[0]

    def products(hparams: Any, state: Any, dataset: Any, rows: Any) -> Any:
        first = batch_of(dataset, rows[0])

        def step(_: Any, rows: Any) -> Any:
            batch, _ = jax.lax.optimization_barrier((first, rows))
            return training.gradients(config, hparams, state, key, batch)[0], None

        return jax.lax.scan(step, state.params, rows)[0]

    def optimizer(hparams: Any, state: Any, dataset: Any, rows: Any) -> Any:
        grads = jax.tree.map(lambda x: 1e-3 * x, state.params)

        def step(state: Any, rows: Any) -> Any:
            latest, _ = jax.lax.optimization_barrier((grads, rows))
            changes, opt_state = training.updates(config, hparams, state, latest)
            params = jax.tree.map(lambda x, u: x + u, state.params, changes)
            return state.replace(params=params, opt_state=opt_state), None

        return jax.lax.scan(step, state, rows)[0]

    def whole(hparams: Any, state: Any, dataset: Any, rows: Any) -> Any:
        order = rows.reshape(-1)
        return training.train_epoch(config, hparams, state, key, dataset, order)

    return {
        "gather": gather, "products": products, "optimizer": optimizer, "whole": whole
    }  # fmt: skip


def step_seconds(config: Config, runs: Inputs) -> Iterator[tuple[str, float]]:
    """Yields the time of a step of all runs, by part; "one run" is a step of the first.

    A step of one run takes the time of its launches, because it moves little.
    """
    steps, in_axes = len(runs.rows), (0, 0, None, None)
    functions = loops(config)
    for name, function in functions.items():
        yield name, _seconds(jax.vmap(function, in_axes), runs) / steps
    hparams, state = jax.tree.map(lambda x: x[0], runs[:2])
    single = Inputs(hparams, state, *runs[2:])
    yield "one run", _seconds(functions["whole"], single) / steps


def _seconds(function: Callable[..., Any], arguments: Inputs) -> float:
    call = functools.partial(jax.jit(function), *arguments)
    jax.block_until_ready(call())  # compiles
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)
