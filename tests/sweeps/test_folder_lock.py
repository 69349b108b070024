import errno
import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from fmnist_jax.errors import UserError
from fmnist_jax.sweeps import folder_lock
from fmnist_jax.sweeps.folder_lock import discard, locked
from fmnist_jax.sweeps.plan_file import SINGLE, Shard

ROOT = Path(__file__).parents[2]
LOCKS = """
import sys
from pathlib import Path
from fmnist_jax.sweeps.folder_lock import locked
from fmnist_jax.sweeps.plan_file import Shard
with locked(Path(sys.argv[1]), Shard(int(sys.argv[2]), int(sys.argv[3]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, shard: Shard) -> Iterator[subprocess.Popen[str]]:
    """A process that has locked a folder until it is killed."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", LOCKS, str(folder), *map(str, shard)]
    with subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.send_signal(signal.SIGKILL)


def is_free(folder: Path, shard: Shard) -> bool:
    try:
        with locked(folder, shard):
            return True
    except UserError as error:
        if "is in use by another process" in str(error):
            return False
        raise


@pytest.mark.slow
def test_locks_of_other_processes_end_when_they_are_killed(tmp_path: Path) -> None:
    shards = (SINGLE, Shard(0, 2), Shard(1, 2))
    with another_process(tmp_path, SINGLE):
        assert [is_free(tmp_path, shard) for shard in shards] == [False] * 3
    assert [is_free(tmp_path, shard) for shard in shards] == [True] * 3
    with another_process(tmp_path, Shard(0, 2)):
        assert [is_free(tmp_path, shard) for shard in shards] == [False, False, True]
    assert [is_free(tmp_path, shard) for shard in shards] == [True] * 3


def test_shards_that_start_at_the_same_moment_do_not_refuse_each_other(
    tmp_path: Path,
) -> None:
    count = 16
    start, end = Barrier(count), Barrier(count)

    def work(number: int) -> None:
        start.wait(60)
        with locked(tmp_path, Shard(number, count)):
            end.wait(60)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_has_no_protection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path) as folder, locked(tmp_path):
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_last_owner_removes_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire: Callable[..., object] = folder_lock.FileLock.acquire

    def slow(self: object, *arguments: object, **options: object) -> object:
        lock = acquire(self, *arguments, **options)
        discard(tmp_path / "parts")
        return lock

    with monkeypatch.context() as patch:
        patch.setattr(folder_lock.FileLock, "acquire", slow)
        assert not is_free(tmp_path, SINGLE)
    assert is_free(tmp_path, SINGLE)
