"""Compares the results of two checkouts bit by bit.

    python -m benchmarks.same_bits OTHER_CHECKOUT [DATA_DIR]

Runs each experiment with small sizes in both checkouts, on one and on two cores, on
synthetic data and, with DATA_DIR, on the official files. Compares every variable and
coordinate of results.nc. This checkout also kills and resumes a sweep, and merges two
shards; both must give the bits of an uninterrupted sweep of the other checkout.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import scripts

SMALL = ("--train_examples=300", "--test_examples=100", "--num_seeds=2")
# Experiment -> further flags; each takes seconds.
EXPERIMENTS = {
    "scale_sweep": ["--epochs=2"],
    "depth_sweep": ["--hidden_sizes=none,64,64x64", "--epochs=2"],
    "annealing": ["--hidden_sizes=64", "--epochs=6"],
    "dropout": ["--hidden_sizes=64", "--epochs=2"],
    "batch_norm": ["--hidden_sizes=64", "--epochs=3"],
    "early_stopping": ["--epochs=4", "--target_accuracies=.3,.5,.7,inf"],
    "regularization": ["--hidden_sizes=64", "--epochs=2"],
    "shuffling": ["--epochs=2"],
    "dataset_mixup": ["--epochs=2"],
    "edge_of_stability": ["--epochs=4"],
    "scale_equivalence": ["--epochs=2"],
    "trainability_map": [
        "--divisors=1:1e4:5",
        "--learning_rates=1e-6:10:6",
        "--optimizers=sgd,adam",
    ],
    "sigmoid_saturation": ["--epochs=2"],
}
INTERRUPTED = ["--epochs=40", "--divisors=1:1e4:12"]  # of scale_sweep


def start(
    checkout: Path, cores: int, experiment: str, flags: Sequence[str]
) -> subprocess.Popen[str]:
    """Starts an experiment (or merge) of a checkout on the first ``cores`` cores."""
    usable = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{experiment}", *flags],
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, usable),
    )


def run(checkout: Path, cores: int, experiment: str, flags: Sequence[str]) -> None:
    """Runs an experiment to its end."""
    process = start(checkout, cores, experiment, flags)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{checkout}: {experiment} failed:\n{errors}")


def differences(one: Path, other: Path) -> list[str]:
    """Returns the variables and coordinates that differ between two results."""
    with (
        xr.open_dataset(one / "results.nc", engine="h5netcdf") as first,
        xr.open_dataset(other / "results.nc", engine="h5netcdf") as second,
    ):
        names = sorted({*map(str, first.variables), *map(str, second.variables)})
        return [name for name in names if not _same(first, second, name)]


def _same(first: xr.Dataset, second: xr.Dataset, name: str) -> bool:
    if name not in first.variables or name not in second.variables:
        return False
    a, b = first[name], second[name]
    if (a.dims, a.dtype, a.shape) != (b.dims, b.dtype, b.shape):
        return False
    if a.dtype.kind in "fc":
        return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    return bool((a.values == b.values).all())


def interrupted(checkout: Path, cores: int, flags: Sequence[str], folder: Path) -> None:
    """Runs scale_sweep, kills it once it has saved a group of runs, and resumes it."""
    process = start(checkout, cores, "scale_sweep", flags)
    while process.poll() is None and not list(folder.glob("parts/*.part")):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    if (folder / "results.nc").exists():
        sys.exit("The sweep ended before it was killed; make it longer.")
    run(checkout, cores, "scale_sweep", flags)


def sharded(checkout: Path, cores: int, flags: Sequence[str], folder: Path) -> None:
    """Runs scale_sweep as two shards and merges them."""
    shards = [f"{folder}-{index}" for index in range(2)]
    for index, shard in enumerate(shards):
        share = ["--num_shards=2", f"--shard_index={index}", f"--out_dir={shard}"]
        run(checkout, cores, "scale_sweep", [*flags, *share])
    run(checkout, cores, "merge", [*shards, f"--out_dir={folder}"])


def main(other: str, data_dir: str = "") -> None:
    """Compares this checkout with another one and prints the verdicts."""
    current, reference = Path(__file__).parents[1], Path(other).resolve()
    datasets = {"synthetic": ["--dataset=synthetic"]}
    if data_dir:
        datasets["official"] = [f"--data_dir={Path(data_dir).resolve()}"]
    cores = range(1, 1 + min(2, len(os.sched_getaffinity(0))))
    failures = 0
    root = Path(tempfile.mkdtemp(prefix="same_bits-"))

    def report(name: str, different: list[str], seconds: float) -> None:
        nonlocal failures
        failures += bool(different)
        verdict = f"DIFFERENT: {', '.join(different)}" if different else "same bits"
        print(f"{name}: {verdict} ({seconds:.0f} s)", flush=True)

    for count in cores:
        for label, source in datasets.items():
            for experiment, more in EXPERIMENTS.items():
                if experiment == "dataset_mixup" and label == "synthetic":
                    continue  # requires both official data sets
                begin = time.monotonic()
                folders: list[Path] = []
                for checkout in (reference, current):
                    folder = root / f"{len(folders)}-{experiment}-{label}-{count}"
                    flags = [*SMALL, *source, *more, f"--out_dir={folder}"]
                    run(checkout, count, experiment, flags)
                    folders.append(folder)
                name = f"{experiment}, {label}, devices: {count}"
                report(name, differences(*folders), time.monotonic() - begin)
            begin = time.monotonic()
            flags = [*SMALL, *source, *INTERRUPTED]
            whole, killed = (root / f"{n}-{label}-{count}" for n in ("whole", "killed"))
            run(reference, count, "scale_sweep", [*flags, f"--out_dir={whole}"])
            interrupted(current, count, [*flags, f"--out_dir={killed}"], killed)
            name = f"killed and resumed, {label}, devices: {count}"
            report(name, differences(whole, killed), time.monotonic() - begin)
            begin = time.monotonic()
            merged = root / f"merged-{label}-{count}"
            sharded(current, count, flags, merged)
            name = f"two shards merged, {label}, devices: {count}"
            report(name, differences(whole, merged), time.monotonic() - begin)
    shutil.rmtree(root)
    print(f"{failures} of the comparisons differ.")
    sys.exit(bool(failures))


if __name__ == "__main__":
    scripts.run(main, __doc__)
