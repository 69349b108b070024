"""The plan that a folder holds as long as its results are not there."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.folders import PARTS, PLAN, writing
from fmnist_jax.kinds import UserError


def environment() -> dict[str, str]:
    """Returns what decides the bits of results beside settings and data."""
    import jax

    from experiments.output import DECIDING, versions

    return {**versions(DECIDING), "platform": jax.default_backend()}


def saved_in(out_dir: Path, kind: str) -> tuple[Any, str | None]:
    """Returns the plan of this kind in a folder; where another is there, what it is.

    A kind is the entry that only its plans have: "sweeps", those of one experiment, or
    "selection", that of several.
    """
    from fmnist_jax import parts

    try:
        saved = parts.read_plan(out_dir / PARTS / PLAN)
    except UserError as error:
        return None, f"what is not finished: {str(error).rstrip('.')}"
    if saved is None or kind in saved:
        return saved, None
    other = "sweep" if "sweeps" in saved else "selection"
    return None, f"a {other} that is not finished"


def refuse(out_dir: Path, problem: str | None, overwrite: bool) -> None:
    """Refuses a folder with what is not finished, and is not to be overwritten."""
    if problem and not overwrite:
        raise UserError(
            f"--out_dir={out_dir} holds {problem}; name another folder, or say "
            "--overwrite."
        )


def write_plan(out_dir: Path, saved: Mapping[str, Any], alone: bool) -> None:
    """Writes a plan; where it is to be alone, parts of others are dropped."""
    from fmnist_jax import parts

    folder = out_dir / PARTS
    with writing(out_dir):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.part") if alone else []:
            path.unlink()
        parts.write_plan(folder / PLAN, saved)


def difference(saved: Sequence[Any], sweeps: Sequence[Any]) -> str | None:
    """Returns in what the sweeps that are saved differ; None where in nothing."""
    from fmnist_jax import parts

    if len(saved) != len(sweeps):
        return "it is another experiment"
    pairs = zip(saved, sweeps, strict=True)
    return next(filter(None, (parts.difference(*pair) for pair in pairs)), None)


def discard(folder: Path) -> None:
    """Takes plan and parts away: the results are there. The plan goes first."""
    (folder / PLAN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
