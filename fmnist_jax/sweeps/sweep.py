"""A sweep from axes to labelled results."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.inspection import check_learnable
from fmnist_jax.errors import Notice, unknown
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checks import check_data
from fmnist_jax.sweeps.engine import plan_for_local_devices, run_groups
from fmnist_jax.sweeps.labelling import join, notices
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.states import KEEP, STATE_PROBE, States, keep_best, kept_states


@overload
def sweep(
    axes: Mapping[str, Any],
    data: Data,
    config: Config = ...,
    hparams: Hparams = ...,
    probes: Iterable[Probe] = ...,
    max_width: int | None = ...,
    *,
    keep_states: Literal["none"] = ...,
) -> xr.Dataset: ...


@overload
def sweep(
    axes: Mapping[str, Any],
    data: Data,
    config: Config = ...,
    hparams: Hparams = ...,
    probes: Iterable[Probe] = ...,
    max_width: int | None = ...,
    *,
    keep_states: Literal["best", "all"],
) -> tuple[xr.Dataset, States]: ...


def sweep(
    axes: Mapping[str, Any],
    data: Data,
    config: Config = Config(),  # noqa: B008 - frozen
    hparams: Hparams = Hparams(),  # noqa: B008 - frozen
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
    *,
    keep_states: Literal["none", "best", "all"] = "none",
) -> xr.Dataset | tuple[xr.Dataset, States]:
    """Trains a run for each combination of the axes' values.

    Args:
      axes: name of a field of ``Config`` or ``Hparams``, or "seed", to its values. Each
        value of a field of ``Config`` makes a program of its own; the rest are vmapped.
      data: training and test set.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      probes: what to record in addition to the metrics.
      max_width: maximum number of runs per device at once; None: set by the device.
      keep_states: which trained states to return: "none", those of "all" runs, or those
        of the "best" setting with all its seeds (as ``keep_best`` chooses it).

    Returns:
      The metrics of every run and epoch, labelled: dimensions as ``axes``, then "seed",
      then "epoch"; and each run's ``status``. With ``keep_states``, a pair of these and
      ``States``, which ``save_states`` saves.

    Raises:
      UserError: for axes, settings, probes or networks that are not allowed, and for
        data that teach nothing.

    Warns:
      Notice: for data and divisors that may be a mistake. The results keep the lines,
        if there are any, as ``attrs["notices"]``.
    """
    if keep_states not in KEEP:
        raise unknown("keep_states", keep_states, KEEP)
    if keep_states != "none":
        probes = (*probes, STATE_PROBE)
    planned = plan_for_local_devices(axes, data, config, hparams, probes, max_width)
    check_data(data, planned)
    _check_findings(planned, data)
    parts = list(run_groups(planned, data))
    results = join(planned, parts, data)
    if keep_states == "none":
        return results
    states = kept_states(planned, parts, data)
    return results, states if keep_states == "all" else keep_best(states, results)


def _check_findings(planned: Plan, data: Data) -> None:
    """Refuses data that teach nothing; warns of what may be a mistake."""
    if data.targets == "classes":
        check_learnable(data.findings)
    for line in notices(planned, data):
        warnings.warn(line, Notice, stacklevel=3)
