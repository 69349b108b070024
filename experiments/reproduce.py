"""Which rows and claims of the sources hold, over seeds?

    python -m experiments.reproduce --data_dir=FOLDER

Every row and claim, about two hours on two cores; --only=depth-2,claim-depth-2 for
some. What is done is kept in --out_dir, a file for each configuration, and the same
command goes on from there.
"""

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.errors import UserError, unknown
from fmnist_jax.runner.command_line import command_line
from fmnist_jax.runner.flags import COMMON, parse_flags

if TYPE_CHECKING:
    import xarray as xr

    from experiments.reproduction.findings import Finding
    from experiments.reproduction.references import References
    from fmnist_jax.data.dataset import Data

QUESTION = "Which rows and claims of the sources hold, over seeds?"
NUM_SEEDS, MORE_SEEDS = 6, 10
FIGURES = "reproduction"
Measure = Callable[[str, int], "xr.Dataset"]
_TEXTS = {
    "only": "ids of rows and claims, separated by commas (default: all)",
    "data_dir": COMMON["data_dir"],
    "dataset": "train all rows on this data set (default: each on its own)",
    "out_dir": "folder where results are kept (default: runs/reproduce)",
    "docs_dir": "folder for reproduction.md and its figures (default: --out_dir)",
}
_COUNTS = {
    "num_seeds": f"seeds of each configuration, at least 2 (default: {NUM_SEEDS})",
    "epochs": "at most so many epochs, for a quick look",
    "train_examples": COMMON["train_examples"],
    "test_examples": COMMON["test_examples"],
}
_SWITCHES = {"dry_run": COMMON["dry_run"]}


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the flags of a command line, defaults filled in.

    Raises:
      UserError: for an unknown flag, or a value that is not allowed.
    """
    from experiments.reproduction.claims import DECISIONS
    from experiments.reproduction.references import load

    given = parse_flags(argv, _TEXTS, _COUNTS, _SWITCHES)
    given["num_seeds"] = given["num_seeds"] or NUM_SEEDS
    given["out_dir"] = os.path.expanduser(given["out_dir"] or "runs/reproduce")
    given["docs_dir"] = os.path.expanduser(given["docs_dir"] or given["out_dir"])
    if given["num_seeds"] < 2:
        raise UserError("--num_seeds=1 has no spread; expected at least 2.")
    known = [*load().rows, *DECISIONS]
    given["only"] = (given["only"] or ",".join(known)).split(",")
    for name in given["only"]:
        if name not in known:
            raise unknown("row or claim", name, known)
    return given


def needed(only: Sequence[str]) -> list[str]:
    """Returns the configurations that rows and claims need, in the order of training.

    Beside those of ``TRAININGS`` it may hold what is measured without training; and a
    bug's configuration comes with the others that show it both ways.
    """
    from experiments.reproduction.claims import DECISIONS
    from experiments.reproduction.judging import trained_for
    from experiments.reproduction.page import BUGS
    from experiments.reproduction.rows import TRAININGS

    found: set[str] = set()
    for name in only:
        claim = DECISIONS.get(name)
        found |= set(claim.trainings if claim else trained_for(name))
    for name in only:
        for names in BUGS.values():
            if set(trained_for(name)) & set(names[::2]):
                found |= set(names)
    order = ["curvature", "scaling", "epoch-seconds", *TRAININGS]
    return sorted(found, key=order.index)


def measurer(options: Mapping[str, Any]) -> Measure:
    """Returns what gives a configuration's runs of so many seeds, by its name."""
    from experiments.reproduction import measuring
    from experiments.reproduction.rows import TRAININGS
    from fmnist_jax import data

    folder = Path(options["out_dir"])

    @functools.cache
    def loaded(name: str) -> "Data":
        return data.load(
            options["dataset"] or name,
            options["data_dir"],
            train_examples=options["train_examples"],
            test_examples=options["test_examples"],
        )

    def measure(name: str, num_seeds: int) -> "xr.Dataset":
        if name == "curvature":
            return measuring.curvature(loaded("fashion_mnist"))
        if name == "epoch-seconds":
            return measuring.epoch_seconds(loaded("fashion_mnist"), folder)
        if name == "scaling":
            return measuring.dropout_scaling(num_seeds)
        training = TRAININGS[name]
        on = loaded(training.dataset)
        return measuring.measure(
            name, training, num_seeds, on, folder, options["epochs"]
        )

    for name in needed(options["only"]):
        if name in TRAININGS:
            loaded(TRAININGS[name].dataset)  # what cannot be had is said at once
    return measure


def decide(claim: str, measure: Measure, num_seeds: int) -> "Finding":
    """Decides a claim; over more seeds where the first ones leave it undecided."""
    from experiments.reproduction.claims import DECISIONS
    from experiments.reproduction.findings import UNDECIDED

    decision = DECISIONS[claim]
    found = decision.find({n: measure(n, num_seeds) for n in decision.trainings})
    if found.verdict != UNDECIDED or num_seeds >= MORE_SEEDS:
        return found
    print(f"{claim} is undecided over {num_seeds} seeds; taking {MORE_SEEDS}.")
    again = decision.find({n: measure(n, MORE_SEEDS) for n in decision.trainings})
    return dataclasses.replace(
        again, measured=f"{again.measured} ({MORE_SEEDS} seeds.)"
    )


def write(
    references: "References",
    runs: Mapping[str, "xr.Dataset"],
    findings: Mapping[str, "Finding"],
    folder: Path,
) -> Path:
    """Writes the page and its figures into a folder; returns the page's path.

    Raises:
      UserError: where it cannot be written.
    """
    from experiments.reproduction.figures import row_figure
    from experiments.reproduction.judging import trained_for
    from experiments.reproduction.page import page
    from fmnist_jax.files import atomic_write, explaining_write_errors

    path, text = folder / "reproduction.md", page(references, runs, findings)
    with explaining_write_errors(folder):
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for name, row in references.rows.items():
            own = {n: runs[n] for n in trained_for(name) if n in runs}
            if own:
                figure = row_figure(name, row, own)
                figure.savefig(folder / FIGURES / f"{name}.png", dpi=90)
        with atomic_write(path) as new:
            new.write_text(text, encoding="utf-8")
    return path


def help_text() -> str:
    """Returns what ``--help`` prints."""
    listed = {**_TEXTS, **_COUNTS, **_SWITCHES}
    lines = [f"  --{name:<16} {text}" for name, text in listed.items()]
    return "\n".join([__doc__.strip(), "", "Flags:", *lines])


def run(argv: Sequence[str]) -> None:
    """Measures what is missing, judges it, and writes the page."""
    from fmnist_jax.runner.help import asks_for_help

    if asks_for_help(argv):
        print(help_text())
        return
    options = parse(argv)
    names = needed(options["only"])
    if options["dry_run"]:
        print(f"{len(names)} configurations: {', '.join(names)}.")
        return
    from fmnist_jax.runner.output_folder import check_writable, locked, made

    for flag in ("out_dir", "docs_dir"):
        check_writable(Path(options[flag]), flag)
    out_dir = Path(options["out_dir"])
    with made(out_dir), locked(out_dir):
        _measure_and_write(options, names)


def _measure_and_write(options: Mapping[str, Any], names: Sequence[str]) -> None:
    from experiments.reproduction.claims import DECISIONS
    from experiments.reproduction.references import load
    from fmnist_jax.devices import use_compilation_cache, use_cpu_cores

    use_cpu_cores()
    use_compilation_cache()
    measure, runs = measurer(options), {}
    for number, name in enumerate(names, start=1):
        start = time.monotonic()
        runs[name] = measure(name, options["num_seeds"])
        seconds = time.monotonic() - start
        print(f"{number}/{len(names)} {name}: {seconds:.0f} s", flush=True)
    findings = {
        name: decide(name, measure, options["num_seeds"])
        for name in options["only"]
        if name in DECISIONS
    }
    path = write(load(), runs, findings, Path(options["docs_dir"]))
    for name, finding in findings.items():
        print(f"{name}: {finding.verdict}. {finding.measured}")
    print(f"Written: {path}")


if __name__ == "__main__":
    command_line(run, sys.argv)
