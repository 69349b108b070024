"""How long do the probes before training take, compared with the sharpness?

    python -m benchmarks.probes

Prints a table: the time of each probe on the synthetic set, and its ratio to that of
the sharpness (Lanczos iteration), in turns in one process. Half a minute on one core.
"""

import functools
import statistics
import time

import jax

from benchmarks import scripts
from fmnist_jax import (
    Config,
    Dataset,
    Hparams,
    Probe,
    activation_stability_probe,
    batch_sharpness_probe,
    init,
    load,
)
from fmnist_jax.probes import sharpness_probe

ROUNDS = 9
CONFIGS = {
    "784-128-10": Config(optimizer="sgd"),
    "784-1000-10": Config(optimizer="sgd", hidden_sizes=(1000,)),
    "784-128-128-10": Config(optimizer="sgd", hidden_sizes=(128, 128)),
}


def seconds_of(probes: dict[str, Probe], config: Config) -> dict[str, list[float]]:
    """Returns the time of each probe in each round, in turns, once compiled."""
    data = load("synthetic", train_examples=3000, test_examples=1)
    hparams, key = Hparams(), jax.random.key(0)
    state = init(config, hparams, key, data.image_shape, data.num_classes)
    functions, batches = {}, {}
    for name, probe in probes.items():
        functions[name] = jax.jit(functools.partial(probe.function, config))
        size = probe.num_examples(config)
        batches[name] = jax.device_put(Dataset(*(a[:size] for a in data.train)))
    seconds: dict[str, list[float]] = {name: [] for name in probes}
    for _ in range(ROUNDS + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(hparams, state, key, batches[name]))
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}  # without compilation


def main() -> None:
    """Prints the table."""
    probes = {
        "sharpness": sharpness_probe(),
        "activation stability": activation_stability_probe(),
        "batch sharpness": batch_sharpness_probe(),
    }
    print("| network | probe | milliseconds | ÷ sharpness |\n|---|---|---|---|")
    for network, config in CONFIGS.items():
        seconds = seconds_of(probes, config)
        for name, times in seconds.items():
            pairs = zip(times, seconds["sharpness"], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            middle = 1000 * statistics.median(times)
            print(f"| {network} | {name} | {middle:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    scripts.run(main, __doc__)
