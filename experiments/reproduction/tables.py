"""Markdown tables of our results and the published ones."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import xarray as xr

from experiments.reproduction.configurations import configurations_of
from experiments.reproduction.findings import Finding, by_seed, modes, span
from experiments.reproduction.references import References, Row, replicated
from experiments.reproduction.verdicts import comparisons, our_values
from fmnist_jax.analysis.intervals import compare_spreads

Runs = Mapping[str, xr.Dataset]
Findings = Mapping[str, Finding]
FINAL_METRICS = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def markdown(columns: str, rows: Iterable[str]) -> str:
    """Returns a table; `` | `` separates the cells of a row."""
    rule = " | ".join(["---"] * len(columns.split(" | ")))
    return "\n".join(f"| {line} |" for line in (columns, rule, *rows))


def parts_table(columns: str, parts: Findings) -> str:
    """Returns a table of the parts of a claim, each with measurement and verdict."""
    rows = (f"{part} | {f.measured} | {f.verdict}" for part, f in parts.items())
    return markdown(columns, rows)


def _published(value: float, metric: str) -> str:
    """Returns a published number with its published digits."""
    if not np.isfinite(value):
        return "–"
    scale, digits = (100, 2) if "accuracy" in metric else (1, 4)
    return f"{round(scale * value, digits):g}"


def _ours(mean: float, spread: float, metric: str) -> str:
    """Returns a mean and a spread over seeds with their significant digits."""
    if not np.isfinite(mean):
        return "–"
    if "accuracy" in metric:
        return f"{100 * mean:.1f} ± {100 * spread:.1f}"
    digits = 3 if mean < 10 else 1 if mean < 1000 else 0
    return f"{mean:,.{digits}f} ± {spread:,.{digits}f}"


def _range_text(values: np.ndarray, metric: str) -> str:
    """Returns minimum and maximum over seeds with their significant digits."""
    if not np.isfinite(values).all():
        return "–"
    if "accuracy" in metric:
        return span(100 * values, ".1f")
    digits = 3 if values.max() < 10 else 1 if values.max() < 1000 else 0
    return span(values, f",.{digits}f")


def seed_groups(runs: xr.Dataset) -> list[np.ndarray]:
    """Returns the positions of seeds, in two groups if final accuracies are bimodal."""
    if "test_accuracy" not in runs:
        return [np.arange(runs.sizes["seed"])]
    return modes(by_seed(runs, "test_accuracy", runs.sizes["epoch"]))


def _final(runs: xr.Dataset, metric: str) -> str:
    """Returns mean and spread of a metric after the last epoch."""
    last = our_values(runs, metric)[:, -1]
    return _ours(last.mean(), last.std(ddof=1), metric)


def _label(metric: str) -> str:
    unit = " %" if "accuracy" in metric else ""
    return metric.replace("_", " ") + unit


def row_table(row: Row, runs: xr.Dataset) -> str:
    """Returns published and measured numbers by epoch; bold if they disagree.

    Bimodal seeds are shown as two groups, each with its range.
    """
    compared = comparisons(row, runs)
    groups = seed_groups(runs.isel(epoch=slice(row.num_epochs)))
    if not compared:
        return ""
    epochs = np.flatnonzero(np.any([c.is_published for c in compared.values()], axis=0))
    lines = []
    for metric, c in compared.items():
        published = [_published(c.published[e], metric) for e in epochs]
        disagrees = (c.is_published & ~c.agrees)[epochs]
        pairs = zip(published, disagrees, strict=True)
        published = [f"**{text}**" if bold else text for text, bold in pairs]
        lines.append(" | ".join([_label(metric), "published", *published]))
        if len(groups) == 1:
            ours = [_ours(c.mean[e], c.spread[e], metric) for e in epochs]
            lines.append(" | ".join(["", "ours", *ours]))
            continue
        for seeds in groups:
            values = our_values(runs, metric)[seeds]
            ours = [_range_text(values[:, e], metric) for e in epochs]
            count = f"ours, {len(seeds)} of {runs.sizes['seed']} seeds"
            lines.append(" | ".join(["", count, *ours]))
    return markdown(" | ".join(["", "", *(f"e{e + 1}" for e in epochs)]), lines)


def final_table(runs: Runs) -> str:
    """Returns the metrics and statuses of configurations after the last epoch.

    Bimodal seeds are shown as two groups, each with its range.
    """
    lines = []
    for name, dataset in runs.items():
        groups = seed_groups(dataset)
        for seeds in groups:
            group = dataset.isel(seed=seeds)
            count = f", {len(seeds)} of {dataset.sizes['seed']} seeds"
            is_split = len(groups) > 1
            cells = [name + count if is_split else name, str(group.sizes["epoch"])]
            for metric in FINAL_METRICS:
                last = our_values(group, metric)[:, -1]
                ranges = _range_text(last, metric)
                cells.append(ranges if is_split else _final(group, metric))
            statuses = np.unique(group.status.values.astype(str), return_counts=True)
            counts = zip(*statuses, strict=True)
            cells.append(", ".join(f"{status} {n}" for status, n in counts))
            lines.append(" | ".join(cells))
    metrics = " | ".join(map(_label, FINAL_METRICS))
    return markdown(f" | epochs | {metrics} | status", lines)


def _with_runs(
    references: References, runs: Runs
) -> Iterator[tuple[str, Row, xr.Dataset]]:
    """Yields each measured row with our runs of it after the row's last epoch."""
    for name, row in references.rows.items():
        ours = runs.get(configurations_of(name)[0])
        if ours is not None:
            last = min(row.num_epochs, ours.sizes["epoch"])
            yield name, row, ours.isel(epoch=last - 1)


def _range(runs: xr.Dataset, array: str) -> np.ndarray:
    """Returns minimum and maximum of an array, ``[seeds, 2]``."""
    return runs[f"{array}_range"].transpose("seed", "end").values.astype(float)


def parameter_table(references: References, runs: Runs) -> str:
    """Returns the published ranges of parameters after training, and ours."""
    lines = []
    for name, row, ours in _with_runs(references, runs):
        for array, (low, high) in row.parameters.items():
            variable = array if array[-1].isdigit() else f"{array}1"
            if f"{variable}_range" not in ours:
                continue
            ends = _range(ours, variable)
            means = " … ".join(f"{mean:.3g}" for mean in ends.mean(0))
            spreads = ", ".join(f"{spread:.2g}" for spread in ends.std(0, ddof=1))
            published = f"{low:.3g} … {high:.3g}"
            lines.append(f"{name} | {array} | {published} | {means} | {spreads}")
    return markdown("row | array | published | ours, mean | ours, spread", lines)


def hidden_table(references: References, runs: Runs) -> str:
    """Returns the published ranges of hidden values, and ours, if measured."""
    lines = []
    for name, row, ours in _with_runs(references, runs):
        published = row.hidden_values
        if not published:
            continue
        low, high = _range(ours, "hidden").T
        counts = ours.hidden_counts.transpose("seed", "bin").values.astype(float)
        first = 100 * (counts[:, 0] / counts.sum(1)).mean()
        lines.append(
            f"{name} | {published['min']:g} … {published['max']:g} | "
            f"{low.mean():.3g} … {high.mean():.3g} (± {high.std(ddof=1):.2g}) | "
            f"{100 * published['share_below']:.0f} % below {published['threshold']:g} "
            f"| {first:.0f} % in the first of ten bins"
        )
    columns = "row | published range | our range | published share | our share"
    return markdown(columns, lines) if lines else ""


def spread_table(references: References, runs: Runs) -> str:
    """Returns the spread of the sources' replicates and that of our seeds."""
    lines = []
    for group in references.replicates:
        ours = runs.get(configurations_of(next(iter(group)))[0])
        if ours is None:
            continue
        for metric in ("train_loss", "test_loss", "test_accuracy"):
            published = replicated(references, group, metric)
            values = our_values(ours, metric)[:, : published.shape[1]]
            counts = np.isfinite(published).sum(0)
            for epoch in (0, 4, 9):
                if epoch >= values.shape[1] or counts[epoch] < 2:
                    continue
                spreads = compare_spreads(values[:, epoch], published[:, epoch])
                both = (_published(s, metric) for s in (spreads.theirs, spreads.ours))
                ratio = spreads.ratio
                lines.append(
                    f"{', '.join(group)} | {_label(metric)} e{epoch + 1} | "
                    f"{counts[epoch]} | {' | '.join(both)} | {ratio.estimate:.2f} "
                    f"({ratio.low:.2f} to {ratio.high:.2f})"
                )
    columns = "rows | metric | runs | published spread | our spread | ours / published"
    return markdown(f"{columns} (95 %)", lines)


def dropout_table(runs: xr.Dataset) -> str:
    """Returns the final metrics, evaluated with dropout on and off."""
    lines = []
    for metric in FINAL_METRICS[1:]:
        with_dropout = _final(runs, f"{metric}_with_dropout")
        lines.append(f"{_label(metric)} | {with_dropout} | {_final(runs, metric)}")
    return markdown(" | dropout on | dropout off", lines)
