"""One experiment from its plan to its report: plan, train, save, plot, report."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import stack
from fmnist_jax.devices import num_cpu_cores, use_compilation_cache, use_cpu_cores
from fmnist_jax.runner import (
    distributed,
    interrupts,
    output_folder,
    saving,
    shards,
    terminal,
)
from fmnist_jax.runner.jobs import (
    Data,
    Inspection,
    Job,
    plans,
)
from fmnist_jax.sweeps import plan_file, resuming, sweep_progress
from fmnist_jax.sweeps.planning import Plan, for_shares
from fmnist_jax.sweeps.sweep_progress import Share, SweepProgress

if TYPE_CHECKING:
    import xarray as xr


def inspect(
    inspection: Inspection,
    data: Data,
    out_dir: Path,
    arguments: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Answers from the data alone, saves and reports."""
    print("\n".join([*terminal.introduction(inspection, [data]), ""]), flush=True)
    if options["dry_run"]:
        return
    with output_folder.ensure_dir(out_dir), output_folder.locked(out_dir) as folder:
        if not options["overwrite"]:
            output_folder.check_free(
                out_dir
            )  # again: it may have been another process's
        if output_folder.is_unfinished(out_dir):
            problem = "a sweep that is not finished"
            plan_file.refuse(out_dir, problem, options["overwrite"])
        answer = inspection.answer(data)
        facts = saving.facts(inspection, [data], arguments)
        paths = saving.save_answer(answer, facts, out_dir)
        output_folder.discard(folder)
    print("\n".join(terminal.results(answer, paths)))


def run(
    job: Job,
    loaded: Mapping[str, Data],
    out_dir: Path,
    arguments: Sequence[str],
    command: str,
    trains: bool,
) -> None:
    """Plans for the devices there are, trains, saves, plots and reports.

    Args:
      job: what is to be done.
      loaded: the data sets, by the name they are asked for by.
      out_dir: where results go.
      arguments: of the command line, as results record them.
      command: what goes on with the job where it is interrupted.
      trains: whether there may be something to train.
    """
    data = [loaded[variant.dataset] for variant in job.variants]
    if job.options["dry_run"]:
        todo = plans(job, num_cpu_cores())
        probes = tuple(job.experiment.probes(todo))
        todo = [dataclasses.replace(each, probes=probes) for each in todo]
        print("\n".join(terminal.overview(job, todo, data)))
        return
    use_cpu_cores()
    use_compilation_cache()
    joined = (
        distributed.connected(job.options, command)
        if job.options["distributed"]
        else contextlib.nullcontext(shards.own(job.options))
    )
    with (
        joined as share,
        output_folder.ensure_dir(out_dir),
        output_folder.locked(out_dir, share),
    ):
        said = _done(job, data, out_dir, arguments, command, share, trains)
    print("\n".join(["", *said]))


def _done(
    job: Job,
    data: Sequence[Data],
    out_dir: Path,
    arguments: Sequence[str],
    command: str,
    share: Share,
    trains: bool,
) -> list[str]:
    """Does a process's share, in a folder that is held; says what came."""
    with interrupts.stop_signals() as is_stopped:
        progress = _begun(job, data, out_dir, arguments, share, trains)
        print("\n".join(terminal.overview(job, progress.plans, data)), flush=True)
        print("\n".join(sweep_progress.said(progress, command)), flush=True)
        with interrupts.adding_resume_command(command, progress.folder):
            _train(job, progress, data, is_stopped)
    with interrupts.adding_resume_command(command, progress.folder):
        said = _saved(job, progress, data, out_dir, arguments)
    if job.options["distributed"] or share.total == 1:
        output_folder.discard(progress.folder)
    return said


def _begun(
    job: Job,
    data: Sequence[Data],
    out_dir: Path,
    arguments: Sequence[str],
    share: Share,
    trains: bool,
) -> SweepProgress:
    """Returns sweeps as they begin, or go on, in a folder that is held."""
    overwrite = job.options["overwrite"]
    if not overwrite:
        output_folder.check_free(out_dir)  # again: it may have been another process's
    todo = [for_shares(each, share.total) for each in _plans_here(job, data)]
    if not trains:
        return resuming.finished(out_dir, todo, data)
    told = {"experiment": job.experiment.name, "arguments": list(arguments)}
    return resuming.begin(out_dir, todo, data, told, overwrite, share)


def _plans_here(job: Job, data: Sequence[Data]) -> list[Plan]:
    """Returns a plan for each variant, for the devices there are."""
    from fmnist_jax.sweeps.engine import plan_for_local_devices

    probes = job.experiment.probes(plans(job))
    return [
        plan_for_local_devices(job.axes, on, v.config, v.hparams, probes)
        for v, on in zip(job.variants, data, strict=True)
    ]


def _train(
    job: Job,
    progress: SweepProgress,
    data: Sequence[Data],
    is_stopped: Callable[[], bool],
) -> None:
    """Runs what is left of this process's share of sweeps, with a progress bar.

    Raises:
      KeyboardInterrupt: where it was stopped.
    """
    from tqdm import tqdm

    if job.options["distributed"]:
        distributed.check_same(progress)
    if is_stopped():
        raise KeyboardInterrupt
    bar = tqdm(
        total=sweep_progress.num_epochs(progress),
        initial=sweep_progress.num_epochs_kept(progress),
        desc="training", unit="epoch", disable=None, smoothing=0,
    )  # fmt: skip
    with bar:
        for number, on in enumerate(data):
            for part in resuming.run(progress, number, on, is_stopped):
                if part.epoch is not None:
                    bar.update(len(part.runs))
    if is_stopped():
        raise KeyboardInterrupt


def _saved(
    job: Job,
    progress: SweepProgress,
    data: Sequence[Data],
    out_dir: Path,
    arguments: Sequence[str],
) -> list[str]:
    """Saves what is this process's to save; says what came."""
    is_distributed, share = job.options["distributed"], progress.share
    if is_distributed:
        distributed.assemble(progress)
    if share.total > 1 and not (is_distributed and share.number == 0):
        said = sweep_progress.said_of_share(progress)
    else:
        dataset = _joined(job, progress, data)
        facts = saving.facts(job.experiment, data, arguments)
        answer, paths = saving.save_runs(job, dataset, facts, out_dir)
        said = terminal.results(answer, paths, dataset)
    if is_distributed:
        distributed.wait_for_all()
    return said


def _joined(job: Job, progress: SweepProgress, data: Sequence[Data]) -> "xr.Dataset":
    """Returns the results of all variants."""
    found = resuming.joined(progress, data)
    if beside := job.experiment.beside:
        found = [
            each.merge(beside(todo, on), join="exact", combine_attrs="override")
            for each, todo, on in zip(found, progress.plans, data, strict=True)
        ]
    for axis in job.experiment.variants:
        labels = [variant.label for variant in job.variants]
        found = [stack(axis, dict(zip(labels, found, strict=True)))]
    return found[0]
