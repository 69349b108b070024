"""The page that compares our results with what was published and claimed."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr

from experiments.reproduction import tables, verdicts
from experiments.reproduction.claims import MORE_SEEDS
from experiments.reproduction.configurations import (
    BUGS,
    CONFIGURATIONS,
    configurations_of,
)
from experiments.reproduction.figures import row_figure
from experiments.reproduction.references import References, Row, other_reading
from experiments.reproduction.tables import Findings, Runs
from experiments.reproduction.verdicts import our_values
from fmnist_jax.files import atomic_write, explaining_write_errors

FIGURES = "reproduction"  # folder of the figures, beside the page
SATURATED = 16.118  # -ln 1e-7, the clipped loss of a saturated wrong example
MOVED = 0.5  # nats; change of the test loss of a run that is no longer frozen
LAWFUL = "scale-keras-1"  # row of which the law is checked, not the value
TEMPLATE = Path(__file__).with_name("reproduction.md.jinja")


def write(references: References, runs: Runs, findings: Findings, folder: Path) -> Path:
    """Writes the page and its figures into a folder; returns the page's path.

    Raises:
      UserError: if they cannot be written.
    """
    path, text = folder / "reproduction.md", page(references, runs, findings)
    with explaining_write_errors(folder):
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for name, row in references.rows.items():
            if ours := runs_of(name, runs):
                figure = row_figure(name, row, ours)
                figure.savefig(folder / FIGURES / f"{name}.png", dpi=90)
        with atomic_write(path) as new:
            new.write_text(text, encoding="utf-8")
    return path


def runs_of(row: str, runs: Runs) -> dict[str, xr.Dataset]:
    """Returns the measured configurations whose first epochs are a row."""
    return {name: runs[name] for name in configurations_of(row) if name in runs}


def page(references: References, runs: Runs, findings: Findings) -> str:
    """Returns the page, in Markdown, of the rows and claims that were measured."""
    sections = {
        name: _section(name, row, ours)
        for name, row in references.rows.items()
        if (ours := runs_of(name, runs))
    }
    judged = [section["verdict"] for section in sections.values()]
    compared = [verdict for verdict in judged if verdict.num_published]
    trained = [runs[name] for name in CONFIGURATIONS if name in runs]
    names = (*references.rows, *references.claims)
    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return template.render(
        titles=dict.fromkeys(dataset.attrs["dataset_title"] for dataset in trained),
        seeds=trained[0].sizes["seed"] if trained else "no",
        more_seeds=MORE_SEEDS,
        compared=compared,
        share=verdicts.share_agreeing(compared),
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
        dropout=tables.dropout_table(runs["dropout"]) if "dropout" in runs else [],
        figures=FIGURES,
    )


def _section(name: str, row: Row, runs: Runs) -> dict[str, Any]:
    """Returns what the template shows of a row."""
    first = next(iter(runs.values()))
    verdict = verdicts.judge(row, first)
    explained = verdicts.explain(verdict, row.reason)
    sentences = [
        explained,
        other_reading_text(row, first),
        learning_rate_text(row, first),
        law_text(first) if name == LAWFUL else "",
        row.note.removeprefix(explained).strip(),
    ]
    numbers = tables.row_table(row, first)
    has_final = len(runs) > 1 or not numbers
    return {
        "row": row,
        "verdict": verdict,
        "sentences": list(filter(None, sentences)),
        "numbers": numbers,
        "final": tables.final_table(runs) if has_final else [],
    }


def other_reading_text(row: Row, runs: xr.Dataset) -> str:
    """Returns how many numbers agree with the metrics that they may mean instead."""
    if not row.also_compared_with:
        return ""
    other = verdicts.judge(other_reading(row), runs)
    return (
        f"If these were measured with dropout off, {other.num_agreeing} of "
        f"{other.num_published} numbers would agree."
    )


def learning_rate_text(row: Row, runs: xr.Dataset) -> str:
    """Returns after which epochs the learning rate fell, published and by seed."""

    def falls(rates: np.ndarray) -> str:
        return " ".join(str(e + 1) for e in np.flatnonzero(np.diff(rates) < 0)) or "–"

    if row.learning_rate is None:
        return ""
    ours = map(falls, our_values(runs, "epoch_learning_rate"))
    return (
        f"The learning rate falls after epochs {falls(row.learning_rate)} (published); "
        f"ours by seed: {'; '.join(ours)}."
    )


def law_text(runs: xr.Dataset) -> str:
    """Returns how closely frozen runs follow their law, and how many stayed frozen."""
    losses = our_values(runs, "test_loss")
    wrong = 1 - our_values(runs, "test_accuracy")
    deviation = np.abs(losses - SATURATED * wrong)
    moved = np.abs(losses[:, 1:] - losses[:, 1:2]).max(1) > MOVED
    return (
        f"The law, test loss = {SATURATED} × share of wrong test images (all of them "
        f"saturated), holds within {deviation.max():.4f} for all seeds and epochs. "
        f"{moved.sum()} of {len(moved)} seeds changed by more than {MOVED} after epoch "
        "2."
    )
