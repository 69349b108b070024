"""Which published results can be reproduced, over several seeds?

    python -m experiments.reproduce --data_dir=FOLDER

Measures every row and claim: more than three hours on two cores. To select some, use
--only=depth-2,claim-depth-2. Results are saved in --out_dir, one file per
configuration. The same command resumes an interrupted reproduction.
"""

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.errors import Notice, UserError, unknown
from fmnist_jax.files import local_folder
from fmnist_jax.runner.command_line import run_command
from fmnist_jax.runner.flag_table import FLAGS, TEXT, Flag
from fmnist_jax.runner.flags import parse_flags
from fmnist_jax.runner.help import asks_for_help
from fmnist_jax.values import COUNT

QUESTION = "Which published results can be reproduced, over several seeds?"
NUM_SEEDS = 10
_FLAGS = (
    Flag("only", TEXT, "ids of rows and claims, separated by commas (default: all)"),
    FLAGS["data_dir"],
    Flag("dataset", TEXT, "data set for all rows (default: that of each row)"),
    Flag("out_dir", TEXT, "folder for the results (default: runs/reproduce)"),
    Flag("docs_dir", TEXT, "folder for page and figures (default: --out_dir)"),
    Flag("num_seeds", COUNT, f"seeds, at least 2 (default: {NUM_SEEDS})"),
    Flag("epochs", COUNT, "maximum number of epochs, for a quick look"),
    FLAGS["train_examples"],
    FLAGS["test_examples"],
    FLAGS["subset"],
    FLAGS["dry_run"],
)


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the flags of a command line, with defaults."""
    from experiments.reproduction.claims import DECISIONS
    from experiments.reproduction.references import load

    options = parse_flags(argv, _FLAGS)
    options["num_seeds"] = options["num_seeds"] or NUM_SEEDS
    options["out_dir"] = options["out_dir"] or "runs/reproduce"
    options["docs_dir"] = options["docs_dir"] or options["out_dir"]
    for name in ("out_dir", "docs_dir"):
        options[name] = str(local_folder(options[name], f"--{name}"))
    if options["num_seeds"] < 2:
        raise UserError("--num_seeds=1 gives no spread; expected at least 2.")
    names = [*load().rows, *DECISIONS]
    options["only"] = (options["only"] or ",".join(names)).split(",")
    for name in options["only"]:
        if name not in names:
            raise unknown("row or claim", name, names)
    return options


def run(argv: Sequence[str]) -> None:
    """Measures what is missing, judges rows and claims, and writes the page."""
    if asks_for_help(argv):
        lines = [f"  --{flag.name:<16} {flag.help}" for flag in _FLAGS]
        print(__doc__.strip(), "", "Flags:", *lines, sep="\n")
        return
    from experiments.reproduction.claims import required_measurements
    from fmnist_jax.runner.output_folder import check_writable, ensure_dir, locked

    options = parse(argv)
    names = required_measurements(options["only"])
    if options["dry_run"]:
        print(f"{len(names)} configurations: {', '.join(names)}.")
        return
    for flag in ("out_dir", "docs_dir"):
        check_writable(Path(options[flag]), flag)
    out_dir = Path(options["out_dir"])
    with ensure_dir(out_dir), locked(out_dir):
        _measure_and_write(options, names)


def _measure_and_write(options: Mapping[str, Any], names: Sequence[str]) -> None:
    from fmnist_jax.runner import trial

    trial.check_figures()
    trial.start_jax([])
    from experiments.reproduction import cards
    from experiments.reproduction.claims import DECISIONS, decide
    from experiments.reproduction.measuring import make_measure
    from experiments.reproduction.page import write
    from experiments.reproduction.references import load
    from fmnist_jax.sweeps.jax_settings import usual_settings

    measure = make_measure(options, names)
    runs, printed = {}, []
    for number, name in enumerate(names, start=1):
        start = time.monotonic()
        with warnings.catch_warnings(), usual_settings():
            warnings.simplefilter("ignore", Notice)  # printed as lines
            runs[name] = measure(name)
        new = [n for n in runs[name].attrs.get("notices", ()) if n not in printed]
        printed += new
        for line in new:
            print(f"Note: {line}")
        seconds = time.monotonic() - start
        print(f"{number}/{len(names)} {name}: {seconds:.0f} s", flush=True)
    claims = [name for name in options["only"] if name in DECISIONS]
    findings = {claim: decide(claim, runs) for claim in claims}
    path = write(load(), runs, findings, Path(options["docs_dir"]))
    out_dir = Path(options["out_dir"])
    for name, finding in findings.items():
        print(f"{name}: {finding.verdict}{finding.qualifier}")
    print(f"Written: {path}")
    if findings:
        titles = {run.attrs.get("dataset_title") for run in runs.values()} - {None}
        print(f"Written: {cards.write(load(), findings, out_dir, sorted(titles))}")


if __name__ == "__main__":
    run_command(run, sys.argv)
