"""Runs that exact arithmetic makes equal, and how far they part. No jax."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr


def table(dataset: xr.Dataset, axis: str, twins: Mapping[str, str]) -> pd.DataFrame:
    """Returns a row per pair of twins and epoch: how far their losses part.

    ``loss_difference`` is the largest over seeds, and over training and test loss.

    Args:
      dataset: results of a sweep with no axis but ``axis``.
      axis: on which the twins stand.
      twins: label on it to that of the other.
    """
    rows = []
    for twin, other in twins.items():
        pair = [dataset.sel({axis: label}) for label in (twin, other)]
        for epoch in range(dataset.sizes["epoch"]):
            one, two = (each.isel(epoch=epoch) for each in pair)
            parted = [
                np.abs(one[name].values.astype(float) - two[name].values).max()
                for name in ("train_loss", "test_loss")
            ]
            row = {axis: twin, "twin": other, "epoch": dataset.epoch.values[epoch]}
            row |= {"loss_difference": max(parted)}
            row |= {"test_accuracy": one.test_accuracy.values.mean()}
            row |= {"twins_test_accuracy": two.test_accuracy.values.mean()}
            rows.append(row)
    return pd.DataFrame(rows)


def sentences(table: pd.DataFrame) -> list[str]:
    """Says how far the losses of twins part, from their ``table``."""
    said = []
    for (one, other), rows in table.groupby(list(table.columns[:2]), sort=False):
        last = rows.iloc[-1]
        apart = rows.loss_difference.max()
        text = f"apart by at most {apart:.2g}" if apart else "the same, bit for bit"
        accuracies = last.test_accuracy, last.twins_test_accuracy
        ends = " and ".join(f"{100 * a:.2f} %" for a in accuracies)
        said.append(f"{one} and {other}: losses {text}; test accuracy {ends}.")
    return said
