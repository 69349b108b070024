"""Fits jobs to their data: subsets, validation sets, and settings that depend on it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fmnist_jax.errors import UserError, nouns
from fmnist_jax.runner.experiment import Job
from fmnist_jax.values import SUBSETS

if TYPE_CHECKING:
    from fmnist_jax.data.dataset import Data


def select_data(job: Job, datasets: Mapping[str, "Data"]) -> tuple["Data", ...]:
    """Returns the data of each sweep of a job from the loaded data sets by name.

    An experiment may use fewer training examples, unless the flag is given. The
    validation examples are taken from these.
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
        return data.with_validation_share(share)
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
        problems["per_channel"] = f"the {nouns(flat[0]).example}s have no channels"
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

    Refuses given batch sizes that are larger, runs that this machine's memory cannot
    hold, and data that teach nothing.
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
    if job.experiment.search is None:
        return job
    (data,) = datasets
    return job.experiment.search(job, data)


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
