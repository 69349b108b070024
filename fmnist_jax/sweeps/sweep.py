"""A sweep from axes to labelled results."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, overload

import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.inspection import check_learnable
from fmnist_jax.errors import Notice, SweepInterrupted, unknown
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checkpoints import Part
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
    progress: bool = ...,
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
) -> xr.Dataset | tuple[xr.Dataset, States]:
    """Trains a run for each combination of the axes' values.

    Args:
      axes: name of a field of ``Config`` or ``Hparams``, of an ``Hparams.extra``, or
        "seed", to its values: a list, range or array (of NumPy or JAX). Each value of a
        field of ``Config`` makes a program of its own; the rest are vmapped. Without
        "seed", the seed is 0.
      data: training and test set.
      config: static settings that are not axes.
      hparams: traced settings that are not axes.
      probes: what to record in addition to the metrics.
      max_width: maximum number of runs per device at once; None: as the device allows.
      keep_states: which trained states to return: "none", "all", or those of all seeds
        of the "best" setting, as ``keep_best`` chooses it.
      progress: whether to show a progress bar on stderr.

    Returns:
      The metrics of every run and epoch, labelled: dimensions as ``axes``, then "seed",
      then "epoch"; and each run's ``status``. Losses are in nats (those of a user's
      loss in its unit), accuracies from 0 to 1. With ``keep_states``, a pair of these
      and ``States``, which ``save_states`` saves.

    Raises:
      UserError: for anything that is not allowed, and for data that teach nothing.

      SweepInterrupted: for Ctrl-C; it has the ``results`` so far.

    Warns:
      Notice: for what may be a mistake; also in ``attrs["notices"]`` of the results.
    """
    if keep_states not in KEEP:
        raise unknown("keep_states", keep_states, KEEP)
    probes = probes if keep_states == "none" else (*probes, STATE_PROBE)
    planned = plan_for_local_devices(axes, data, config, hparams, probes, max_width)
    _check_findings(planned, data)
    results = join(planned, parts := _run(planned, data, progress), data)
    if keep_states == "none":
        return results
    return results, _chosen_states(planned, parts, data, results, keep_states)


def _chosen_states(
    planned: Plan, parts: list[Part], data: Data, results: xr.Dataset, keep: str
) -> States:
    states = kept_states(planned, parts, data)
    return keep_best(states, results) if keep == "best" else states


def _run(planned: Plan, data: Data, progress: bool) -> list[Part]:
    """Returns the parts of all groups; those so far are kept if it is interrupted."""
    parts: list[Part] = []
    try:
        with progress_bar(planned, progress) as advance:
            for part in run_groups(planned, data):
                parts.append(part)
                advance(part)
    except KeyboardInterrupt:
        last = planned.config.num_epochs
        finished = sum(len(part.runs) for part in parts if part.epoch == last)
        results = join(planned, parts, data) if parts else None
        raise SweepInterrupted(finished, planned.num_runs, results) from None
    return parts


@contextlib.contextmanager
def progress_bar(planned: Plan, is_shown: bool) -> Iterator[Callable[[Part], object]]:
    """Yields a function that advances a bar by the epochs of the runs of a part."""
    if not is_shown:
        yield lambda part: None
        return
    from tqdm.auto import tqdm

    total = planned.num_runs * planned.config.num_epochs
    with tqdm(total=total, desc="training", unit="epoch", smoothing=0) as bar:
        yield lambda part: bar.update(len(part.runs) * (part.epoch is not None))


def _check_findings(planned: Plan, data: Data) -> None:
    """Refuses data that teach nothing; warns of what may be a mistake."""
    check_data(data, planned)
    if data.targets == "classes":
        check_learnable(data.findings)
    for line in notices(planned, data):
        warnings.warn(line, Notice, stacklevel=3)
