"""What workers cost: a sweep in one process, and on 1, 2 and 4 workers.

    python -m benchmarks.worker_speed [--workers 1 2 4] [--repetitions=3]

The sweeps take turns, and all programs are compiled before. Prints a table: the time
without the start of the workers, its ratio to that of one process, and the time added
for each group of runs. The results must have the same bytes as those of one process.
"""

import argparse
import statistics
import sys
import time
from typing import Any

from fmnist_jax import Config, Data, Hparams, load, sweep, use_cpu_cores
from fmnist_jax.runner import workers
from fmnist_jax.sweeps.cluster import Cluster, connect
from fmnist_jax.sweeps.engine import plan_for_local_devices

AXES: dict[str, Any] = {
    "optimizer": ["sgd", "adam"],
    "loss": ["softmax", "clipped"],
    "divisor": [1.0, 255.0, 1000.0],
    "learning_rate": [1e-3, 1e-2],
    "seed": range(8),
}


def timed(data: Data, config: Config, cluster: Cluster | None) -> tuple[float, bytes]:
    """Returns the seconds of a sweep, and the bytes of its results."""
    start = time.perf_counter()
    results = sweep(AXES, data, config, client=cluster)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    content = [variable.values.tobytes() for variable in results.variables.values()]
    return seconds, b"".join(content)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train_examples", type=int, default=6000)
    args = parser.parse_args()
    use_cpu_cores()
    data = load("synthetic", train_examples=args.train_examples, test_examples=1000)
    config = Config(num_epochs=args.epochs)
    planned = plan_for_local_devices(AXES, data, config, Hparams())
    print(f"{len(planned.groups)} groups of runs, {planned.num_programs} programs\n")
    seconds: dict[int, list[float]] = {n: [] for n in (0, *args.workers)}
    _, expected = timed(data, config, None)
    for _ in range(args.repetitions):
        seconds[0].append(timed(data, config, None)[0])
        for count in args.workers:
            with (
                workers.started(count) as cluster,
                workers.connected_to(cluster) as client,
            ):
                connected = connect(client)
                timed(data, config, connected)  # compiles
                time_of, content = timed(data, config, connected)
            if content != expected:
                sys.exit(f"{count} workers: other results")
            seconds[count].append(time_of)
    alone = statistics.median(seconds[0])
    print("| workers | time, s | ratio | added for each group, ms |\n|---|---|---|---|")
    for count, times in seconds.items():
        time_of = statistics.median(times)
        added = 1e3 * (time_of - alone) / len(planned.groups)
        name = count or "none"
        print(f"| {name} | {time_of:.1f} | {time_of / alone:.2f} | {added:.0f} |")


if __name__ == "__main__":
    main()
