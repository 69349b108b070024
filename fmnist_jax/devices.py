"""One JAX device per processor core, and the on-disk cache of compiled programs."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsIndex

from fmnist_jax.errors import UserError, reason
from fmnist_jax.files import cache_folder, is_url, with_home
from fmnist_jax.values import COUNT, plain

# By default XLA uses half of a 512-bit vector unit, which doubles the time of Adam's
# square root and divisions. Other processors ignore the option.
COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


def num_cpu_cores() -> int:
    """Returns how many cores the process may use: affinity and cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _cgroup_quota()))


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the number of cores in a container's quota; 2^30 without a quota."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return 1 << 30
    if not quota.isdigit() or not period.isdigit():  # "max" or -1: no limit
        return 1 << 30
    return math.ceil(int(quota) / int(period))


def use_cpu_cores(n: SupportsIndex | None = None) -> int:
    """Gives JAX one CPU device per core, so that sweeps use all cores.

    Without it, JAX has one CPU device. Call it before any other use of JAX's devices.
    GPUs are not affected.

    Args:
      n: number of devices; None for the number of available cores.

    Returns:
      The number of CPU devices.

    Raises:
      UserError: for another ``n``.
      RuntimeError: if JAX has already started with another number.
    """
    import jax

    count = num_cpu_cores() if n is None else plain(n)
    if not COUNT.accepts(count):
        raise UserError(f"n is {count!r}; expected {COUNT.allowed}, or None.")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) != count:
            raise RuntimeError(
                "use_cpu_cores() was called too late: JAX has already started. Call it "
                "before any other use of jax."
            ) from error
    return count


@contextlib.contextmanager
def explaining_start() -> Iterator[None]:
    """Raises UserError, with settings in the environment, if JAX does not start."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, UserError):
            raise
        why = reason(error).rstrip(".") if str(error) else "there is no such device"
        names = [name for name in sorted(os.environ) if name.startswith("JAX_")]
        given = ", ".join(f"{name}={os.environ[name]}" for name in names) or "none"
        raise UserError(
            f"JAX does not start: {why}. Its settings in the environment: {given}."
        ) from error


def use_compilation_cache(folder: Path | None = None) -> Path | str | None:
    """Stores compiled programs on disk, so that later processes need not compile them.

    Args:
      folder: of the programs, unless ``$JAX_COMPILATION_CACHE_DIR`` is set; None for
        ``fmnist_jax/compiled`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Returns:
      The folder; a URL in ``$JAX_COMPILATION_CACHE_DIR`` as it is. None if there is no
      home directory. If the folder is not writable, nothing is stored.
    """
    import jax

    cache = cache_folder()
    if folder is None and cache is not None:
        folder = cache / "fmnist_jax" / "compiled"
    url = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if is_url(url):
        place: Path | str | None = url
    else:
        place = with_home(url) if url else folder
    jax.config.update("jax_compilation_cache_dir", place and str(place))
    # Each program compiles in less than JAX's threshold of a second; there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return place


def host_bytes() -> int:
    """Returns the memory of this machine; 2^62 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 62


def device_bytes(device: Any) -> int | None:
    """Returns the memory of an accelerator; None on a CPU and if it is not reported."""
    stats = None if device.platform == "cpu" else device.memory_stats()
    return (stats or {}).get("bytes_limit")
