"""Output folders: which can be used, their locks, and what is removed."""

import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import merge
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, output_folder
from fmnist_jax.sweeps import folder_lock
from fmnist_jax.sweeps.plan_file import Shard

UNTOUCHED = {"overwrite": False, "extend": False, "out_dir": None}


@pytest.fixture
def closed() -> Iterator[Path]:
    """An unreadable folder, for a user who is not root."""
    # Imported as root: the other user may not read the source file.
    importlib.import_module("fmnist_jax.sweeps.checkpoints")
    folder = Path(tempfile.mkdtemp())  # the user may not enter pytest's folders
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.rmdir()


def error_of(out_dir: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the error line for an output folder."""

    def choose(argv: Any) -> None:
        output_folder.choose_folder(["a", "b"], {**UNTOUCHED, "out_dir": out_dir})

    with pytest.raises(SystemExit) as caught:
        command_line.run_command(choose, [])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: --out_dir=")
    return line


def test_an_unusable_folder_gives_one_error_line(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out_dir in (str(closed), f"{closed}/x", f"{closed}/x/y"):
        assert "Permission denied" in error_of(out_dir, capsys)
        with pytest.raises(UserError, match="Permission denied"):
            merge.run(["merge", out_dir])
    assert "File name too long (/tmp)." in error_of(f"/tmp/{'a' * 300}", capsys)
    not_utf8 = os.fsdecode(b"/tmp/x/\xfe")
    assert error_of(not_utf8, capsys) == (
        r"Error: --out_dir=/tmp/x/\udcfe/a cannot be written: its name is not UTF-8."
    )
    assert not Path(not_utf8).parent.exists()


def test_a_folder_may_be_removed_by_another_process(tmp_path: Path) -> None:
    with output_folder.ensure_dir(tmp_path / "out") as folder:
        folder.rmdir()
    with pytest.raises(ZeroDivisionError), output_folder.ensure_dir(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with output_folder.ensure_dir(tmp_path / "out") as folder:
        (folder / "results").touch()
    assert (tmp_path / "out" / "results").exists()


def test_two_starts_in_the_same_second_have_different_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = output_folder.choose_folder(["a"], UNTOUCHED)
    assert now.parent == Path("runs/a")
    with (
        output_folder.ensure_dir(now, unique=True) as one,
        output_folder.ensure_dir(now, unique=True) as two,
    ):
        assert (one, two) == (now, now.with_name(f"{now.name}_2"))
        with output_folder.locked(one), output_folder.locked(two):
            pass
        (two / "results").touch()
    assert list(now.parent.iterdir()) == [two]


def test_a_process_keeps_the_checkpoint_folder_of_its_successor(tmp_path: Path) -> None:
    one, two = output_folder.locked(tmp_path), output_folder.locked(tmp_path)
    plan = one.__enter__() / "plan.json"
    plan.touch()
    folder_lock.discard(plan.parent)
    two.__enter__()
    plan.touch()
    one.__exit__(None, None, None)
    assert plan.exists()
    with pytest.raises(UserError, match="is in use"), output_folder.locked(tmp_path):
        pass
    two.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_only_a_process_that_shares_with_none_removes_temporary_files(
    tmp_path: Path,
) -> None:
    names = ("results.nc", "summary.csv", "index.html", "report.html")
    temporary = [f".{name}.0123cdef" for name in names]
    temporary += ["parts/.plan.json.0123cdef", "parts/.0-12.part.0123cdef"]
    others = {".results.nc.mine", ".notes.0123cdef", "results.nc", "parts"}
    (tmp_path / "parts").mkdir()
    for name in (*temporary, *others - {"parts"}, "parts/0-1.part"):
        (tmp_path / name).touch()
    with output_folder.locked(tmp_path, Shard(1, 2)):
        assert all((tmp_path / name).exists() for name in temporary)
    with output_folder.locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == others
        parts = {path.name for path in (tmp_path / "parts").iterdir()}
        assert parts == {"0-1.part", "lock", "lock-1-of-2"}


def test_a_user_folder_with_the_name_parts_stays(tmp_path: Path) -> None:
    file = tmp_path / "parts" / "gear.step"
    file.parent.mkdir()
    file.write_text("mine")
    with output_folder.locked(tmp_path):
        pass
    assert [path.name for path in file.parent.iterdir()] == ["gear.step"]


def test_a_broken_link_gives_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    created = output_folder.ensure_dir(tmp_path / "runs" / "now", unique=True)
    with pytest.raises(UserError, match="cannot be created: File exists"), created:
        pass
