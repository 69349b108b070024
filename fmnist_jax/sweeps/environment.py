"""Which code, versions and settings of JAX determine the bits of results."""

import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path

DECISIVE_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Settings of JAX that change the bits of results; each was tried.
_DECISIVE_SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_enable_x64",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
)
# An XLA flag that changes no bits.
_NUM_DEVICES = "--xla_force_host_platform_device_count"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of packages by name, and a digest of this library."""
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"fmnist_jax": _code(), **installed}


@functools.cache
def _code() -> str:
    """Returns the start of the sha256 of this library's code.

    Cached, so that it is that of the code which runs.
    """
    root, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name, content = path.relative_to(root).as_posix(), path.read_bytes()
        total.update(f"{name} {len(content)} ".encode() + content)
    return total.hexdigest()[:12]


def environment() -> dict[str, str]:
    """Returns what determines the bits of results, apart from settings and data."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "").split()
    decisive = " ".join(flag for flag in flags if not flag.startswith(_NUM_DEVICES))
    return {
        **versions(DECISIVE_PACKAGES),
        "platform": jax.default_backend(),
        **{name: str(jax.config.values.get(name)) for name in _DECISIVE_SETTINGS},
        **({"XLA_FLAGS": decisive} if decisive else {}),
    }
