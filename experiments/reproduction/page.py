"""The pages that compare our results with the published numbers and claims."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr

from experiments.reproduction import tables, verdicts
from experiments.reproduction.configurations import (
    BUGS,
    CONFIGURATIONS,
    configurations_of,
)
from experiments.reproduction.figures import row_figure
from experiments.reproduction.findings import VERDICTS, machine_of
from experiments.reproduction.references import References, Row, Source, other_reading
from experiments.reproduction.tables import Findings, Runs
from experiments.reproduction.verdicts import our_values
from fmnist_jax.analysis.intervals import CONFIDENCE
from fmnist_jax.files import atomic_write, explaining_write_errors

FIGURES = "reproduction"  # folder of the figures, in the folder of the page
SATURATED_LOSS = 16.118  # -ln 1e-7, clipped loss of a saturated wrong example
SATURATED_ROW = "scale-keras-1"  # its test loss follows from its test accuracy
MAX_FROZEN_CHANGE = 0.5  # nats; maximum change of the test loss of a frozen run
# The summary, the claims one by one, and the rows one by one.
PAGES = ("reproduction.md", "reproduction_claims.md", "reproduction_rows.md")


def write(references: References, runs: Runs, findings: Findings, folder: Path) -> Path:
    """Writes the pages and their figures into a folder; returns the summary's path."""
    texts = pages(references, runs, findings)
    with explaining_write_errors(folder):
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for name, row in references.rows.items():
            if ours := runs_of(name, runs):
                figure = row_figure(name, row, ours)
                figure.savefig(folder / FIGURES / f"{name}.png", dpi=90)
        for name, text in texts.items():
            with atomic_write(folder / name) as new:
                new.write_text(text, encoding="utf-8")
    return folder / PAGES[0]


def runs_of(row: str, runs: Runs) -> dict[str, xr.Dataset]:
    """Returns the measured configurations whose first epochs are a row."""
    return {name: runs[name] for name in configurations_of(row) if name in runs}


def pages(references: References, runs: Runs, findings: Findings) -> dict[str, str]:
    """Returns the pages, in Markdown, of the rows and claims that were measured."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = _values(references, runs, findings)
    return {
        name: environment.get_template(f"{name}.jinja").render(values) for name in PAGES
    }


def _values(references: References, runs: Runs, findings: Findings) -> dict[str, Any]:
    """Returns what the templates show."""
    sections = {
        name: _section(name, row, ours)
        for name, row in references.rows.items()
        if (ours := runs_of(name, runs))
    }
    judged = [section["verdict"] for section in sections.values()]
    compared = [verdict for verdict in judged if verdict.num_published]
    trained = [runs[name] for name in CONFIGURATIONS if name in runs]
    seeds = trained[0].sizes["seed"] if trained else 0
    names = (*references.rows, *references.claims)
    return dict(
        titles=dict.fromkeys(dataset.attrs["dataset_title"] for dataset in trained),
        seeds=seeds or "no",
        machines=dict.fromkeys(map(machine_of, trained)),
        same_sign=100 * 2.0 ** (1 - seeds),
        compared=compared,
        share=verdicts.share_inside(compared),
        effect=verdicts.effect_text,
        accuracy_tolerance=100 * verdicts.ACCURACY_TOLERANCE,
        loss_tolerance=100 * verdicts.LOSS_TOLERANCE,
        **_error_rates(findings),
        sources={key: source_text(s) for key, s in references.sources.items()},
        verdict_meanings=VERDICTS,
        missing=[n for n in names if n not in sections and n not in findings],
        claims=references.claims,
        findings=findings,
        sections=sections,
        spread=tables.spread_table(references, runs),
        parameters=tables.parameter_table(references, runs),
        hidden=tables.hidden_table(references, runs),
        bugs={
            text: tables.final_table({n: runs[n] for n in pair if n in runs})
            for text, pair in BUGS.items()
            if not runs.keys().isdisjoint(pair)
        },
        dropout=tables.dropout_table(runs["dropout"]) if "dropout" in runs else "",
        figures=FIGURES,
    )


def source_text(source: Source) -> str:
    """Returns author, year, title and address of a source, in Markdown."""
    title = f"*{source.title}*"
    if source.address:
        title = f"[{title}]({source.address})"
    year = f" ({source.year})" if source.year else ""
    return f"{source.author}{year}: {title}"


def _error_rates(findings: Findings) -> dict[str, Any]:
    """Returns how many comparisons decide the claims, and how many err by chance."""
    compared = [f.num_comparisons for f in findings.values() if f.num_comparisons]
    return {
        "num_claims": len(findings),
        "num_compared_claims": len(compared),
        "num_comparisons": sum(compared),
        "expected_errors": (1 - CONFIDENCE) * sum(compared),
    }


def _section(name: str, row: Row, runs: Runs) -> dict[str, Any]:
    """Returns what the template shows of a row."""
    first = next(iter(runs.values()))
    verdict = verdicts.judge(row, first)
    paragraphs = [
        verdicts.explain(verdict, row.reason),
        bimodal_text(row, first),
        other_reading_text(row, first),
        learning_rate_table(row, first),
        clip_relation_text(first) if name == SATURATED_ROW else "",
        row.note,
    ]
    numbers = tables.row_table(row, first)
    has_final = len(runs) > 1 or not numbers
    return {
        "row": row,
        "verdict": verdict,
        "paragraphs": list(filter(None, paragraphs)),
        "numbers": numbers,
        "final": tables.final_table(runs) if has_final else "",
    }


def bimodal_text(row: Row, runs: xr.Dataset) -> str:
    """Returns a warning if the seeds of a row with published numbers are bimodal."""
    groups = tables.seed_groups(runs.isel(epoch=slice(row.num_epochs)))
    if len(groups) == 1 or not row.published:
        return ""
    return (
        "The final test accuracies of our seeds form two groups. The table below shows "
        "their ranges. The interval treats the seeds as one group. It is so wide that "
        "agreement says little."
    )


def other_reading_text(row: Row, runs: xr.Dataset) -> str:
    """Returns how many numbers agree with the metrics that they may mean instead."""
    if not row.also_compared_with:
        return ""
    other = verdicts.judge(other_reading(row), runs)
    return (
        "If the source had measured these metrics with dropout off, "
        f"{other.num_agreeing} of {other.num_published} numbers would agree."
    )


def learning_rate_table(row: Row, runs: xr.Dataset) -> str:
    """Returns the epochs after which the learning rate fell, published and by seed."""
    if row.learning_rate is None:
        return ""
    lines = []
    ours = our_values(runs, "epoch_learning_rate")
    for seed, rates in enumerate([row.learning_rate, *ours], start=-1):
        epochs = ", ".join(map(str, np.flatnonzero(np.diff(rates) < 0) + 1)) or "–"
        lines.append(f"{'published' if seed < 0 else f'seed {seed}'} | {epochs}")
    return tables.markdown("run | learning rate reduced after epochs", lines)


def clip_relation_text(runs: xr.Dataset) -> str:
    """Returns how closely test losses follow from accuracies, and how many change."""
    losses = our_values(runs, "test_loss")
    wrong = 1 - our_values(runs, "test_accuracy")
    deviation = np.abs(losses - SATURATED_LOSS * wrong).max()
    changed = np.abs(losses[:, 1:] - losses[:, 1:2]).max(1) > MAX_FROZEN_CHANGE
    return (
        f"The predicted relation, test loss = {SATURATED_LOSS} × fraction of "
        f"misclassified test images, holds to within {deviation:.4f} for all seeds and "
        "epochs; it assumes that all of these images are saturated.\n"
        f"In {changed.sum()} of {len(changed)} runs, the test loss changed by more "
        f"than {MAX_FROZEN_CHANGE} after epoch 2."
    )
