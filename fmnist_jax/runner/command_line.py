"""The way from a command line to what is to be done: settings, folders, data."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.runner.jobs import (
    Answer,
    Data,
    Experiment,
    Figures,
    Inspection,
    Job,
    Plan,
    Plans,
    Probes,
    Results,
    fit_batch_sizes,
    make_job,
    own_data,
    plans,
)

__all__ = [
    "Answer",
    "Data",
    "Experiment",
    "Figures",
    "Inspection",
    "Plan",
    "Plans",
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
    command: Callable[[Sequence[str]], None],
    argv: Sequence[str] | None = None,
    interrupted: str = "Interrupted. Completed work is saved.",
) -> None:
    """Runs a command and exits: 0, 2 with one line for a user's mistake, 130.

    Where who reads the output has left, as ``head`` does, the status is 141.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ÷ and × where there is only ASCII
    status, said = 0, []
    try:
        command(sys.argv if argv is None else argv)
        sys.stdout.flush()
    except UserError as error:
        status, said = 2, [line_of(error), *_notes(error)]
    except KeyboardInterrupt as error:
        said = ["", interrupted, *_notes(error)]
        status = 130
    except BrokenPipeError as error:
        status, said = 141, _notes(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        said = [f"Error: the output cannot be written: {error}.", *_notes(error)]
        status = 2
    try:
        print(*said, sep="\n", end="\n" * bool(said), file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):  # or Python complains of it at its end
            os.dup2(nowhere, number)
    sys.exit(status)


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
    from fmnist_jax.runner.flags import parse
    from fmnist_jax.runner.help import asks_for_help, help_text

    if asks_for_help(argv):
        print("\n\n".join(help_text(experiment) for experiment in experiments))
        return
    from fmnist_jax.runner import output_folder, shards

    options = parse(argv, experiments)
    shards.check(options, experiments)
    names = [experiment.name for experiment in experiments]
    jobs = _each(names, lambda each: _checked(each, options), experiments)
    root = output_folder.choose(names, options)
    loaded = _loaded(jobs, options)
    data = [own_data(job, loaded, options) for job in jobs]
    jobs = _each(names, _fitted, jobs, data)
    folder = (
        nullcontext(root)
        if options["dry_run"]
        else output_folder.ensure_dir(root, unique=options["out_dir"] is None)
    )
    with folder as root:
        _do(experiments, jobs, data, root, argv, options, trains)


def _do(
    experiments: Sequence[Experiment | Inspection],
    jobs: Sequence[Job | Inspection],
    data: Sequence[Mapping[str, "Data"]],
    root: Path,
    argv: Sequence[str],
    options: Mapping[str, Any],
    trains: bool,
) -> None:
    """Does jobs, on data of their own, in a folder that is there."""
    from fmnist_jax.runner import batch, execution, output_folder
    from fmnist_jax.runner.flags import command, own_arguments

    again = command(experiments, argv, root)
    names = [experiment.name for experiment in experiments]
    chosen = output_folder.experiment_folders(root, names)

    def do(name: str) -> None:
        index = names.index(name)
        job, on, out_dir = jobs[index], data[index], chosen[index]
        arguments = own_arguments(argv, experiments[index], out_dir)
        if isinstance(job, Job):
            execution.run(job, on, out_dir, arguments, again, trains)
        else:
            asked = on[options["dataset"] or "auto"]
            execution.inspect(job, asked, out_dir, arguments, options)

    if len(names) == 1 or options["dry_run"]:
        for name in names:
            do(name)
        return
    described = map(batch.described, jobs, data)
    selection = dict(zip(names, described, strict=True))
    batch.run(root, selection, do, again, options["overwrite"])


def _each(
    names: Sequence[str], prepare: Callable[..., Any], *given: Sequence[Any]
) -> list[Any]:
    """Prepares experiments; has an error say which of several it is of."""
    found = []
    for name, *own in zip(names, *given, strict=True):
        try:
            found.append(prepare(*own))
        except UserError as error:
            if len(names) == 1:
                raise
            raise UserError(f"{name}: {error}") from error
    return found


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
    from fmnist_jax.sweeps.planning import check_effects

    if isinstance(experiment, Inspection):
        return experiment
    job = make_job(experiment, options)
    todo = plans(job)
    check_effects(options["settings"], [g.config for each in todo for g in each.groups])
    experiment.probes(todo)  # which refuse what they cannot measure
    return job


def _fitted(job: Job | Inspection, data: Mapping[str, "Data"]) -> Job | Inspection:
    """Fits a job to the data; refuses what they or this machine's memory forbid."""
    from fmnist_jax.sweeps import cost

    if isinstance(job, Inspection):
        return job
    for variant in job.variants:
        job = fit_batch_sizes(job, len(data[variant.dataset].train.labels))
    for todo, variant in zip(plans(job), job.variants, strict=True):
        cost.check_memory(todo, data[variant.dataset])
    return job
