"""Trains the peers of ``benchmarks.accelerator`` on the runs of a grid, and times them.

All have the batches and the evaluations of fmnist_jax. The time of an epoch includes
the orders of the examples, which NumPy computes, and the metrics on the host.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fmnist_jax import Data
from fmnist_jax.data.orders import epoch_order

Metrics = dict[str, np.ndarray]
PRECISION = "float32"  # of products; JAX's default for a GPU is TF32


def runs_of(axes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the settings of all runs of a grid, in its order, ``[R]`` each."""
    runs = np.array(list(itertools.product(*axes.values())))
    return dict(zip(axes, runs.T, strict=True))


def orders_of(axes: Mapping[str, Any], epoch: int, count: int) -> np.ndarray:
    """Returns the orders of the examples for the seeds of a grid, ``[S, N]``."""
    return np.stack([epoch_order(seed, epoch, count) for seed in axes["seed"]])


def _settings(axes: Mapping[str, Any]) -> Any:
    """Returns the settings of the runs of a grid for the plain sweep."""
    from benchmarks.accelerator_plain import Settings

    runs = runs_of(axes)
    rates, seeds = np.float32(runs["learning_rate"]), runs["seed"]
    rows = np.searchsorted(axes["seed"], seeds)
    return Settings(np.float32(runs["divisor"]), rates, np.uint32(seeds), rows)


def plain_epochs(
    data: Data, axes: Mapping[str, Any], epochs: int
) -> Iterator[tuple[float, Metrics]]:
    """Trains the plain JAX sweep; yields time and metrics of each epoch."""
    import jax

    from benchmarks import accelerator_plain as plain

    settings, examples = _settings(axes), plain.examples(data)
    state = plain.init_runs(settings)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        orders = jax.device_put(orders_of(axes, epoch, len(data.train.labels)))
        with jax.default_matmul_precision(PRECISION):
            state, values = plain.train_runs(settings, state, orders, examples)
        metrics = jax.device_get(values)
        yield time.perf_counter() - start, metrics


def single_run_seconds(data: Data, count: int) -> float:
    """Returns the time of an epoch of a single run, the mean over ``count`` runs."""
    import jax

    from benchmarks import accelerator_plain as plain

    examples, seconds = plain.examples(data), []
    for seed in range(count + 1):  # the first compiles
        settings = plain.Settings(np.float32(255), np.float32(1e-3), np.uint32(seed), 0)
        state = jax.jit(plain.init)(settings)
        start = time.perf_counter()
        orders = orders_of({"seed": [seed]}, 1, len(data.train.labels))
        with jax.default_matmul_precision(PRECISION):
            _, values = plain.train_run(settings, state, orders, examples)
        jax.device_get(values)
        seconds.append(time.perf_counter() - start)
    return sum(seconds[1:]) / count


def torch_epochs(
    data: Data, axes: Mapping[str, Any], has_cuda: bool
) -> Iterator[tuple[str, float, Metrics]]:
    """Trains the PyTorch sweep; yields name, time and metrics of each variant.

    With CUDA the step is a graph, with the update of Adam as it is and compiled.
    """
    import torch

    from benchmarks import accelerator_plain as plain
    from benchmarks import accelerator_torch as peer

    updates: dict[str, Callable[..., Any]] = {"torch.func.vmap": peer.adam}
    if has_cuda:
        updates["torch.func.vmap, compiled Adam"] = torch.compile(peer.adam)
    settings = _settings(axes)
    initial, _ = plain.init_runs(settings)
    params = {
        f"{short}{layer + 1}": np.asarray(initial[f"Dense_{layer}"][name])
        for layer in (0, 1)
        for short, name in (("w", "kernel"), ("b", "bias"))
    }
    divisor, learning_rate, _, order = settings
    runs = peer.Runs(params, divisor, learning_rate, order)
    for name, update in updates.items():
        yield name, *torch_epoch(data, runs, axes, update, has_cuda)


def torch_epoch(
    data: Data, runs: Any, axes: Mapping[str, Any], update: Any, has_cuda: bool
) -> tuple[float, Metrics]:
    """Trains the first epoch of a PyTorch sweep, after the step has been captured."""
    import torch

    from benchmarks import accelerator_torch as peer
    from fmnist_jax.training import judged_examples

    device, count = "cuda" if has_cuda else "cpu", len(data.train.labels)
    sweep = peer.start(runs, device)
    train = peer.on_device(data.train, device)
    evaluated = (
        peer.on_device(data.test, device),
        peer.on_device(judged_examples(data.train), device),
    )
    orders = torch.zeros((len(axes["seed"]), count), dtype=torch.int64, device=device)
    step = peer.make_step(sweep, train, orders, update)
    if has_cuda:
        step = peer.captured(step, sweep)
    start = time.perf_counter()
    orders.copy_(torch.from_numpy(orders_of(axes, 1, count)))
    metrics = peer.train_epoch(sweep, step, count // peer.BATCH, evaluated)
    return time.perf_counter() - start, metrics
