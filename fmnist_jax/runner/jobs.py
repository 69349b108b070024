"""The job that a command line makes of an experiment."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fmnist_jax.config import PRESETS, SETTINGS, TRACED, Config, Hparams
from fmnist_jax.errors import UserError, choose
from fmnist_jax.runner.experiment import Experiment, Job, Options
from fmnist_jax.runner.flag_values import Span
from fmnist_jax.runner.halving import (
    check_stages,
    comparing_losses,
    rungs_of,
    without_answer,
)
from fmnist_jax.runner.own_model import network
from fmnist_jax.runner.plane import plane_axes, refinement_of
from fmnist_jax.runner.points import check_points, with_points
from fmnist_jax.sweeps.stages import Grid, Search

if TYPE_CHECKING:
    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.cluster import Cluster
    from fmnist_jax.sweeps.planning import Plan


class Task(NamedTuple):
    """A job with its data sets, and its output folder."""

    job: Job
    data: tuple["Data", ...]
    out_dir: Path
    arguments: Sequence[str]  # of the command line, as results record them
    code: str  # digest of the code of the experiment
    resume_command: str  # resumes the job if it is interrupted
    allow_training: bool = True  # otherwise all runs must be in the folder
    cluster: "Cluster | None" = None  # whose workers train; None for this process

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
    def environment(self) -> Mapping[str, str]:
        """What determines the bits of results, on the workers if there are any."""
        from fmnist_jax.sweeps.environment import environment

        return self.cluster.environment if self.cluster else environment()

    @property
    def fingerprint(self) -> str:
        """The sha256 of what determines results, tables, figures and kept states."""
        from fmnist_jax.sweeps import environment
        from fmnist_jax.sweeps.checkpoints import digest

        versions = environment.versions(environment.RECORDED_PACKAGES)
        rest = dict(self.environment) if self.job.experiment.trains else {}
        criterion = self.job.options["criterion"]
        rest |= {} if criterion is None else {"criterion": criterion}
        rest |= self.job.search.settings
        if self.job.keeps_states:
            rest["keep_states"] = self.job.options["keep_states"]
        return digest([self.name, self.code, self.settings, versions, rest])


def code_of(experiment: Experiment) -> str:
    """Returns a digest of the packages, or else of the files, of its functions.

    It includes the fields of the experiment that figures show and ``settings`` lacks.
    """
    from fmnist_jax.sweeps.checkpoints import digest
    from fmnist_jax.sweeps.environment import code

    e = experiment
    functions = e.answer, e.figures, e.probes, e.search, e.extra_measurements
    plain = {getattr(f, "func", f) for f in functions if f}  # of a partial
    files = {Path(inspect.getfile(function)) for function in plain}
    roots = {f.parent if (f.parent / "__init__.py").exists() else f for f in files}
    texts = e.question, e.curves_by, e.final_by, dict(e.rescaled)
    return digest([*map(code, sorted(roots)), texts])[:12]


def with_settings(
    config: Config, hparams: Hparams, settings: Mapping[str, Any]
) -> tuple[Config, Hparams]:
    """Returns settings with some of them replaced, by name."""
    traced = {name: v for name, v in settings.items() if name in TRACED}
    static = {name: v for name, v in settings.items() if name not in TRACED}
    return dataclasses.replace(config, **static), dataclasses.replace(hparams, **traced)


def base_settings(experiment: Experiment, preset: str) -> tuple[Config, Hparams]:
    """Returns an experiment's settings before any flag or axis."""
    config, hparams = choose("preset", preset, PRESETS)
    if experiment.epochs:
        config = dataclasses.replace(config, num_epochs=experiment.epochs)
    return with_settings(config, hparams, experiment.settings)


def make_job(experiment: Experiment, options: Options) -> Job:
    """Applies flags over the experiment's axes and settings over the preset."""
    datasets: tuple[str, ...] = (options["dataset"] or "auto",)
    if experiment.axes is None:
        return Job(experiment, options, {}, Config(), Hparams(), datasets)
    preset = options["preset"] or experiment.preset
    config, hparams = base_settings(experiment, preset)
    if options["epochs"]:
        config = dataclasses.replace(config, num_epochs=options["epochs"])
    _check_not_bundled(experiment, options["settings"])
    check_points(experiment, options)
    check_stages(experiment, options)
    refinement = refinement_of(options) if experiment.plane else None
    axes, fixed = _axes(experiment, options)
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
    return job if rungs is None else comparing_losses(job, rungs)


def _axes(
    experiment: Experiment, options: Options
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Returns the axes of a job, and the settings that flags fix."""
    given = options["settings"]
    plane = plane_axes(experiment.plane, options) if experiment.plane else {}
    defaults = {**plane, **(experiment.axes or {})}
    is_axis = {
        n: n in defaults or len(v) > 1 or isinstance(v[0], Span)
        for n, v in given.items()
    }
    swept = {n: v for n, v in given.items() if is_axis[n]}
    seeds = range(options["num_seeds"] or experiment.num_seeds)
    fixed = {n: v[0] for n, v in given.items() if not is_axis[n]}
    if options["model"] is not None:
        fixed["model"] = network(options["model"])
    return {**defaults, **swept, **plane, "seed": seeds}, fixed


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


def plan_job(
    task: Task, num_devices: int | None = None, num_shards: int = 1
) -> list["Plan"]:
    """Returns a plan for each data set of a job.

    ``num_devices`` is the number of devices to plan for without starting JAX; None:
    those of this process. There are at least ``num_shards`` groups, if there are as
    many runs.
    """
    from fmnist_jax.sweeps.planning import plan, split_for_shards

    job = task.job
    axes, settings, probes = job.axes, (job.config, job.hparams), job.probes
    if num_devices is not None:
        is_own = any(config.model is not None for config in job.configs)
        known = [None if is_own else data for data in task.data]
        how: Any = {"num_devices": num_devices, "probes": probes}
        return [plan(axes, *settings, **how, data=data) for data in known]
    from fmnist_jax.sweeps.cluster import plan_for

    on = task.cluster
    plans = [plan_for(on, axes, data, *settings, probes)[0] for data in task.data]
    return [split_for_shards(planned, num_shards) for planned in plans]
