"""Experiments that are interrupted and resume."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
import xarray as xr

from experiments.__main__ import find_experiments
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import UserError
from fmnist_jax.runner import (
    command_line,
    execution,
    output_folder,
)
from fmnist_jax.sweeps import checkpoints, environment, programs, resuming
from fmnist_jax.sweeps.plan_file import SINGLE, Shard
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.progress import SweepProgress, num_epochs_trained
from fmnist_jax.sweeps.stages import Grid
from fmnist_jax.sweeps.sweep import sweep

ROOT = Path(__file__).parents[2]
# Two programs of a group each, four epochs.
FLAGS = [
    "--dataset=synthetic", "--train_examples=96", "--test_examples=50", "--epochs=4",
    "--divisors=1,255", "--num_seeds=1", "--hidden_sizes=8",
]  # fmt: skip
FILES = {"results.nc", "summary.csv", "config.json", "curves.png", "final.png"}
FILES |= {"report.html"}


def execute(out_dir: Path, *more: str) -> None:
    command_line.execute(
        [EXPERIMENT], ["scale_sweep", *FLAGS, f"--out_dir={out_dir}", *more]
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results.nc of a sweep that nothing interrupts."""
    out_dir = tmp_path_factory.mktemp("undisturbed") / "out"
    execute(out_dir)
    assert {path.name for path in out_dir.iterdir()} == FILES
    return (out_dir / "results.nc").read_bytes()


@contextlib.contextmanager
def failing_at(
    save: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Makes the save with this number, from 0, fail; states are saved at each epoch."""
    original, count = checkpoints.write, iter(range(1000))

    def write(*args: Any) -> None:
        if next(count) == save:
            raise error
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(resuming, "SECONDS_BETWEEN_SAVES", 0.0)
        patch.setattr(resuming, "SAVING_SHARE", 1e9)
        patch.setattr(checkpoints, "write", write)
        yield


@pytest.mark.slow
def test_groups_that_another_process_finished_are_read_again(
    small: Data, tmp_path: Path
) -> None:
    """Two processes resume in one folder, where a group of the second is unfinished."""
    config = Config(hidden_sizes=(8,), num_epochs=2, batch_size=50)
    plans = [plan({"loss": ["softmax", "clipped"]}, config, Hparams())]

    def opened(number: int) -> SweepProgress:
        command = {"experiment": "x", "arguments": []}
        shard = Shard(number, 2)
        return resuming.open_sweeps(tmp_path, plans, [small], command, False, shard)

    (tmp_path / "parts").mkdir()
    with pytest.raises(KeyboardInterrupt):
        list(resuming.run_sweeps(opened(1), lambda: True))
    processes = [opened(0), opened(1)]
    assert not processes[0].checkpoints[0][1].is_finished
    for progress in processes:
        list(resuming.run_sweeps(progress, lambda: False))
    for progress in processes:
        resuming.check_finished(progress)
        (dataset,) = Grid().labelled([progress])
        xr.testing.assert_identical(
            dataset, sweep(plans[0].axes, small, config, Hparams())
        )


@pytest.mark.slow
@pytest.mark.parametrize("save", [1, 3, 4, 7])
def test_a_sweep_that_dies_resumes_to_the_same_bytes(
    save: int,
    undisturbed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Saves 0 to 2 follow the first group's epochs, save 3 its end."""
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(save, KeyboardInterrupt(), monkeypatch), interrupt as caught:
        execute(tmp_path)
    assert caught.value.__notes__[0].startswith("To resume: python -m experiments.")
    assert not (tmp_path / "results.nc").exists()
    assert (tmp_path / "parts" / "1-0.part").exists() is False
    assert (tmp_path / "parts" / "0-1.part").exists() == (save > 4)
    epochs: list[int] = []
    original = execution._train

    def counting(task: Any, progress: resuming.SweepProgress, *rest: Any) -> Any:
        epochs.append(num_epochs_trained(progress))
        return original(task, progress, *rest)

    monkeypatch.setattr(execution, "_train", counting)
    execute(tmp_path)
    assert epochs == [{1: 2, 3: 6, 4: 8, 7: 14}[save]]  # two runs a group
    assert f"Resuming: {save // 4} of 2 groups" in capsys.readouterr().out
    assert (tmp_path / "results.nc").read_bytes() == undisturbed
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.slow
def test_damaged_or_foreign_checkpoints_are_trained_again(
    undisturbed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(7, KeyboardInterrupt(), monkeypatch), interrupt:
        execute(tmp_path)
    first, second = (tmp_path / "parts" / f"0-{group}.part" for group in (0, 1))
    first.write_bytes(second.read_bytes())
    second.write_bytes(second.read_bytes()[:-1])
    execute(tmp_path)
    output = capsys.readouterr().out
    again = "Its runs are trained again."
    assert f"Note: {first} belongs to another sweep. {again}" in output
    damage = "is damaged or was written by another version."
    assert f"Note: {second} {damage} {again}" in output
    assert (tmp_path / "results.nc").read_bytes() == undisturbed


@pytest.mark.slow
def test_other_settings_data_and_damaged_plans_are_refused(
    undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(4, KeyboardInterrupt(), monkeypatch), interrupt:
        execute(tmp_path)
    plan = tmp_path / "parts" / "plan.json"
    before = {path: path.read_bytes() for path in plan.parent.iterdir()}

    def refused(flag: str, value: str, message: str) -> None:
        flags = [given for given in FLAGS if not given.startswith(flag)]
        argv = ["x", *flags, f"{flag}={value}", f"--out_dir={tmp_path}"]
        with pytest.raises(UserError, match=message) as error:
            command_line.execute([EXPERIMENT], argv)
        assert "name another folder, or pass --overwrite" in str(error.value)
        assert "\n" not in str(error.value)
        assert not hasattr(error.value, "__notes__")
        assert {path: path.read_bytes() for path in before} == before

    refused(
        "--divisors",
        "1,2",
        "a sweep with other settings: divisor is 1,255 in the saved sweep and 1,2 now",
    )
    refused("--epochs", "5", "num_epochs is 4 in the saved sweep and 5 now")
    refused("--train_examples", "95", "the data are not the same")
    almost = "learning_rate is 0.001 in the saved sweep and 0.0010000004 now"
    refused("--learning_rates", "0.0010000004", almost)
    share = ["--num_shards=2", "--shard_index=0"]
    with pytest.raises(UserError, match=almost):
        execute(tmp_path, "--learning_rates=0.0010000004", *share)
    with monkeypatch.context() as patch:
        current = environment.environment()
        assert current["jax"] == jax.__version__
        assert current["platform"] == jax.devices()[0].platform
        patch.setattr(resuming, "environment", lambda: {**current, "jax": "0.1"})
        refused(
            "--epochs", "4", f"jax is {jax.__version__} in the saved sweep and 0.1 now"
        )
    plan.write_bytes(before[plan][:-5])
    before[plan] = plan.read_bytes()
    refused("--epochs", "4", "plan.json is damaged")
    execute(tmp_path, "--overwrite")
    assert (tmp_path / "results.nc").read_bytes() == undisturbed
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.slow
def test_invalid_plan_files_are_refused_and_may_be_replaced(
    undisturbed: bytes, tmp_path: Path
) -> None:
    plan = tmp_path / "parts" / "plan.json"
    plan.parent.mkdir()
    sweep = {"experiment": "scale_sweep", "arguments": [], "shares": 1, "sweeps": []}
    others: list[Any] = [
        *(5, [], {}, {"sweeps": [{}]}, {"sweeps": 5}),
        *(sweep, sweep | {"sweeps": [{}]}),
    ]
    for other in others:
        checkpoints.write_json(plan, other)
        with pytest.raises(UserError) as error:
            execute(tmp_path)
        problem = f"{plan} is damaged or was written by another version"
        assert str(error.value) == (
            f"The folder {tmp_path} contains a sweep that cannot be resumed: "
            f"{problem}; name another folder, or pass --overwrite."
        )
    plan.unlink()
    os.mkfifo(plan)
    with pytest.raises(UserError, match=r"plan\.json is not a file; name another"):
        execute(tmp_path)
    execute(tmp_path, "--overwrite")
    assert (tmp_path / "results.nc").read_bytes() == undisturbed
    (plan / "x").mkdir(parents=True)
    with pytest.raises(UserError, match=r"plan\.json is not a file; name another"):
        execute(tmp_path)
    with pytest.raises(UserError) as error:
        execute(tmp_path, "--overwrite")
    assert str(error.value) == f"{tmp_path} cannot be written: Is a directory."


@pytest.mark.parametrize(
    "name",
    [
        *("jax_default_prng_impl", "jax_threefry_partitionable", "jax_enable_x64"),
        *(
            "jax_random_seed_offset",
            "jax_disable_jit",
            "jax_disable_most_optimizations",
        ),
    ],
)
def test_settings_of_jax_that_decide_bits_are_in_the_environment(name: str) -> None:
    before = environment.environment()
    original = jax.config.values[name]
    others = {"jax_default_prng_impl": "rbg", "jax_random_seed_offset": 3}
    value = others.get(name, not original)
    jax.config.update(name, value)
    try:
        after = environment.environment()
    finally:
        jax.config.update(name, original)
    assert after == before | {name: str(value)}
    assert after != before


def test_flags_of_xla_are_in_the_environment_except_the_number_of_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = "--xla_force_host_platform_device_count=8"
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    before = environment.environment()
    monkeypatch.setenv("XLA_FLAGS", devices)
    assert environment.environment() == before
    monkeypatch.setenv("XLA_FLAGS", f"--xla_a=1  {devices} --xla_b=2")
    assert environment.environment() == before | {"XLA_FLAGS": "--xla_a=1 --xla_b=2"}


@pytest.mark.slow
def test_any_change_of_the_code_changes_its_digest(tmp_path: Path) -> None:
    digest = environment.environment()["fmnist_jax"]
    execute(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    assert facts["versions"]["fmnist_jax"] == digest
    shutil.copytree(ROOT / "fmnist_jax", tmp_path / "copy")
    copy = tmp_path / "copy"
    assert environment.code.__wrapped__(copy) == digest
    losses = copy / "training" / "losses.py"
    losses.write_text(losses.read_text() + "\n")
    changed = environment.code.__wrapped__(copy)
    losses.rename(losses.with_name("lossy.py"))
    assert len({digest, changed, environment.code.__wrapped__(copy)}) == 3


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_completed_work_is_saved(
    undisturbed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = OSError(28, "No space left on device")
    argv = ["x", *FLAGS, f"--out_dir={tmp_path}"]
    with failing_at(4, full, monkeypatch), pytest.raises(SystemExit) as caught:
        command_line.main(EXPERIMENT, argv)
    assert caught.value.code == 2
    line, note = capsys.readouterr().err.splitlines()[-2:]
    assert line == f"Error: {tmp_path} cannot be written: No space left on device."
    assert note.startswith("To resume: python -m experiments.scale_sweep --dataset")
    with monkeypatch.context() as patch:  # no room for the results either

        def no_room(*_: Any) -> None:
            raise full

        patch.setattr(results, "save", no_room)
        with pytest.raises(UserError, match="No space left"):
            execute(tmp_path)
    # All groups are finished.
    monkeypatch.setattr(resuming, "run_groups_resumably", None)
    execute(tmp_path)
    assert (tmp_path / "results.nc").read_bytes() == undisturbed


@pytest.mark.slow
def test_a_device_that_fails_is_one_line_and_completed_work_is_saved(
    undisturbed: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = programs.train_epoch_of_runs

    def lost(program: Any, *args: Any) -> Any:
        if program.config.loss == "softmax":  # the second program
            raise jax.errors.JaxRuntimeError("INTERNAL: device lost\nat 0x0")
        return original(program, *args)

    argv = ["x", *FLAGS, f"--out_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(programs, "train_epoch_of_runs", lost)
        with pytest.raises(SystemExit) as caught:
            command_line.main(EXPERIMENT, argv)
    assert caught.value.code == 2
    line, note = capsys.readouterr().err.splitlines()[-2:]
    assert line == "Error: the device failed: INTERNAL: device lost at 0x0."
    assert note.startswith("To resume: ")
    execute(tmp_path)
    assert "Resuming: 1 of 2 groups" in capsys.readouterr().out
    assert (tmp_path / "results.nc").read_bytes() == undisturbed


@pytest.mark.slow
def test_one_folder_has_one_writer(tmp_path: Path) -> None:
    with output_folder.locked(tmp_path) as folder:
        start = time.monotonic()
        with pytest.raises(SystemExit) as caught:
            command_line.main(EXPERIMENT, ["x", *FLAGS, f"--out_dir={tmp_path}"])
        assert time.monotonic() - start < 30  # it does not wait
        assert caught.value.code == 2
        in_use = pytest.raises(UserError, match="is in use by another")
        with in_use as error, output_folder.locked(tmp_path, Shard(0, 2)):
            pass
        assert "\n" not in str(error.value)
        assert folder.exists()
    assert not folder.exists()
    with (
        output_folder.locked(tmp_path, Shard(0, 2)),
        output_folder.locked(tmp_path, Shard(1, 2)),
    ):
        for shard in (Shard(1, 2), SINGLE):
            in_use = pytest.raises(UserError, match="is in use by another")
            with in_use, output_folder.locked(tmp_path, shard):
                pass
    assert folder.exists()  # the other shards may be about to use it


def written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
def test_signals_stop_after_the_epoch_and_the_printed_command_resumes(
    tmp_path: Path,
) -> None:
    first = tmp_path / "out" / "parts" / "0-0.part"
    flags = [flag for flag in FLAGS if flag != "--epochs=4"]
    argv = [sys.executable, "-m", "experiments.scale_sweep", *flags, "--epochs=1500"]
    argv.append(f"--out_dir={tmp_path / 'out'}")
    for number, at in ((signal.SIGINT, first.parent / "plan.json"),
                       (signal.SIGTERM, first)):  # fmt: skip
        before = written(at)
        # Not ignored, unlike in a process that a shell has put into the background.
        original = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        signal.signal(signal.SIGINT, original)
        while written(at) == before and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert "Interrupted. Completed work is saved." in errors
        assert "Traceback" not in errors
    assert first.exists()
    command = errors.splitlines()[-1].removeprefix("To resume: ")
    assert shlex.split(command) == ["python", *argv[1:]]
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]], capture_output=True, text=True,
        cwd=ROOT, check=True,
    )  # fmt: skip
    assert "Resuming: 1 of 2 groups of runs are done." in done.stdout
    assert (results.load(tmp_path / "out").status != "missing").all()


def two_experiments(out_dir: Path, *more: str) -> None:
    experiments = [find_experiments()[n] for n in ("depth_sweep", "scale_sweep")]
    flags = [flag for flag in FLAGS if not flag.startswith("--hidden_sizes")]
    argv = ["x", *flags, "--hidden_sizes=4,8", f"--out_dir={out_dir}", *more]
    command_line.execute(experiments, argv)


@pytest.mark.slow
def test_a_batch_skips_what_is_finished_and_resumes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first experiment is finished, its second dies half-way."""
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(9, KeyboardInterrupt(), monkeypatch), interrupt as caught:
        two_experiments(tmp_path)
    (note,) = caught.value.__notes__
    assert note.startswith(
        "To resume: python -m experiments --only=depth_sweep,scale_sweep --dataset="
    )
    first = (tmp_path / "depth_sweep" / "results.nc").stat().st_mtime_ns
    capsys.readouterr()
    with pytest.raises(UserError, match="depth_sweep already contains results"):
        two_experiments(tmp_path, "--b1s=.5")
    # The same settings in another form: a default and a switch.
    two_experiments(tmp_path, "--batch_sizes", "32", "--overwrite")
    output = capsys.readouterr().out
    assert "depth_sweep is already finished; skipped." in output
    assert re.search(r"Resuming: \d of 4 groups of runs are done", output)
    assert (tmp_path / "depth_sweep" / "results.nc").stat().st_mtime_ns == first
    assert (tmp_path / "scale_sweep" / "results.nc").exists()
    page = (tmp_path / "index.html").read_text()
    questions = [find_experiments()[n].question for n in ("depth_sweep", "scale_sweep")]
    assert all(question in page for question in questions)
    assert not list(tmp_path.rglob("parts"))
    two_experiments(tmp_path)  # nothing is unfinished: the page is written again
    assert (tmp_path / "depth_sweep" / "results.nc").stat().st_mtime_ns == first


@pytest.mark.slow
def test_a_batch_refuses_the_folder_of_an_unfinished_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = pytest.raises(KeyboardInterrupt)
    with failing_at(4, KeyboardInterrupt(), monkeypatch), interrupt:
        execute(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("parts/*.*")}
    assert before
    with pytest.raises(UserError, match="contains an unfinished sweep; name another"):
        two_experiments(tmp_path)
    assert {path: path.read_bytes() for path in before} == before


def stopped_unread(argv: list[str]) -> int:
    """Returns the status of a sweep that loses its reader, and is stopped."""
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    signal.signal(signal.SIGINT, original)
    assert process.stdout
    while not process.stdout.readline().startswith("To resume: "):
        assert process.poll() is None
    time.sleep(0.5)  # it trains now
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    return process.wait(120)


@pytest.mark.slow
def test_ctrl_c_that_also_ends_the_reader_of_the_output_loses_nothing(
    tmp_path: Path,
) -> None:
    """As ``… 2>&1 | tee log`` does."""
    flags = [flag for flag in FLAGS if flag != "--epochs=4"]
    argv = [sys.executable, "-m", "experiments.scale_sweep", *flags, "--epochs=5000"]
    out_dir = tmp_path / "out"
    assert stopped_unread([*argv, f"--out_dir={out_dir}"]) == 130
    assert list(out_dir.glob("parts/*.part"))


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (OSError(28, "No space left on device"), 2, "Error: the output cannot be "
         "written: [Errno 28] No space left on device.\n"),
        (OSError(122, "Disk quota exceeded"), 2, "Error: the output cannot be "
         "written: [Errno 122] Disk quota exceeded.\n"),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_written_is_no_bug(
    error: OSError, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(_: Any) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        command_line.run_command(command, ["x"])
    assert caught.value.code == status
    assert capsys.readouterr().err == line


def test_closed_outputs_are_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``… >&- 2>&-``."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as caught:
        command_line.run_command(lambda _: print("unread"), ["x"])
    assert caught.value.code == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


@pytest.mark.slow
def test_help_without_a_reader_ends_silently() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.scale_sweep", "--help"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")
