"""Which versions and which code decide the bits of results."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

# Whose versions decide the bits of results; and all that are recorded.
DECIDING = ("jax", "jaxlib", "flax", "optax", "numpy")


def versions(names: Sequence[str]) -> dict[str, str]:
    """Returns the versions of packages, by their names, and which code is ours."""
    others = {name: importlib.metadata.version(name) for name in names}
    return {"fmnist_jax": _code(), **others}


@functools.cache
def _code() -> str:
    """Returns the sha256 of the code of fmnist_jax, cut to what tells it from others.

    Kept from the first time on, as the code that runs is.
    """
    root, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        total.update(f"{name} {len(content)} ".encode() + content)
    return total.hexdigest()[:12]
