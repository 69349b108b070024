"""The trained states that ``--keep_states`` saves beside the results."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_jax.files import explaining_write_errors
from fmnist_jax.runner.jobs import Task

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.progress import SweepProgress

FOLDER = "states"


def save(
    task: Task, progress: "SweepProgress", results: Sequence["xr.Dataset"]
) -> tuple[list[Path], list[str]]:
    """Saves the states of each data set, in subfolders if data sets are compared.

    Those of an earlier run of the experiment in the output folder are removed. Returns
    the files that ``load_states`` opens, and lines for the user.
    """
    from fmnist_jax.sweeps import state_files, states
    from fmnist_jax.sweeps.progress import saved_parts

    root = task.out_dir / FOLDER
    labels = [""]
    if task.job.experiment.datasets:
        labels = [re.sub(r"[^\w.-]+", "_", name) for name in task.job.datasets]
    with explaining_write_errors(root):
        for folder in (root, *(root / label for label in labels)):
            state_files.remove_states(folder)
    files, lines = [], []
    for number, label in enumerate(labels if task.job.keeps_states else ()):
        data, parts = task.data[number], saved_parts(progress, number)
        kept = states.kept_states(progress.plans[number], parts, data)
        if task.job.options["keep_states"] == "best":
            kept = states.keep_best(kept, results[number])
        if not len(kept):
            lines.append(f"Note: {f'{label}: ' if label else ''}{states.NONE_KEPT}")
            continue
        state_files.save_states(kept, root / label)
        files.append(root / label / state_files.FILE)
    return files, lines
