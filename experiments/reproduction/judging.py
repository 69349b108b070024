"""Rows of the sources against what their configurations gave."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from experiments.reproduction import verdicts
from experiments.reproduction.references import Row, other_reading
from experiments.reproduction.rows import TRAININGS, Training

Runs = Mapping[str, xr.Dataset]
SATURATED = 16.118  # -ln 1e-7, what a saturated wrong example costs under the clip
MOVED = 0.5  # nats, of a run that is frozen no longer


def trained_for(row: str) -> dict[str, Training]:
    """Returns the configurations that a row of the sources is the beginning of."""
    return {name: t for name, t in TRAININGS.items() if row in t.rows}


def values(runs: xr.Dataset, metric: str, epochs: int) -> np.ndarray:
    """Returns our values of a published metric, ``[seeds, epochs]``; float64."""
    if metric == "train_loss_and_penalty":
        found = runs.train_loss + runs.train_penalty
    else:
        found = runs[metric]
    ordered = found.transpose("seed", "epoch").values.astype(float)
    return ordered[:, :epochs]


def comparisons(row: Row, runs: xr.Dataset) -> dict[str, verdicts.Comparison]:
    """Returns each published metric of a row beside ours."""
    epochs = min(row.num_epochs, runs.sizes["epoch"])
    return {
        metric: verdicts.compare(
            values(runs, metric, epochs),
            published[:epochs],
            row.reading_error[metric][:epochs],
        )
        for metric, published in row.published.items()
        if metric in runs or metric == "train_loss_and_penalty"
    }


def judge(row: Row, runs: xr.Dataset) -> tuple[verdicts.RowVerdict, str]:
    """Returns a row's verdict, and what another reading of its numbers would give."""
    own = verdicts.judge_row(comparisons(row, runs))
    if not row.also_compared_with:
        return own, ""
    other = verdicts.judge_row(comparisons(other_reading(row), runs))
    return own, (
        f"Read as measured with dropout off, {other.num_agreeing} of "
        f"{other.num_published} numbers would agree."
    )


def rates_text(row: Row, runs: xr.Dataset) -> str:
    """Returns after which epochs the learning rate fell, published and by seed."""

    def falls(rates: np.ndarray) -> str:
        return " ".join(str(e + 1) for e in np.flatnonzero(np.diff(rates) < 0)) or "–"

    if row.learning_rate is None:
        return ""
    ours = runs.epoch_learning_rate.transpose("seed", "epoch").values
    listed = "; ".join(falls(rates) for rates in ours)
    return (
        f"The rate falls after epochs {falls(row.learning_rate)} (published); ours by "
        f"seed: {listed}."
    )


def law_text(runs: xr.Dataset) -> str:
    """Returns how well frozen runs obey their law, and how many froze for good."""
    losses = values(runs, "test_loss", runs.sizes["epoch"])
    wrong = 1 - values(runs, "test_accuracy", runs.sizes["epoch"])
    deviation = np.abs(losses - SATURATED * wrong)
    moved = np.abs(losses[:, 1:] - losses[:, 1:2]).max(1) > MOVED
    return (
        f"The law, test loss = {SATURATED} × share of wrong test images (each of them "
        f"saturated), holds to {deviation.max():.4f} over all seeds and epochs. "
        f"{moved.sum()} of {len(moved)} seeds moved by more than {MOVED} after epoch 2."
    )
