"""Undivided pixels with a rescaled first layer against divided pixels. No jax.

In exact arithmetic the two runs of such a pair are equal.
"""

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from fmnist_jax.analysis.results import as_table

LOSSES = ["train_loss", "test_loss"]


def table(dataset: xr.Dataset, axis: str, pairs: Mapping[str, str]) -> pd.DataFrame:
    """Returns a row per pair of runs and epoch: how much the two runs differ.

    Columns: ``rescaled`` and ``divided``, the labels of the pair; ``epoch``;
    ``loss_difference``, the maximum over seeds, and over training and test loss; the
    mean test accuracy of both.

    ``axis`` is the only axis of the sweep. ``pairs`` maps the label of the run with a
    rescaled first layer to that of the run with divided pixels.
    """
    rescaled = dataset.sel({axis: list(pairs)})
    divided = dataset.sel({axis: list(pairs.values())})
    divided = divided.assign_coords({axis: rescaled[axis]})
    difference = abs(rescaled[LOSSES].astype(float) - divided[LOSSES]).to_array()
    columns = {
        "loss_difference": difference.max(("variable", "seed"), skipna=False),
        "rescaled_test_accuracy": rescaled.test_accuracy.mean("seed", skipna=False),
        "divided_test_accuracy": divided.test_accuracy.mean("seed", skipna=False),
    }
    rows = as_table(xr.Dataset(columns), [axis, "epoch"])
    rows = rows.rename(columns={axis: "rescaled"})
    rows.insert(1, "divided", rows["rescaled"].map(pairs))
    return rows


def sentences(table: pd.DataFrame) -> list[str]:
    """Returns how much each pair of runs differs, from its ``table``."""
    lines = []
    for pair, rows in table.groupby(["rescaled", "divided"], sort=False):
        last, largest = rows.iloc[-1], rows.loss_difference.max()
        text = (
            f"differ by at most {largest:.2g}" if largest else "are equal bit for bit"
        )
        accuracies = last[["rescaled_test_accuracy", "divided_test_accuracy"]]
        listed = " and ".join(f"{100 * accuracy:.2f} %" for accuracy in accuracies)
        lines.append(f"{' and '.join(pair)}: losses {text}; test accuracy {listed}.")
    return lines
