"""Folders for results: which can be used, and who uses them."""

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
from fmnist_jax.sweeps.sweep_progress import Share

UNTOUCHED = {"overwrite": False, "out_dir": None}


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder without rights, to a user who has no others."""
    importlib.import_module(
        "fmnist_jax.sweeps.checkpoints"
    )  # whose file may be closed to others
    folder = Path(tempfile.mkdtemp())  # not below one of pytest's, which are closed too
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.rmdir()


def said_of(out_dir: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the line that is said where a folder is chosen."""

    def choose(argv: Any) -> None:
        output_folder.choose(["a", "b"], {**UNTOUCHED, "out_dir": out_dir})

    with pytest.raises(SystemExit) as caught:
        command_line.command_line(choose, [])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: --out_dir=")
    return line


def test_a_folder_that_cannot_be_used_is_a_line(
    closed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out_dir in (str(closed), f"{closed}/x", f"{closed}/x/y"):
        assert "Permission denied" in said_of(out_dir, capsys)
        with pytest.raises(UserError, match="Permission denied"):
            merge.run(["merge", out_dir])
    assert "File name too long." in said_of(f"/tmp/{'a' * 300}", capsys)
    not_utf8 = os.fsdecode(b"/tmp/x/\xfe")
    assert said_of(not_utf8, capsys) == (
        r"Error: --out_dir=/tmp/x/\udcfe/a cannot be used: its name is not UTF-8."
    )
    assert not Path(not_utf8).parent.exists()


def test_a_folder_that_goes_meanwhile_is_no_bug(tmp_path: Path) -> None:
    with output_folder.made(tmp_path / "out") as folder:
        folder.rmdir()
    with pytest.raises(ZeroDivisionError), output_folder.made(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with output_folder.made(tmp_path / "out") as folder:
        (folder / "results").touch()
    assert (tmp_path / "out" / "results").exists()


def test_two_starts_in_the_same_second_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = output_folder.choose(["a"], UNTOUCHED)
    assert now.parent == Path("runs/a")
    with (
        output_folder.made(now, anew=True) as one,
        output_folder.made(now, anew=True) as two,
    ):
        assert (one, two) == (now, now.with_name(f"{now.name}_2"))
        with output_folder.locked(one), output_folder.locked(two):
            pass
        (two / "results").touch()
    assert list(now.parent.iterdir()) == [two]


def test_the_folder_for_parts_of_who_comes_next_is_not_taken_away(
    tmp_path: Path,
) -> None:
    one, two = output_folder.locked(tmp_path), output_folder.locked(tmp_path)
    plan = one.__enter__() / "plan.json"
    plan.touch()
    output_folder.discard(plan.parent)
    two.__enter__()
    plan.touch()
    one.__exit__(None, None, None)
    assert plan.exists()
    with pytest.raises(UserError, match="is in use"), output_folder.locked(tmp_path):
        pass
    two.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_who_has_the_folder_alone(
    tmp_path: Path,
) -> None:
    left = [f".{name}.0123cdef" for name in ("results.nc", "summary.csv", "index.html")]
    left += ["parts/.plan.json.0123cdef", "parts/.0-12.part.0123cdef"]
    others = {".results.nc.mine", ".notes.0123cdef", "results.nc", "parts"}
    (tmp_path / "parts").mkdir()
    for name in (*left, *others - {"parts"}, "parts/0-1.part"):
        (tmp_path / name).touch()
    with output_folder.locked(tmp_path, Share(1, 2)):
        assert all((tmp_path / name).exists() for name in left)
    with output_folder.locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == others
        kept = {path.name for path in (tmp_path / "parts").iterdir()}
        assert kept == {"0-1.part", "lock", "lock-1-of-2"}


def test_a_folder_of_ones_own_that_is_called_parts_stays(tmp_path: Path) -> None:
    own = tmp_path / "parts" / "gear.step"
    own.parent.mkdir()
    own.write_text("mine")
    with output_folder.locked(tmp_path):
        pass
    assert [path.name for path in own.parent.iterdir()] == ["gear.step"]


def test_a_link_to_nowhere_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    made = output_folder.made(tmp_path / "runs" / "now", anew=True)
    with pytest.raises(UserError, match="cannot be made: File exists"), made:
        pass
