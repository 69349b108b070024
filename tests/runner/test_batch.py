"""Several experiments in one command, killed at any point."""

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
    Answer,
    Experiment,
    command_line,
    execution,
    output_folder,
    page,
    saving,
)
from fmnist_jax.runner.jobs import Task, code_of
from fmnist_jax.sweeps import engine, environment, planning

FIRST = Experiment("first", "Does it train?", {"divisor": (255,)}, num_seeds=1)
SECOND = Experiment(
    "second",
    "Which labels?",
    None,
    answer=lambda data: Answer({"labels": pd.DataFrame({"label": data.train.labels})}),
)
THIRD = dataclasses.replace(SECOND, name="third", question="And which after them?")
FLAGS = ["--dataset=synthetic", "--test_examples=10"]
TINY = [*FLAGS, "--train_examples=32", "--epochs=1", "--hidden_sizes=4"]
FILES = {
    *("index.html", "first", "second", "second/config.json", "second/labels.csv"),
    *(f"first/{name}" for name in ("results.nc", "summary.csv", "config.json")),
    *("first/report.html", "second/report.html"),
}


def execute(root: Path, *more: str) -> None:
    command_line.execute([FIRST, SECOND], ["x", *TINY, f"--out_dir={root}", *more])


def count_labels(root: Path, *more: str, examples: int = 7) -> None:
    argv = ["x", *FLAGS, f"--train_examples={examples}", f"--out_dir={root}", *more]
    command_line.execute([SECOND, THIRD], argv)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch that nothing interrupts."""
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    execute(root)
    assert files(root) == FILES
    return root


def assert_same(root: Path, undisturbed: Path) -> None:
    assert files(root) == FILES
    for name in ("first/results.nc", "second/labels.csv"):
        assert (root / name).read_bytes() == (undisturbed / name).read_bytes()
    page = (root / "index.html").read_text()
    assert all(f"<h2>{e.question}</h2>" in page for e in (FIRST, SECOND))


def killed(
    do: Callable[[Path], None], root: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Returns copies of a folder as SIGKILL leaves it, before each change to it.

    Copies that differ only in the random part of a name are made once.
    """
    copies: dict[frozenset[str], Path] = {}

    def copy() -> None:
        names = frozenset(re.sub("[0-9a-f]{8}$", "", name) for name in files(root))
        if root.exists() and names not in copies:
            copies[names] = to / str(len(copies))
            shutil.copytree(root, copies[names])

    def copying(change: Callable[..., None]) -> Callable[..., None]:
        def changed(path: Any, *args: Any, **more: Any) -> None:
            if Path(path).is_relative_to(root):
                copy()
            change(path, *args, **more)

        return changed

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "mkdir", "rmdir"):
            patch.setattr(os, name, copying(getattr(os, name)))
        do(root)
    return list(copies.values())


@pytest.mark.slow
def test_a_batch_that_is_killed_resumes_from_any_point(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = killed(execute, tmp_path / "root", tmp_path / "copies", monkeypatch)
    assert len(copies) > 25
    for root in copies:
        is_finished = (root / "first" / "config.json").exists()
        is_finished &= (root / "second").exists()
        is_finished &= not (root / "first" / "parts" / "plan.json").exists()
        original = execution.run

        def run(task: Task, original: Any = original, skip: bool = is_finished) -> None:
            assert not (skip and task.name == "first")
            original(task)

        with monkeypatch.context() as patch:
            patch.setattr(execution, "run", run)
            execute(root)
        assert_same(root, undisturbed)


@pytest.mark.slow
def test_a_killed_batch_that_overwrites_is_run_again_where_it_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    count_labels(root, examples=8)

    def overwrite(root: Path) -> None:
        count_labels(root, "--overwrite")

    copies = killed(overwrite, root, tmp_path / "copies", monkeypatch)
    assert len(copies) > 8
    for copy in copies:
        count_labels(copy, "--overwrite")
        for name in ("second", "third"):
            assert len(pd.read_csv(copy / name / "labels.csv")) == 7
        assert files(copy) == files(root)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_old_results_beside_a_plan_are_not_finished(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["x", *TINY, f"--out_dir={tmp_path / 'first'}"]
    command_line.execute([FIRST], [*argv, "--learning_rates=0.5"])
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command_line.execute([FIRST], [*argv, "--overwrite"])
    execute(tmp_path)
    assert_same(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_resumes(
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
        patch.setattr(page, "write", no_room)
        with pytest.raises(SystemExit) as caught:
            command_line.run_command(lambda _: execute(root))
    assert caught.value.code == 2
    line = f"Error: {root / 'index.html'} cannot be written: No space left on device."
    resume = f"To resume: python -m experiments {' '.join(flags)}"
    assert capsys.readouterr().err.endswith(f"{line}\n{resume}\n")
    execute(root)
    assert_same(root, undisturbed)


@pytest.mark.slow
def test_a_batch_has_its_folder_alone(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, original = tmp_path / "root", execution.run

    def meanwhile(task: Task) -> None:
        with pytest.raises(UserError, match=f"{root} is in use by another"):
            execute(root, "--overwrite")
        in_use = pytest.raises(UserError, match="is in use by another")
        with output_folder.locked(task.out_dir), in_use:
            original(task)
        original(task)

    monkeypatch.setattr(execution, "run", meanwhile)
    execute(root)
    assert_same(root, undisturbed)


@pytest.mark.slow
def test_results_with_missing_files_are_refused_and_may_be_overwritten(
    undisturbed: Path, tmp_path: Path
) -> None:
    execute(tmp_path)
    first = (tmp_path / "first" / "results.nc").stat().st_mtime_ns
    (tmp_path / "second" / "labels.csv").unlink()
    with pytest.raises(UserError, match="second already contains results"):
        execute(tmp_path)
    execute(tmp_path, "--overwrite")
    assert_same(tmp_path, undisturbed)
    assert (tmp_path / "first" / "results.nc").stat().st_mtime_ns == first
    shutil.rmtree(tmp_path / "first")
    execute(tmp_path)
    assert_same(tmp_path, undisturbed)


def test_other_versions_of_the_code_are_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_labels(tmp_path)
    monkeypatch.setattr(environment, "code", lambda root: "another")
    with pytest.raises(UserError, match="second already contains results"):
        count_labels(tmp_path)


def test_an_experiment_whose_code_has_changed_is_not_finished(tmp_path: Path) -> None:
    def run(shown: str) -> str:
        module = tmp_path / "counting.py"
        source = f"def answer(data): return Answer({{}}, {{}}, [{shown!r}])"
        module.write_text(source)
        environment.code.cache_clear()
        names: dict[str, Any] = {"Answer": Answer}
        exec(compile(source, module, "exec"), names)
        experiment = dataclasses.replace(SECOND, answer=names["answer"])
        argv = ["x", *FLAGS, "--train_examples=7", f"--out_dir={tmp_path / 'root'}"]
        command_line.execute([experiment, THIRD], argv)
        return (tmp_path / "root" / "second" / "config.json").read_text()

    first = run("before")
    assert run("before") == first
    with pytest.raises(UserError, match="second already contains results"):
        run("after")


@pytest.mark.parametrize(
    "name", ["answer", "figures", "probes", "search", "extra_measurements"]
)
def test_the_code_of_every_function_of_an_experiment_counts(
    name: str, tmp_path: Path
) -> None:
    def digest(body: str) -> str:
        module = tmp_path / "module.py"
        module.write_text(f"def function(*given): return {body}")
        environment.code.cache_clear()
        names: dict[str, Any] = {}
        exec(compile(module.read_text(), module, "exec"), names)
        plain: Any = Experiment("x", "Q?", {"divisor": (1.0, 255.0)})
        return code_of(dataclasses.replace(plain, **{name: names["function"]}))

    assert digest("1") == digest("1") != digest("2")


def test_what_figures_show_of_an_experiment_counts() -> None:
    plain = Experiment("x", "Q?", {"divisor": (1.0, 255.0)})
    changes: Any = [
        {},
        {"question": "R?"},
        {"curves_by": "divisor"},
        {"final_by": "divisor"},
        {"rescaled": {"a": "b"}},
    ]
    codes = [code_of(dataclasses.replace(plain, **change)) for change in changes]
    assert len({*codes}) == len(changes)


def test_an_error_names_its_experiment(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^first: momentum .* has no effect here"):
        execute(tmp_path, "--momenta=.5")
    with pytest.raises(UserError, match=r"^momentum .* has no effect here"):
        command_line.execute([FIRST], ["x", *TINY, "--momenta=.5"])
    with pytest.raises(UserError, match=r"^first: --batch_sizes=33 is larger"):
        execute(tmp_path, "--batch_sizes=33")


@pytest.mark.slow
def test_the_command_of_each_experiment_makes_its_folder(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("a root")
    execute(root, "--overwrite")
    for experiment in (FIRST, SECOND):
        folder = root / experiment.name
        command = json.loads((folder / "config.json").read_text())["command"]
        used = TINY if experiment is FIRST else TINY[:3]
        module = ["python", "-m", f"experiments.{experiment.name}"]
        assert command[:3] == module
        assert sorted(command[3:]) == sorted([*used, f"--out_dir={folder}"])
        shutil.rmtree(folder)
        command_line.execute([experiment], command[2:])
    assert_same(root, undisturbed)


def test_experiments_that_were_not_reached_are_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    count_labels(root, examples=8)
    before = (root / "third" / "config.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(execution, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            count_labels(root, "--overwrite")
    assert (root / "third" / "config.json").read_bytes() == before
    count_labels(root, "--overwrite")
    for name in ("second", "third"):
        assert len(pd.read_csv(root / name / "labels.csv")) == 7


def test_damaged_settings_are_not_finished(tmp_path: Path) -> None:
    count_labels(tmp_path)
    (tmp_path / "second" / "config.json").write_text("{")
    with pytest.raises(UserError, match="second already contains results"):
        count_labels(tmp_path)
    count_labels(tmp_path, "--overwrite")
    assert len(pd.read_csv(tmp_path / "second" / "labels.csv")) == 7


def test_errors_of_all_experiments_come_before_the_first_run(tmp_path: Path) -> None:
    both = [find_experiments()[n] for n in ("scale_sweep", "edge_of_stability")]
    argv = ["x", *TINY, "--optimizers=lion", f"--out_dir={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=r"^edge_of_stability: Unknown optimizer with"):
        command_line.execute(both, argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_unfinished_sweep_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["x", *TINY, "--learning_rates=0.5", f"--out_dir={tmp_path / 'first'}"]
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command_line.execute([FIRST], argv)
    before = files(tmp_path)
    refused = pytest.raises(UserError, match="contains a sweep with other settings")
    with refused:
        command_line.execute([SECOND, FIRST], ["x", *TINY, f"--out_dir={tmp_path}"])
    refused = pytest.raises(UserError, match="first contains an unfinished sweep; name")
    with refused:
        command_line.execute([SECOND], ["x", *FLAGS, f"--out_dir={tmp_path / 'first'}"])
    assert files(tmp_path) == before


@pytest.mark.slow
def test_a_command_plans_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One plan for each experiment that trains, also if it resumes."""
    plans: list[Any] = []
    original = planning.plan

    def counting(*args: Any, **options: Any) -> Any:
        plans.append(args)
        return original(*args, **options)

    monkeypatch.setattr(planning, "plan", counting)
    monkeypatch.setattr(engine, "plan", counting)
    execute(tmp_path)
    assert len(plans) == 1
    plans.clear()
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_runs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            command_line.execute([FIRST], ["x", *TINY, f"--out_dir={tmp_path / 'a'}"])
    command_line.execute([FIRST], ["x", *TINY, f"--out_dir={tmp_path / 'a'}"])
    assert len(plans) == 2
    plans.clear()
    command_line.execute([FIRST], ["x", *TINY, "--dry_run"])
    assert len(plans) == 1
