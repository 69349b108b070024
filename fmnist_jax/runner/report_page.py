"""The interactive page of one experiment: a single file that makes no request."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import sweep_axes
from fmnist_jax.config import PRESETS, SETTINGS, STATIC, TRACED, coordinate, resolve
from fmnist_jax.files import atomic_write, explaining_write_errors
from fmnist_jax.runner import page
from fmnist_jax.runner.output_folder import REPORT

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.figures.interactive import Interactive
    from fmnist_jax.runner.experiment import Experiment

MAX_TABLE = 500_000  # bytes of a table's CSV file on the page
SYNTHETIC = "synthetic"


def write(
    folder: Path, experiment: "Experiment", dataset: "xr.Dataset | None" = None
) -> list[Path]:
    """Writes the page of a finished experiment into its folder; returns its paths.

    The folder has all other files of the experiment. ``dataset`` has the results of its
    runs, if there were any.
    """
    facts = page.experiment(folder, MAX_TABLE)
    pages = _pages(experiment, dataset) if dataset is not None else {REPORT: None}
    with explaining_write_errors(folder):
        for name, interactive in pages.items():
            with atomic_write(folder / name) as new:
                others = [other for other in pages if other != name]
                text = render({**facts, "others": others}, interactive)
                new.write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def _pages(
    experiment: "Experiment", dataset: "xr.Dataset"
) -> Mapping[str, "Interactive | None"]:
    """Returns what each page draws, by the name of its file."""
    if experiment.plane is None:
        from fmnist_jax.figures.interactive_curves import curves

        axes = experiment.curves_by, experiment.final_by
        return {REPORT: curves(dataset, *axes, rescaled=experiment.rescaled)}
    from fmnist_jax.figures.interactive_map import map_pages

    pages, path = map_pages(dataset, _command(experiment, dataset)), Path(REPORT)
    return {f"{path.stem}{f'_{n}' * bool(n)}{path.suffix}": p for n, p in pages.items()}


def _command(experiment: "Experiment", dataset: "xr.Dataset") -> str:
    """Returns the command that trains a single point of a map, "{x}" and "{y}"."""
    first, second, *others = sweep_axes(dataset)
    counts = ("train_examples", "test_examples", "validation_examples")
    sizes = {name: dataset.attrs[name] for name in counts if name in dataset.attrs}
    sizes["train_examples"] += sizes.get("validation_examples", 0)  # held out of these
    settings = {first: "{x}", second: "{y}"}
    settings |= {name: f"{{{name}}}" for name in others if name in SETTINGS}
    settings |= _unusual(experiment, dataset)
    flags: dict[str, Any] = {
        "preset": experiment.preset,
        "num_seeds": dataset.sizes["seed"],
        "epochs": dataset.sizes["epoch"],
        "dataset": dataset.attrs["dataset"],
        **sizes,
        **{SETTINGS[n].flag or "": value for n, value in settings.items()},
    }
    texts = (f"--{flag}={value}" for flag, value in flags.items() if flag)
    return f"python -m experiments.scale_sweep {' '.join(texts)}"


def _unusual(experiment: "Experiment", dataset: "xr.Dataset") -> dict[str, Any]:
    """Returns the loss and the settings of all runs that differ from the preset."""
    fixed = {str(n): c.item() for n, c in dataset.coords.items() if not c.ndim}
    config, hparams = PRESETS[experiment.preset]
    names = {
        n: fixed[n] for n in ("optimizer", "schedule", "normalization") if n in fixed
    }
    hparams = resolve(dataclasses.replace(config, **names), hparams)
    usual = {n: coordinate(n, getattr(config, n)) for n in STATIC}
    for name, setting in TRACED.items():
        value = getattr(hparams, name)
        usual[name] = setting.off if value is None else value
    differs = {n: v for n, v in fixed.items() if n in SETTINGS and v == v != usual[n]}
    return {**differs, **{n: fixed[n] for n in ("loss",) if n in fixed}}


def render(facts: Mapping[str, Any], interactive: "Interactive | None") -> str:
    """Returns the page of an experiment as ``page.experiment`` describes it."""
    from markupsafe import Markup

    drawn: dict[str, Any] = {"interactive": interactive}
    figures = facts["figures"]
    if interactive is not None:
        from fmnist_jax.figures.interactive import as_json, document, library, titled

        titled(interactive, ", ".join(data["title"] for data in facts["datasets"]))
        data = {"script": interactive.script, **interactive.data}
        figures = [f for f in figures if not f["name"].startswith(interactive.covers)]
        drawn |= {
            "library": Markup(library()),
            "document": Markup(as_json(document([*interactive.figures.values()]))),
            "data": Markup(as_json(data)),
        }
    is_synthetic = any(data["name"] == SYNTHETIC for data in facts["datasets"])
    template = page.environment().get_template("report.html.jinja")
    text: str = template.render(
        {**facts, **drawn, "figures": figures, "is_synthetic": is_synthetic}
    )
    return text
