"""One experiment from its plan to its report: plan, train, save, plot, report."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import stack
from fmnist_jax.devices import accelerator, num_cpu_cores
from fmnist_jax.runner import (
    extension,
    interrupts,
    output_folder,
    report_page,
    saved_states,
    saving,
    shards,
    terminal,
    trial,
)
from fmnist_jax.runner.jobs import Task, plan_job
from fmnist_jax.sweeps import folder_lock
from fmnist_jax.sweeps.plan_file import Shard, is_unfinished, refuse
from fmnist_jax.sweeps.stop_signals import stop_signals

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.planning import Plan
    from fmnist_jax.sweeps.progress import SweepProgress


def run(task: Task) -> None:
    """Runs, saves and reports a task, or prints its plan for ``--dry_run``."""
    if not task.job.options["dry_run"]:
        trial.check_figures()
    if not task.job.experiment.trains:
        _answer_from_data(task)
    elif task.job.options["dry_run"]:
        plans = plan_job(task, num_cpu_cores())
        print("\n".join(terminal.overview(task.job, plans, task.data)))
    else:
        _train_and_report(task)


def _answer_from_data(task: Task) -> None:
    """Answers from the data alone, saves and reports."""
    options, experiment = task.job.options, task.job.experiment
    print("\n".join([*terminal.introduction(experiment, task.data), ""]), flush=True)
    if options["dry_run"]:
        return
    out_dir = task.out_dir
    with output_folder.ensure_dir(out_dir), output_folder.locked(out_dir) as folder:
        _check_free(task)
        if is_unfinished(out_dir) and not options["overwrite"]:
            raise refuse(out_dir, "an unfinished sweep")
        answer = experiment.answer(task.data[0])
        metadata = saving.metadata(task)
        paths = saving.save_answer(answer, metadata, out_dir)
        paths += report_page.write(out_dir, experiment)
        folder_lock.discard(folder)
    print("\n".join(terminal.results(answer, paths)))


def _check_free(task: Task) -> None:
    """Refuses results in the locked folder, which another process may have written."""
    if not (task.job.options["overwrite"] or task.job.options["extend"]):
        output_folder.check_free(task.out_dir)


def _train_and_report(task: Task) -> None:
    """Trains this process's shard of the runs; saves and reports the results."""
    options, out_dir = task.job.options, task.out_dir
    shard = shards.from_options(options)
    trial.start_jax([out_dir])
    from fmnist_jax.sweeps.jax_settings import usual_settings

    with (
        output_folder.ensure_dir(out_dir),
        output_folder.locked(out_dir, shard),
    ):
        with stop_signals() as is_stopped, usual_settings():
            plans, progress = _open(task, shard)
            trial.check_disk(progress)
            to_train = extension.missing(progress) if options["extend"] else ()
            device = "" if task.cluster else accelerator()
            overview = terminal.overview(task.job, plans, task.data, to_train, device)
            print("\n".join(overview), flush=True)
            print("\n".join(_progress_lines(task, progress)), flush=True)
            with interrupts.adding_resume_command(task.resume_command, progress.folder):
                stages = _train(task, progress, is_stopped)
        resume = interrupts.adding_resume_command(task.resume_command, progress.folder)
        with resume, usual_settings():
            lines = _save(task, stages)
        if shard.total == 1:
            folder_lock.discard(progress.folder)
    print("\n".join(["", *lines]))


def _open(task: Task, shard: Shard) -> tuple[list["Plan"], "SweepProgress"]:
    """Plans a task's sweeps, and starts or resumes them in the locked folder.

    Returns the plans of all runs, and the progress of the first stage.
    """
    from fmnist_jax.sweeps.resuming import open_finished_sweeps, open_sweeps

    _check_free(task)
    options, search = task.job.options, task.job.search
    plans = plan_job(task, num_shards=shard.total)
    if not task.allow_training:
        return plans, open_finished_sweeps(task.out_dir, plans, task.data)
    first = [search.first(planned) for planned in plans]
    earlier = extension.earlier_results(task)
    if earlier:
        first = extension.with_reused_groups(task, plans, first, earlier)
    progress = open_sweeps(
        task.out_dir,
        first,
        task.data,
        {"experiment": task.name, "arguments": list(task.arguments)},
        options["overwrite"],
        shard,
        search=search.settings,
        cluster=task.cluster,
    )
    if earlier:
        extension.reuse(progress, earlier)
    return plans, progress


def _progress_lines(task: Task, progress: "SweepProgress") -> list[str]:
    """Returns what is printed before training: how far it is, how to resume."""
    from fmnist_jax.sweeps.progress import is_finished, shard_groups

    groups = shard_groups(progress)
    lines = list(progress.notices)
    if progress.shard.total > 1:
        lines.append(f"This process's shard: {_groups(len(groups))}.")
    if any(group in progress.checkpoints[number] for number, group in groups):
        done = sum(is_finished(progress, *pair) for pair in groups)
        lines.append(f"Resuming: {done} of {_groups(len(groups))} are done.")
    return [*lines, f"To resume: {task.resume_command}"]


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'} of runs"


def _train(
    task: Task, progress: "SweepProgress", is_stopped: Callable[[], bool]
) -> list["SweepProgress"]:
    """Runs the unfinished groups of this process's shard, with a progress bar.

    Returns the progress of each stage. Raises KeyboardInterrupt if it was stopped.
    """
    from fmnist_jax.sweeps.running import train

    stages = [progress]
    if not is_stopped():
        train(task.job.search, stages, is_stopped, is_shown=None)
    if is_stopped():
        raise KeyboardInterrupt
    return stages


def _save(task: Task, stages: list["SweepProgress"]) -> list[str]:
    """Saves this process's results; returns what is printed at the end."""
    from fmnist_jax.sweeps.progress import shard_groups
    from fmnist_jax.sweeps.resuming import check_finished

    progress = stages[0]
    number, total = progress.shard
    if total > 1:
        groups = _groups(len(shard_groups(progress)))
        return [f"Shard {number} of {total} is done: {groups} in {progress.folder}."]
    for stage in stages:
        check_finished(stage)
    results = task.job.search.labelled(stages)
    dataset = _labelled(task, progress, results)
    answer, paths = saving.save_runs(task, dataset)
    files, notes = saved_states.save(task, progress, results)
    shown = None if task.job.experiment.search else dataset
    return [*notes, *terminal.results(answer, [*paths, *files], shown)]


def _with_measurements(results: "xr.Dataset", more: "xr.Dataset") -> "xr.Dataset":
    """Returns results with measurements; those that extended runs had before stay."""
    both = [name for name in more if name in results]
    kept = {n: results[n].where(results[n].notnull(), more[n]) for n in both}
    how: Any = {"join": "exact", "combine_attrs": "override"}
    return results.drop_vars(both).merge(more.assign(kept), **how)


def _labelled(
    task: Task, progress: "SweepProgress", results: list["xr.Dataset"]
) -> "xr.Dataset":
    """Returns the results of all data sets as one."""
    experiment = task.job.experiment
    if measure := experiment.extra_measurements:
        more = map(measure, progress.plans, task.data)
        results = [*map(_with_measurements, results, more)]
    if experiment.datasets:
        by_name = dict(zip(task.job.datasets, results, strict=True))
        return stack("dataset", by_name)
    return results[0]
