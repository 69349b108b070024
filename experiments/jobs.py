"""An experiment, and the job that a command line makes of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fmnist_jax.config import PRESETS, TRACED, Config, Hparams, UserError, choose

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from fmnist_jax.data import Data
    from fmnist_jax.diagnostics import Probe


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
      num_seeds: how many seeds unless the flag says otherwise.
      probes: makes what is recorded beside the metrics, once JAX may start.
      answer: results to what else there is to say: tables, more figures, sentences.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[Any]]
    figures: Callable[["xr.Dataset"], Mapping[str, "Figure"]] = lambda dataset: {}
    preset: str = "keras"
    num_seeds: int = 3
    probes: Callable[[], Sequence["Probe"]] = tuple
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


@dataclasses.dataclass(frozen=True)
class Job:
    """An experiment with the user's flags applied.

    Attributes:
      experiment: what is asked.
      options: parsed flags; None where one was not given.
      axes: name to values; "seed" is last.
      config: static settings that are no axis.
      hparams: traced settings that are no axis.
      notices: what the user must be told.
    """

    experiment: Experiment
    options: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    config: Config
    hparams: Hparams
    notices: tuple[str, ...] = ()


def make_job(experiment: Experiment, options: Mapping[str, Any]) -> Job:
    """Applies flags over axes over preset.

    Raises:
      UserError: for an unknown preset.
    """
    preset = options["preset"] or experiment.preset
    config, hparams = choose("preset", preset, PRESETS)
    if options["epochs"]:
        config = dataclasses.replace(config, num_epochs=options["epochs"])
    axes = dict(experiment.axes)
    for name, values in options["settings"].items():
        if name in experiment.axes or len(values) > 1:
            axes[name] = values
        elif name in TRACED:
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
    sizes = job.axes.get("batch_size", (job.config.batch_size,))
    if max(sizes) <= train_examples:
        return job
    capped = tuple(dict.fromkeys(min(size, train_examples) for size in sizes))
    notice = f"Batch sizes are capped at the {train_examples} training examples."
    job = dataclasses.replace(job, notices=(*job.notices, notice))
    if "batch_size" in job.axes:
        return dataclasses.replace(job, axes={**job.axes, "batch_size": capped})
    config = dataclasses.replace(job.config, batch_size=capped[0])
    return dataclasses.replace(job, config=config)
