"""The sections of ``benchmarks.accelerator``: generators of rows."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import accelerator_floor as floor
from benchmarks.accelerator_jobs import (
    Bench,
    LeftOutError,
    Row,
    Rows,
    Sizes,
    at_least,
    at_most,
    axes,
    compared,
    compile_all,
    hparams,
    keras,
    planned,
    timed,
)
from fmnist_jax import Config, Plan

CHECKED_STEPS = 100
CHECKED_RATES = {"adam": (1e-4, 1e-3, 1e-2), "sgd": (1e-3, 1e-2, 1e-1)}
TOO_WIDE = 1.5  # times the memory of the device
MAX_KERAS_SECONDS, MAX_SGD_SECONDS, MIN_SHARE = 12, 120, 0.6  # on one H200


def correctness(bench: Bench) -> Rows:
    """Compares the losses of the first 100 steps of 96 runs with those on a CPU.

    The pixels are divided by 255 or 1000: training on larger inputs is chaotic, and
    amplifies rounding on any device.
    """
    import jax

    device, cpu = jax.local_devices()[0], jax.devices("cpu")[0]
    for optimizer in CHECKED_RATES:
        ours, expected = (
            _losses(bench, optimizer, "float32", where) for where in (device, cpu)
        )
        yield Row(f"{optimizer}: losses compared", expected.size)
        yield from compared(f"{optimizer}, float32", ours, expected)


def _losses(bench: Bench, optimizer: str, precision: str, device: Any) -> np.ndarray:
    """Returns the losses of the first steps on a device, ``[96, 100]``."""
    from benchmarks.epochs import prepare, train
    from fmnist_jax.sweeps.planning import plan

    data, rates = bench.data.first(32 * CHECKED_STEPS, 100), CHECKED_RATES[optimizer]
    settings = {"num_epochs": 1, "record_every": 1, "precision": precision}
    config = keras(optimizer=optimizer, **settings)
    grid = {"divisor": (255.0, 1000.0), "learning_rate": rates, "seed": range(16)}
    checked = plan(grid, config, hparams(config), max_width=96)
    return train(prepare(checked, data, [device]))["train_loss_by_step"]


def adam_sweep(bench: Bench) -> Rows:
    """Times the sweep under Adam: the preset keras."""
    sizes = bench.sizes
    config = keras(num_epochs=sizes.epochs)
    yield from _sweep(bench, config, sizes.runs, sizes.rounds, MAX_KERAS_SECONDS)


def sgd_sweep(bench: Bench) -> Rows:
    """Times the sweep under SGD, of one epoch."""
    config = keras(optimizer="sgd", num_epochs=1)
    yield from _sweep(bench, config, bench.sizes.sgd_runs, 1, MAX_SGD_SECONDS)


def _sweep(bench: Bench, config: Config, runs: int, rounds: int, limit: float) -> Rows:
    """Times a whole sweep after compilation, and compares it with its floor."""
    data, start = bench.data, time.perf_counter()
    plan = planned(bench, runs, config)
    yield Row("runs", plan.num_distinct_runs)
    yield Row("epochs", config.num_epochs)
    yield Row("runs at once", plan.groups[0].width)
    yield Row("planning", time.perf_counter() - start, "s")
    yield Row("compilation", compile_all(plan, data), "s")
    sweeps = [timed(plan, data) for _ in range(rounds)]
    seconds = min(sweep.seconds for sweep in sweeps)
    yield Row("runs trained", sweeps[-1].runs)
    yield _if_full(bench, at_most("sweep", seconds, "s", limit))
    yield Row("last epoch", min(sweep.last_epoch for sweep in sweeps), "s")
    rate = runs * config.num_epochs / seconds
    yield Row("speed", rate, "epochs of a run per second")
    yield from _memory(plan, bench)
    shape = data.image_shape
    speeds = floor.bandwidth(bench.sizes.stream_bytes)
    for name, speed in speeds.items():
        yield Row(f"bandwidth of a {name}", speed / 1e9, "GB/s")
    fastest, count = max(speeds.values()), len(data.train.labels)
    least = floor.floor_seconds(config, runs, count, math.prod(shape), fastest)
    yield Row("floor", least, "s")
    share = at_least("share of the floor", least / seconds, "", MIN_SHARE)
    yield _if_full(bench, share)


def _if_full(bench: Bench, row: Row) -> Row:
    """Returns a row; without its goal if the sizes are not those of the goals."""
    is_full = bench.sizes == Sizes()
    return row if is_full else row._replace(goal="", is_met=None)


def _memory(plan: Plan, bench: Bench) -> Rows:
    """Compares the predicted memory with the maximum in use so far."""
    import jax

    from fmnist_jax.sweeps import memory

    use = memory.memory_uses(plan, plan.config, bench.data)[0]
    predicted = use.fixed + plan.groups[0].width * use.per_run
    yield Row("memory, predicted", predicted / 1e9, "GB")
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        used = stats["peak_bytes_in_use"]
        yield Row("memory, maximum in use", used / 1e9, "GB")
        yield Row("memory, used / predicted", used / predicted)


def plain(bench: Bench) -> Rows:
    """Compares the sweep with a plain vmap and with a loop of single runs."""
    from benchmarks.accelerator_peers import plain_epochs, single_run_seconds

    sizes = bench.sizes
    plan = planned(bench, sizes.runs, keras(num_epochs=2))
    compile_all(plan, bench.data)
    ours, theirs = [], []
    metrics: dict[str, np.ndarray] = {}
    for _ in range(sizes.rounds):
        sweep = timed(plan, bench.data)
        ours.append(sweep.last_epoch)
        *_, (seconds, metrics) = plain_epochs(bench.data, axes(sizes.runs), 2)
        theirs.append(seconds)
    yield Row("runs", sizes.runs)
    yield Row("fmnist_jax, an epoch", min(ours), "s")
    yield Row("plain vmap, an epoch", min(theirs), "s")
    yield Row("speed-up over plain vmap", min(theirs) / min(ours))
    for name in ("train_loss", "test_loss"):
        yield from compared(name, metrics[name], sweep.values[name], False)
    seconds = single_run_seconds(bench.data, sizes.single_runs)
    yield Row("one run at a time, an epoch of a run", seconds, "s")
    yield Row("speed-up over one at a time", seconds * sizes.runs / min(ours))


def torch_graphs(bench: Bench) -> Rows:
    """Times ``torch.func.vmap``, as a CUDA graph if there is CUDA."""
    try:
        import torch
    except ImportError:
        raise LeftOutError("PyTorch is not installed") from None
    from benchmarks.accelerator_peers import torch_epochs

    has_cuda = torch.cuda.is_available()
    grid = axes(bench.sizes.runs)
    yield Row("runs", bench.sizes.runs)
    yield Row("CUDA graphs", has_cuda)
    for name, seconds, metrics in torch_epochs(bench.data, grid, has_cuda):
        yield Row(f"{name}, an epoch", seconds, "s")
        accuracy = float(np.mean(metrics["test_accuracy"]))
        yield Row(f"{name}, mean test accuracy", accuracy)


def parts(bench: Bench) -> Rows:
    """Times gather, products and optimizer separately, and a step of one run."""
    from benchmarks.accelerator_parts import inputs, step_seconds

    config = keras(num_epochs=1)
    plan = planned(bench, bench.sizes.runs, config, width=bench.sizes.runs)
    speed = max(floor.bandwidth(bench.sizes.stream_bytes).values())
    num_inputs = math.prod(bench.data.image_shape)
    sizes = floor.step_bytes(config, num_inputs)
    sizes["whole"] = sum(sizes.values())
    seconds = {}
    for name, value in step_seconds(
        config, inputs(plan, bench.data, bench.sizes.steps)
    ):
        seconds[name] = value
        title = (
            "launches (a step of one run)" if name == "one run" else f"{name}, a step"
        )
        yield Row(title, 1e6 * value, "µs")
        if name in sizes:
            rate = bench.sizes.runs * sizes[name] / value
            yield Row(f"{name}, traffic", rate / 1e9, "GB/s")
            yield Row(f"{name}, share of the bandwidth", rate / speed)
    separate = sum(seconds[name] for name in ("gather", "products", "optimizer"))
    yield Row(
        "whole without the three parts", 1e6 * (seconds["whole"] - separate), "µs"
    )


def counts(bench: Bench) -> Rows:
    """Measures the speed against the number of runs."""
    for runs in bench.sizes.counts:
        plan = planned(bench, runs, keras(num_epochs=2), width=runs)
        seconds = timed(plan, bench.data).last_epoch  # the first epoch compiles
        yield Row(f"{runs} runs", runs / seconds, "epochs of a run per second")


def out_of_memory(bench: Bench) -> Rows:
    """Runs a plan that is too wide for the device, and compares its results."""
    import jax

    from fmnist_jax.sweeps import memory

    limit = memory.device_bytes(jax.local_devices()[0])
    if limit is None:
        raise LeftOutError("the device does not report its memory, as a CPU")
    data = bench.data.first(32 * CHECKED_STEPS, 100)
    small, config = bench._replace(data=data), keras(num_epochs=1)
    use = memory.memory_uses(planned(small, 4, config, 4), config, data)[0]
    runs = 1 << math.ceil(math.log2(TOO_WIDE * (limit - use.fixed) / use.per_run))
    yield Row("memory of the device", limit / 1e9, "GB")
    yield Row("memory, predicted", (use.fixed + runs * use.per_run) / 1e9, "GB")
    whole = timed(planned(small, runs, config, width=runs), data)
    yield Row("runs", whole.runs)
    yield at_least("groups after halving", whole.groups, "", 2)
    narrow = timed(planned(small, runs, config, width=max(1, runs // 8)), data)
    for name in ("train_loss", "test_loss"):
        yield from compared(name, whole.values[name], narrow.values[name])


def precisions(bench: Bench) -> Rows:
    """Reports what other precisions of the products gain and change, under Adam."""
    import jax

    device, cpu = jax.local_devices()[0], jax.devices("cpu")[0]
    expected = _losses(bench, "adam", "float32", cpu)
    for precision in ("tf32", "bf16"):
        losses = _losses(bench, "adam", precision, device)
        yield from compared(f"adam, {precision}", losses, expected, False)
        config = keras(num_epochs=2, precision=precision)
        sweep = timed(planned(bench, bench.sizes.runs, config), bench.data)
        yield Row(f"{precision}, an epoch", sweep.last_epoch, "s")


# In order of importance.
SECTIONS: Mapping[str, Callable[[Bench], Rows]] = {
    "correctness": correctness,
    "adam": adam_sweep,
    "sgd": sgd_sweep,
    "plain": plain,
    "torch": torch_graphs,
    "parts": parts,
    "counts": counts,
    "out_of_memory": out_of_memory,
    "precisions": precisions,
}
