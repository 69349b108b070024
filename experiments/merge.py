"""Puts the shards of a sweep together.

    python -m experiments.merge FOLDER FOLDER … [--out_dir=FOLDER] [--overwrite]

Each FOLDER is the --out_dir of a shard, or of several. The results, as one process
gives them, go to --out_dir, or else to the first folder. Nothing is trained.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.errors import UserError, choose
from fmnist_jax.runner import flags, output_folder
from fmnist_jax.runner.command_line import command_line, execute
from fmnist_jax.runner.help import asks_for_help
from fmnist_jax.sweeps import plan_file, resuming
from fmnist_jax.sweeps.plan_file import PARTS


def run(argv: Sequence[str]) -> None:
    """Gathers the parts in one folder, and finishes the sweep there."""
    if asks_for_help(argv):
        print(__doc__.strip())
        return
    from experiments.__main__ import find_experiments

    sources = [_folder(each) for each in argv[1:] if not each.startswith("-")]
    given = [argv[0], *(each for each in argv[1:] if each.startswith("-"))]
    options = flags.parse_flags(given, ["out_dir"], [], ["overwrite"])
    if not sources:
        raise UserError("Name the folders of the shards: merge FOLDER FOLDER …")
    out_dir = _folder(options["out_dir"] or str(sources[0]))
    progress = output_folder.is_under_way(out_dir) and not options["overwrite"]
    saved = _plan([*sources, *([out_dir] if progress else [])])
    experiment = choose("experiment", saved["experiment"], find_experiments())
    if not options["overwrite"]:
        output_folder.check_free(out_dir)
    output_folder.check_writable(out_dir)
    with output_folder.made(out_dir), output_folder.locked(out_dir):
        resuming.gather(out_dir, saved, _parts(sources, saved))
    dropped = (*flags.SHARING, "out_dir", "overwrite")
    arguments = flags.without(["", *saved["arguments"]], dropped)
    command = [argv[0], *arguments, f"--out_dir={out_dir}"]
    execute([experiment], command, trains=False)


def _folder(given: str) -> Path:
    """Returns a folder as it is meant; ``~`` is the user's."""
    return Path(os.path.expanduser(given))


def _plan(sources: Sequence[Path]) -> Mapping[str, Any]:
    """Returns the plan of all shards.

    Raises:
      UserError: where they are not of one sweep.
    """
    from fmnist_jax.sweeps.checkpoints import digest

    plans = [plan_file.read_plan(source) for source in sources]
    for source, each in zip(sources, plans, strict=True):
        if not source.is_dir():
            raise UserError(f"{source} is no folder.")
        if each is None:
            raise UserError(
                f"{source} holds no shards: its sweep is finished, or none was begun."
            )
        if "sweeps" not in each:
            raise UserError(
                f"{source} holds a selection of experiments, and no shard of a sweep: "
                "shards are of one experiment each."
            )
    for source, each in zip(sources, plans, strict=True):
        if digest(each["sweeps"]) != digest(plans[0]["sweeps"]):
            differs = plan_file.difference(plans[0]["sweeps"], each["sweeps"])
            raise UserError(
                f"{sources[0]} and {source} hold no shards of one sweep: "
                f"{differs or 'the runs are grouped otherwise'} (shards need the same "
                "flags, the same --num_shards and as many devices each)."
            )
    return plans[0]


def _parts(sources: Sequence[Path], saved: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the part file of each group, by its name.

    Raises:
      UserError: where some are not done.
    """
    from fmnist_jax.sweeps import checkpoints

    digest = checkpoints.digest(saved["sweeps"])
    names = [
        f"{number}-{group}.part"
        for number, sweep in enumerate(saved["sweeps"])
        for group in range(len(sweep["groups"]))
    ]
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for name in names:
        for path in (source / PARTS / name for source in sources):
            try:
                if path.exists() and checkpoints.read(path, digest).left is None:
                    found[name] = path.read_bytes()
            except UserError as error:
                problems.append(f" {error}")
    if missing := [number for number, name in enumerate(names) if name not in found]:
        raise UserError(
            f"{len(missing)} of {len(names)} groups of runs are not done "
            f"({_told(missing, saved['shares'])}): run the shards again "
            f"that are not finished, then merge.{''.join(problems)}"
        )
    return found


def _told(missing: Sequence[int], shares: int) -> str:
    """Returns whose groups are missing, of so many shards; without any, which."""
    if shares == 1:
        return f"the first is number {missing[0]}"
    shards = sorted({number % shares for number in missing})
    return f"--shard_index={','.join(map(str, shards))} of --num_shards={shares}"


if __name__ == "__main__":
    command_line(run, sys.argv)
