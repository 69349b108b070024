"""Measures every scale-* row of the sources over five seeds, and prints a table.

    python -m docs.scaling FOLDER_WITH_THE_FILES

About four minutes on two cores. The table is in docs/scaling.csv.
"""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from benchmarks import scripts
from experiments.reproduction import references, verdicts
from fmnist_jax import PRESETS, Data, Probe, load, sweep, use_cpu_cores
from fmnist_jax.training.losses import CLIP
from fmnist_jax.training.step import forward

SEEDS = 5
# Row -> preset, settings that differ from the preset, divisor.
ROWS: dict[str, tuple[str, dict[str, Any], float]] = {
    "scale-book-1": ("book", {}, 1),
    "scale-book-255": ("book", {}, 255),
    "scale-keras-255": ("keras", {}, 255),
    "scale-keras-1": ("keras", {}, 1),
    "scale-keras-1000": ("keras", {}, 1000),
    "scale-keras-1-logits": ("keras", {"loss": "softmax"}, 1),
    # Gradients that are never cleared add up: SGD with momentum 1.
    "scale-book-nozerograd, ÷1": (
        "book",
        {"optimizer": "momentum", "momentum": 1.0},
        1,
    ),
    "scale-book-nozerograd, ÷255": (
        "book",
        {"optimizer": "momentum", "momentum": 1.0},
        255,
    ),
}


def below_clip_probe(data: Data) -> Probe:
    """Records the share of the test set with p_true below the clip."""

    def function(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        del key, batch
        images = jnp.asarray(data.test.images)
        logits, _ = forward(config, hparams, state, None, images, False)
        chosen = jax.nn.softmax(logits)[jnp.arange(len(images)), data.test.labels]
        return {"below_clip_share": jnp.mean(chosen < CLIP, dtype=jnp.float32)}

    return Probe(function)


def measure(data: Data) -> dict[str, xr.Dataset]:
    """Returns the runs of each row; rows with equal settings share a sweep."""
    runs_by_row: dict[str, xr.Dataset] = {}
    for preset, settings in {json.dumps(r[:2]): r[:2] for r in ROWS.values()}.values():
        names = [n for n, row in ROWS.items() if row[:2] == (preset, settings)]
        config, hparams = PRESETS[preset]
        fields = {f.name for f in dataclasses.fields(config)}
        static = {n: v for n, v in settings.items() if n in fields}
        traced = {n: v for n, v in settings.items() if n not in fields}
        axes = {"divisor": [ROWS[n][2] for n in names], "seed": range(SEEDS)}
        runs = sweep(
            axes,
            data,
            dataclasses.replace(config, **static),
            dataclasses.replace(hparams, **traced),
            probes=[below_clip_probe(data)],
        )
        runs_by_row |= {n: runs.sel(divisor=ROWS[n][2]) for n in names}
    return runs_by_row


def compare(runs: xr.Dataset, name: str, reference: references.Row) -> list[str]:
    """Returns the row of a metric: values by epoch, and how many numbers agree."""
    values = runs[name].transpose("seed", "epoch").values
    nothing = np.full(values.shape[1], np.nan)
    compared = verdicts.compare(
        values,
        reference.published.get(name, nothing),
        reference.reading_error.get(name, nothing),
    )
    scale, digits = (100, 1) if "accuracy" in name else (1, 3)
    cells = [
        " ".join("–" if np.isnan(v) else f"{scale * v:.{digits}f}" for v in row)
        for row in (compared.published, compared.mean, compared.spread)
    ]
    judged = verdicts.judge_row({name: compared})
    count = f"{judged.num_agreeing} of {judged.num_published}"
    count = count if judged.num_published else "–"
    outside = [f"e{epoch}" for _, epoch, _ in judged.disagreeing]
    count += f" (not {', '.join(outside)})" if outside else ""
    return [name.replace("_", " "), *cells, count]


def main(data_dir: str) -> None:
    """Prints the table, results by seed, and the error of the formula for the loss."""
    use_cpu_cores()
    published = references.load().rows
    runs_by_row = measure(load("fashion_mnist", data_dir))
    print("| row | metric | published | mean | std over seeds | agree |")
    print("|---|---|---|---|---|---|")
    for row, runs in runs_by_row.items():
        reference = published[row.split(",")[0]]
        default = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
        for name in [n for n in default if n in reference.published] or default:
            print(f"| {row} | {' | '.join(compare(runs, name, reference))} |")
    frozen = runs_by_row["scale-keras-1"]
    formula = -np.log(CLIP) * frozen.below_clip_share
    gap = np.abs(frozen.test_loss - formula).max("seed")
    print("\nscale-keras-1 and scale-book-1 by seed, then epoch:\n")
    for title, values in {
        "scale-keras-1 test loss": frozen.test_loss,
        "scale-keras-1 test accuracy": frozen.test_accuracy,
        "scale-book-1 train loss": runs_by_row["scale-book-1"].train_loss,
    }.items():
        for seed, row in enumerate(values.values):
            print(f"    {title}, seed {seed}: {np.round(row.astype(float), 3)}")
    print(f"    scale-keras-1 status: {frozen.status.values.tolist()}")
    gaps = np.round(gap.values.astype(float), 4)
    print(f"    largest |test loss - 16.118 share|: {gaps}")


if __name__ == "__main__":
    scripts.run(main, __doc__)
