"""Tables of what was measured beside what was published and claimed, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from experiments.reproduction.findings import Finding
from experiments.reproduction.judging import (
    Runs,
    comparisons,
    trained_for,
    values,
)
from experiments.reproduction.references import References, Row, replicated
from fmnist_jax.analysis.intervals import compare_spreads


def _published(value: float, metric: str) -> str:
    """Returns a published number with the digits that were published."""
    if not np.isfinite(value):
        return "–"
    scale, digits = (100, 2) if "accuracy" in metric else (1, 4)
    return f"{round(scale * value, digits):g}"


def _ours(mean: float, spread: float, metric: str) -> str:
    """Returns a mean and a spread over seeds, with as many digits as tell something."""
    if not np.isfinite(mean):
        return "–"
    if "accuracy" in metric:
        return f"{100 * mean:.1f} ± {100 * spread:.1f}"
    digits = 3 if mean < 10 else 1 if mean < 1000 else 0
    return f"{mean:,.{digits}f} ± {spread:,.{digits}f}"


def _label(metric: str) -> str:
    unit = " %" if "accuracy" in metric else ""
    return metric.replace("_", " ") + unit


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table."""
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in body)]


def row_table(row: Row, runs: xr.Dataset) -> list[str]:
    """Returns published and measured numbers by epoch; bold where they disagree."""
    compared = comparisons(row, runs)
    if not compared:
        return []
    known = np.any([c.known for c in compared.values()], axis=0)
    epochs = np.flatnonzero(known)
    body = []
    for metric, c in compared.items():
        published = [
            f"**{_published(c.published[e], metric)}**"
            if c.known[e] and not c.agrees[e]
            else _published(c.published[e], metric)
            for e in epochs
        ]
        ours = [_ours(c.mean[e], c.spread[e], metric) for e in epochs]
        body += [[_label(metric), "published", *published], ["", "ours", *ours]]
    return table(["", "", *(f"e{e + 1}" for e in epochs)], body)


def final_table(runs: Runs) -> list[str]:
    """Returns where configurations without published numbers end."""
    metrics = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    body = []
    for name, each in runs.items():
        cells = [name, str(each.sizes["epoch"])]
        for metric in metrics:
            last = values(each, metric, each.sizes["epoch"])[:, -1]
            cells.append(_ours(last.mean(), last.std(ddof=1), metric))
        statuses, counts = np.unique(each.status.values.astype(str), return_counts=True)
        cells.append(
            ", ".join(f"{s} {c}" for s, c in zip(statuses, counts, strict=True))
        )
        body.append(cells)
    return table(["", "epochs", *map(_label, metrics), "status"], body)


def parameter_table(references: References, runs: Runs) -> list[str]:
    """Returns the published ranges of parameters after training, beside ours."""
    body = []
    for name, row in references.rows.items():
        training = next(iter(trained_for(name)), "")
        if not row.parameters or training not in runs:
            continue
        each = runs[training]
        epoch = min(row.num_epochs, each.sizes["epoch"]) - 1
        for array, (low, high) in row.parameters.items():
            ours = _ends(each, array, epoch)
            if ours is None:
                continue
            mean, spread = ours.mean(0), ours.std(0, ddof=1)
            body.append(
                [name, array, f"{low:.3g} … {high:.3g}",
                 f"{mean[0]:.3g} … {mean[1]:.3g}", f"{spread[0]:.2g}, {spread[1]:.2g}"]
            )  # fmt: skip
    return table(["row", "array", "published", "ours, mean", "ours, spread"], body)


def _ends(runs: xr.Dataset, array: str, epoch: int) -> np.ndarray | None:
    """Returns least and greatest of an array of parameters, ``[seeds, 2]``."""
    name = f"{array if array[-1].isdigit() else array + '1'}_range"
    if name not in runs:
        return None
    return runs[name].isel(epoch=epoch).transpose("seed", "end").values.astype(float)


def hidden_table(references: References, runs: Runs) -> list[str]:
    """Returns the published ranges of hidden values, beside ours; [] of none."""
    body = []
    for name, row in references.rows.items():
        training = next(iter(trained_for(name)), "")
        if not row.hidden_values or training not in runs:
            continue
        last = runs[training].isel(
            epoch=min(row.num_epochs, runs[training].sizes["epoch"]) - 1
        )
        ends = last.hidden_range.transpose("seed", "end").values.astype(float)
        counts = last.hidden_counts.transpose("seed", "bin").values.astype(float)
        first = counts[:, 0] / counts.sum(1)
        published = row.hidden_values
        body.append(
            [name, f"{published['min']:g} … {published['max']:g}",
             f"{ends[:, 0].mean():.3g} … {ends[:, 1].mean():.3g} "
             f"(± {ends[:, 1].std(ddof=1):.2g})",
             f"{100 * published['share_below']:.0f} % below {published['threshold']:g}",
             f"{100 * first.mean():.0f} % in the first of ten bins"]
        )  # fmt: skip
    head = ["row", "published range", "ours", "published share", "ours"]
    return table(head, body) if body else []


def spread_table(references: References, runs: Runs) -> list[str]:
    """Returns the spread of the sources' own replicates beside that of our seeds."""
    body = []
    for group in references.replicates:
        name = next(iter(trained_for(next(iter(group)))), "")
        if name not in runs:
            continue
        for metric in ("train_loss", "test_loss", "test_accuracy"):
            theirs = replicated(references, group, metric)
            ours = values(runs[name], metric, theirs.shape[1])
            for epoch in np.flatnonzero(np.isfinite(theirs).sum(0) >= 2):
                if epoch >= ours.shape[1] or (epoch + 1) not in (1, 5, 10):
                    continue
                both = compare_spreads(ours[:, epoch], theirs[:, epoch])
                body.append(
                    [", ".join(group), f"{_label(metric)} e{epoch + 1}",
                     str(int(np.isfinite(theirs[:, epoch]).sum())),
                     _published(both.theirs, metric), _published(both.ours, metric),
                     f"{both.ratio.estimate:.2f} ({both.ratio.low:.2f} to "
                     f"{both.ratio.high:.2f})"]
                )  # fmt: skip
    head = ["rows", "metric", "runs", "their spread", "ours", "ours / theirs (95 %)"]
    return table(head, body)


def dropout_table(runs: xr.Dataset) -> list[str]:
    """Returns the last epoch's metrics with dropout on while measuring, and off."""
    last, body = runs.isel(epoch=-1), []
    for metric in ("test_loss", "train_accuracy", "test_accuracy"):
        cells = [_label(metric)]
        for name in (f"{metric}_with_dropout", metric):
            found = last[name].values.astype(float)
            cells.append(_ours(found.mean(), found.std(ddof=1), metric))
        body.append(cells)
    return table(["", "dropout on", "dropout off"], body)


def claims_table(references: References, findings: Mapping[str, Finding]) -> list[str]:
    """Returns each claim with its verdict and the measurement that decides it."""
    body = [
        [
            name,
            f"{claim.claim} *{claim.source}.*",
            f"**{findings[name].verdict}**",
            findings[name].measured,
        ]
        for name, claim in references.claims.items()
        if name in findings
    ]
    return table(["claim", "in words", "verdict", "measured"], body)
