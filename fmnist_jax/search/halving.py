"""Successive halving: the worst settings leave at rungs, the others train on.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016. The runs that stay are packed into new batches with the states that
they have, so that nothing is trained twice.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.files import local_folder
from fmnist_jax.probes.probe import Probe
from fmnist_jax.search.rungs import Rungs, check_rungs, survivors
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.engine import plan_for_local_devices
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.labelling import join
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
    """Trains a run for each combination of the axes' values; the worst leave early.

    At each rung, the best settings stay, by the mean over seeds of a metric of the
    validation set. Their runs are those of ``sweep``, up to float32 rounding.

    Args:
      axes: as ``sweep`` takes them.
      data: training, validation and test set; see ``Data.with_validation``.
      config: static settings that are not axes; the last rung replaces ``num_epochs``.
      hparams: traced settings that are not axes.
      rungs: epochs after which settings leave, ascending; training ends at the last.
      keep: share of the settings that stay, above 0 and below 1.
      by: "validation_loss" or "validation_accuracy".
      probes: what to record in addition to the metrics.
      max_width: maximum number of runs per device at once; None: as the device allows.
      progress: whether to show a progress bar on stderr.
      folder: of checkpoints, as ``sweep`` uses it.

    Returns:
      As ``sweep``. A run that left has the status "pruned", ``pruned_epoch`` (the
      rung), and NaN after it.

    Raises:
      UserError: as ``sweep``, and for data without a validation set.
      SweepInterrupted: on Ctrl-C; its ``results`` are those so far.
    """
    settings = check_rungs(Rungs(tuple(plain(list(rungs))), plain(keep), by))
    config = with_last_rung(config, settings)
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
        yield (
            open_sweeps(
                out_dir,
                [planned],
                [data],
                command,
                cure="delete this one",
                search=search,
            ),
            is_stopped,
        )


def with_last_rung(config: Config, rungs: Rungs) -> Config:
    """Returns the settings of runs that train to the last rung."""
    return dataclasses.replace(config, num_epochs=rungs.epochs[-1])


def _check_data(data: Data, rungs: Rungs) -> None:
    """Raises UserError for data without a validation set, or without what judges."""
    if data.validation is None:
        raise UserError(
            "Halving judges settings by a validation set, but there is none: hold "
            "examples out, as Data.with_validation does (--validation_examples)."
        )
    if rungs.by == "validation_accuracy" and data.targets != "classes":
        raise UserError("There is no accuracy without classes; by='validation_loss'.")


def run_rungs(
    stages: list[SweepProgress], rungs: Rungs, is_stopped: Callable[[], bool]
) -> Iterator[Part]:
    """Trains the runs to each rung and beyond.

    Args:
      stages: the first rung; the others are appended when they begin.
      rungs: when settings leave.
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
    """Returns the labelled results of each sweep; of an interrupted one, so far."""
    results = []
    for number, plan in enumerate(stages[0].plans):
        parts = [part for stage in stages for part in saved_parts(stage, number)]
        for stage, further in itertools.pairwise(stages):
            stay = {r for g in further.plans[number].groups for r in g.runs}
            for checkpoint in stage.checkpoints[number].values():
                parts += _repeated(checkpoint.parts[-1], stay, plan.config.num_epochs)
        dataset = join(plan, parts, stages[0].data[number])
        dataset.attrs |= {"rungs": list(rungs.epochs), "rungs_keep": rungs.keep}
        # A group that exceeds the memory cannot pause; those of a rung have numbers of
        # their own.
        dataset.attrs |= {"rungs_by": rungs.by, "groups_halved_for_memory": 0}
        results.append(dataset)
    return results


def _repeated(last: Part, stay: Collection[int], num_epochs: int) -> list[Part]:
    """Returns the last values of runs that left, as if of all epochs after it."""
    rows = [row for row, run in enumerate(last.runs) if run not in stay]
    if not rows:
        return []
    runs = tuple(last.runs[row] for row in rows)
    values = {name: array[rows] for name, array in last.values.items()}
    values["pruned"] = np.ones(len(rows), np.float32)
    epochs = range((last.epoch or 0) + 1, num_epochs + 1)
    return [Part(last.group, runs, epoch, values) for epoch in epochs]
