"""What an experiment prints and where it writes."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.jobs import Job
from fmnist_jax import cost, report, results
from fmnist_jax.config import UserError, axis_label, coordinate, show

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.data import Data
    from fmnist_jax.planning import Plan

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "xarray")


def choose_folder(name: str, options: Mapping[str, Any]) -> Path:
    """Returns the folder for the results, which need not exist.

    Raises:
      UserError: where results stand in it, or where it cannot be made or written.
    """
    if options["out_dir"] is not None:
        folder = Path(options["out_dir"]).expanduser()
    else:
        now = datetime.datetime.now(datetime.UTC)
        folder = Path("runs") / name / now.strftime("%Y-%m-%dT%H-%M-%S")
        count = 2
        while folder.exists():
            folder = folder.with_name(f"{folder.name.split('_')[0]}_{count}")
            count += 1
    if (folder / results.RESULTS).exists() and not options["overwrite"]:
        raise UserError(
            f"--out_dir={folder} holds results already: open them with "
            f"xarray.open_dataset({str(folder / results.RESULTS)!r}), name another "
            "folder, or say --overwrite."
        )
    _check_writable(folder)
    return folder


def _check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be made or written, without making it."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UserError(f"--out_dir={folder} cannot be used: {above} is no folder.")
    try:
        with tempfile.NamedTemporaryFile(dir=above):
            pass
    except OSError as error:
        raise UserError(
            f"--out_dir={folder} cannot be written: {error.strerror} ({above})."
        ) from error


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes the folder for the results; takes it away again where none came."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out_dir={folder} cannot be made: {error}.") from error
    try:
        yield
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


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


def before(job: Job, todo: "Plan", data: "Data") -> list[str]:
    """Returns what is said before the start: data set, runs, programs, time."""
    train, test = len(data.train.labels), len(data.test.labels)
    seconds = cost.expected_seconds(todo, data)
    memory = cost.memory_bytes(todo, data)
    axes = [_listed(name, values) for name, values in todo.axes.items()]
    return [
        job.experiment.question,
        "",
        f"Data set: {data.title}, {train} training and {test} test images "
        f"({data.source}).",
        *([f"Note: {data.notice}"] if data.notice else []),
        *(f"Note: {notice}" for notice in job.notices),
        f"Preset {job.options['preset']}, {_count(job.config.num_epochs, 'epoch')}: "
        f"{' × '.join(axes)}.",
        f"{_count(todo.num_runs, 'run')} in {_count(todo.num_programs, 'program')}; "
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


def save(
    job: Job, data: "Data", dataset: "xr.Dataset", out_dir: Path, argv: Sequence[str]
) -> list[Path]:
    """Writes results, summary, settings and figures; returns their paths."""
    import jax

    settings = {
        "experiment": job.experiment.name,
        "question": job.experiment.question,
        "command": ["python", "-m", f"experiments.{job.experiment.name}", *argv[1:]],
        "preset": job.options["preset"],
        "axes": {d: dataset[d].values.tolist() for d in dataset.status.dims},
        "settings": {
            str(name): value.values.tolist()
            for name, value in dataset.coords.items()
            if name not in dataset.dims
        },
        "dataset": {
            "name": data.name,
            "title": data.title,
            "source": data.source,
            "notice": data.notice,
            "fingerprint": data.fingerprint,
            "train_examples": len(data.train.labels),
            "test_examples": len(data.test.labels),
        },
        "devices": [str(device) for device in jax.devices()],
        "device_kind": jax.devices()[0].device_kind,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        paths = results.save(dataset, out_dir, settings)
        for name, figure in job.experiment.figures(dataset).items():
            paths.append(out_dir / f"{name}.png")
            figure.savefig(paths[-1], dpi=150)
        return paths
    except OSError as error:
        raise UserError(f"{out_dir} cannot be written: {error}.") from error


def after(dataset: "xr.Dataset") -> list[str]:
    """Returns what is said at the end: table, sentences, legends."""
    title, epochs = dataset.attrs["dataset_title"], dataset.sizes["epoch"]
    seeds = dataset.sizes["seed"]
    spread = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return [
        f"{title}: after epoch {epochs} (train loss: during it), {spread}.",
        "",
        report.table(dataset),
        "",
        *report.sentences(dataset),
        "",
        *report.legend(dataset),
    ]
