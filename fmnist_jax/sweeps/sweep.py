"""A sweep from axes to labelled results."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.data.inspection import check_learnable
from fmnist_jax.errors import Notice, SweepInterrupted, unknown
from fmnist_jax.files import local_folder
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.checks import check_data
from fmnist_jax.sweeps.continuing import Sweep, continued
from fmnist_jax.sweeps.cost import kept_state_bytes
from fmnist_jax.sweeps.engine import plan_for_local_devices, run_groups
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.labelling import join, notices
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import saved_parts
from fmnist_jax.sweeps.resuming import open_sweeps, run_sweep
from fmnist_jax.sweeps.states import (
    NONE_KEPT,
    STATE_PROBE,
    States,
    keep_best,
    kept_states,
)
from fmnist_jax.sweeps.stop_signals import stop_signals
from fmnist_jax.values import KEEP

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
      keep_states: which trained states to return: "none", "all", or "best" (all seeds
        of one setting, which ``keep_best`` chooses).
      progress: whether to show a progress bar on stderr.
      folder: where checkpoints are saved. The same call resumes an interrupted sweep,
        and returns the results of a finished sweep.
      continue_from: ``(results, states)`` of an earlier sweep of the same runs. They
        are trained until they have ``config.num_epochs`` epochs in total.

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
    planned = plan_for_local_devices(axes, data, config, hparams, probes, max_width)
    check_findings(planned, data)
    planned, parts = _run(planned, data, progress, folder, continue_from)
    return _results(planned, parts, data, keep_states)


def _with_states(probes: Iterable[Probe], keep_states: str) -> Iterable[Probe]:
    if keep_states not in KEEP:
        raise unknown("keep_states", keep_states, KEEP)
    return probes if keep_states == "none" else (*probes, STATE_PROBE)


def _results(
    planned: Plan, parts: list[Part], data: Data, keep_states: str
) -> xr.Dataset | tuple[xr.Dataset, States]:
    results = join(planned, parts, data)
    if keep_states == "none":
        return results
    states = kept_states(planned, parts, data)
    states = keep_best(states, results) if keep_states == "best" else states
    if not len(states):
        warnings.warn(NONE_KEPT, Notice, stacklevel=3)
    return results, states


def _run(
    planned: Plan,
    data: Data,
    is_shown: bool,
    folder: Path | str | None,
    earlier: Sweep | None,
) -> tuple[Plan, list[Part]]:
    """Returns the plan as it was run, and the parts of all groups.

    The parts so far are kept if it is interrupted.
    """
    parts: list[Part] = []
    running = _in_memory(planned, data, earlier)
    if folder is not None:
        running = _in_folder(planned, data, earlier, local_folder(folder))
    try:
        with (
            running as (planned, earlier_parts, new_parts),
            progress_bar(
                planned.num_distinct_runs * planned.config.num_epochs, is_shown
            ) as advance,
        ):
            for part in itertools.chain(earlier_parts, new_parts):
                parts.append(part)
                advance(part)
    except KeyboardInterrupt:
        last = planned.config.num_epochs
        finished = sum(len(part.runs) for part in parts if part.epoch == last)
        has_epochs = any(part.epoch is not None for part in parts)
        results = join(planned, parts, data) if has_epochs else None
        raise SweepInterrupted(
            finished, planned.num_distinct_runs, results, is_saved=folder is not None
        ) from None
    return planned, parts


Running = tuple[Plan, Iterable[Part], Iterable[Part]]  # earlier parts and new ones


@contextlib.contextmanager
def _in_memory(planned: Plan, data: Data, earlier: Sweep | None) -> Iterator[Running]:
    starts = {} if earlier is None else continued(planned, data, earlier)
    parts = [part for saved in starts.values() for part in saved.parts]
    yield planned, parts, run_groups(planned, data, checkpoints=starts)


@contextlib.contextmanager
def _in_folder(
    planned: Plan, data: Data, earlier: Sweep | None, folder: Path
) -> Iterator[Running]:
    """Opens or resumes the sweep of a locked folder; Ctrl-C stops after an epoch."""
    command = {"experiment": "sweep", "arguments": []}
    with locked(folder), stop_signals() as is_stopped:
        progress = open_sweeps(
            folder, [planned], [data], command, cure="delete this one"
        )
        for line in progress.notices:
            warnings.warn(line, Notice, stacklevel=5)
        planned, saved = progress.plans[0], progress.checkpoints[0]
        if earlier is not None:
            for group, start in continued(planned, data, earlier).items():
                saved.setdefault(group, start)
        parts = saved_parts(progress, 0)
        yield planned, parts, run_sweep(progress, 0, is_stopped)


@contextlib.contextmanager
def progress_bar(total: int, is_shown: bool) -> Iterator[Callable[[Part], object]]:
    """Yields a function that advances a bar by the epochs of the runs of a part.

    ``total`` is the number of all these epochs.
    """
    if not is_shown:
        yield lambda part: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="training", unit="epoch", smoothing=0) as bar:
        yield lambda part: bar.update(len(part.runs) * (part.epoch is not None))


def check_findings(planned: Plan, data: Data) -> None:
    """Refuses data that teach nothing, and states that do not fit into memory.

    Warns of what may be a mistake, and of states that need much memory.
    """
    check_data(data, planned)
    if data.targets == "classes":
        check_learnable(data.findings)
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
