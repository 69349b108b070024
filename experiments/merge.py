"""Merges the shards of a sweep.

    python -m experiments.merge FOLDER FOLDER … [--out_dir=FOLDER] [--overwrite]

Each FOLDER is the --out_dir of one or several shards. The results are written to
--out_dir, or else to the first FOLDER. They equal those of one process. Nothing is
trained.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.errors import UserError, choose
from fmnist_jax.files import local_folder
from fmnist_jax.runner import flag_table, flags, output_folder, rebuilt
from fmnist_jax.runner.command_line import execute, run_command
from fmnist_jax.runner.help import asks_for_help
from fmnist_jax.sweeps import checkpoints, plan_file
from fmnist_jax.sweeps.plan_file import PARTS, is_unfinished


def run(argv: Sequence[str]) -> None:
    """Copies the checkpoints of all shards to one folder, and finishes the sweep."""
    if asks_for_help(argv):
        print(__doc__.strip())
        return
    from experiments.__main__ import find_experiments

    folders = [local_folder(a) for a in argv[1:] if not a.startswith("-")]
    arguments = [argv[0], *(a for a in argv[1:] if a.startswith("-"))]
    known = [flag_table.FLAGS["out_dir"], flag_table.FLAGS["overwrite"]]
    options = flags.parse_flags(arguments, known)
    if not folders:
        raise UserError("Name the folders of the shards: merge FOLDER FOLDER …")
    out_dir = local_folder(options["out_dir"] or folders[0], "--out_dir")
    resumes = is_unfinished(out_dir) and not options["overwrite"]
    plan = _shared_plan([*folders, *([out_dir] if resumes else [])])
    experiment = choose("experiment", plan["experiment"], find_experiments())
    if not options["overwrite"]:
        output_folder.check_free(out_dir)
    output_folder.check_writable(out_dir)
    with output_folder.ensure_dir(out_dir), output_folder.locked(out_dir):
        finished = _checkpoints(folders, plan)
        plan_file.write_plan(out_dir, plan, clear=False)
        for name, content in finished.items():
            checkpoints.store(out_dir / PARTS / name, content)
    given = flags.read(["", *plan["arguments"]])
    arguments = rebuilt.arguments(given, without=(*flag_table.SHARD_FLAGS, "overwrite"))
    command = [argv[0], *arguments, f"--out_dir={out_dir}"]
    execute([experiment], command, allow_training=False)


def _shared_plan(folders: Sequence[Path]) -> Mapping[str, Any]:
    """Returns the plan of all shards.

    Shards of different sweeps are refused.
    """
    plans = [plan_file.read_plan(folder) for folder in folders]
    for folder, plan in zip(folders, plans, strict=True):
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder.")
        if plan is None:
            raise UserError(
                f"{folder} contains no shards: its sweep has finished or not started."
            )
    first = plans[0]["sweeps"]
    for folder, plan in zip(folders, plans, strict=True):
        if checkpoints.digest(plan["sweeps"]) != checkpoints.digest(first):
            labels = f"in {folders[0]}", f"in {folder}"
            problem = plan_file.sweeps_difference(first, plan["sweeps"], *labels)
            raise UserError(
                f"{folders[0]} and {folder} contain shards of different sweeps: "
                f"{problem or 'the runs are grouped differently'} (shards need the "
                "same flags, --num_shards and number of devices)."
            )
    return plans[0]


def _checkpoints(folders: Sequence[Path], plan: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the checkpoint of each group, by its file name; all must be finished."""
    digest = checkpoints.digest(plan["sweeps"])
    names = [
        f"{number}-{group}.part"
        for number, sweep in enumerate(plan["sweeps"])
        for group in range(len(sweep["groups"]))
    ]
    finished: dict[str, bytes] = {}
    problems = ""
    for name in names:
        for path in (folder / PARTS / name for folder in folders):
            try:
                if path.exists() and checkpoints.read(path, digest).is_finished:
                    finished[name] = path.read_bytes()
            except UserError as error:
                problems += f" {error}"
    missing = [number for number, name in enumerate(names) if name not in finished]
    if missing:
        shards = sorted({number % plan["shares"] for number in missing})
        which = f"--shard_index={','.join(map(str, shards))} "
        which += f"of --num_shards={plan['shares']}"
        if plan["shares"] == 1:
            which = f"the first is number {missing[0]}"
        raise UserError(
            f"{len(missing)} of {len(names)} groups of runs are not finished "
            f"({which}): run the unfinished shards again, then merge.{problems}"
        )
    return finished


if __name__ == "__main__":
    run_command(run, sys.argv)
