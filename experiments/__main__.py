"""Lists the experiments, or runs several: ``--only=scale_sweep,…``.

Several experiments get one folder each and a combined page.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments
from experiments import reproduce
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.runner import Experiment
from fmnist_jax.runner.command_line import execute, run_command

ONLY = "--only="
DEFINITION = "\nEXPERIMENT = "  # in the file of an experiment


def find_experiments() -> dict[str, Experiment]:
    """Returns the experiments of this package by name.

    Their names must be those of their files.
    """
    folder = Path(experiments.__path__[0])
    paths = [
        p for p in sorted(folder.glob("*.py")) if DEFINITION in p.read_text("utf-8")
    ]
    by_name: dict[str, Experiment] = {}
    for path in paths:
        experiment = importlib.import_module(f"experiments.{path.stem}").EXPERIMENT
        if experiment.name != path.stem:
            raise UserError(
                f"{path}: the experiment is named {experiment.name!r}; it needs the "
                f"name of the file: name={path.stem!r}."
            )
        by_name[path.stem] = experiment
    return by_name


def listing() -> str:
    """Returns the list of all experiments and their questions."""
    questions = {name: e.question for name, e in find_experiments().items()}
    questions |= {"reproduce": reproduce.QUESTION}
    width = max(map(len, questions))
    return "\n".join(
        [
            "Experiments, each run by python -m experiments.NAME (--help lists flags):",
            "",
            *(f"  {name:<{width}}  {question}" for name, question in questions.items()),
            "",
            "Several experiments, with a combined page:",
            "",
            "  python -m experiments --only=NAME,NAME --flag=value …",
        ]
    )


def run_selection(argv: Sequence[str]) -> None:
    """Runs the experiments named by ``--only`` with the other flags."""
    only = [argument[len(ONLY) :] for argument in argv if argument.startswith(ONLY)]
    rest = [argument for argument in argv[1:] if not argument.startswith(ONLY)]
    if not only:
        if rest and rest != ["--help"]:
            raise UserError(f"{rest[0]}: name the experiments with --only=NAME,NAME.")
        print(listing())
        return
    experiments_by_name = find_experiments()
    names = [name for names in only for name in names.split(",")]
    for name in names:
        if name == "reproduce":
            raise UserError("reproduce is run alone: python -m experiments.reproduce.")
        if name not in experiments_by_name:
            raise unknown("experiment", name, experiments_by_name)
    selection = [experiments_by_name[name] for name in dict.fromkeys(names)]
    execute(selection, [argv[0], *rest])


if __name__ == "__main__":
    run_command(run_selection, sys.argv)
