"""What a claim's finding is made of: a measurement in words, and its verdict."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from fmnist_jax.analysis.intervals import Interval, paired_interval

Runs = Mapping[str, xr.Dataset]
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
CHANCE = 0.1


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim's verdict, and what was measured, in words."""

    verdict: str
    measured: str


@dataclasses.dataclass(frozen=True)
class Decision:
    """How a claim is decided.

    Attributes:
      trainings: names of the configurations it needs.
      find: runs of these, over the same seeds, to the finding.
    """

    trainings: tuple[str, ...]
    find: Callable[[Runs], Finding]


def at(runs: xr.Dataset, name: str, epoch: int = -1) -> np.ndarray:
    """Returns a metric by seed after an epoch from 1 on; -1 is the last, float64.

    The accuracy of a run that diverged is that of guessing.
    """
    position = epoch - 1 if epoch > 0 else epoch
    found = runs[name].isel(epoch=position).transpose("seed").values.astype(float)
    return np.nan_to_num(found, nan=CHANCE) if "accuracy" in name else found


def last_common(*runs: xr.Dataset) -> int:
    """Returns the last epoch that all of some runs have."""
    return min(each.sizes["epoch"] for each in runs)


def points(difference: np.ndarray) -> tuple[Interval, str]:
    """Returns a paired difference of accuracies, and the same in words."""
    found = paired_interval(difference)
    text = (
        f"{100 * found.estimate:+.2f} points ({100 * found.low:+.2f} to "
        f"{100 * found.high:+.2f})"
    )
    return found, text


def nats(difference: np.ndarray) -> tuple[Interval, str]:
    """Returns a paired difference of losses, and the same in words."""
    found = paired_interval(difference)
    return found, f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def percent(values: np.ndarray) -> str:
    """Returns the mean of shares, and their spread over seeds, in percent."""
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f} %"


def worst(*verdicts: str) -> str:
    """Returns the verdict of a claim that says several things at once."""
    order = (CONTRADICTED, UNDECIDED, SUPPORTED)
    return min(verdicts, key=order.index)


def gap(runs: xr.Dataset, epoch: int = -1, ending: str = "") -> np.ndarray:
    """Returns by how much training accuracy is above test accuracy, by seed."""
    train = at(runs, f"train_accuracy{ending}", epoch)
    return train - at(runs, f"test_accuracy{ending}", epoch)
