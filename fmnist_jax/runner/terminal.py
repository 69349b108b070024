"""The lines that an experiment prints before it starts and after it ends."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis import report
from fmnist_jax.config import axis_label, show
from fmnist_jax.errors import nouns
from fmnist_jax.runner.experiment import Answer, Experiment
from fmnist_jax.runner.jobs import Job
from fmnist_jax.sweeps import cost
from fmnist_jax.sweeps.grid import axis_coordinate
from fmnist_jax.sweeps.labelling import notices

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.planning import Plan


def introduction(experiment: Experiment, datasets: Sequence["Data"]) -> list[str]:
    """Returns the question of an experiment and its data sets."""
    lines = [experiment.question, ""]
    for data in {data.fingerprint: data for data in datasets}.values():
        held_out = data.validation
        counts = f"{len(data.train.labels)} training"
        counts += "" if held_out is None else f", {len(held_out.labels)} validation"
        noun = nouns(data.image_shape).example
        counts += f" and {len(data.test.labels)} test {noun}s"
        lines.append(f"Data set: {data.title}, {counts} ({data.source}).")
        lines += [f"Note: {data.notice}"] if data.notice else []
    return lines


def overview(
    job: Job,
    whole: Sequence["Plan"],
    data: Sequence["Data"],
    plans: Sequence["Plan"] = (),
    accelerator: str = "",
) -> list[str]:
    """Returns the data sets, runs, programs and expected cost of a job.

    ``whole`` has a plan for each data set of the job, and ``plans`` what is still to be
    trained of these; () for all of it. ``accelerator`` is the name of the GPU or TPU
    that trains; "" for this processor.
    """
    plans = plans or whole
    pairs = list(zip(plans, data, strict=True))
    notes = [line for p in zip(whole, data, strict=True) for line in _notices(*p)]
    share, search = job.search.expectation(plans)
    seconds = sum(cost.expected_seconds(*pair, share) for pair in pairs)
    seconds -= (len(pairs) - 1) * cost.SECONDS_TO_START
    megabytes = max((cost.memory_bytes(*p) for p in pairs if p[0].groups), default=0)
    compared = job.datasets if job.experiment.datasets else ()
    axes = [axis_text("dataset", compared)] if compared else []
    axes += [_axis(name, values) for name, values in plans[0].axes.items()]
    epochs = _count(plans[0].config.num_epochs, "epoch")
    num_runs = sum(plan.num_runs for plan in plans)
    num_distinct = sum(plan.num_distinct_runs for plan in plans)
    runs = _count(num_runs, "run")
    runs += f" ({num_distinct} to be trained)" if num_distinct < num_runs else ""
    programs = _count(sum(plan.num_programs for plan in plans), "program")
    memory, time = f"{megabytes / 1e6:.0f} MB", _duration(seconds)
    expected = f"expected: about {time} and {memory} on this processor"
    if accelerator:
        expected = f"{accelerator}, whose speed is not estimated; expected: {memory}"
    kept = ""
    if job.keeps_states:
        size = sum(cost.kept_state_bytes(*pair) for pair in pairs) / 1e6
        kept = f" Its trained states need {size:,.0f} MB more of memory and of disk."
    return [
        *introduction(job.experiment, data),
        *(f"Note: {line}" for line in dict.fromkeys([*notes, *job.notices])),
        f"Preset {job.options['preset']}, {epochs}: {' × '.join(axes)}.",
        *filter(None, [search]),
        f"{runs} in {programs}; {expected}.{kept}",
    ]


def _notices(plan: "Plan", data: "Data") -> list[str]:
    """Returns the notices that ``introduction`` does not show."""
    return [line for line in notices(plan, data) if line != data.notice]


def _axis(name: str, values: Sequence[Any]) -> str:
    if name == "seed":
        return _count(len(values), "seed")
    return axis_text(name, [axis_coordinate(name, value) for value in values])


def axis_text(name: str, values: Sequence[Any]) -> str:
    """Returns the label of an axis and its values, abbreviated if there are many.

    The values are coordinates, as in the results; None stands for infinity, as in JSON.
    """
    texts = [
        str(value)
        if isinstance(value, bool)
        else show(name, math.inf if value is None else value)
        for value in values
    ]
    if len(texts) > (24 if isinstance(values[0], str) else 6):
        texts = [*texts[:3], "…", texts[-1]]
    return f"{axis_label(name)} {', '.join(texts)}"


def results(
    answer: Answer, paths: Sequence[Path], dataset: "xr.Dataset | None" = None
) -> list[str]:
    """Returns tables and sentences of an experiment, and the files that it wrote."""
    style: dict[str, Any] = {"float_format": "{:.6g}".format, "na_rep": "–"}
    style |= {"index": False, "max_rows": report.MAX_ROWS}
    lines = [
        f"{name}:\n\n{report.format_table(table).to_string(**style)}\n"
        for name, table in answer.tables.items()
    ]
    lines += answer.sentences
    if dataset is not None:
        table = [_headline(dataset), "", report.table(dataset), ""]
        lines = [*table, *lines, "", *report.legend(dataset)]
    return [*lines, "", "Files:", *map(str, paths)]


def _headline(dataset: "xr.Dataset") -> str:
    title, epochs = dataset.attrs["dataset_title"], dataset.sizes["epoch"]
    seeds = dataset.sizes["seed"]
    runs = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return f"{title}: after epoch {epochs} (train loss: mean over that epoch), {runs}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
