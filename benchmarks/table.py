"""Computes the results and their table from the measured times."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.jobs import BATCH_SIZE
from benchmarks.machine import Rates
from benchmarks.peers import OURS, PEERS, num_runs


class Summary(NamedTuple):
    """Summary of a quantity over the rounds."""

    median: float
    min: float
    max: float


def summarise(values: Sequence[float]) -> Summary:
    """Returns the summary of the values of all rounds."""
    return Summary(statistics.median(values), min(values), max(values))


def throughputs(seconds: Sequence[float], steps: int, runs: int) -> list[float]:
    """Returns examples × runs per second for each round."""
    return [BATCH_SIZE * steps * runs / s for s in seconds]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Returns the median over the rounds of ours divided by theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def best_rates(rounds: Sequence[Sequence[float]]) -> Rates:
    """Returns the best of the rounds, which other work disturbed the least."""
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
    """Returns the results for one width and optimizer in the form of the JSON file.

    Args:
      width: units of the hidden layer.
      optimizer: the name of the optimizer.
      steps: steps per round.
      seconds: the time of each round, by peer.
      rounds_of_rates: FLOP/s and bytes/s of the machine in each round.
      choices: the fastest variant and the others, by peer.
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
    """Returns a heading and the table for one width and optimizer."""
    runs = {o: cell["peers"][o]["runs"] for o in OURS if o in cell["peers"]}
    speed_ups = [
        f"speed-up of fmnist_jax ({count} run{'s' * (count > 1)})"
        for count in runs.values()
    ]
    header = [
        "", "runs", "examples × runs / s", "min", "max", *speed_ups,
        "share of GEMM peak", "share of floor", "variant",
    ]  # fmt: skip
    lines = [_line(header), _line([":--", *["--:"] * (len(header) - 2), ":--"])]
    for peer in cell["peers"].values():
        speeds = [f"{peer[name]:,.0f}" for name in Summary._fields]
        ratios = [f"{peer['ratios'][name]:.2f}" for name in runs]
        shares = [f"{peer[f'share_of_{limit}']:.0%}" for limit in ("peak", "floor")]
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
        f"{cell['steps']} steps per round, {len(cell['rates'])} rounds."
    )
    omitted = [
        f"Left out: {PEERS[name].title}: {cause}.\n"
        for name, cause in cell.get("left_out", {}).items()
    ]
    return "\n".join([title, "", peaks, "", *lines, "", *omitted])


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"
