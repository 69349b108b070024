"""The cost of a run against the number of runs, their size and the number of devices.

    python -m benchmarks.scaling --data_dir=FOLDER

Only training is timed, after compilation, in microseconds per run and step. The values
are medians over rounds, and every round measures all settings in turn. About five
minutes on two cores. Writes ``docs/scaling_of_cost.png`` and prints the table of
``docs/appendices/performance.md``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import scripts
from fmnist_jax import load

FIGURE = Path(__file__).parents[1] / "docs" / "scaling_of_cost.png"
BASE = {"runs": 64, "hidden": 128, "batch": 32, "optimizer": "adam", "width": 0}
# Panel -> the setting that it varies, the values, other differences from the base.
PANELS: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "number of runs": ("runs", [1, 2, 4, 8, 16, 64, 256, 1024], {}),
    "runs per device at once": ("width", [1, 2, 4, 8, 16, 32], {}),
    "hidden units": ("hidden", [16, 64, 128, 256, 512, 1000], {"runs": 8}),
    "batch size": ("batch", [8, 32, 128, 512], {"runs": 16}),
}
EXAMPLES = 1600


def cases() -> list[dict[str, Any]]:
    """Returns all combinations of settings, without duplicates."""
    combinations: list[dict[str, Any]] = []
    for varied, values, others in PANELS.values():
        for optimizer in ("adam", "sgd"):
            for value in values:
                case = {**BASE, **others, "optimizer": optimizer, varied: value}
                if case not in combinations:
                    combinations.append(case)
    return combinations


def serve(num_devices: int, data_dir: str | None) -> None:
    """Times the cases on standard input, one line of JSON per case."""
    from fmnist_jax import Config, Hparams, run_groups, use_cpu_cores
    from fmnist_jax.sweeps.engine import plan_for_local_devices

    use_cpu_cores(num_devices)
    data = load("auto", data_dir, train_examples=EXAMPLES, test_examples=100)
    for line in sys.stdin:
        case = json.loads(line)
        config = Config(
            hidden_sizes=(case["hidden"],), optimizer=case["optimizer"],
            batch_size=case["batch"], num_epochs=2, evaluate_train=False,
        )  # fmt: skip
        axes = {"seed": range(case["runs"])}
        width = case["width"] or None
        plan = plan_for_local_devices(axes, data, config, Hparams(), max_width=width)
        seconds, start = 0.0, time.perf_counter()
        for part in run_groups(plan, data):  # the second epoch of each group counts
            now = time.perf_counter()
            seconds += (now - start) * (part.epoch == 2)
            start = now
        steps = EXAMPLES / case["batch"] * case["runs"]
        print(json.dumps(seconds / steps * 1e6), flush=True)


def measure(
    rounds: int, devices: list[int], data_dir: str | None
) -> dict[int, list[tuple[dict[str, Any], list[float]]]]:
    """Returns the times of all cases for each number of devices."""
    workers = {}
    for count in devices:
        command = [sys.executable, "-m", "benchmarks.scaling", f"--serve={count}"]
        command += [f"--data_dir={data_dir}"] if data_dir else []
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        workers[count] = subprocess.Popen(command, text=True, **pipes)
    times: dict[int, list[tuple[dict[str, Any], list[float]]]] = {
        count: [(case, []) for case in cases()] for count in devices
    }
    for number in range(rounds + 1):  # the first compiles
        for index, case in enumerate(cases()):
            for count, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                print(json.dumps(case), file=worker.stdin, flush=True)
                seconds = json.loads(worker.stdout.readline())
                times[count][index][1].extend([seconds] if number else [])
    for worker in workers.values():
        worker.communicate()
    return times


def table(times: dict[int, list[tuple[dict[str, Any], list[float]]]]) -> str:
    """Returns medians, minima and maxima as Markdown."""
    lines = ["| varied | value | optimizer | devices | µs per run and step |"]
    lines.append("|---|---|---|---|---|")
    for title, (varied, values, others) in PANELS.items():
        for count, measured in times.items():
            for case, seconds in measured:
                if _belongs(case, varied, values, others):
                    spread = f"({min(seconds):.1f}–{max(seconds):.1f})"
                    lines.append(
                        f"| {title} | {case[varied]} | {case['optimizer']} | {count} | "
                        f"{statistics.median(seconds):.1f} {spread} |"
                    )
    return "\n".join(lines)


def _belongs(
    case: dict[str, Any], varied: str, values: list[int], others: dict[str, Any]
) -> bool:
    expected = {**BASE, **others}
    same = all(
        case[n] == expected[n] for n in expected if n not in (varied, "optimizer")
    )
    return same and case[varied] in values


def draw(times: dict[int, list[tuple[dict[str, Any], list[float]]]]) -> None:
    """Draws one panel per varied setting."""
    from fmnist_jax.figures.style import COLOURS, grid_of_panels

    figure, panels = grid_of_panels(2, 2, size=(11, 7))
    for panel, (title, (varied, values, others)) in zip(
        panels.flat, PANELS.items(), strict=True
    ):
        for column, optimizer in enumerate(("adam", "sgd")):
            for count, line in zip(times, ("-o", "--s"), strict=False):
                chosen = [
                    (case[varied], statistics.median(seconds))
                    for case, seconds in times[count]
                    if case["optimizer"] == optimizer
                    and _belongs(case, varied, values, others)
                ]
                label = f"{optimizer}, {count} device{'s' if count > 1 else ''}"
                looks: dict[str, Any] = {"label": label, "color": COLOURS[column]}
                looks |= {"markersize": 4, "markerfacecolor": "none"}
                panel.plot(*zip(*sorted(chosen), strict=True), line, **looks)
        panel.set_xscale("log", base=2)
        panel.set_xticks(values, [str(value) for value in values])
        panel.set_xlabel(title)
        panel.set_ylim(bottom=0)
        panel.set_ylabel("µs per run and step")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(
        "Cost of one training step of one run (784-128-10 and batch 32, unless varied)"
    )
    figure.savefig(FIGURE, dpi=130)


def main() -> None:
    """Measures, prints the table and draws the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", default="2,1", help="numbers of CPU devices")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.data_dir)
        return
    load("auto", options.data_dir)  # raises errors before anything starts
    devices = [int(count) for count in options.devices.split(",")]
    times = measure(options.rounds, devices, options.data_dir)
    print(table(times))
    draw(times)


if __name__ == "__main__":
    scripts.run(main)
