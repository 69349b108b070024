"""The stages of a search for a recommendation.

Successive halving of all settings on a part of the training set leaves a few, the
finalists. These are trained on all of it, over several seeds, and the validation set
chooses among them. The recommended scaling and optimizer are then trained at every
learning rate, on the part.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fmnist_jax.analysis.recommendation import SETTING, TRIED, best_position
from fmnist_jax.analysis.windows import RATE, threshold, windows
from fmnist_jax.config import Config, Hparams, show
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.search.rungs import Rungs
from fmnist_jax.sweeps.axes import drop_unread
from fmnist_jax.sweeps.checkpoints import Part
from fmnist_jax.sweeps.grid import (
    axis_coordinate,
    program_config,
    value_settings,
    with_traced,
)
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.progress import (
    SweepProgress,
    all_groups,
    is_finished,
    num_epochs,
)
from fmnist_jax.sweeps.stages import joined

FINALISTS, PER_PAIR = 4, 2  # in all; with the same scaling and optimizer


class Recommending(NamedTuple):
    """The ``Search`` for a recommendation."""

    data: Data  # training, validation and test set
    part: Data  # a stratified part of the data
    config: Config  # static settings of the runs on all data
    rungs: Rungs  # of successive halving on the part
    seeds: Sequence[int]  # of the runs on all data

    @property
    def settings(self) -> Mapping[str, str]:
        """The sizes of the stages in words."""
        rungs = self.rungs.settings["rungs"]
        search = f"{len(self.part.train.labels)} examples, rungs {rungs}"
        full = f"{FINALISTS} settings, {PER_PAIR} of a pair, {self.config.num_epochs}"
        full += f" epochs, seeds {[*self.seeds]}"
        return {"recommendation": f"{search}; {full}"}

    def first(self, plan: Plan) -> Plan:
        """Returns the plan of the search on the part."""
        return plan

    def expectation(self, plans: Sequence[Plan]) -> tuple[float, str]:
        """Returns the share of the steps of a grid that is trained, and a sentence."""
        plan, last = plans[0], self.rungs.epochs[-1]
        settings, rates = plan.num_distinct_runs, len(plan.axes[RATE])
        part, every = len(self.part.train.labels), len(self.data.train.labels)
        search = last * (self.rungs.expectation([plan])[0] * settings + rates)
        full = FINALISTS * len(self.seeds) * self.config.num_epochs
        share = (search * part + full * every) / (settings * last * every)
        return share, (
            f"Successive halving of {settings} settings on {part:,} examples; then at "
            f"most {FINALISTS} settings on all {every:,} examples, with "
            f"{len(self.seeds)} seeds, for {self.config.num_epochs} epochs."
        )

    def num_epochs(self, stages: Sequence[SweepProgress]) -> int:
        """Returns the number of epochs of all runs that are planned so far."""
        later = stages[len(self.rungs.epochs) :]
        return self.rungs.num_epochs(stages) + sum(map(num_epochs, later))

    def run(
        self, stages: list[SweepProgress], is_stopped: Callable[[], bool]
    ) -> Iterator[Part]:
        """Trains from stage to stage; see ``Search``."""
        from fmnist_jax.sweeps.program_data import share_statistics  # imports jax
        from fmnist_jax.sweeps.resuming import run_sweeps

        configs = [group.config for group in stages[0].plans[0].groups]
        share_statistics(self.part, self.data, configs)
        stages[0] = dataclasses.replace(stages[0], data=[self.part])
        yield from self.rungs.run(stages, is_stopped)
        stages.append(self._full(stages))
        yield from run_sweeps(stages[-1], is_stopped)
        stages.append(self._window(stages))
        yield from run_sweeps(stages[-1], is_stopped)

    def _full(self, stages: Sequence[SweepProgress]) -> SweepProgress:
        """Returns the training of the best settings on all data."""
        searched = self.rungs.labelled(stages)[0]
        plan = stages[0].plans[0]
        axes = {SETTING: finalists(searched, plan), "seed": self.seeds}
        return self._next(stages, axes, self.config, plan.hparams, self.data)

    def _window(self, stages: Sequence[SweepProgress]) -> SweepProgress:
        """Returns the training of the recommended setting at every learning rate."""
        plan, full = stages[0].plans[0], stages[-1]
        best = full.plans[0].axes[SETTING][best_position(joined([full], 0))]
        rest = {name: value for name, value in best.settings.items() if name != RATE}
        config = program_config(plan.config, rest)
        axes = {RATE: plan.axes[RATE], "seed": plan.axes["seed"]}
        hparams = with_traced(plan.hparams, rest)
        return self._next(stages, axes, config, hparams, self.part)

    def _next(
        self,
        stages: Sequence[SweepProgress],
        axes: Mapping[str, Any],
        config: Config,
        hparams: Hparams,
        data: Data,
    ) -> SweepProgress:
        from fmnist_jax.sweeps.cluster import plan_for  # imports jax
        from fmnist_jax.sweeps.resuming import next_rung

        settings = drop_unread(axes, config, hparams)
        planned, _ = plan_for(stages[-1].cluster, axes, data, *settings)
        return next_rung(stages[-1], [planned], [{}], None, [data])

    def labelled(self, stages: Sequence[SweepProgress]) -> list[xr.Dataset]:
        """Returns the results; those of the search alone if it was interrupted.

        The results are those of the runs on all data. Axes whose names begin with
        ``TRIED`` have the results of the search: the validation accuracy of every
        setting after the first rung; that of the recommended setting at every learning
        rate, and whether it is in the window. The theoretical limits are added.
        """
        count = len(self.rungs.epochs)
        searched = self.rungs.labelled(stages[:count])[0]
        if len(stages) < count + 2 or not _has_ended(stages[-1]):
            return [searched]
        full, window = stages[count:]
        results, again = joined([full], 0), joined([window], 0)
        first = searched.validation_accuracy.sel(epoch=self.rungs.epochs[0])
        more = {
            "tried_accuracy": first.isel(seed=0),
            "window_accuracy": again.validation_accuracy.isel(seed=0, epoch=-1),
            "in_window": windows(again),
        }
        for name, values in more.items():
            values = values.reset_coords(drop=True).drop_vars("epoch", errors="ignore")
            results[name] = values.rename({dim: f"{TRIED}{dim}" for dim in values.dims})
        results = results.assign(_theoretical_rates(window))
        bundles = full.plans[0].axes[SETTING]
        scalings = stages[0].plans[0].axes["scaling"]
        labels = [_label_of(bundle.settings, scalings) for bundle in bundles]
        results = results.assign_coords(scaling=(SETTING, labels))
        results.attrs |= {
            "part_examples": len(self.part.train.labels),
            "part_epochs": self.rungs.epochs[-1],
            "first_rung": self.rungs.epochs[0],
            "image_shape": list(self.data.image_shape),
            "searched": [*dict.fromkeys(n for b in bundles for n in b.settings)],
            "window_threshold": threshold(again),
        }
        return [results]


def _has_ended(stage: SweepProgress) -> bool:
    return all(is_finished(stage, *pair) for pair in all_groups(stage))


def _label_of(settings: Mapping[str, Any], bundles: Sequence[Any]) -> str:
    """Returns the label of the bundle that settings contain."""
    items = settings.items()
    return next(str(b.label) for b in bundles if b.settings.items() <= items)


def finalists(searched: xr.Dataset, plan: Plan) -> dict[str, Mapping[str, Any]]:
    """Returns the settings with the highest validation accuracies, by label.

    The results have one seed. Of equal accuracies, the lowest validation losses come
    first. There are at most ``FINALISTS`` settings, and at most ``PER_PAIR`` of them
    are the same except for the learning rate.
    """
    last = searched.isel(epoch=-1, seed=0)
    losses, accuracies = last.validation_loss, last.validation_accuracy
    names = [str(name) for name in losses.dims]
    order = np.lexsort([losses.values.ravel(), -accuracies.values.ravel()])
    order = order[: accuracies.count().item()]  # NaN is last
    settings: dict[str, Mapping[str, Any]] = {}
    counts: collections.Counter[Any] = collections.Counter()
    for index in zip(*np.unravel_index(order, losses.shape), strict=True):
        at = dict(zip(names, index, strict=True))
        pair = tuple(i for name, i in at.items() if name != RATE)
        counts[pair] += 1
        if counts[pair] <= PER_PAIR and len(settings) < FINALISTS:
            values = {name: plan.axes[name][i] for name, i in at.items()}
            texts = (show(n, axis_coordinate(n, v)) for n, v in values.items())
            items = (value_settings(n, v).items() for n, v in values.items())
            label = ", ".join(texts)
            label += f" ({len(settings) + 1})" if label in settings else ""
            settings[label] = dict(itertools.chain.from_iterable(items))
    if not settings:
        raise UserError(
            "Every run of the search diverged, so nothing can be recommended; give "
            "smaller learning rates, or check the data."
        )
    return settings


def _theoretical_rates(window: SweepProgress) -> xr.Dataset:
    """Returns the learning rates that are stable by theory, before training."""
    from fmnist_jax.sweeps import initial_sharpness  # imports jax

    plan, data = window.plans[0], window.data[0]
    one = dataclasses.replace(plan, axes={"seed": plan.axes["seed"]})
    theory = initial_sharpness.stable_rates(one, data)[["stable_rate"]]
    if plan.config.optimizer == "sgd" and plan.config.model is None:
        theory = theory.merge(initial_sharpness.activation_stable_rates(one, data))
    return theory.isel(seed=0, drop=True)
