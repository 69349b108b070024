"""The interactive page of the claims: a card each, whose thresholds can be moved."""

import base64
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.reproduction.claims import DECISIONS
from experiments.reproduction.findings import VERDICTS, Finding
from experiments.reproduction.references import References
from experiments.reproduction.tables import Findings
from fmnist_jax.files import atomic_write, explaining_write_errors
from fmnist_jax.runner.output_folder import REPORT
from fmnist_jax.runner.page import environment

WIDTH, MARGIN = 600, 20  # of the drawing of a comparison
ROOM = 0.25  # beside what is drawn, as a share of its extent


def write(
    references: References, findings: Findings, folder: Path, titles: Any
) -> Path:
    """Writes the page into a folder; returns its path.

    ``findings`` are those on the claims that were decided, and ``titles`` those of the
    data sets.
    """
    path = folder / REPORT
    with explaining_write_errors(folder), atomic_write(path) as new:
        new.write_text(render(references, findings, titles), encoding="utf-8")
    return path


def render(references: References, findings: Findings, titles: Any) -> str:
    """Returns the page."""
    template = Path(__file__).with_name("cards.html.jinja").read_text(encoding="utf-8")
    cards = [_card(name, references, finding) for name, finding in findings.items()]
    rows = [
        {"claim": card["name"], "comparison": c["name"], "verdict": c["verdict"]}
        | {"low": c["bounds"][0], "high": c["bounds"][1]}
        | {f"seed_{i}": value for i, value in enumerate(c["differences"])}
        for card in cards
        for c in card["comparisons"]
    ]
    csv = pd.DataFrame(rows).to_csv(index=False).encode()
    values: dict[str, Any] = {
        "cards": cards,
        "meanings": VERDICTS,
        "titles": list(titles),
    }
    values |= {"verdicts": dict.fromkeys(card["verdict"] for card in cards)}
    values |= {"csv": base64.b64encode(csv).decode(), "width": WIDTH, "margin": MARGIN}
    text: str = environment().from_string(template).render(values)
    return text


def comparisons(finding: Finding, name: str = "") -> Iterator[tuple[str, Finding]]:
    """Yields the comparisons over seeds behind a finding, with their names."""
    if finding.bounds:
        yield name or "the comparison", finding
    for part, inner in finding.parts.items():
        yield from comparisons(inner, f"{name}: {part}" if name else part)


def _card(name: str, references: References, finding: Finding) -> dict[str, Any]:
    claim = references.claims[name]
    rule = inspect.getdoc(DECISIONS[name][0]) or ""
    return {
        "name": name,
        "claim": claim.claim,
        "words": claim.words,
        "sources": [references.sources[key] for key in claim.sources],
        "verdict": finding.verdict,
        "detail": finding.detail,
        "blocks": [_block(text) for text in finding.measured.split("\n\n") if text],
        "rule": " ".join(rule.replace("``", "").split()),
        "comparisons": [_drawn(*pair) for pair in comparisons(finding)],
    }


def _block(text: str) -> dict[str, Any]:
    """Returns a paragraph of Markdown, or the cells of a table."""
    lines = text.strip().splitlines()
    if len(lines) < 2 or not set(lines[1]) <= set("-| :"):
        return {"text": text, "rows": []}
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {"text": "", "rows": [rows[0], *rows[2:]]}


def _drawn(name: str, finding: Finding) -> dict[str, Any]:
    """Returns a comparison and where its parts are drawn."""
    everything = [finding.threshold, *finding.differences, *finding.bounds]
    extent = max(everything) - min(everything) or 1.0
    start, end = min(everything) - ROOM * extent, max(everything) + ROOM * extent
    scale = (WIDTH - 2 * MARGIN) / (end - start)
    return {
        "name": name,
        "verdict": finding.verdict,
        "measured": _measured(finding),
        "threshold": finding.threshold,
        "differences": finding.differences,
        "bounds": finding.bounds,
        "ends": (start, end),
        "seeds": [MARGIN + scale * (value - start) for value in finding.differences],
        "interval": [MARGIN + scale * (value - start) for value in finding.bounds],
        "zero": MARGIN + scale * (finding.threshold - start),
    }


def _measured(finding: Finding) -> str:
    """Returns what was measured, in the units in which it is drawn."""
    if not finding.threshold:
        return finding.measured
    values = finding.differences
    numbers = [sum(values) / len(values), *finding.bounds]
    return "{:.4g} ({:.4g} to {:.4g})".format(*numbers)
