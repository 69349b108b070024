"""Several experiments, one after the other, that go on where they were stopped.

A plan says what was selected, from before the first of them until all are done; what is
done, their folders say.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.analysis.results import RESULTS_FILE, SETTINGS_FILE, SUMMARY_FILE
from fmnist_jax.config import Config, Hparams
from fmnist_jax.runner import output_folder, page
from fmnist_jax.runner.jobs import Inspection, Job, plans
from fmnist_jax.runner.output_folder import INDEX
from fmnist_jax.sweeps import plan_file
from fmnist_jax.sweeps.plan_file import PARTS, PLAN

if TYPE_CHECKING:
    from fmnist_jax.data.dataset import Data

Selection = Mapping[str, Sequence[Any]]


def described(job: Job | Inspection, data: Mapping[str, "Data"]) -> list[Any]:
    """Returns what decides the results of an experiment, however it was typed.

    Args:
      job: what is to be done.
      data: on what, by the names that data sets are asked for by.
    """
    from fmnist_jax.sweeps.fingerprint import described
    from fmnist_jax.sweeps.planning import plan

    if isinstance(job, Inspection):  # which has no settings
        todo = plan({}, Config(), Hparams())
        return [described(todo, each, {}) for each in data.values()]
    pairs = zip(plans(job), (data[v.dataset] for v in job.variants), strict=True)
    return [described(*pair, {}) for pair in pairs]


def run(
    root: Path,
    selection: Selection,
    do: Callable[[str], None],
    command: str,
    overwrite: bool,
) -> None:
    """Does several experiments, or what is left of them, and writes their page.

    Args:
      root: the folder of their folders.
      selection: their names, in order, and of each what decides its results.
      do: does the one of a name.
      command: what goes on where they are interrupted.
      overwrite: whether results, and what else is not finished, may be dropped.

    Raises:
      UserError: where they may not, or where another process is at work there.
    """
    chosen = output_folder.experiment_folders(root, [*selection])
    with output_folder.locked(root, keep=PLAN) as folder:
        old = _begin(root, chosen, selection, overwrite)
        try:
            left = _left(selection, chosen, old)
            _write_page(root, chosen, old)
            for name in left:
                if not overwrite:
                    _drop(root / name, old)
                do(name)
                _write_page(root, chosen, old)
        except BaseException as error:
            if not getattr(error, "__notes__", []):
                error.add_note(f"To resume: {command}")
            if not any(map(os.path.exists, chosen)):  # nothing is lost
                output_folder.discard(folder)
            raise
        output_folder.discard(folder)


def _begin(
    root: Path, chosen: Sequence[Path], selection: Selection, overwrite: bool
) -> Sequence[str]:
    """Finds the plan of a selection, or writes it; returns the results to overwrite.

    They are told, by the sums of their settings, from those that take their place.
    """
    saved, problem = plan_file.saved_in(root, "selection")
    if saved is not None and (differs := _difference(saved["selection"], selection)):
        problem = f"a selection that is not finished: {differs}"
    plan_file.refuse(root, problem, overwrite)
    if saved is not None and not problem:
        return saved["old"]
    for folder in (*chosen, root):
        if not overwrite:
            output_folder.check_free(
                folder
            )  # again: it may have been another process's
    for folder, sweeps in zip(chosen, selection.values(), strict=True):
        progress, problem = plan_file.saved_in(folder, "sweeps")
        if progress is not None and _settings(progress["sweeps"]) != _settings(sweeps):
            problem = "another sweep that is not finished"
        plan_file.refuse(folder, problem, overwrite)
    old = [total for folder in chosen if (total := _sum(folder))]
    plan_file.write_plan(root, {"selection": selection, "old": old}, alone=True)
    return old


def _settings(sweeps: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Returns of sweeps what the command line decides, and on what they run."""
    return [[each["data"], each["axes"], each["settings"]] for each in sweeps]


def _drop(folder: Path, old: Sequence[str]) -> None:
    """Removes results that were to be overwritten when the selection began."""
    if _sum(folder) in old:
        with output_folder.explaining_write_errors(folder):
            for name in (SETTINGS_FILE, RESULTS_FILE):
                (folder / name).unlink(missing_ok=True)


def _sum(folder: Path) -> str:
    """Returns the sha256 of an experiment's settings, which say when it ended."""
    path = folder / SETTINGS_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _difference(saved: Selection, selection: Selection) -> str | None:
    """Returns in what selections differ; None where in nothing but their order."""
    if saved.keys() != selection.keys():
        return f"it is of {', '.join(saved)}"
    for name, sweeps in selection.items():
        if differs := plan_file.difference(saved[name], sweeps):
            return f"{name}: {differs}"
    return None


def _left(
    selection: Selection, chosen: Sequence[Path], old: Sequence[str]
) -> list[str]:
    """Returns what is left to do; clears up behind what is done already."""
    left = []
    for name, folder in zip(selection, chosen, strict=True):
        if not _is_done(folder, old):
            left.append(name)
            continue
        print(f"{name} is done already.\n")
        if (folder / PARTS).exists():  # without its plan
            with output_folder.locked(folder) as parts:
                output_folder.discard(parts)
    return left


def _is_done(folder: Path, old: Sequence[str]) -> bool:
    """Whether all that an experiment's new settings name is there, and no plan."""
    path = folder / SETTINGS_FILE
    if output_folder.is_unfinished(folder) or not path.exists() or _sum(folder) in old:
        return False
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # it is damaged
        return False
    named = [RESULTS_FILE, SUMMARY_FILE] if "axes" in facts else []
    named += [*facts.get("tables", ()), *facts.get("figures", ())]
    return "tables" in facts and all((folder / name).exists() for name in named)


def _write_page(root: Path, chosen: Sequence[Path], old: Sequence[str]) -> None:
    """Writes the page of what is done."""
    if done := [folder for folder in chosen if _is_done(folder, old)]:
        with output_folder.explaining_write_errors(root / INDEX):
            path = page.write(done)
        print(f"\nPage: {path}\n")
