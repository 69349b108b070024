"""The plan that a folder holds as long as its results are not there."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.errors import UserError
from fmnist_jax.files import explaining_write_errors

# Of what is not finished: the folder, the plan in it, and the lock of who is at work.
PARTS, PLAN, LOCK = "parts", "plan.json", "lock"

# Settings of JAX that change the bits of what sweeps give: each was tried.
_DECIDING = (
    *("jax_default_prng_impl", "jax_threefry_partitionable", "jax_random_seed_offset"),
    *("jax_enable_x64", "jax_disable_jit", "jax_disable_most_optimizations"),
)
# A flag of XLA's that changes none.
_NUM_DEVICES = "--xla_force_host_platform_device_count"


def environment() -> dict[str, str]:
    """Returns what decides the bits of results beside settings and data."""
    import jax

    from fmnist_jax.sweeps.environment import DECIDING, versions

    flags = os.environ.get("XLA_FLAGS", "").split()
    decisive = " ".join(flag for flag in flags if not flag.startswith(_NUM_DEVICES))
    return {
        **versions(DECIDING),
        "platform": jax.default_backend(),
        **{name: str(jax.config.values.get(name)) for name in _DECIDING},
        **({"XLA_FLAGS": decisive} if decisive else {}),
    }


def read_plan(out_dir: Path) -> Any:
    """Returns the plan in a folder; None where there is none.

    Raises:
      UserError: where it cannot be read, or is none of this version.
    """
    from fmnist_jax.sweeps import checkpoints

    path = out_dir / PARTS / PLAN
    found = checkpoints.read_plan(path)
    if found is None or _is_plan(found):
        return found
    raise UserError(f"{path} is damaged, or of another version.")


def _is_plan(found: Any) -> bool:
    """Whether something has the form of a plan, of one experiment or several."""
    from fmnist_jax.sweeps.fingerprint import is_description

    match found:
        case {"selection": dict(selection), "old": [*sums]} if selection:
            return all(isinstance(each, str) for each in sums) and all(
                isinstance(sweeps, list) and all(map(is_description, sweeps))
                for sweeps in selection.values()
            )
        case {
            "experiment": str(),
            "arguments": [*texts],
            "shares": int(shares),
            "sweeps": [_, *_] as sweeps,
        }:
            are_texts = all(isinstance(text, str) for text in texts)
            return are_texts and shares > 0 and all(map(is_description, sweeps))
    return False


def saved_in(out_dir: Path, kind: str) -> tuple[Any, str | None]:
    """Returns the plan of this kind in a folder; where another is there, what it is.

    A kind is the entry that only its plans have: "sweeps", those of one experiment, or
    "selection", that of several.
    """
    try:
        saved = read_plan(out_dir)
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
            f"--out_dir={out_dir} holds {problem}; name another folder, or pass "
            "--overwrite."
        )


def write_plan(out_dir: Path, saved: Mapping[str, Any], alone: bool) -> None:
    """Writes a plan; where it is to be alone, parts of others are dropped."""
    from fmnist_jax.sweeps import checkpoints

    folder = out_dir / PARTS
    with explaining_write_errors(folder):
        folder.mkdir(exist_ok=True)
    for path in folder.glob("*.part") if alone else []:
        with explaining_write_errors(path):
            path.unlink()
    with explaining_write_errors(folder / PLAN):
        checkpoints.write_plan(folder / PLAN, saved)


def difference(saved: Sequence[Any], sweeps: Sequence[Any]) -> str | None:
    """Returns in what the sweeps that are saved differ; None where in nothing."""
    from fmnist_jax.sweeps import fingerprint

    if len(saved) != len(sweeps):
        return "it is another experiment"
    pairs = zip(saved, sweeps, strict=True)
    return next(filter(None, (fingerprint.difference(*pair) for pair in pairs)), None)
