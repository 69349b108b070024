"""The points of a map as whole numbers, which take little room on a page. No jax."""

import math

import numpy as np
import xarray as xr

from fmnist_jax.analysis.criteria import NEVER_TRAINED
from fmnist_jax.figures.maps import STATUS_COLOURS

LARGE = 256  # points in each direction; in larger maps, a value takes a byte
MAX_SEEDS = 64  # points in each direction of maps with the status of each seed
MAX_CURVES = 500_000  # values of the learning curves behind the points
TWO_BYTES, ONE_BYTE = 2**16 - 1, 2**8 - 1  # stand for values that are not finite
STATUSES = list(STATUS_COLOURS)


def columns(runs: xr.Dataset) -> dict[str, np.ndarray]:
    """Returns the points of a map ``[y, x]`` as whole numbers, by their meaning.

    Accuracies are shares of the largest number but one, losses their logarithms
    between 1e-6 and 1e6; the largest number is for what is not finite. ``bar`` is the
    training accuracy that more than half of the seeds reach.
    """
    last, seeds = runs.isel(epoch=-1), runs.sizes["seed"]
    top = TWO_BYTES if max(runs.status.shape[:2]) <= LARGE else ONE_BYTE
    loss = last.train_loss.where(np.isfinite(last.train_loss)).median(
        "seed", skipna=False
    )
    logs = (np.log10(np.clip(loss.values, 1e-6, 1e6)) + 6) / 12
    codes = _status_codes(runs)
    counts = np.stack([(codes == code).sum(-1) for code in range(len(STATUSES))])
    points = {
        "accuracy": _coded(last.test_accuracy.mean("seed", skipna=False).values, top),
        "loss": _coded(logs, top),
        "status": counts.argmax(0).astype(np.uint8),
        "agree": (counts.max(0) == seeds).astype(np.uint8),
    }
    if "final_train_accuracy" in runs:
        reached = runs.final_train_accuracy.transpose(*runs.status.dims)
        reached = reached.where(~runs.status.isin(NEVER_TRAINED), -1).fillna(-1)
        bar = np.sort(reached.values, axis=-1)[..., ::-1][..., seeds // 2]
        points["bar"] = _coded(np.where(bar < 0, np.nan, bar), top)
    if "is_trained" in runs:
        points["is_trained"] = runs.is_trained.values.astype(np.uint8)
    if max(runs.status.shape[:2]) <= MAX_SEEDS:
        for seed in range(seeds):
            points[f"seed_{seed}"] = codes[..., seed].astype(np.uint8)
    if runs.sizes["epoch"] > 1 and runs.test_accuracy.size <= MAX_CURVES:
        means = runs.test_accuracy.mean("seed", skipna=False).values
        for epoch in range(runs.sizes["epoch"]):
            points[f"epoch_{epoch}"] = _coded(means[..., epoch], top)
    return points


def accuracy_range(dataset: xr.Dataset) -> tuple[float, float]:
    """Returns the accuracies at the ends of the colours: those of the data."""
    means = dataset.test_accuracy.isel(epoch=-1).mean("seed", skipna=False).values
    finite = means[np.isfinite(means)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    return float(low), float(high) if high > low else float(low) + 0.01


def loss_range(dataset: xr.Dataset) -> tuple[float, float]:
    """Returns the logarithms of the losses at the ends of the colours."""
    uniform = math.log(dataset.attrs["num_classes"])
    losses = dataset.train_loss.isel(epoch=-1).values
    positive = losses[np.isfinite(losses) & (losses > 0)]
    low = min(uniform / 2, positive.min()) if len(positive) else uniform / 2
    return math.log(max(float(low), 1e-6)), math.log(10 * uniform)


def _status_codes(runs: xr.Dataset) -> np.ndarray:
    names = runs.status.values.astype(str)
    codes = np.zeros(names.shape, int)
    for code, name in enumerate(STATUSES):
        codes[names == name] = code
    return codes


def _coded(shares: np.ndarray, top: int) -> np.ndarray:
    """Returns shares from 0 to 1 as whole numbers; ``top`` where they are NaN."""
    is_finite = np.isfinite(shares)
    codes = np.where(is_finite, np.rint(np.nan_to_num(shares) * (top - 1)), top)
    return codes.astype(np.uint16 if top == TWO_BYTES else np.uint8)
