"""Successive halving: the worst settings are pruned at rungs; the others continue.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016. The remaining runs continue from their current states in new
batches, so no epoch is trained twice.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError, check_is
from fmnist_jax.probes.probe import Probe
from fmnist_jax.search.rungs import Rungs, check_rungs
from fmnist_jax.sweeps.cluster import plan_for
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.running import run_search
from fmnist_jax.sweeps.sweep import check_findings
from fmnist_jax.values import plain

if TYPE_CHECKING:
    from distributed import Client


def halving(
    axes: Mapping[str, Any],
    data: Data,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    rungs: Sequence[int] = Rungs().epochs,
    keep: float = Rungs().keep,
    by: str = Rungs().by,
    *,
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
    progress: bool = False,
    folder: Path | str | None = None,
    client: "Client | None" = None,
) -> xr.Dataset:
    """Trains a run for each combination of the axes' values; prunes the worst early.

    At each rung but the last, settings are ranked by a validation metric, averaged over
    seeds. The best continue, as they would in ``sweep`` up to float32 rounding.

    Args:
      axes: as ``sweep`` takes them.
      data: training, validation and test set; see ``Data.with_validation``.
      config: static settings that are not axes; the last rung replaces ``num_epochs``.
      hparams: traced settings that are not axes.
      rungs: epochs after which settings are pruned, ascending; the last ends training.
      keep: share of the settings that continue after each rung, between 0 and 1.
      by: metric that ranks the settings, "validation_loss" or "validation_accuracy".
      probes: what to record in addition to the metrics.
      max_width: maximum number of runs per device at once; None: as the device allows.
      progress: whether to show a progress bar on stderr.
      folder: where checkpoints are saved, as in ``sweep``.
      client: of a Dask cluster, as in ``sweep``.

    Returns:
      As ``sweep``. A pruned run has the status "pruned". Its ``pruned_epoch`` is the
      epoch after which it was pruned, and later values are NaN.

    Raises:
      UserError: as ``sweep``, and for data without a validation set.
      SweepInterrupted: on Ctrl-C; its ``results`` are those so far.
    """
    check_is("rungs", rungs, Iterable, "a list of epochs, such as (1, 3, 9)")
    search = check_rungs(Rungs(tuple(plain(list(rungs))), plain(keep), by))
    config = dataclasses.replace(config, num_epochs=search.epochs[-1])
    planned, on = plan_for(client, axes, data, config, hparams, probes, max_width)
    _check_metric(planned, data, search)
    check_findings(planned, data)
    how = folder, progress, None, on
    return search.labelled(run_search(search, "halving", planned, data, *how))[0]


def _check_metric(planned: Plan, data: Data, rungs: Rungs) -> None:
    """Raises UserError if the metric is unknown or cannot be compared."""
    losses = {group.config.loss for group in planned.groups}
    if rungs.by == "validation_loss" and len(losses) > 1:
        raise UserError(
            "The losses of different loss functions cannot be compared; pass "
            "by='validation_accuracy'."
        )
    if data.validation is None:
        raise UserError(
            "Halving ranks settings on a validation set, but the data have none; hold "
            "examples out with data.with_validation(N)."
        )
    if rungs.by == "validation_accuracy" and data.targets != "classes":
        raise UserError("These targets have no accuracy; pass by='validation_loss'.")
