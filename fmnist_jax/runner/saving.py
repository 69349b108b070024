"""The files that an experiment writes: results, tables, figures and config.json."""

import datetime
import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis import report, results
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.runner import extension, report_page
from fmnist_jax.runner.experiment import Answer, Experiment
from fmnist_jax.runner.jobs import Task
from fmnist_jax.runner.output_folder import REPORT
from fmnist_jax.sweeps.environment import RECORDED_PACKAGES, versions
from fmnist_jax.values import STATUS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Metadata = Mapping[str, Any]  # the contents of config.json


def metadata(task: Task) -> Metadata:
    """Returns the entries of ``config.json`` that every experiment has."""
    experiment = task.job.experiment
    names = ("name", "title", "source", "notice", "fingerprint")
    datasets = {
        data.fingerprint: {
            **{name: getattr(data, name) for name in names},
            "train_examples": len(data.train.labels),
            "test_examples": len(data.test.labels),
            "validation_examples": len(data.validation.labels)
            if data.validation
            else 0,
        }
        for data in task.data
    }
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "command": ["python", "-m", f"experiments.{task.name}", *task.arguments],
        "datasets": list(datasets.values()),
        "fingerprint": task.fingerprint,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(RECORDED_PACKAGES),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def save_runs(task: Task, dataset: "xr.Dataset") -> tuple[Answer, list[Path]]:
    """Writes all files of an experiment with runs.

    The results are written first: drawing or summarising them may fail. Returns the
    answer, with the figures and sentences that every experiment has, and the paths of
    the files.
    """
    experiment, out_dir = task.job.experiment, task.out_dir
    if experiment.plane:
        criterion = task.job.options["criterion"] or STATUS
        dataset = dataset.assign_attrs(criterion=criterion)
    all_metadata = {**metadata(task), **_run_metadata(task, dataset)}
    with explaining_write_errors(out_dir):
        paths = results.save(dataset, out_dir, all_metadata)
    answer = experiment.answer(dataset)
    # The usual sentences describe a grid, not a search or a map with filled-in points.
    is_grid = experiment.search is None and "is_trained" not in dataset
    usual = report.sentences(dataset) if is_grid else []
    answer = answer._replace(
        figures={**_figures(experiment, dataset), **answer.figures},
        sentences=[*answer.sentences, *usual],
    )
    paths += save_answer(answer, all_metadata, out_dir)
    paths += report_page.write(out_dir, experiment, dataset)
    return answer, list(dict.fromkeys(paths))


def _figures(experiment: Experiment, dataset: "xr.Dataset") -> dict[str, "Figure"]:
    """Draws learning curves, final values and further figures, by file name."""
    from fmnist_jax.figures import curves

    figures: dict[str, Figure] = {}
    if experiment.curves_by and curves.has_content(dataset):
        figures["curves"] = curves.learning_curves(dataset, experiment.curves_by)
        if "step" in dataset.dims:
            by_step = curves.curves_by_step(dataset, experiment.curves_by)
            figures["curves_by_step"] = by_step
    if experiment.final_by and curves.has_content(dataset):
        figures["final"] = curves.final_values(dataset, experiment.final_by)
    return {**figures, **experiment.figures(dataset)}


def _run_metadata(task: Task, dataset: "xr.Dataset") -> Metadata:
    """Returns the entries of ``config.json`` that only experiments with runs have."""
    import jax

    return {
        "preset": task.job.options["preset"],
        "axes": {d: dataset[d].values.tolist() for d in dataset.status.dims},
        "along": {n: value.dims for n, value in dataset.coords.items() if value.dims},
        "settings": {
            str(name): value.values.tolist()
            for name, value in dataset.coords.items()
            if name not in dataset.dims
        },
        "normalizations": _statistics(task),
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "environment": extension.environment_of(task),
        "legend": report.legend(dataset),
        "notices": list(dataset.attrs.get("notices", [])),
    }


def _statistics(task: Task) -> Metadata:
    """Returns the statistics of each normalization: numbers, or a summary of arrays."""
    from fmnist_jax.sweeps.axes import check_sweep
    from fmnist_jax.sweeps.program_data import fitted

    statistics: dict[str, Any] = {}
    job = task.job
    _, programs = check_sweep(job.axes, job.config, job.hparams)
    for data in task.data:
        for config in programs:
            normalization = fitted(config, data)
            if normalization is None:
                continue
            name, whitening = config.normalization, ""
            if name == "whiten":
                whitening = f" {config.whitening} {config.whitening_eps:g}"
            arrays = normalization._asdict().items()
            key = f"{name}{whitening}, {data.name}"
            statistics[key] = {n: _summary(a) for n, a in arrays if a is not None}
    return statistics


def _summary(array: Any) -> Any:
    """Returns a number, or the shape, range, mean and sha256 of an array."""
    if array.size == 1:
        return array.item()
    return {
        "shape": array.shape,
        "minimum": float(array.min()),
        "mean": float(array.mean(dtype=float)),
        "maximum": float(array.max()),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def save_answer(answer: Answer, metadata: Metadata, out_dir: Path) -> list[Path]:
    """Writes ``config.json``, tables and figures; returns their paths."""
    tables = {f"{name}.csv": table for name, table in answer.tables.items()}
    figures = {f"{name}.png": figure for name, figure in answer.figures.items()}
    names = {"tables": list(tables), "figures": list(figures), "pages": [REPORT]}
    with explaining_write_errors(out_dir):
        for name, table in tables.items():
            table.to_csv(out_dir / name, index=False)
        for name, figure in figures.items():
            figure.savefig(out_dir / name, dpi=150)
        sentences = list(answer.sentences)
        settings = results.save_settings(
            out_dir,
            {**metadata, **answer.settings, **names, "sentences": sentences},
        )
    return [settings, *(out_dir / name for name in (*tables, *figures))]
