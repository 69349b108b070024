"""From a command line to tasks: help, flags, data sets and folders; and exit codes."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fmnist_jax.errors import UserError
from fmnist_jax.runner.experiment import Experiment
from fmnist_jax.sweeps.stop_signals import STOP_SIGNALS
from fmnist_jax.values import SUBSETS

if TYPE_CHECKING:
    from fmnist_jax.data.dataset import Data
    from fmnist_jax.runner.jobs import Job, Options

Prepared = TypeVar("Prepared")


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> None:
    """Runs an experiment from the command line, and exits."""
    run_command(lambda argv: execute([experiment], argv), argv)


def run_command(
    command: Callable[[Sequence[str]], None],
    argv: Sequence[str] | None = None,
    interrupted: str = "Interrupted. Completed work is saved.",
) -> None:
    """Runs a command and exits: 0, 2 with one line for a user's mistake, 130.

    Exits 141 if the reader closed the pipe, as ``head`` does.
    """
    _prepare_process()
    status, lines = 0, []
    try:
        command(sys.argv if argv is None else argv)
        sys.stdout.flush()
    except UserError as error:
        status, lines = 2, [error_line(error), *_notes(error)]
    except KeyboardInterrupt as error:
        status, lines = 130, ["", interrupted, *_notes(error)]
    except BrokenPipeError as error:
        status, lines = 141, _notes(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        line = f"Error: the output cannot be written: {error}."
        status, lines = 2, [line, *_notes(error)]
    try:
        print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):  # or Python complains about it when it exits
            os.dup2(null, number)
    sys.exit(status)


def _prepare_process() -> None:
    """Makes stop signals act as Ctrl-C, and printing safe on closed or ASCII streams.

    Figures are drawn into files: MPLBACKEND, which may name a module of a notebook, has
    no effect.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    os.environ["MPLBACKEND"] = "agg"
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ÷ and × in ASCII


def error_line(error: UserError) -> str:
    """Returns the line for a user's mistake, with unprintable characters escaped."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error))
    return f"Error: {text}"


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def execute(
    experiments: Sequence[Experiment], argv: Sequence[str], allow_training: bool = True
) -> None:
    """Executes a command line for one experiment or several.

    Several experiments get one folder each in a parent folder, and a combined page.
    Mistakes in settings, output folder or data of any of them are refused before any
    training. Without ``allow_training``, all runs must be in the folder.
    """
    from fmnist_jax.runner.flags import parse
    from fmnist_jax.runner.help import asks_for_help, help_text

    if asks_for_help(argv):
        print("\n\n".join(help_text(experiment) for experiment in experiments))
        return
    from fmnist_jax.runner import extension, output_folder, shards, workers
    from fmnist_jax.runner.fitting import fit_to_data, leave_out_bundles, select_data
    from fmnist_jax.runner.jobs import make_job

    options = parse(argv, experiments)
    shards.check(options, experiments)
    workers.check(options)
    names = [experiment.name for experiment in experiments]
    extension.check_options(options, names)
    jobs = _for_each(names, lambda e: make_job(e, options), experiments)
    root = output_folder.choose_folder(names, options)
    datasets = _load(jobs, options)
    jobs = [leave_out_bundles(job, datasets) for job in jobs]
    data = [select_data(job, datasets) for job in jobs]
    jobs = _for_each(names, fit_to_data, jobs, data)
    folder = (
        nullcontext(root)
        if options["dry_run"]
        else output_folder.ensure_dir(root, unique=options["out_dir"] is None)
    )
    with folder as root:
        _run(jobs, data, root, allow_training)


def _for_each(
    names: Sequence[str], prepare: Callable[..., Prepared], *arguments: Sequence[Any]
) -> list[Prepared]:
    """Prepares experiments; an error names the experiment if there are several."""
    prepared = []
    for name, *values in zip(names, *arguments, strict=True):
        try:
            prepared.append(prepare(*values))
        except UserError as error:
            if len(names) == 1:
                raise
            raise UserError(f"{name}: {error}") from error
    return prepared


def _load(jobs: Sequence["Job"], options: "Options") -> dict[str, "Data"]:
    """Returns the data sets that the jobs need, by name."""
    from fmnist_jax.data import load

    counts = [options["train_examples"], options["test_examples"]]
    counts += [job.experiment.train_examples for job in jobs]
    if options["subset"] and not any(counts):
        raise UserError(
            f"--subset={options['subset']} has no effect, because no examples are left "
            "out; add --train_examples or --test_examples."
        )
    names = {name for job in jobs for name in job.datasets}
    return {
        name: load(
            name,
            options["data_dir"],
            train_examples=options["train_examples"],
            test_examples=options["test_examples"],
            subset=options["subset"] or SUBSETS[0],
        )
        for name in sorted(names)
    }


def _run(
    jobs: Sequence["Job"],
    data: Sequence[tuple["Data", ...]],
    root: Path,
    allow_training: bool,
) -> None:
    """Runs jobs one after the other, several as a batch."""
    from fmnist_jax.runner import batch, execution, output_folder, rebuilt, workers
    from fmnist_jax.runner.jobs import Task, code_of

    experiments, given = [job.experiment for job in jobs], jobs[0].options["given"]
    folders = output_folder.experiment_folders(root, [e.name for e in experiments])
    resume = rebuilt.command(experiments, given, root)
    tasks = []
    for job, job_data, folder in zip(jobs, data, folders, strict=True):
        arguments = rebuilt.experiment_arguments(given, job.experiment, folder)
        code = code_of(job.experiment)
        task = Task(job, job_data, folder, arguments, code, resume, allow_training)
        tasks.append(task)
    options = jobs[0].options
    if options["dry_run"]:
        for task in tasks:
            execution.run(task)
        return
    with workers.connected(options, [task.out_dir for task in tasks]) as cluster:
        tasks = [task._replace(cluster=cluster) for task in tasks]
        if len(tasks) == 1:
            execution.run(tasks[0])
        else:
            batch.run(root, tasks)
