"""A sweep from axes to labelled results."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.inspection import check_learnable
from fmnist_jax.errors import Notice, unknown
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checks import check_data
from fmnist_jax.sweeps.cluster import plan_for
from fmnist_jax.sweeps.continuing import Sweep
from fmnist_jax.sweeps.cost import kept_state_bytes
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.labelling import notices
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import SweepProgress, saved_parts
from fmnist_jax.sweeps.running import run_search
from fmnist_jax.sweeps.stages import Grid
from fmnist_jax.sweeps.states import (
    NONE_KEPT,
    STATE_PROBE,
    States,
    keep_best,
    kept_states,
)
from fmnist_jax.values import KEEP

if TYPE_CHECKING:
    from distributed import Client

MUCH_MEMORY = 1e9  # bytes


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
    progress: bool = ...,
    folder: Path | str | None = ...,
    continue_from: Sweep | None = ...,
    client: "Client | None" = ...,
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
    progress: bool = ...,
    folder: Path | str | None = ...,
    continue_from: Sweep | None = ...,
    client: "Client | None" = ...,
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
    progress: bool = False,
    folder: Path | str | None = None,
    continue_from: Sweep | None = None,
    client: "Client | None" = None,
) -> xr.Dataset | tuple[xr.Dataset, States]:
    """Trains a run for each combination of the axes' values.

    Args:
      axes: settings to vary, name to list, range or array of values. A name is a field
        of ``Config`` or ``Hparams``, a key of ``Hparams.extra``, or "seed" (else 0). An
        axis with another name takes bundles of settings, a dict from label to settings
        such as ``{"raw": {"divisor": 1}}`` or a list. Equal runs are trained once.
      data: training and test set.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      probes: what to record in addition to the metrics.
      max_width: maximum number of runs per device at once; None: as the device allows.
      keep_states: trained states to return: "none", "all", or "best" (``keep_best``).
      progress: whether to show a progress bar on stderr.
      folder: of checkpoints, from which the same call resumes or returns its results.
      continue_from: ``(results, states)`` of an earlier sweep of the same runs. They
        are trained until they have ``config.num_epochs`` epochs in total.
      client: of a Dask cluster, ``distributed.Client``, whose workers train.

    Returns:
      Metrics and ``status`` of every run, labelled: dimensions as ``axes``, then "seed"
      and "epoch". Losses are in nats (those of a user's loss in its unit), accuracies
      from 0 to 1. With ``keep_states``, a pair of these and ``States``.

    Raises:
      UserError: for settings, data, a folder or an earlier sweep that cannot be used.
      SweepInterrupted: on Ctrl-C; its ``results`` are those so far.

    Warns:
      Notice: for what may be a mistake; also in ``attrs["notices"]`` of the results.
    """
    probes = _with_states(probes, keep_states)
    planned, on = plan_for(client, axes, data, config, hparams, probes, max_width)
    check_findings(planned, data)
    how = folder, progress, continue_from, on
    return _results(run_search(Grid(), "sweep", planned, data, *how), keep_states)


def _with_states(probes: Iterable[Probe], keep_states: str) -> Iterable[Probe]:
    if keep_states not in KEEP:
        raise unknown("keep_states", keep_states, KEEP)
    return probes if keep_states == "none" else (*probes, STATE_PROBE)


def _results(
    stages: list[SweepProgress], keep_states: str
) -> xr.Dataset | tuple[xr.Dataset, States]:
    (results,), (progress,) = Grid().labelled(stages), stages
    if keep_states == "none":
        return results
    planned, parts, data = progress.plans[0], saved_parts(progress, 0), progress.data[0]
    states = kept_states(planned, parts, data)
    states = keep_best(states, results) if keep_states == "best" else states
    if not len(states):
        warnings.warn(NONE_KEPT, Notice, stacklevel=3)
    return results, states


def check_findings(planned: Plan, data: Data) -> None:
    """Refuses data that teach nothing, and states that do not fit into memory.

    Warns of what may be a mistake, and of states that need much memory.
    """
    check_data(data, planned)
    if data.targets == "classes":
        check_learnable(data.findings)
    with usual_settings():
        lines = notices(planned, data)
    is_kept = STATE_PROBE in planned.probes
    if is_kept and (size := kept_state_bytes(planned, data)) > MUCH_MEMORY:
        lines.append(
            f"The trained states of {planned.num_distinct_runs:,} runs need "
            f"{size / 1e9:.1f} GB of memory until the sweep ends, and as much disk "
            "space if saved."
        )
    for line in lines:
        warnings.warn(line, Notice, stacklevel=3)
