"""An experiment, and the job that a command line makes of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fmnist_jax.config import PRESETS, SETTINGS, TRACED, Config, Hparams
from fmnist_jax.errors import UserError, choose
from fmnist_jax.runner.plane import plane_axes

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from fmnist_jax.data.dataset import Data
    from fmnist_jax.probes.probe import Probe
    from fmnist_jax.sweeps.planning import Plan

    Results: TypeAlias = xr.Dataset
    Figures: TypeAlias = Mapping[str, Figure]
    Probes: TypeAlias = Sequence[Probe]
    Plans: TypeAlias = Sequence[Plan]
else:  # so that an experiment's file imports none of these
    Results = Figures = Probes = Plans = Data = Plan = Any


class Answer(NamedTuple):
    """What an experiment says, beside or without the metrics of runs.

    Attributes:
      tables: file name to table, written as CSV.
      figures: file name to figure, written as PNG.
      sentences: what they say, in words.
    """

    tables: Mapping[str, "pd.DataFrame"] = {}
    figures: Mapping[str, "Figure"] = {}
    sentences: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question, the axes that answer it, and the figures that show the answer.

    Attributes:
      name: of its module in ``experiments``.
      question: one line.
      axes: name to values, in the order of the results' dimensions.
      figures: results to file name and figure.
      preset: name in ``PRESETS``.
      settings: what differs from the preset.
      epochs: how many; None for the preset's.
      variants: where what is compared is no grid of settings: the name of one more axis
        and, for each of its labels, the settings, among them "dataset".
      plane: for a map, the two settings that span it; ``axes`` then holds the rest.
      num_seeds: how many seeds unless the flag says otherwise.
      train_examples: likewise, of the training set; None for all.
      probes: plans to what is recorded beside the metrics of their runs.
      beside: plan and data to what else is measured once for many runs.
      answer: results to what else there is to say: tables, more figures, sentences.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[Any]]
    figures: Callable[["xr.Dataset"], Mapping[str, "Figure"]] = lambda dataset: {}
    preset: str = "keras"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = dataclasses.field(
        default_factory=dict
    )
    plane: tuple[str, str] | None = None
    num_seeds: int = 3
    train_examples: int | None = None
    probes: Callable[[Sequence["Plan"]], Sequence["Probe"]] = lambda plans: ()
    beside: Callable[["Plan", "Data"], "xr.Dataset"] | None = None
    answer: Callable[["xr.Dataset"], Answer] = lambda dataset: Answer()


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A question that the data answer as they are, without training.

    Attributes:
      name: of its module in ``experiments``.
      question: one line.
      answer: data to what is to be said of them.
    """

    name: str
    question: str
    answer: Callable[["Data"], Answer]


class Variant(NamedTuple):
    """What the runs of a sweep share.

    Attributes:
      label: on the axis of variants; "" where there is only one.
      dataset: its name.
      config: static settings that are no axis.
      hparams: traced settings that are no axis.
    """

    label: str
    dataset: str
    config: Config
    hparams: Hparams


@dataclasses.dataclass(frozen=True)
class Job:
    """An experiment with the user's flags applied: a sweep for each variant.

    Attributes:
      experiment: what is asked.
      options: parsed flags; None where one was not given.
      axes: name to values; "seed" is last.
      variants: at least one.
      notices: what the user must be told.
    """

    experiment: Experiment
    options: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    variants: tuple[Variant, ...]
    notices: tuple[str, ...] = ()


def with_settings(
    config: Config, hparams: Hparams, settings: Mapping[str, Any]
) -> tuple[Config, Hparams]:
    """Returns settings with some of them replaced, by name."""
    traced = {name: v for name, v in settings.items() if name in TRACED}
    static = {name: v for name, v in settings.items() if name not in TRACED}
    return dataclasses.replace(config, **static), dataclasses.replace(hparams, **traced)


def base(experiment: Experiment, preset: str) -> tuple[Config, Hparams]:
    """Returns an experiment's settings before any flag, of its variants' what is same.

    Raises:
      UserError: for an unknown preset.
    """
    config, hparams = choose("preset", preset, PRESETS)
    if experiment.epochs:
        config = dataclasses.replace(config, num_epochs=experiment.epochs)
    return with_settings(config, hparams, experiment.settings)


def make_job(experiment: Experiment, options: Mapping[str, Any]) -> Job:
    """Applies flags over the experiment's axes and settings over the preset.

    Raises:
      UserError: for an unknown preset, or a flag for what the variants vary.
    """
    preset = options["preset"] or experiment.preset
    config, hparams = base(experiment, preset)
    if options["epochs"]:
        config = dataclasses.replace(config, num_epochs=options["epochs"])
    given = options["settings"]
    plane = plane_axes(experiment.plane, options) if experiment.plane else {}
    own = {**plane, **experiment.axes}
    is_axis = {n: n in own or len(v) > 1 for n, v in given.items()}
    axes = {**own, **{n: v for n, v in given.items() if is_axis[n]}, **plane}
    axes["seed"] = range(options["num_seeds"] or experiment.num_seeds)
    fixed = {n: v[0] for n, v in given.items() if not is_axis[n]}
    config, hparams = with_settings(config, hparams, fixed)
    variants = _variants(experiment, config, hparams, options)
    return Job(experiment, {**options, "preset": preset}, axes, variants)


def _variants(
    experiment: Experiment,
    config: Config,
    hparams: Hparams,
    options: Mapping[str, Any],
) -> tuple[Variant, ...]:
    dataset = options["dataset"]
    if not experiment.variants:
        return (Variant("", dataset or "auto", config, hparams),)
    ((axis, table),) = experiment.variants.items()
    if axis == "dataset" and dataset is not None:
        table = {dataset: {"dataset": dataset}}
    varied = {name for settings in table.values() for name in settings}
    for name in options["settings"]:
        if name in varied:
            raise UserError(
                f"--{SETTINGS[name].flag}: this experiment compares settings of its "
                f"own ({', '.join(table)}), which a flag cannot change."
            )
    made = []
    for label, settings in table.items():
        own = {name: v for name, v in settings.items() if name != "dataset"}
        where = settings.get("dataset", dataset or "auto")
        made.append(Variant(label, where, *with_settings(config, hparams, own)))
    return tuple(made)


def plans(job: Job, num_devices: int = 1) -> list["Plan"]:
    """Returns a plan for each variant of a job."""
    from fmnist_jax.sweeps.planning import plan

    return [plan(job.axes, v.config, v.hparams, num_devices) for v in job.variants]


def own_data(
    job: Job | Inspection, loaded: Mapping[str, "Data"], options: Mapping[str, Any]
) -> Mapping[str, "Data"]:
    """Returns data by name, of the training sets as much as a job asks for.

    That is what a flag says, or else its experiment.
    """
    if isinstance(job, Inspection) or options["train_examples"]:
        return loaded
    count = job.experiment.train_examples
    return {name: data.first(count) for name, data in loaded.items()}


def fit_batch_sizes(job: Job, train_examples: int) -> Job:
    """Caps default batch sizes at the data; refuses given ones that are larger."""
    given = job.options["settings"].get("batch_size", ())
    for size in given:
        if size > train_examples:
            raise UserError(
                f"--batch_sizes={size} is larger than the training set; expected at "
                f"most its {train_examples} examples."
            )
    sizes = job.axes.get("batch_size", [v.config.batch_size for v in job.variants])
    if max(sizes) <= train_examples:
        return job
    capped = tuple(dict.fromkeys(min(size, train_examples) for size in sizes))
    notice = f"Batch sizes are capped at the {train_examples} training examples."
    job = dataclasses.replace(job, notices=(*job.notices, notice))
    if "batch_size" in job.axes:
        return dataclasses.replace(job, axes={**job.axes, "batch_size": capped})
    variants = []
    for variant in job.variants:
        size = min(variant.config.batch_size, train_examples)
        config = dataclasses.replace(variant.config, batch_size=size)
        variants.append(variant._replace(config=config))
    return dataclasses.replace(job, variants=tuple(variants))
