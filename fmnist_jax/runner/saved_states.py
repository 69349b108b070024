"""The trained states that ``--keep_states`` saves beside the results."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_jax.runner.jobs import Task

if TYPE_CHECKING:
    import xarray as xr

    from fmnist_jax.sweeps.resuming import SweepProgress

FOLDER = "states"


def save(
    task: Task, progress: "SweepProgress", results: Sequence["xr.Dataset"]
) -> list[Path]:
    """Saves the states of each variant, in a folder of its own if there are several.

    Those of an earlier experiment in the folder are removed.

    Returns:
      The files that ``load_states`` opens.
    """
    from fmnist_jax.sweeps import state_files, states
    from fmnist_jax.sweeps.resuming import saved_parts

    root = task.out_dir / FOLDER
    for path in sorted(root.glob(f"**/{state_files.FILE}")):
        state_files.remove_states(path.parent)
    if not task.job.keeps_states:
        return []
    files = []
    for number, variant in enumerate(task.job.variants):
        data, parts = task.data[number], saved_parts(progress, number)
        kept = states.kept_states(progress.plans[number], parts, data)
        if task.job.options["keep_states"] == "best":
            kept = states.keep_best(kept, results[number])
        folder = root / re.sub(r"[^\w.-]+", "_", variant.label)
        state_files.save_states(kept, folder)
        files.append(folder / state_files.FILE)
    return files
