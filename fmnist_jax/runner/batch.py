"""Several experiments, one after the other, and the page that shows them.

Each experiment resumes independently. One that is already finished, with the same
settings, data, code, versions and kind of device, is skipped, even with --overwrite: it
would give the same results.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.analysis.results import FILES_OF_RUNS, RESULTS_FILE, SETTINGS_FILE
from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.runner import execution, output_folder, page, report_page, trial
from fmnist_jax.runner.jobs import Task
from fmnist_jax.runner.output_folder import INDEX
from fmnist_jax.sweeps import folder_lock
from fmnist_jax.sweeps.plan_file import PARTS, is_unfinished, read_plan, refuse


def run(root: Path, tasks: Sequence[Task]) -> None:
    """Runs the unfinished experiments among several, and writes their page.

    ``root`` is the parent of their output folders. Nothing runs if another process
    writes to it, or if a folder has other results that are not to be overwritten.
    """
    if any(task.job.experiment.trains for task in tasks):
        # Before a fingerprint asks for the kind of device.
        trial.start_jax([task.out_dir for task in tasks])
    with output_folder.locked(root):
        remaining = [task for task in tasks if not _is_finished(task)]
        if not tasks[0].job.options["overwrite"]:
            _check_root(root)
            for task in remaining:
                _check_resumable(task)
        for task in tasks:
            if task not in remaining:
                print(f"{task.name} is already finished; skipped.\n")
                _finish(task)
        try:
            _write_page(root, tasks)
            for task in remaining:
                execution.run(task)
                _write_page(root, tasks)
        except BaseException as error:
            if not getattr(error, "__notes__", []):
                error.add_note(f"To resume: {tasks[0].resume_command}")
            raise


def _check_root(root: Path) -> None:
    """Refuses the folder of a single experiment."""
    if is_unfinished(root):
        raise refuse(root, "an unfinished sweep")
    if any(os.path.exists(root / name) for name in (RESULTS_FILE, SETTINGS_FILE)):
        output_folder.check_free(root)


def _check_resumable(task: Task) -> None:
    """Refuses a folder with other results, or with another unfinished sweep."""
    output_folder.check_free(task.out_dir)
    try:
        saved = read_plan(task.out_dir)
    except UserError as error:
        problem = f"a sweep that cannot be resumed: {str(error).rstrip('.')}"
        raise refuse(task.out_dir, problem) from error
    if saved is None:
        return
    keys = ("data", "axes", "settings")
    settings = [{key: sweep[key] for key in keys} for sweep in saved["sweeps"]]
    if (saved["experiment"], settings) != (task.name, task.settings):
        raise refuse(task.out_dir, "a sweep with other settings")


def _finish(task: Task) -> None:
    """Completes the files of a process that was killed after it saved its results."""
    out_dir, experiment = task.out_dir, task.job.experiment
    has_page = experiment.trains or (out_dir / output_folder.REPORT).exists()
    if has_page and not (out_dir / PARTS).exists():
        return
    with output_folder.locked(out_dir) as folder:
        if not has_page:
            report_page.write(out_dir, experiment)
        folder_lock.discard(folder)


def _is_finished(task: Task) -> bool:
    """Whether a task's folder contains its results."""
    metadata = _finished_metadata(task.out_dir)
    return metadata is not None and metadata.get("fingerprint") == task.fingerprint


def _finished_metadata(folder: Path) -> dict[str, Any] | None:
    """Returns config.json of a finished experiment; None if files are missing."""
    try:
        metadata = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        names = [*FILES_OF_RUNS] if "axes" in metadata else []
        names += [*metadata["tables"], *metadata["figures"]]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    is_complete = all((folder / name).exists() for name in names)
    return metadata if is_complete and not is_unfinished(folder) else None


def _write_page(root: Path, tasks: Sequence[Task]) -> None:
    """Writes the page of all finished experiments, those of ``tasks`` first."""
    folders = [task.out_dir for task in tasks]
    folders += [path for path in sorted(root.iterdir()) if path not in folders]
    if finished := [path for path in folders if _finished_metadata(path) is not None]:
        with explaining_write_errors(root / INDEX):
            path = page.write(finished)
        print(f"\nPage: {path}\n")
