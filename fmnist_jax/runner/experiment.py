"""Types of an experiment: its question, axes and answer; the job of a command line."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fmnist_jax.config import Config, Hparams
from fmnist_jax.effects import check_effects, given_settings
from fmnist_jax.sweeps.stages import Grid, Search

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
else:  # so that the file of an experiment imports none of these
    Results = Figures = Probes = Data = Plan = Any


Options = Mapping[str, Any]  # parsed flags; None if not given


class Answer(NamedTuple):
    """The answer of an experiment, in addition to the metrics of its runs.

    Attributes:
      tables: file name to table, written as CSV.
      figures: file name to figure, written as PNG.
      sentences: what tables and figures show, in words.
      settings: entries of ``config.json``.
    """

    tables: Mapping[str, "pd.DataFrame"] = {}
    figures: Mapping[str, "Figure"] = {}
    sentences: Sequence[str] = ()
    settings: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question, the axes that answer it, and the figures that show the answer.

    Attributes:
      name: name of its module in ``experiments``.
      question: one line.
      axes: name to values or to bundles of settings, as ``sweep`` takes them, in the
        order of the results' dimensions. None: the data answer the question, and
        nothing is trained.
      curves_by: the axis with a colour for each value in the learning curves,
        ``curves.png``; "" for no such figure.
      final_by: the axis along the bottom of the final values, ``final.png``; or "".
      rescaled: value of the first axis with a rescaled first layer to the value that
        it replaces; the interactive page has a switch between them.
      figures: function from results to further figures by file name.
      preset: name in ``PRESETS``.
      settings: settings that differ from the preset.
      epochs: number of epochs; None for the preset's.
      datasets: names of the data sets to compare, which are the first axis; () to use
        the data set of ``--dataset``.
      plane: for a map, the two settings that span it; ``axes`` then has the others.
      num_seeds: number of seeds unless the flag is given.
      train_examples: number of training examples unless the flag is given; None for
        all.
      validation_share: share of the training examples that is held out for choosing,
        unless the flag is given.
      probes: function from a job to its probes.
      search: function from a job and its data to the job with its ``Search``; None if
        all runs are trained.
      extra_measurements: function from plan and data to results shared by many runs.
      answer: function from results (without axes: from the data) to further tables,
        figures and sentences.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[Any] | Mapping[str, Any]] | None
    curves_by: str = ""
    final_by: str = ""
    rescaled: Mapping[str, str] = dataclasses.field(default_factory=dict)
    figures: Callable[["xr.Dataset"], Mapping[str, "Figure"]] = lambda dataset: {}
    preset: str = "keras"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int | None = None
    datasets: tuple[str, ...] = ()
    plane: tuple[str, str] | None = None
    num_seeds: int = 3
    train_examples: int | None = None
    validation_share: float = 0.0
    probes: Callable[["Job"], Sequence["Probe"]] = lambda job: ()
    search: Callable[["Job", "Data"], "Job"] | None = None
    extra_measurements: Callable[["Plan", "Data"], "xr.Dataset"] | None = None
    answer: Callable[[Any], Answer] = lambda dataset: Answer()

    @property
    def trains(self) -> bool:
        """Whether it trains runs, or answers from the data alone."""
        return self.axes is not None


@dataclasses.dataclass(frozen=True)
class Job:
    """An experiment with the user's flags applied: a sweep for each data set."""

    experiment: Experiment
    options: Options  # parsed flags; None if not given
    axes: Mapping[str, Any]  # name to values or to bundles of settings; "seed" is last
    config: Config  # static settings that are not axes
    hparams: Hparams  # traced settings that are not axes
    datasets: tuple[str, ...]  # names of the data sets; at least one
    notices: tuple[str, ...] = ()  # lines for the user
    search: Search = Grid()  # which of the runs are trained, and how far

    @functools.cached_property
    def configs(self) -> list[Config]:
        """The static settings of every program."""
        from fmnist_jax.sweeps.axes import check_sweep
        from fmnist_jax.sweeps.grid import settings_set

        axes, programs = check_sweep(self.axes, self.config, self.hparams)
        given = {name for names in settings_set(axes).values() for name in names}
        given.update(given_settings(self.config, self.hparams))
        check_effects(self.options["settings"], programs, given)
        return list(programs)

    @functools.cached_property
    def probes(self) -> tuple["Probe", ...]:
        """What is recorded in addition to the metrics."""
        probes = tuple(self.experiment.probes(self))
        if not self.keeps_states:
            return probes
        from fmnist_jax.sweeps.states import STATE_PROBE  # imports jax

        return (*probes, STATE_PROBE)

    @property
    def keeps_states(self) -> bool:
        """Whether trained states are saved."""
        return self.options["keep_states"] in ("best", "all")
