import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import UserError, devices
from fmnist_jax.devices import num_cpu_cores  # before conftest replaces it

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "cores"),
    [("150000 100000\n", 2), ("50000 100000", 1), ("max 100000\n", 1 << 30)],
)
def test_cgroup_quota(tmp_path: Path, text: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert devices._cgroup_quota(tmp_path) == cores


def test_cgroup_quota_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert devices._cgroup_quota(tmp_path) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert devices._cgroup_quota(tmp_path) == 1 << 30


def test_there_is_no_quota_without_cgroups(tmp_path: Path) -> None:
    assert devices._cgroup_quota(tmp_path) == 1 << 30
    assert num_cpu_cores() >= 1


def test_use_cpu_cores_raises_if_called_too_late() -> None:
    count = len(jax.devices())
    assert devices.use_cpu_cores(count) == count  # already the number of devices
    with pytest.raises(RuntimeError, match="called too late"):
        devices.use_cpu_cores(count + 1)
    assert devices.use_cpu_cores(np.int64(count)) == count
    assert devices.use_cpu_cores(jnp.int32(count)) == count
    for wrong in (0, 1.5, "2", True):
        with pytest.raises(
            UserError, match=r"^n is .*; expected a whole number from 1"
        ):
            devices.use_cpu_cores(wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_use_cpu_cores_sets_the_number_of_devices() -> None:
    code = (
        "from fmnist_jax import use_cpu_cores; use_cpu_cores(3)\n"
        "import jax; assert len(jax.devices('cpu')) == 3"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_the_next_process_uses_the_compilation_cache(tmp_path: Path) -> None:
    code = (
        "from fmnist_jax import use_compilation_cache\n"
        "import jax\n"
        f"assert use_compilation_cache() == Path({str(tmp_path)!r}, *PARTS)\n"
        "hits = []\n"
        "jax.monitoring.register_event_listener(lambda e, **_: hits.append(e))\n"
        "jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((3, 3)))\n"
        "print(hits.count('/jax/compilation_cache/cache_hits') > 0)\n"
    )
    code = f"from pathlib import Path; PARTS = ('fmnist_jax', 'compiled')\n{code}"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=env,
        ).stdout
        for _ in range(2)
    ]
    assert outputs == ["False\n", "True\n"]
