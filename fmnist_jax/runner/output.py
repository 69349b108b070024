"""What an experiment prints and where it writes."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis import report, results
from fmnist_jax.config import axis_label, coordinate, show
from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.runner.jobs import (
    Answer,
    Experiment,
    Inspection,
    Job,
)
from fmnist_jax.sweeps import cost
from fmnist_jax.sweeps.environment import DECIDING, versions

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data.dataset import Data
    from fmnist_jax.sweeps.planning import Plan

PACKAGES = (*DECIDING, "xarray")


def check_memory(todo: "Plan", data: "Data") -> None:
    """Refuses what this machine's memory cannot hold, as far as can be told."""
    needed = cost.memory_bytes(todo, data)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UserError(
            f"A run needs about {needed / 1e9:,.0f} GB, but this machine has "
            f"{there / 1e9:,.0f} GB; choose smaller --hidden_sizes."
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    return (
        f"{seconds / 60:.0f} minutes"
        if seconds < 5400
        else f"{seconds / 3600:.1f} hours"
    )


def about(experiment: Experiment | Inspection, data: Sequence["Data"]) -> list[str]:
    """Returns what is asked, and of which data sets."""
    said = [experiment.question, ""]
    for each in _distinct(data):
        train, test = len(each.train.labels), len(each.test.labels)
        said.append(
            f"Data set: {each.title}, {train} training and {test} test images "
            f"({each.source})."
        )
        said += [f"Note: {each.notice}"] if each.notice else []
    return said


def _distinct(data: Sequence["Data"]) -> list["Data"]:
    return list({each.fingerprint: each for each in data}.values())


def before(job: Job, plans: Sequence["Plan"], data: Sequence["Data"]) -> list[str]:
    """Returns what is said before the start: data sets, runs, programs, time.

    Args:
      job: what is to be done.
      plans: one for each of its variants.
      data: likewise.
    """
    pairs = list(zip(plans, data, strict=True))
    seconds = sum(cost.expected_seconds(todo, on) for todo, on in pairs)
    seconds -= (len(pairs) - 1) * cost.SECONDS_TO_START
    memory = max(cost.memory_bytes(todo, on) for todo, on in pairs)
    axes = [_listed(name, values) for name, values in plans[0].axes.items()]
    for axis in job.experiment.variants:
        axes.insert(0, f"{axis} {', '.join(v.label for v in job.variants)}")
    epochs = plans[0].config.num_epochs
    runs = sum(todo.num_runs for todo in plans)
    programs = sum(todo.num_programs for todo in plans)
    return [
        *about(job.experiment, data),
        *(f"Note: {notice}" for notice in job.notices),
        f"Preset {job.options['preset']}, {_count(epochs, 'epoch')}: "
        f"{' × '.join(axes)}.",
        f"{_count(runs, 'run')} in {_count(programs, 'program')}; "
        f"expected: about {_duration(seconds)} and {memory / 1e6:.0f} MB on this "
        "processor.",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(name: str, values: Sequence[Any]) -> str:
    if name == "seed":
        return _count(len(values), "seed")
    texts = [show(name, coordinate(name, value)) for value in values]
    shown = ", ".join(texts if len(texts) <= 6 else [*texts[:3], "…", texts[-1]])
    return f"{axis_label(name)} {shown}"


def _facts(
    experiment: Experiment | Inspection,
    data: Sequence["Data"],
    arguments: Sequence[str],
) -> dict[str, Any]:
    """Returns what ``config.json`` says of every experiment."""
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "command": ["python", "-m", f"experiments.{experiment.name}", *arguments],
        "datasets": [
            {
                "name": each.name,
                "title": each.title,
                "source": each.source,
                "notice": each.notice,
                "fingerprint": each.fingerprint,
                "train_examples": len(each.train.labels),
                "test_examples": len(each.test.labels),
            }
            for each in _distinct(data)
        ],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _run_facts(job: Job, dataset: "xr.Dataset") -> dict[str, Any]:
    """Returns what ``config.json`` says of runs."""
    import jax

    return {
        "preset": job.options["preset"],
        "axes": {d: dataset[d].values.tolist() for d in dataset.status.dims},
        "along": {n: value.dims for n, value in dataset.coords.items() if value.dims},
        "settings": {
            str(name): value.values.tolist()
            for name, value in dataset.coords.items()
            if name not in dataset.dims
        },
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
    }


def _save_answer(answer: Answer, facts: Mapping[str, Any], out_dir: Path) -> list[Path]:
    """Writes tables and figures, and settings with what the answer is made of."""
    tables = {f"{name}.csv": table for name, table in answer.tables.items()}
    figures = {f"{name}.png": figure for name, figure in answer.figures.items()}
    said = {
        "tables": list(tables),
        "figures": list(figures),
        "sentences": list(answer.sentences),
    }
    for name, table in tables.items():
        table.to_csv(out_dir / name, index=False)
    for name, figure in figures.items():
        figure.savefig(out_dir / name, dpi=150)
    results.save_settings(out_dir, {**facts, **said})
    return [out_dir / name for name in (*tables, *figures)]


def finish_inspection(
    inspection: Inspection, data: "Data", out_dir: Path, arguments: Sequence[str]
) -> list[str]:
    """Writes tables, figures and settings; returns what is said at the end."""
    answer = inspection.answer(data)
    facts = _facts(inspection, [data], arguments)
    with explaining_write_errors(out_dir):
        paths = _save_answer(answer, facts, out_dir)
    return [
        *_tables(answer),
        *answer.sentences,
        *_files([out_dir / results.SETTINGS_FILE, *paths]),
    ]


def finish_runs(
    job: Job,
    data: Sequence["Data"],
    dataset: "xr.Dataset",
    out_dir: Path,
    arguments: Sequence[str],
) -> list[str]:
    """Writes results, tables, figures and settings; returns what is said at the end.

    The results are written before anything is made of them.
    """
    facts = _facts(job.experiment, data, arguments) | _run_facts(job, dataset)
    facts["legend"] = report.legend(dataset)
    with explaining_write_errors(out_dir):
        paths = results.save(dataset, out_dir, facts)
        own = job.experiment.answer(dataset)
        answer = Answer(
            own.tables,
            {**job.experiment.figures(dataset), **own.figures},
            [*report.sentences(dataset), *own.sentences],
        )
        paths += _save_answer(answer, facts, out_dir)
    return [
        *_headline(dataset),
        "",
        report.table(dataset),
        "",
        *_tables(answer),
        *answer.sentences,
        "",
        *facts["legend"],
        *_files(paths),
    ]


def _headline(dataset: "xr.Dataset") -> list[str]:
    title, epochs = dataset.attrs["dataset_title"], dataset.sizes["epoch"]
    seeds = dataset.sizes["seed"]
    spread = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return [f"{title}: after epoch {epochs} (train loss: during it), {spread}."]


def _tables(answer: Answer) -> list[str]:
    style: dict[str, Any] = {"float_format": "{:.6g}".format, "na_rep": "–"}
    style |= {"index": False, "max_rows": report.MOST_ROWS}
    return [
        f"{name}:\n\n{report.in_words(table).to_string(**style)}\n"
        for name, table in answer.tables.items()
    ]


def _files(paths: Sequence[Path]) -> list[str]:
    return ["", "Files:", *map(str, paths)]
