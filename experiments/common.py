"""What every experiment shares: its flags, and the way from a command to figures."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.config import PRESETS, Config, Hparams, UserError, unknown

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from fmnist_jax.data import Data
    from fmnist_jax.planning import Plan


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question, the axes that answer it, and the figures that show the answer.

    Attributes:
      name: of its module in ``experiments``.
      question: one line.
      axes: name to values, in the order of the results' dimensions.
      figures: results to file name and figure.
      preset: name in ``PRESETS``.
      num_seeds: how many seeds unless the flag says otherwise.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[Any]]
    figures: Callable[["xr.Dataset"], Mapping[str, "Figure"]]
    preset: str = "keras"
    num_seeds: int = 3


@dataclasses.dataclass(frozen=True)
class Job:
    """An experiment with the user's flags applied."""

    experiment: Experiment
    options: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    config: Config
    hparams: Hparams
    notices: tuple[str, ...] = ()


def make_job(experiment: Experiment, options: Mapping[str, Any]) -> Job:
    """Applies flags over axes over preset.

    Args:
      experiment: whose axes and preset are the defaults.
      options: parsed flags; None where one was not given.

    Raises:
      UserError: for an unknown preset.
    """
    preset = options["preset"] or experiment.preset
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    config, hparams = PRESETS[preset]
    if options["epochs"]:
        config = dataclasses.replace(config, num_epochs=options["epochs"])
    axes = dict(experiment.axes)
    for name, values in options["settings"].items():
        if name in experiment.axes or len(values) > 1:
            axes[name] = values
        elif name in Hparams.__dataclass_fields__:
            hparams = dataclasses.replace(hparams, **{name: values[0]})
        else:
            config = dataclasses.replace(config, **{name: values[0]})
    axes["seed"] = range(options["num_seeds"] or experiment.num_seeds)
    return Job(experiment, {**options, "preset": preset}, axes, config, hparams)


def fit_batch_sizes(job: Job, train_examples: int) -> Job:
    """Caps default batch sizes at the data; refuses given ones that are larger."""
    given = job.options["settings"].get("batch_size", ())
    for size in given:
        if size > train_examples:
            raise UserError(
                f"--batch_sizes={size} is larger than the training set; expected at "
                f"most its {train_examples} examples."
            )
    if given:
        return job
    sizes = job.axes.get("batch_size", (job.config.batch_size,))
    if max(sizes) <= train_examples:
        return job
    capped = tuple(dict.fromkeys(min(size, train_examples) for size in sizes))
    notice = f"Batch sizes are capped at the {train_examples} training examples."
    if "batch_size" in job.axes:
        axes = {**job.axes, "batch_size": capped}
        return dataclasses.replace(job, axes=axes, notices=(*job.notices, notice))
    config = dataclasses.replace(job.config, batch_size=capped[0])
    return dataclasses.replace(job, config=config, notices=(*job.notices, notice))


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> None:
    """Runs an experiment from the command line, and exits."""
    command_line(lambda argv: execute(experiment, argv), argv)


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
        print("\nInterrupted; nothing was saved.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def execute(
    experiment: Experiment, argv: Sequence[str], *, subfolder: bool = False
) -> None:
    """Does what a command line says.

    Args:
      experiment: what to run.
      argv: program and flags.
      subfolder: whether ``--out_dir`` is to hold a folder by the experiment's name.
    """
    from experiments.flags import help_text, parse

    options = parse(argv)
    if options["help"]:
        print(help_text(experiment))
        return
    if subfolder and options["out_dir"] is not None:
        options["out_dir"] = str(Path(options["out_dir"]) / experiment.name)
    run(make_job(experiment, options), argv)


def run(job: Job, argv: Sequence[str]) -> None:
    """Loads, plans, trains, saves, plots and reports.

    Raises:
      UserError: before any training, for all that is wrong with settings, output folder
        or data.
    """
    from experiments import output
    from fmnist_jax.data import load
    from fmnist_jax.devices import num_cpu_cores, use_cpu_cores
    from fmnist_jax.planning import check_effects, plan

    options = job.options
    todo = plan(job.axes, job.config, job.hparams)  # refused before data are read
    check_effects(options["settings"], [group.config for group in todo.groups])
    out_dir = output.choose_folder(job.experiment.name, options)
    data = load(
        options["dataset"] or "auto",
        options["data_dir"],
        train_examples=options["train_examples"],
        test_examples=options["test_examples"],
    )
    job = fit_batch_sizes(job, len(data.train.labels))
    todo = plan(job.axes, job.config, job.hparams, num_cpu_cores())
    print("\n".join(output.before(job, todo, data)), flush=True)
    if options["dry_run"]:
        return
    output.make_folder(out_dir)
    use_cpu_cores()
    dataset = _train(job, data)
    paths = output.save(job, data, dataset, out_dir, argv)
    print("\n".join(["", *output.after(dataset), "", "Files:", *map(str, paths)]))


def _train(job: Job, data: "Data") -> "xr.Dataset":
    """Runs the plan for the devices there are, with a progress bar."""
    import jax
    from tqdm import tqdm

    from fmnist_jax.joining import Part, join
    from fmnist_jax.planning import plan
    from fmnist_jax.sweeping import run_groups

    todo: Plan = plan(job.axes, job.config, job.hparams, len(jax.devices()))
    parts: list[Part] = []
    bar = tqdm(
        total=todo.num_runs * job.config.num_epochs,
        desc="training", unit="epoch", disable=None, smoothing=0,
    )  # fmt: skip
    with bar:
        for part in run_groups(todo, data):
            parts.append(part)
            if part.epoch is not None:
                bar.update(len(todo.groups[part.group].runs))
    return join(todo, parts, data)


def save_figures(figures: Mapping[str, "Figure"], out_dir: Path) -> list[Path]:
    """Writes figures as PNG; returns their paths."""
    paths = []
    for name, figure in figures.items():
        paths.append(out_dir / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
    return paths
