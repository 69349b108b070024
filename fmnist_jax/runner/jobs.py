"""The job that a command line makes of an experiment."""

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fmnist_jax.config import PRESETS, SETTINGS, TRACED, Config, Hparams
from fmnist_jax.errors import UserError, choose
from fmnist_jax.runner.experiment import Experiment, Job, Options
from fmnist_jax.runner.flag_values import Span
from fmnist_jax.runner.halving import rungs_of, without_answer
from fmnist_jax.runner.plane import plane_axes, refinement_of
from fmnist_jax.runner.points import check_points, with_points
from fmnist_jax.sweeps.stages import Grid, Search
from fmnist_jax.values import SUBSETS

if TYPE_CHECKING:
    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.planning import Plan


class Task(NamedTuple):
    """A job with its data sets, and its output folder.

    Attributes:
      arguments: of the command line, as results record them.
      code: digest of the code of the experiment.
      resume_command: resumes the job if it is interrupted.
      allow_training: whether runs may be trained; otherwise all must be in the folder.
    """

    job: Job
    data: tuple["Data", ...]
    out_dir: Path
    arguments: Sequence[str]
    code: str
    resume_command: str
    allow_training: bool = True

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.job.experiment.name

    @property
    def settings(self) -> list[Any]:
        """Data, axes and settings of each sweep, as JSON."""
        from fmnist_jax.sweeps.axes import check_sweep
        from fmnist_jax.sweeps.fingerprint import settings_fingerprint

        settings = self.job.config, self.job.hparams
        axes, _ = check_sweep(self.job.axes, *settings)
        return [settings_fingerprint(axes, *settings, data) for data in self.data]

    @property
    def fingerprint(self) -> str:
        """The sha256 of what determines results, tables, figures and kept states."""
        from fmnist_jax.sweeps import environment
        from fmnist_jax.sweeps.checkpoints import digest

        versions = environment.versions(environment.RECORDED_PACKAGES)
        rest = dict(environment.environment()) if self.job.experiment.trains else {}
        criterion = self.job.options["criterion"]
        rest |= {} if criterion is None else {"criterion": criterion}
        rest |= self.job.search.settings
        if self.job.keeps_states:
            rest["keep_states"] = self.job.options["keep_states"]
        return digest([self.name, self.code, self.settings, versions, rest])


def code_of(experiment: Experiment) -> str:
    """Returns a digest of the package, or else of the file, of an experiment."""
    from fmnist_jax.sweeps.environment import code

    function = getattr(experiment.answer, "func", experiment.answer)  # of a partial
    path = Path(inspect.getfile(function))
    return code(path.parent if (path.parent / "__init__.py").exists() else path)


def with_settings(
    config: Config, hparams: Hparams, settings: Mapping[str, Any]
) -> tuple[Config, Hparams]:
    """Returns settings with some of them replaced, by name."""
    traced = {name: v for name, v in settings.items() if name in TRACED}
    static = {name: v for name, v in settings.items() if name not in TRACED}
    return dataclasses.replace(config, **static), dataclasses.replace(hparams, **traced)


def base_settings(experiment: Experiment, preset: str) -> tuple[Config, Hparams]:
    """Returns an experiment's settings before any flag or axis.

    Raises:
      UserError: for an unknown preset.
    """
    config, hparams = choose("preset", preset, PRESETS)
    if experiment.epochs:
        config = dataclasses.replace(config, num_epochs=experiment.epochs)
    return with_settings(config, hparams, experiment.settings)


def make_job(experiment: Experiment, options: Options) -> Job:
    """Applies flags over the experiment's axes and settings over the preset.

    Raises:
      UserError: for any mistake in the settings.
    """
    datasets: tuple[str, ...] = (options["dataset"] or "auto",)
    if experiment.axes is None:
        return Job(experiment, options, {}, Config(), Hparams(), datasets)
    preset = options["preset"] or experiment.preset
    config, hparams = base_settings(experiment, preset)
    if options["epochs"]:
        config = dataclasses.replace(config, num_epochs=options["epochs"])
    given = options["settings"]
    _check_not_bundled(experiment, given)
    check_points(experiment, options)
    refinement = refinement_of(options) if experiment.plane else None
    plane = plane_axes(experiment.plane, options) if experiment.plane else {}
    defaults = {**plane, **experiment.axes}
    is_axis = {
        n: n in defaults or len(v) > 1 or isinstance(v[0], Span)
        for n, v in given.items()
    }
    axes: Mapping[str, Any] = {
        **defaults,
        **{n: v for n, v in given.items() if is_axis[n]},
        **plane,
    }
    seeds = range(options["num_seeds"] or experiment.num_seeds)
    axes = {**axes, "seed": seeds}
    fixed = {n: v[0] for n, v in given.items() if not is_axis[n]}
    config, hparams = with_settings(config, hparams, fixed)
    experiment, axes, lines = with_points(experiment, axes, options)
    rungs = rungs_of(experiment, options, config.num_epochs)
    search: Search = rungs or refinement or Grid()
    if rungs is not None:
        config = dataclasses.replace(config, num_epochs=rungs.epochs[-1])
        experiment, more = without_answer(experiment)
        lines = lines or more
    from fmnist_jax.sweeps.axes import drop_unread

    # This also drops unused settings that the user gave; ``Job.configs`` refuses them.
    settings = drop_unread(axes, config, hparams)
    if options["dataset"] is None:
        datasets = experiment.datasets or datasets
    options = {**options, "preset": preset}
    job = Job(experiment, options, axes, *settings, datasets, tuple(lines), search)
    _ = job.configs, job.probes  # which refuse mistakes
    return job


def _check_not_bundled(experiment: Experiment, given: Mapping[str, Any]) -> None:
    """Refuses flags for settings that bundles of the experiment set."""
    for axis, values in (experiment.axes or {}).items():
        bundles = values.values() if isinstance(values, Mapping) else ()
        varied = {name for settings in bundles for name in settings}
        if names := [name for name in given if name in varied]:
            raise UserError(
                f"--{SETTINGS[names[0]].flag}: {experiment.name} compares fixed "
                f"settings, {len(values)} values of {axis!r}, which a flag cannot "
                "change; use another experiment, such as scale_sweep."
            )


def select_data(job: Job, datasets: Mapping[str, "Data"]) -> tuple["Data", ...]:
    """Returns the data of each sweep of a job from the loaded data sets by name.

    An experiment may use fewer training examples, unless the flag is given. The
    validation examples are taken from these.

    Raises:
      UserError: as ``Data.subset`` and ``Data.with_validation``.
    """
    count = job.experiment.train_examples
    if count and not job.options["train_examples"]:
        method = job.options["subset"] or SUBSETS[0]
        datasets = {n: d.subset(count, method=method) for n, d in datasets.items()}
    datasets = {name: _with_validation(job, data) for name, data in datasets.items()}
    return tuple(datasets[name] for name in job.datasets)


def _with_validation(job: Job, data: "Data") -> "Data":
    """Returns data with the validation set that the flag or the experiment asks for.

    The share of the experiment is not taken from data that have a validation set.
    """
    count, share = job.options["validation_examples"], job.experiment.validation_share
    if share and not count and data.validation is None:
        count = int(share * len(data.train.labels))
        if not count:
            raise UserError(
                f"{len(data.train.labels)} training examples are too few: "
                f"{job.experiment.name} holds {share:.2g} of them out for validation."
            )
    return data.with_validation(count) if count else data


def leave_out_bundles(job: Job, datasets: Mapping[str, "Data"]) -> Job:
    """Leaves out bundles whose normalization the data cannot have or does not need.

    Large images cannot be whitened, and the normalization of each channel is another
    one if there are no channels.
    """
    from fmnist_jax.data.statistics import MAX_WHITENED, has_channels

    shapes = [datasets[name].image_shape for name in job.datasets]
    problems = {}
    if any(math.prod(shape) > MAX_WHITENED for shape in shapes):
        problems["whiten"] = f"an image has more than {MAX_WHITENED:,} pixels"
    if flat := [shape for shape in shapes if not has_channels(shape)]:
        noun = "images" if len(flat[0]) > 1 else "rows"
        problems["per_channel"] = f"the {noun} have no channels"
    axes, lines = dict(job.axes), list(job.notices)
    for axis, values in axes.items():
        bundles = values if isinstance(values, Mapping) else {}
        out = {n: b for n, b in bundles.items() if b.get("normalization") in problems}
        for label, settings in out.items():
            name = label.removeprefix(f"{settings.get('optimizer')}: ")
            problem = problems[settings["normalization"]]
            lines.append(f"{name} is left out: {problem}.")
        if out:
            axes[axis] = {n: b for n, b in bundles.items() if n not in out}
    unique = tuple(dict.fromkeys(lines))
    return dataclasses.replace(job, axes=axes, notices=unique)


def fit_to_data(job: Job, datasets: Sequence["Data"]) -> Job:
    """Caps default batch sizes at the training examples.

    Raises:
      UserError: for given batch sizes that are larger, for runs that this machine's
        memory cannot hold, and for data that teach nothing.
    """
    from fmnist_jax.data.inspection import check_learnable
    from fmnist_jax.sweeps.cost import check_memory

    if not job.experiment.trains:
        return job
    for data in datasets:
        check_learnable(data.findings)
    job = _cap_batch_sizes(job, min(len(data.train.labels) for data in datasets))
    for config in job.configs:
        for data in datasets:
            check_memory(config, data)
    return job


def _cap_batch_sizes(job: Job, train_examples: int) -> Job:
    for size in job.options["settings"].get("batch_size", ()):
        if size > train_examples:
            raise UserError(
                f"--batch_sizes={size} is larger than the training set; expected at "
                f"most its {train_examples} examples."
            )
    sizes = job.axes.get("batch_size", [job.config.batch_size])
    if max(sizes) <= train_examples:
        return job
    notice = f"Batch sizes are capped at the {train_examples} training examples."
    job = dataclasses.replace(job, notices=(*job.notices, notice))
    if "batch_size" in job.axes:
        capped = tuple(dict.fromkeys(min(size, train_examples) for size in sizes))
        return dataclasses.replace(job, axes={**job.axes, "batch_size": capped})
    config = dataclasses.replace(job.config, batch_size=train_examples)
    return dataclasses.replace(job, config=config)


def plan_job(
    task: Task, num_devices: int | None = None, num_shards: int = 1
) -> list["Plan"]:
    """Returns a plan for each data set of a job.

    Args:
      task: the job and its data.
      num_devices: to plan for without starting JAX; None for those of this process.
      num_shards: minimum number of groups, if there are as many runs.
    """
    from fmnist_jax.sweeps.planning import plan, split_for_shards

    job = task.job
    axes, settings, probes = job.axes, (job.config, job.hparams), job.probes
    if num_devices is not None:
        planned = plan(axes, *settings, num_devices, probes=probes)
        return [planned for _ in task.data]
    from fmnist_jax.sweeps.engine import plan_for_local_devices

    plans = [plan_for_local_devices(axes, d, *settings, probes) for d in task.data]
    return [split_for_shards(planned, num_shards) for planned in plans]
