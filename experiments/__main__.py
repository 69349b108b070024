"""Lists the experiments, or runs a selection: ``--only=scale_sweep,…``.

A selection leaves a folder each, and a page that shows them side by side.
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

    Raises:
      UserError: where one is not called as its file is, so that another hides it.
    """
    folder = Path(experiments.__path__[0])
    paths = [
        p for p in sorted(folder.glob("*.py")) if DEFINITION in p.read_text("utf-8")
    ]
    found: dict[str, Experiment] = {}
    for path in paths:
        experiment = importlib.import_module(f"experiments.{path.stem}").EXPERIMENT
        if experiment.name != path.stem:
            raise UserError(
                f"{path} calls its experiment {experiment.name!r}; call it as the file "
                f"is: name={path.stem!r}."
            )
        found[path.stem] = experiment
    return found


def listing() -> str:
    """Returns what is printed where no experiment is chosen."""
    questions = {name: each.question for name, each in find_experiments().items()}
    questions |= {"reproduce": reproduce.QUESTION}
    width = max(map(len, questions))
    return "\n".join(
        [
            "Experiments, each run by python -m experiments.NAME (--help lists flags):",
            "",
            *(f"  {name:<{width}}  {question}" for name, question in questions.items()),
            "",
            "Several at once, with a page that shows them side by side:",
            "",
            "  python -m experiments --only=NAME,NAME --flag=value …",
        ]
    )


def run_selection(argv: Sequence[str]) -> None:
    """Runs the experiments that ``--only`` names with the flags that are left.

    Raises:
      UserError: for a name that is no experiment's, or flags without ``--only``.
    """
    only = [argument[len(ONLY) :] for argument in argv if argument.startswith(ONLY)]
    rest = [argument for argument in argv[1:] if not argument.startswith(ONLY)]
    if not only:
        if rest and rest != ["--help"]:
            raise UserError(f"{rest[0]}: name the experiments with --only=NAME,NAME.")
        print(listing())
        return
    found = find_experiments()
    names = [name for names in only for name in names.split(",")]
    for name in names:
        if name == "reproduce":
            raise UserError("reproduce is run alone: python -m experiments.reproduce.")
        if name not in found:
            raise unknown("experiment", name, found)
    execute([found[name] for name in dict.fromkeys(names)], [argv[0], *rest])


if __name__ == "__main__":
    run_command(run_selection, sys.argv)
