"""The plan file that a folder has while its sweep is unfinished. Imports no jax."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors
from fmnist_jax.sweeps import checkpoints
from fmnist_jax.sweeps.fingerprint import Fingerprint, difference, is_fingerprint

# Of an unfinished sweep: its folder in the output folder, the plan file, and the lock
# of the process that writes.
PARTS, PLAN, LOCK = "parts", "plan.json", "lock"


class Shard(NamedTuple):
    """The groups of one process: every ``total``-th group, from ``number`` on."""

    number: int
    total: int


SINGLE = Shard(0, 1)


def is_unfinished(out_dir: Path) -> bool:
    """Whether a folder has a plan file, and so an unfinished sweep."""
    return os.path.exists(out_dir / PARTS / PLAN)  # pathlib's raises on some errors


def read_plan(out_dir: Path) -> Any:
    """Returns the content of a folder's plan file; None if there is none.

    It has "experiment" and "arguments", the command that made the plan; "shares", the
    number of shards; and "sweeps", the fingerprint of each sweep.
    """
    path = out_dir / PARTS / PLAN
    content = checkpoints.read_json(path)
    if content is None or _is_plan(content):
        return content
    raise UserError(f"{path} is damaged or was written by another version.")


def _is_plan(content: Any) -> bool:
    match content:
        case {
            "experiment": str(),
            "arguments": [*texts],
            "shares": int(shares),
            "sweeps": [_, *_] as sweeps,
        }:
            are_texts = all(isinstance(text, str) for text in texts)
            return are_texts and shares > 0 and all(map(is_fingerprint, sweeps))
    return False


def write_plan(out_dir: Path, content: Mapping[str, Any], *, clear: bool) -> None:
    """Writes the plan file of a folder.

    The content is as ``read_plan`` returns it. With ``clear``, the checkpoints of
    earlier sweeps are removed.
    """
    folder = out_dir / PARTS
    with explaining_write_errors(out_dir):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.part") if clear else ():
            path.unlink()
        checkpoints.write_json(folder / PLAN, content)


def sweeps_difference(
    saved: Sequence[Fingerprint], current: Sequence[Fingerprint], *labels: str
) -> str | None:
    """Returns the first difference between two experiments' sweeps; None if equal."""
    if len(saved) != len(current):
        return "the experiments differ"
    pairs = zip(saved, current, strict=True)
    return next(filter(None, (difference(*pair, *labels) for pair in pairs)), None)


def refuse(out_dir: Path, problem: str, cure: str = "pass --overwrite") -> UserError:
    """Returns the error for a folder with a sweep that cannot resume."""
    return UserError(
        f"The folder {out_dir} contains {problem}; name another folder, or {cure}."
    )
