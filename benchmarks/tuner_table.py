"""The tables of ``benchmarks.tuners``, from its records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from fmnist_jax.analysis.intervals import paired_interval

Record = Mapping[str, Any]


def _of(records: Sequence[Record], key: Record) -> list[Record]:
    """Returns the records with these entries."""
    return [record for record in records if key.items() <= record.items()]


def settings(records: Sequence[Record], common: Record) -> list[Record]:
    """Returns the distinct settings that were recommended."""
    distinct: list[Record] = []
    for record in _of(records, common):
        if "best" in record and record["best"]["setting"] not in distinct:
            distinct.append(record["best"]["setting"])
    return distinct


def retrained(records: Sequence[Record], common: Record, setting: Record) -> np.ndarray:
    """Returns the test accuracy of a setting by seed, in points."""
    key = {**common, "retrained": setting}
    return 100 * np.asarray(_of(records, key)[-1]["accuracies"], float)


def _span(values: Sequence[float], sign: str = "") -> str:
    """Returns the mean of the repetitions, and their minimum and maximum."""
    low, high = min(values), max(values)
    mean = format(float(np.mean(values)), f"{sign}.2f")
    if len(values) == 1:
        return mean
    return f"{mean} ({low:{sign}.2f} to {high:{sign}.2f})"


def _rows(
    records: Sequence[Record], common: Record, titles: Mapping[str, Peer]
) -> Iterator[list[str]]:
    first = next(iter(titles))
    searches = [record for record in _of(records, common) if "best" in record]
    for budget in sorted({record["budget"] for record in searches}):
        accuracy = {
            name: {
                r["seed"]: float(
                    np.mean(retrained(records, common, r["best"]["setting"]))
                )
                for r in _of(searches, {"budget": budget, "contestant": name})
            }
            for name in titles
        }
        for name, peer in titles.items():
            mine = _of(searches, {"budget": budget, "contestant": name})
            if not mine:
                continue
            ours = accuracy[first]
            pairs = accuracy[name].items()
            lost = [a - ours[seed] for seed, a in pairs if seed in ours]
            best = [record["best"] for record in mine]
            yield [
                peer.title,
                f"{budget:g}",
                f"{np.mean([record['seconds'] for record in mine]):.0f}",
                f"{np.mean([record['num_settings'] for record in mine]):.0f}",
                f"{np.mean([record['num_epochs'] for record in mine]):.0f}",
                _span([100 * b["validation_accuracy"] for b in best]),
                _span([100 * b["test_accuracy"] for b in best]),
                _span(list(accuracy[name].values())),
                _span(lost, "+") if lost and name != first else "",
            ]


def _details(
    records: Sequence[Record], common: Record, titles: Mapping[str, Peer]
) -> Iterator[list[str]]:
    for record in _of(records, common):
        if "best" not in record:
            continue
        setting = record["best"]["setting"]
        values = retrained(records, common, setting)
        ends = paired_interval(values)
        yield [
            titles[record["contestant"]].title,
            f"{record['budget']:g}",
            f"{record['seed']}",
            *(f"{value}" for value in setting.values()),
            f"{ends.estimate:.2f} ({ends.low:.2f} to {ends.high:.2f})",
        ]


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def markdown(
    records: Sequence[Record], common: Record, titles: Mapping[str, Peer]
) -> str:
    """Returns a table of the contestants, and one of what they recommend.

    Args:
      records: the lines of the file.
      common: the entries of the records to show.
      titles: the contestants; the others are compared with the first.
    """
    header = [
        "search", "budget, s", "time, s", "settings", "epochs", "validation, %",
        "test, own model, %", "test, retrained, %", "difference, points",
    ]  # fmt: skip
    details = [
        "search", "budget, s", "repetition", "normalization", "optimizer",
        "batch size", "learning rate", "test, retrained, %",
    ]  # fmt: skip
    title = f"{common['dataset']}, {common['train_examples']:,} training images"
    return "\n".join(
        [
            f"{title}; means of the repetitions, with minimum and maximum",
            "",
            *_table(header, _rows(records, common, titles)),
            "",
            "What was recommended; mean of the seeds after retraining, 95 % interval",
            "",
            *_table(details, _details(records, common, titles)),
        ]
    )
