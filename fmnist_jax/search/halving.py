"""Successive halving: the worst settings are pruned at rungs; the others continue.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016. The remaining runs continue from their current states in new
batches, so no epoch is trained twice.
"""

import contextlib
import dataclasses
import itertools
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import Notice, SweepInterrupted, UserError, check_is
from fmnist_jax.files import local_folder
from fmnist_jax.probes.probe import Probe
from fmnist_jax.search.rungs import Rungs, check_rungs, survivors
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.engine import plan_for_local_devices
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.labelling import join, num_halved
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import SweepProgress, saved_parts
from fmnist_jax.sweeps.resuming import next_rung, open_sweeps, run_sweep
from fmnist_jax.sweeps.stop_signals import never_stopped, stop_signals
from fmnist_jax.sweeps.sweep import check_findings, progress_bar
from fmnist_jax.values import plain


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
) -> xr.Dataset:
    """Trains a run for each combination of the axes' values; prunes the worst early.

    At each rung except the last, settings are ranked by the mean over seeds of a
    validation metric, and only the best continue. Their results are those of ``sweep``,
    up to float32 rounding.

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

    Returns:
      As ``sweep``. A pruned run has the status "pruned". Its ``pruned_epoch`` is the
      epoch after which it was pruned, and later values are NaN.

    Raises:
      UserError: as ``sweep``, and for data without a validation set.
      SweepInterrupted: on Ctrl-C; its ``results`` are those so far.
    """
    check_is("rungs", rungs, Iterable, "a list of epochs, such as (1, 3, 9)")
    settings = check_rungs(Rungs(tuple(plain(list(rungs))), plain(keep), by))
    config = dataclasses.replace(config, num_epochs=settings.epochs[-1])
    planned = plan_for_local_devices(axes, data, config, hparams, probes, max_width)
    _check_data(data, settings)
    check_findings(planned, data)
    return labelled(_train(planned, data, settings, folder, progress), settings)[0]


def _train(
    planned: Plan, data: Data, rungs: Rungs, folder: Path | str | None, is_shown: bool
) -> list[SweepProgress]:
    """Returns the progress of all rungs."""
    stages: list[SweepProgress] = []
    try:
        with (
            _opened(planned, data, rungs, folder) as (first, is_stopped),
            progress_bar(rungs.num_epochs([planned]), is_shown) as advance,
        ):
            stages.append(first)
            for part in run_rungs(stages, rungs, is_stopped):
                advance(part)
    except KeyboardInterrupt:
        raise _interrupted(stages, rungs, is_saved=folder is not None) from None
    return stages


def _interrupted(
    stages: Sequence[SweepProgress], rungs: Rungs, is_saved: bool
) -> SweepInterrupted:
    parts = [part for stage in stages for part in saved_parts(stage, 0)]
    has_epochs = any(part.epoch is not None for part in parts)
    results = labelled(stages, rungs)[0] if has_epochs else None
    ends = [part for part in parts if part.epoch == rungs.epochs[-1]]
    total = stages[0].plans[0].num_distinct_runs if stages else 0
    finished = sum(len(part.runs) for part in ends)
    return SweepInterrupted(finished, total, results, is_saved=is_saved)


@contextlib.contextmanager
def _opened(
    planned: Plan, data: Data, rungs: Rungs, folder: Path | str | None
) -> Iterator[tuple[SweepProgress, Callable[[], bool]]]:
    """Opens the first rung, in a locked folder if there is one."""
    if folder is None:
        memory = SweepProgress(Path(), "", [planned], [data], [{}], is_saved=False)
        yield memory, never_stopped
        return
    command = {"experiment": "halving", "arguments": []}
    out_dir, search = local_folder(folder), {"rungs": rungs.text}
    with locked(out_dir), stop_signals() as is_stopped:
        plans, cure = [planned], "delete this one"
        first = open_sweeps(out_dir, plans, [data], command, cure=cure, search=search)
        for line in first.notices:
            warnings.warn(line, Notice, stacklevel=6)
        yield first, is_stopped


def _check_data(data: Data, rungs: Rungs) -> None:
    """Raises UserError for data without a validation set or without the metric."""
    if data.validation is None:
        raise UserError(
            "Halving ranks settings on a validation set, but the data have none; hold "
            "examples out with data.with_validation(N)."
        )
    if rungs.by == "validation_accuracy" and data.targets != "classes":
        raise UserError("These targets have no accuracy; pass by='validation_loss'.")


def run_rungs(
    stages: list[SweepProgress], rungs: Rungs, is_stopped: Callable[[], bool]
) -> Iterator[Part]:
    """Trains the runs from rung to rung.

    Args:
      stages: progress of the first rung; that of each later rung is appended to it.
      rungs: when settings are pruned, and which.
      is_stopped: whether to stop after the current epoch.

    Yields:
      New parts.

    Raises:
      KeyboardInterrupt: if it was stopped.
    """
    stages[0] = dataclasses.replace(stages[0], until=rungs.epochs[0])
    for until in (*rungs.epochs[1:], None):
        progress = stages[-1]
        for number in range(len(progress.plans)):
            yield from run_sweep(progress, number, is_stopped)
        if until is None:
            return
        pairs = [
            survivors(plan, saved, rungs)
            for plan, saved in zip(progress.plans, progress.checkpoints, strict=True)
        ]
        plans, starts = zip(*pairs, strict=True)
        for saved in progress.checkpoints:  # frees the states
            saved.update({g: c._replace(leaves=()) for g, c in saved.items()})
        stages.append(next_rung(progress, plans, starts, until))


def labelled(stages: Sequence[SweepProgress], rungs: Rungs) -> list[xr.Dataset]:
    """Returns the labelled results of each sweep, also of an interrupted one."""
    results = []
    for number, plan in enumerate(stages[0].plans):
        parts = [part for stage in stages for part in saved_parts(stage, number)]
        for stage, further in itertools.pairwise(stages):
            stay = {r for g in further.plans[number].groups for r in g.runs}
            for checkpoint in stage.checkpoints[number].values():
                parts += _repeated(checkpoint.parts[-1], stay, plan.config.num_epochs)
        # Each rung numbers its groups anew.
        halved = [num_halved(s.plans[number], saved_parts(s, number)) for s in stages]
        parts = [part._replace(group=0) for part in parts]
        dataset = join(plan, parts, stages[0].data[number])
        dataset.attrs |= {"rungs": list(rungs.epochs), "rungs_keep": rungs.keep}
        dataset.attrs |= {"rungs_by": rungs.by, "groups_halved_for_memory": sum(halved)}
        results.append(dataset)
    return results


def _repeated(last: Part, stay: Collection[int], num_epochs: int) -> list[Part]:
    """Returns parts that repeat the last values of pruned runs in all later epochs."""
    rows = [row for row, run in enumerate(last.runs) if run not in stay]
    if not rows:
        return []
    runs = tuple(last.runs[row] for row in rows)
    values = {name: array[rows] for name, array in last.values.items()}
    values["pruned"] = np.ones(len(rows), np.float32)
    epochs = range((last.epoch or 0) + 1, num_epochs + 1)
    return [Part(last.group, runs, epoch, values) for epoch in epochs]
