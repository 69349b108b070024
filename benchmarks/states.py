"""What kept states cost: time of a sweep, sizes, and times to save, load and predict.

    python -m benchmarks.states [DATA_DIR]

Twelve runs (three divisors, four seeds) of 784-128-10 under Adam, two epochs of 10,000
examples. Sweeps with and without states alternate. Prints a table.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scripts
from fmnist_jax import (
    Config,
    ensemble,
    load,
    load_states,
    predict,
    save_states,
    sweep,
    use_cpu_cores,
)

AXES: dict[str, Any] = {"divisor": [1, 255, 1000], "seed": range(4)}
CONFIG = Config(num_epochs=2)
ROUNDS = 5


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds of a call, and what it returns."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def main(folder: str | None = None) -> None:
    """Prints the table."""
    use_cpu_cores()
    name = "synthetic" if folder is None else "fashion_mnist"
    data = load(name, data_dir=folder, train_examples=10_000)

    def without() -> Any:
        return sweep(AXES, data, CONFIG)

    def with_states() -> Any:
        return sweep(AXES, data, CONFIG, keep_states="all")

    without(), with_states()  # compiled
    pairs = [(timed(with_states)[0], timed(without)[0]) for _ in range(ROUNDS)]
    ratio = float(np.median([kept / plain for kept, plain in pairs]))
    results, states = with_states()
    with tempfile.TemporaryDirectory() as trained:
        saving, _ = timed(lambda: save_states(states, trained))
        disk = sum(path.stat().st_size for path in Path(trained).iterdir())
        loading, loaded = timed(lambda: load_states(trained))
    config, hparams, state = loaded.sel(divisor=255, seed=0)
    images = data.test.images
    predict(config, hparams, state, images)  # compiled
    predicting, logits = timed(
        lambda: np.asarray(predict(config, hparams, state, images))
    )
    runs = loaded.runs(divisor=255)
    ensemble(runs, data.test)  # compiled
    ensembling, outcome = timed(lambda: ensemble(runs, data.test))
    is_correct = logits.argmax(-1) == np.asarray(data.test.labels)
    last = results.test_accuracy.sel(divisor=255, seed=0).isel(epoch=-1)
    rows = [
        ("sweep time with states / without (median of five)", f"{ratio:.2f}"),
        ("states of 12 runs in memory", f"{states.nbytes / 1e6:.1f} MB"),
        ("on disk", f"{disk / 1e6:.1f} MB"),
        ("save", f"{1e3 * saving:.0f} ms"),
        ("load", f"{1e3 * loading:.0f} ms"),
        (f"predict {len(images):,} images", f"{1e3 * predicting:.0f} ms"),
        ("ensemble of 4 seeds, the same images", f"{1e3 * ensembling:.0f} ms"),
        ("accuracy of the loaded state", f"{is_correct.mean():.4f}"),
        ("accuracy in the results", f"{float(last):.4f}"),
        (
            "gain of the ensemble (95 % interval)",
            f"{outcome['gain']:.4f} "
            f"({outcome['gain_low']:.4f} to {outcome['gain_high']:.4f})",
        ),
    ]
    print("| | |\n|---|---|")
    for label, value in rows:
        print(f"| {label} | {value} |")


if __name__ == "__main__":
    scripts.run(main, __doc__)
