"""The way from a command line to results: load, plan, train, save, plot, report."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.jobs import (
    Answer,
    Configs,
    Data,
    Experiment,
    Figures,
    Inspection,
    Job,
    Plan,
    Probes,
    Results,
    fit_batch_sizes,
    make_job,
    own_data,
)
from fmnist_jax.kinds import UserError

if TYPE_CHECKING:
    import xarray as xr

    from experiments.resuming import Begun
    from experiments.shares import Share

__all__ = [
    "Answer",
    "Configs",
    "Data",
    "Experiment",
    "Figures",
    "Inspection",
    "Plan",
    "Probes",
    "Results",
    "main",
]


def main(
    experiment: Experiment | Inspection, argv: Sequence[str] | None = None
) -> None:
    """Runs an experiment from the command line, and exits."""
    command_line(lambda argv: execute([experiment], argv), argv)


def command_line(
    command: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None
) -> None:
    """Runs a command and exits: 0, 2 with one line for a user's mistake, 130."""
    try:
        command(sys.argv if argv is None else argv)
    except UserError as error:
        print("\n".join([line_of(error), *_notes(error)]), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        said = ["", "Interrupted; what is finished is kept.", *_notes(error)]
        print("\n".join(said), file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def line_of(error: UserError) -> str:
    """Returns what is said of a mistake, in one line whatever was typed."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error))
    return f"Error: {text}"


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def execute(
    experiments: Sequence[Experiment | Inspection],
    argv: Sequence[str],
    trains: bool = True,
) -> None:
    """Does what a command line says, for one experiment or several.

    Where there are several, one folder holds a folder for each and a page that shows
    them all.

    Args:
      experiments: which.
      argv: the command line.
      trains: whether runs may be trained; else all of them are in the folder already.

    Raises:
      UserError: before any training, for all that is wrong with settings, output folder
        or data of any of them.
    """
    from experiments.flags import command, own_arguments, parse
    from experiments.help import asks_for_help, help_text

    if asks_for_help(argv):
        print("\n\n".join(help_text(experiment) for experiment in experiments))
        return
    from experiments import folders, pages, selections, shares

    options = parse(argv, experiments)
    shares.check(options, experiments)
    jobs = [_checked(experiment, options) for experiment in experiments]
    chosen = folders.choose([experiment.name for experiment in experiments], options)
    loaded = _loaded(jobs, options)
    data = [own_data(job, loaded, options) for job in jobs]
    jobs = [_fitted(job, on) for job, on in zip(jobs, data, strict=True)]
    root = chosen[0].parent if len(jobs) > 1 else chosen[0]
    again = command(experiments, argv, root)
    several = len(jobs) > 1 and not options["dry_run"]
    order: Iterable[int] = range(len(jobs))
    if several:
        fingerprints = {name: each.fingerprint for name, each in loaded.items()}
        selection = {
            "command": command(experiments, argv, Path()),
            "data": fingerprints,
        }
        names = [experiment.name for experiment in experiments]
        order = selections.through(root, names, selection, options["overwrite"])
    for index in order:
        job, arguments = jobs[index], own_arguments(argv, experiments[index])
        if isinstance(job, Job):
            run(job, data[index], chosen[index], arguments, again, trains)
        else:
            on = data[index][options["dataset"] or "auto"]
            inspect(job, on, chosen[index], arguments, options["dry_run"])
        if several:
            page = pages.write(chosen[: index + 1])
            print(f"\nPage: {page}\n")


def _loaded(
    jobs: Sequence[Job | Inspection], options: Mapping[str, Any]
) -> dict[str, "Data"]:
    """Returns the data sets that jobs ask for, by the name they are asked for by."""
    from fmnist_jax.data import load

    names = {
        options["dataset"] or "auto" for job in jobs if isinstance(job, Inspection)
    }
    names |= {v.dataset for job in jobs if isinstance(job, Job) for v in job.variants}
    return {
        name: load(
            name,
            options["data_dir"],
            train_examples=options["train_examples"],
            test_examples=options["test_examples"],
        )
        for name in sorted(names)
    }


def _checked(
    experiment: Experiment | Inspection, options: Mapping[str, Any]
) -> Job | Inspection:
    """Finds every mistake there is in a job's settings."""
    from fmnist_jax.planning import check_effects, plan

    if isinstance(experiment, Inspection):
        return experiment
    job = make_job(experiment, options)
    plans = [plan(job.axes, v.config, v.hparams) for v in job.variants]
    configs = [group.config for todo in plans for group in todo.groups]
    check_effects(options["settings"], configs)
    return job


def _fitted(job: Job | Inspection, data: Mapping[str, "Data"]) -> Job | Inspection:
    """Fits a job to the data; refuses what they or this machine's memory forbid."""
    from experiments import output
    from fmnist_jax.planning import plan

    if isinstance(job, Inspection):
        return job
    for variant in job.variants:
        job = fit_batch_sizes(job, len(data[variant.dataset].train.labels))
    for variant in job.variants:
        todo = plan(job.axes, variant.config, variant.hparams)
        output.check_memory(todo, data[variant.dataset])
    return job


def inspect(
    inspection: Inspection,
    data: "Data",
    out_dir: Path,
    arguments: Sequence[str],
    dry_run: bool,
) -> None:
    """Answers from the data alone, saves and reports."""
    from experiments import folders, output

    print("\n".join([*output.about(inspection, [data]), ""]), flush=True)
    if dry_run:
        return
    with folders.made(out_dir):
        said = output.finish_inspection(inspection, data, out_dir, arguments)
    print("\n".join(said))


def run(
    job: Job,
    loaded: Mapping[str, "Data"],
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
    from experiments import folders, hosts, output, resuming, shares, unfinished
    from fmnist_jax.devices import num_cpu_cores, use_compilation_cache, use_cpu_cores
    from fmnist_jax.planning import plan

    data = [loaded[variant.dataset] for variant in job.variants]
    if job.options["dry_run"]:
        plans = [
            plan(job.axes, v.config, v.hparams, num_cpu_cores()) for v in job.variants
        ]
        print("\n".join(output.before(job, plans, data)))
        return
    use_cpu_cores()
    use_compilation_cache()
    distributed = job.options["distributed"]
    share = hosts.join(job.options) if distributed else shares.own(job.options)
    with folders.made(out_dir), folders.held(out_dir, share):
        begun = _begun(job, data, out_dir, arguments, share, trains)
        print("\n".join(output.before(job, begun.plans, data)), flush=True)
        print("\n".join(resuming.said(begun, command)), flush=True)
        said = _carried_out(job, begun, data, out_dir, arguments, command)
        if distributed or share.total == 1:
            unfinished.discard(begun.folder)
    print("\n".join(["", *said]))


def _begun(
    job: Job,
    data: Sequence["Data"],
    out_dir: Path,
    arguments: Sequence[str],
    share: "Share",
    trains: bool,
) -> "Begun":
    """Returns sweeps as they begin, or go on, in a folder that is held."""
    from experiments import folders, resuming
    from fmnist_jax.planning import for_shares

    overwrite = job.options["overwrite"]
    if not overwrite:
        folders.check_free(out_dir)  # again: it may have been another process's
    plans = [for_shares(todo, share.total) for todo in _plans(job, data)]
    if not trains:
        return resuming.finished(out_dir, plans, data)
    told = {"experiment": job.experiment.name, "arguments": list(arguments)}
    return resuming.begin(out_dir, plans, data, told, overwrite, share)


def _carried_out(
    job: Job,
    begun: "Begun",
    data: Sequence["Data"],
    out_dir: Path,
    arguments: Sequence[str],
    command: str,
) -> list[str]:
    """Trains this process's share, and saves what is its to save; says what came."""
    from experiments import hosts, interrupting, output, resuming

    distributed, share = job.options["distributed"], begun.share
    with interrupting.going_on_with(command, begun.folder):
        if distributed:
            hosts.check_same(begun)
        _train(begun, data)
        if distributed:
            hosts.assemble(begun)
        if share.total > 1 and not (distributed and share.number == 0):
            said = resuming.said_of_share(begun)
        else:
            found = _joined(job, begun, data)
            said = output.finish_runs(job, data, found, out_dir, arguments)
        if distributed:
            hosts.wait_for_all()
    return said


def _plans(job: Job, data: Sequence["Data"]) -> list["Plan"]:
    """Returns a plan for each variant, for the devices there are."""
    from fmnist_jax.planning import plan
    from fmnist_jax.sweeping import plan_here

    configs = [
        group.config
        for v in job.variants
        for group in plan(job.axes, v.config, v.hparams).groups
    ]
    probes = job.experiment.probes(configs)
    return [
        plan_here(job.axes, on, v.config, v.hparams, probes)
        for v, on in zip(job.variants, data, strict=True)
    ]


def _joined(job: Job, begun: "Begun", data: Sequence["Data"]) -> "xr.Dataset":
    """Returns the results of all variants."""
    from experiments import resuming
    from fmnist_jax.results import stack

    found = resuming.joined(begun, data)
    if beside := job.experiment.beside:
        found = [
            each.merge(beside(todo, on), join="exact", combine_attrs="override")
            for each, todo, on in zip(found, begun.plans, data, strict=True)
        ]
    for axis in job.experiment.variants:
        labels = [variant.label for variant in job.variants]
        found = [stack(axis, dict(zip(labels, found, strict=True)))]
    return found[0]


def _train(begun: "Begun", data: Sequence["Data"]) -> None:
    """Runs what is left of this process's share of sweeps, with a progress bar."""
    from tqdm import tqdm

    from experiments import interrupting, resuming

    bar = tqdm(
        total=resuming.num_epochs(begun), initial=resuming.num_epochs_kept(begun),
        desc="training", unit="epoch", disable=None, smoothing=0,
    )  # fmt: skip
    with bar, interrupting.stop_signals() as is_stopped:
        for number, on in enumerate(data):
            for part in resuming.run(begun, number, on, is_stopped):
                if part.epoch is not None:
                    bar.update(len(part.runs))
