import subprocess
import sys
from pathlib import Path

import jax
import pytest

from fmnist_jax import devices


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


def test_no_quota_where_there_are_no_cgroups(tmp_path: Path) -> None:
    assert devices._cgroup_quota(tmp_path) == 1 << 30
    assert devices.num_cpu_cores() >= 1


def test_called_too_late_it_says_so() -> None:
    count = len(jax.devices())
    assert devices.use_cpu_cores(count) == count  # as it is already: no harm
    with pytest.raises(RuntimeError, match="called too late"):
        devices.use_cpu_cores(count + 1)


def test_called_in_time_it_gives_the_devices() -> None:
    code = (
        "from fmnist_jax import use_cpu_cores; use_cpu_cores(3)\n"
        "import jax; assert len(jax.devices('cpu')) == 3"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
