"""Several experiments at once, stopped wherever they may be."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.__main__ import find_experiments
from fmnist_jax.errors import UserError
from fmnist_jax.runner import (
    command_line,
    execution,
    output_folder,
    page,
    saving,
)
from fmnist_jax.runner.jobs import Answer, Experiment, Inspection
from fmnist_jax.sweeps import checkpoints

FIRST = Experiment("first", "Does it train?", {"divisor": (255,)}, num_seeds=1)
SECOND = Inspection(
    "second", "Which labels?",
    lambda data: Answer({"labels": pd.DataFrame({"label": data.train.labels})}),
)  # fmt: skip
THIRD = dataclasses.replace(SECOND, name="third", question="And which after them?")
FLAGS = ["--dataset=synthetic", "--test_examples=10"]
TINY = [*FLAGS, "--train_examples=32", "--epochs=1", "--hidden_sizes=4"]
FILES = {
    *("index.html", "first", "second", "second/config.json", "second/labels.csv"),
    *(f"first/{name}" for name in ("results.nc", "summary.csv", "config.json")),
}


def execute(root: Path, *more: str) -> None:
    command_line.execute([FIRST, SECOND], ["x", *TINY, f"--out_dir={root}", *more])


def inspect(root: Path, *more: str, examples: int = 7) -> None:
    argv = ["x", *FLAGS, f"--train_examples={examples}", f"--out_dir={root}", *more]
    command_line.execute([SECOND, THIRD], argv)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A selection that nothing stops."""
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    execute(root)
    assert files(root) == FILES
    return root


def assert_same(root: Path, undisturbed: Path) -> None:
    assert files(root) == FILES
    for name in ("first/results.nc", "second/labels.csv"):
        assert (root / name).read_bytes() == (undisturbed / name).read_bytes()
    page = (root / "index.html").read_text()
    assert all(f"<h2>{each.question}</h2>" in page for each in (FIRST, SECOND))


def killed(
    do: Callable[[Path], None], root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Returns what SIGKILL leaves of a folder, before each change that is made to it.

    What differs in no more than the random part of a name is left out.
    """
    found: dict[frozenset[str], Path] = {}

    def keep() -> None:
        names = frozenset(re.sub("[0-9a-f]{8}$", "", name) for name in files(root))
        if root.exists() and names not in found:
            found[names] = kept / str(len(found))
            shutil.copytree(root, found[names])

    def keeping(change: Callable[..., None]) -> Callable[..., None]:
        def changed(path: Any, *args: Any, **more: Any) -> None:
            if Path(path).is_relative_to(root):
                keep()
            change(path, *args, **more)

        return changed

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "mkdir", "rmdir"):
            patch.setattr(os, name, keeping(getattr(os, name)))
        do(root)
    return list(found.values())


def test_a_selection_that_is_killed_goes_on_from_wherever_it_was(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = killed(execute, tmp_path / "root", tmp_path / "kept", monkeypatch)
    assert len(left) > 25
    for root in left:
        if (root / "index.html").exists() and not (root / "parts/plan.json").exists():
            assert files(root) - {"parts", "parts/lock"} == FILES
            with pytest.raises(UserError, match="contains results already"):
                execute(root)
            continue
        is_done = (root / "first" / "config.json").exists()
        is_done &= not (root / "first" / "parts" / "plan.json").exists()
        with monkeypatch.context() as patch:
            if is_done:
                patch.setattr(execution, "run", None)
            execute(root)
        assert_same(root, undisturbed)


def test_what_was_to_be_overwritten_is_not_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    inspect(root, examples=8)

    def overwrite(root: Path) -> None:
        inspect(root, "--overwrite")

    left = killed(overwrite, root, tmp_path / "kept", monkeypatch)
    assert len(left) > 10
    for each in left:
        goes_on = (each / "parts" / "plan.json").exists()
        inspect(each, *([] if goes_on else ["--overwrite"]))
        for name in ("second", "third"):
            assert len(pd.read_csv(each / name / "labels.csv")) == 7
        assert files(each) == files(root)


def test_results_beside_a_plan_are_not_what_is_done(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["x", *TINY, f"--out_dir={tmp_path / 'first'}"]
    command_line.execute([FIRST], [*argv, "--learning_rates=0.5"])

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command_line.execute([FIRST], [*argv, "--overwrite"])
    execute(tmp_path)
    assert_same(tmp_path, undisturbed)


@pytest.mark.parametrize(
    ("module", "write", "file"),
    [(page, "page", "index.html"), (checkpoints, "write_plan", "parts/plan.json")],
)
def test_no_room_is_one_line_and_the_same_command_goes_on(
    module: Any,
    write: str,
    file: str,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    root = tmp_path / "root"
    flags = ["--only=first,second", *TINY, f"--out_dir={root}"]
    with monkeypatch.context() as patch:
        patch.setattr(module, write, no_room)
        with pytest.raises(SystemExit) as caught:
            command_line.command_line(lambda _: execute(root))
    assert caught.value.code == 2
    said = capsys.readouterr().err
    line = f"Error: {root / file} cannot be written: No space left on device.\n"
    again = f"To resume: python -m experiments {' '.join(flags)}\n"
    assert said.endswith(line + again if module is page else line)
    assert root.exists() == (module is page)
    execute(root)
    assert_same(root, undisturbed)


def test_a_selection_has_its_folder_alone(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, original = tmp_path / "root", execution.inspect

    def meanwhile(*args: Any) -> None:
        with pytest.raises(UserError, match=f"{root} is in use by another"):
            execute(root, "--overwrite")
        in_use = pytest.raises(UserError, match="second is in use by another")
        with output_folder.locked(root / "second"), in_use:
            original(*args)
        original(*args)

    monkeypatch.setattr(execution, "inspect", meanwhile)
    execute(root)
    assert_same(root, undisturbed)


def test_what_is_lost_of_what_was_done_is_done_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = page.write

    def write(done: list[Path]) -> Path:
        if len(done) == 2:
            raise KeyboardInterrupt
        return original(done)

    with monkeypatch.context() as patch:
        patch.setattr(page, "write", write)
        with pytest.raises(KeyboardInterrupt) as caught:
            execute(tmp_path)
    (note,) = caught.value.__notes__
    assert note.startswith("To resume: python -m experiments --only=first,second ")
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "second" / "labels.csv").unlink()
    with pytest.raises(UserError, match="second contains results already"):
        execute(tmp_path)
    first = (tmp_path / "first" / "results.nc").stat().st_mtime_ns
    execute(tmp_path, "--overwrite")
    assert_same(tmp_path, undisturbed)
    assert (tmp_path / "first" / "results.nc").stat().st_mtime_ns == first


def test_a_mistake_says_in_which_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^first: momentum .* has no effect here"):
        execute(tmp_path, "--momenta=.5")
    with pytest.raises(UserError, match=r"^momentum .* has no effect here"):
        command_line.execute([FIRST], ["x", *TINY, "--momenta=.5"])
    with pytest.raises(UserError, match=r"^first: --batch_sizes=33 is larger"):
        execute(tmp_path, "--batch_sizes=33")


def test_the_command_of_each_makes_its_folder(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("a root")
    execute(root, "--overwrite")
    for experiment in (FIRST, SECOND):
        folder = root / experiment.name
        command = json.loads((folder / "config.json").read_text())["command"]
        used = TINY if experiment is FIRST else TINY[:3]
        assert command == ["python", "-m", f"experiments.{experiment.name}", *used,
                           f"--out_dir={folder}"]  # fmt: skip
        shutil.rmtree(folder)
        command_line.execute([experiment], command[2:])
    assert_same(root, undisturbed)


def test_what_is_not_reached_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    inspect(root, examples=8)
    before = (root / "third" / "config.json").read_bytes()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execution, "inspect", interrupt)
        with pytest.raises(KeyboardInterrupt):
            inspect(root, "--overwrite")
    assert (root / "third" / "config.json").read_bytes() == before
    inspect(root, "--overwrite")
    for name in ("second", "third"):
        assert len(pd.read_csv(root / name / "labels.csv")) == 7


def test_settings_that_damage_befell_are_not_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = execution.inspect

    def once(inspection: Any, *rest: Any) -> None:
        if inspection.name == "third":
            raise KeyboardInterrupt
        original(inspection, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(execution, "inspect", once)
        with pytest.raises(KeyboardInterrupt):
            inspect(tmp_path)
    (tmp_path / "second" / "config.json").write_text("{")
    with pytest.raises(UserError, match="second contains results already"):
        inspect(tmp_path)
    inspect(tmp_path, "--overwrite")
    assert len(pd.read_csv(tmp_path / "second" / "labels.csv")) == 7


def test_what_one_experiment_refuses_is_said_before_another_begins(
    tmp_path: Path,
) -> None:
    both = [find_experiments()[n] for n in ("scale_sweep", "edge_of_stability")]
    argv = ["x", *TINY, "--optimizers=lion", f"--out_dir={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"^edge_of_stability: Unknown optimizer with"):
        command_line.execute(both, argv)
    assert not (tmp_path / "out").exists()


def test_another_sweep_that_is_not_finished_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    argv = ["x", *TINY, "--learning_rates=0.5", f"--out_dir={tmp_path / 'first'}"]
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command_line.execute([FIRST], argv)
    before = files(tmp_path)
    with pytest.raises(UserError, match="first holds another sweep that is not fin"):
        command_line.execute([SECOND, FIRST], ["x", *TINY, f"--out_dir={tmp_path}"])
    with pytest.raises(UserError, match="first holds a sweep that is not finished"):
        command_line.execute([SECOND], ["x", *FLAGS, f"--out_dir={tmp_path / 'first'}"])
    assert files(tmp_path) == before
