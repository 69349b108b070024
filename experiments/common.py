"""The way from a command line to results: load, plan, train, save, plot, report."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.jobs import Experiment, Job, fit_batch_sizes, make_job
from fmnist_jax.config import UserError

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data import Data
    from fmnist_jax.planning import Plan

__all__ = ["Experiment", "main"]


@dataclasses.dataclass(frozen=True)
class Ready:
    """A job that nothing stands in the way of any more."""

    job: Job
    data: "Data"
    out_dir: Path
    argv: Sequence[str]


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> None:
    """Runs an experiment from the command line, and exits."""
    command_line(lambda argv: execute([experiment], argv), argv)


def command_line(
    command: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None
) -> None:
    """Runs a command and exits: 0, 2 with one line for a user's mistake, 130."""
    try:
        command(sys.argv if argv is None else argv)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted; this experiment was not saved.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def execute(experiments: Sequence[Experiment], argv: Sequence[str]) -> None:
    """Does what a command line says, for one experiment or several.

    Where there are several, ``--out_dir`` holds a folder for each.

    Raises:
      UserError: before any training, for all that is wrong with settings, output folder
        or data of any of them.
    """
    from experiments.flags import asks_for_help, help_text, parse

    if asks_for_help(argv):
        print("\n\n".join(help_text(experiment) for experiment in experiments))
        return
    options = parse(argv)
    ready = []
    for experiment in experiments:
        own = dict(options)
        if len(experiments) > 1 and own["out_dir"] is not None:
            own["out_dir"] = str(Path(own["out_dir"]) / experiment.name)
        ready.append(prepare(make_job(experiment, own), argv))
    for each in ready:
        run(each)


def prepare(job: Job, argv: Sequence[str]) -> Ready:
    """Finds every mistake there is in a job, and loads its data."""
    from experiments import output
    from fmnist_jax.data import load
    from fmnist_jax.planning import check_effects, plan

    options = job.options
    todo = plan(job.axes, job.config, job.hparams)
    check_effects(options["settings"], [group.config for group in todo.groups])
    out_dir = output.choose_folder(job.experiment.name, options)
    data = load(
        options["dataset"] or "auto",
        options["data_dir"],
        train_examples=options["train_examples"],
        test_examples=options["test_examples"],
    )
    job = fit_batch_sizes(job, len(data.train.labels))
    output.check_memory(todo, data)
    return Ready(job, data, out_dir, argv)


def run(ready: Ready) -> None:
    """Plans for the devices there are, trains, saves, plots and reports."""
    from experiments import output
    from fmnist_jax.devices import (
        num_cpu_cores,
        use_compilation_cache,
        use_cpu_cores,
    )
    from fmnist_jax.planning import plan

    job, data = ready.job, ready.data
    if job.options["dry_run"]:
        todo = plan(job.axes, job.config, job.hparams, num_cpu_cores())
        print("\n".join(output.before(job, todo, data)))
        return
    use_cpu_cores()
    use_compilation_cache()
    from fmnist_jax.sweeping import plan_here

    todo = plan_here(job.axes, job.config, job.hparams)
    print("\n".join(output.before(job, todo, data)), flush=True)
    with output.made_folder(ready.out_dir):
        dataset = _train(todo, data)
        paths = output.save(job, data, dataset, ready.out_dir, ready.argv)
    print("\n".join(["", *output.after(dataset), "", "Files:", *map(str, paths)]))


def _train(todo: "Plan", data: "Data") -> "xr.Dataset":
    """Runs a plan with a progress bar."""
    from tqdm import tqdm

    from fmnist_jax.joining import Part, join
    from fmnist_jax.sweeping import run_groups

    parts: list[Part] = []
    bar = tqdm(
        total=todo.num_runs * todo.config.num_epochs,
        desc="training", unit="epoch", disable=None, smoothing=0,
    )  # fmt: skip
    with bar:
        for part in run_groups(todo, data):
            parts.append(part)
            if part.epoch is not None:
                bar.update(len(part.runs))
    return join(todo, parts, data)
