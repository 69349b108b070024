"""From seconds to a table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.jobs import BATCH_SIZE
from benchmarks.machine import Rates
from benchmarks.peers import OURS, PEERS, num_runs


class Summary(NamedTuple):
    """Of a number measured in every round."""

    median: float
    min: float
    max: float


def summarise(values: Sequence[float]) -> Summary:
    """Returns the summary of some rounds."""
    return Summary(statistics.median(values), min(values), max(values))


def throughputs(seconds: Sequence[float], steps: int, runs: int) -> list[float]:
    """Returns examples × runs per second of each round."""
    return [BATCH_SIZE * steps * runs / s for s in seconds]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Returns the median of the rounds' ratios: both have seen the same machine."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def best_rates(rounds: Sequence[Sequence[float]]) -> Rates:
    """Returns the best of the rounds: what the machine can do undisturbed."""
    flops, bandwidth = zip(*rounds, strict=True)
    return Rates(max(flops), max(bandwidth))


def cell(
    width: int,
    optimizer: str,
    steps: int,
    seconds: Mapping[str, Sequence[float]],
    rounds_of_rates: Sequence[Sequence[float]],
    choices: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the results of one width and optimizer, as they are saved.

    Args:
      width: of the hidden layer.
      optimizer: its name.
      steps: in a round.
      seconds: for each peer, of each round.
      rounds_of_rates: the machine's FLOP/s and bytes/s in each round.
      choices: for each peer, which variant was fastest, and of which.
    """
    runs = {p: num_runs(PEERS[p], width) * PEERS[p].processes for p in seconds}
    rates = best_rates(rounds_of_rates)
    peak = BATCH_SIZE / machine.peak_seconds(width, rates)
    floor = BATCH_SIZE / machine.floor_seconds(width, optimizer, rates)
    speeds = {p: throughputs(s, steps, runs[p]) for p, s in seconds.items()}
    peers = {}
    for peer, speed in speeds.items():
        median = summarise(speed).median
        peers[peer] = {
            "title": PEERS[peer].title,
            **{f"tried_{key}": value for key, value in choices[peer].items()},
            "runs": runs[peer],
            "seconds": list(seconds[peer]),
            **summarise(speed)._asdict(),
            "ratios": {o: ratio(speeds[o], speed) for o in OURS if o in speeds},
            "share_of_peak": median / peak,
            "share_of_floor": median / floor,
        }
    return {
        "width": width,
        "optimizer": optimizer,
        "steps": steps,
        "flops": rates.flops,
        "bandwidth": rates.bandwidth,
        "rates": [list(values) for values in rounds_of_rates],
        "peers": peers,
    }


def markdown(cell: Mapping[str, Any]) -> str:
    """Returns a heading and the table of one width and optimizer."""
    runs = {o: cell["peers"][o]["runs"] for o in OURS if o in cell["peers"]}
    over = [f"ours × {count} / it" for count in runs.values()]
    header = [
        "", "runs", "examples × runs / s", "min", "max", *over,
        "of GEMM peak", "of floor", "variant",
    ]  # fmt: skip
    lines = [_line(header), _line([":--", *["--:"] * (len(header) - 2), ":--"])]
    for peer in cell["peers"].values():
        speeds = [f"{peer[name]:,.0f}" for name in Summary._fields]
        ratios = [f"{peer['ratios'][name]:.2f}" for name in runs]
        shares = [f"{peer[f'share_of_{of}']:.0%}" for of in ("peak", "floor")]
        lines.append(
            _line(
                [peer["title"], str(peer["runs"]), *speeds, *ratios, *shares,
                 peer["tried_variant"]]
            )
        )  # fmt: skip
    title = f"### {cell['width']} units, {cell['optimizer']}"
    peaks = (
        f"GEMM peak {cell['flops'] / 1e9:.0f} GFLOP/s, "
        f"cache {cell['bandwidth'] / 1e9:.0f} GB/s; "
        f"{cell['steps']} steps a round, {len(cell['rates'])} rounds."
    )
    left_out = [
        f"Left out: {PEERS[name].title}: {why}.\n"
        for name, why in cell.get("left_out", {}).items()
    ]
    return "\n".join([title, "", peaks, "", *lines, "", *left_out])


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"
