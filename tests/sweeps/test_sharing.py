"""Sweeps that several processes share: shards that are merged, and jax.distributed."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments import merge
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.analysis import results
from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line, output_folder
from fmnist_jax.sweeps import checkpoints, engine, plan_file
from fmnist_jax.sweeps.planning import for_shares, plan
from tests.sweeps.test_resuming import FILES, FLAGS, ROOT, execute, undisturbed

__all__ = ["undisturbed"]


def test_plans_for_shares_are_narrower_only_where_they_must_be() -> None:
    todo = plan({"seed": range(40)}, Config(), Hparams(), 2)
    widths = [group.width for group in todo.groups]
    assert (len(widths), min(widths)) == (4, 5)
    assert for_shares(todo, 4) is todo
    finer = for_shares(todo, 8)
    assert [group.width for group in finer.groups] == [2] * 10  # no padding
    assert sorted(r for group in finer.groups for r in group.runs) == [*range(40)]
    assert len(for_shares(todo, 100).groups) == 20  # two devices, a run each


def test_shards_merged_are_the_bytes_of_one_process(
    undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [tmp_path / str(number) for number in range(3)]
    for number in (0, 2):
        execute(shards[number], "--num_shards=3", f"--shard_index={number}")
    said = capsys.readouterr().out
    assert "This process's share of the runs: 1 group of runs." in said
    assert "Share 2 of 3 is done: 0 groups of runs" in said
    merged = tmp_path / "merged"
    argv = ["merge", *map(str, shards), f"--out_dir={merged}"]
    with pytest.raises(UserError, match="1 is no folder"):
        merge.run(argv)
    with pytest.raises(UserError, match=r"1 of 2 groups.*x=1 of --num_shards=3"):
        merge.run(["merge", str(shards[0])])
    assert not merged.exists()
    execute(shards[1], "--num_shards=3", "--shard_index=1")
    merge.run(argv)
    assert (merged / "results.nc").read_bytes() == undisturbed
    assert {path.name for path in merged.iterdir()} == FILES
    with pytest.raises(UserError, match=r"xarray\.open_dataset"):
        merge.run(argv)
    merge.run([*argv, "--overwrite"])
    assert (merged / "results.nc").read_bytes() == undisturbed


def test_shards_may_share_a_folder_and_one_process_may_finish_it(
    undisturbed: bytes, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    execute(one, "--num_shards=2", "--shard_index=1")
    shutil.copytree(one, other)
    execute(one, "--num_shards=2", "--shard_index=0")
    merge.run(["merge", str(one)])
    assert (one / "results.nc").read_bytes() == undisturbed
    execute(other)
    assert (other / "results.nc").read_bytes() == undisturbed


def test_shards_of_other_sweeps_and_damaged_ones_are_not_merged(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    execute(one, "--num_shards=2", "--shard_index=1")
    (plan_file,) = one.glob("parts/plan.json")
    (part,) = one.glob("parts/*.part")
    part.write_bytes(part.read_bytes()[1:])
    with pytest.raises(UserError, match=r"2 of 2 groups.*0-1\.part is damaged, or of"):
        merge.run(["merge", str(one)])
    execute(other, "--num_shards=2", "--shard_index=0", "--b1s=.5")
    with pytest.raises(UserError, match="no shards of one sweep: b1 is the default th"):
        merge.run(["merge", str(one), str(other)])
    plan_file.write_text("{}")
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        merge.run(["merge", str(one)])
    with pytest.raises(UserError, match="Name the folders"):
        merge.run(["merge"])


def test_what_is_no_shard_is_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(message: str, *folders: Path | str) -> None:
        with pytest.raises(UserError, match=message) as error:
            merge.run(["merge", *map(str, folders)])
        assert "\n" not in str(error.value)

    one, other = tmp_path / "one", tmp_path / "other"
    refused("one is no folder", one)
    (other / "parts").mkdir(parents=True)
    refused("other holds no shards: its sweep is finished, or none was begun", other)
    selection = {"selection": {"a": []}, "old": []}
    checkpoints.write_plan(other / "parts" / "plan.json", selection)
    execute(one, "--num_shards=2", "--shard_index=1")
    for sources in ([other], [one, other]):
        refused("other holds a selection of experiments, and no shard", *sources)
    with pytest.raises(UserError, match="other holds a selection of experiments"):
        merge.run(["merge", str(one), f"--out_dir={other}"])
    path = other / "parts" / "plan.json"
    saved = checkpoints.read_plan(one / "parts" / "plan.json")
    foreign: list[Any] = [5, {}, {"sweeps": [{}]}, saved | {"sweeps": [{}]}]
    for each in foreign:
        checkpoints.write_plan(path, each)
        for given in ([other], [one, other], [one, f"--out_dir={other}"]):
            refused(r"plan\.json is damaged, or of another version", *given)
    checkpoints.write_plan(path, saved | {"experiment": "scale_sweeps"})
    refused("Unknown experiment 'scale_sweeps'; .* Did you mean scale_sweep", other)
    (sweep,) = saved["sweeps"]
    turned = sweep | {"axes": [sweep["axes"][i] for i in (1, 0, 2)]}
    checkpoints.write_plan(path, saved | {"sweeps": [turned]})
    refused("the axes are divisor,loss,seed there and loss,divisor,seed", one, other)
    shutil.rmtree(other)
    here = plan_file.environment()
    monkeypatch.setattr(plan_file, "environment", lambda: {**here, "jax": "0.1"})
    execute(other, "--num_shards=2", "--shard_index=0")
    refused(f"one sweep: jax is {here['jax']} there and 0.1 here", one, other)


def test_merging_never_trains_and_may_be_done_on_another_platform(
    undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (0, 1):
        share = ["--num_shards=2", f"--shard_index={number}"]
        execute(tmp_path / f"s{number}", *share)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(engine, "run_stepwise", None)  # whoever trains fails
    elsewhere = {**plan_file.environment(), "platform": "another"}
    monkeypatch.setattr(plan_file, "environment", lambda: elsewhere)
    path = tmp_path / "s0" / "parts" / "plan.json"
    before, saved = path.read_bytes(), checkpoints.read_plan(path)
    saved["arguments"] = [*saved["arguments"], "--b1s=.5"]
    checkpoints.write_plan(path, saved)
    argv = ["merge", "~/s0", "~/s1", "--out_dir=~/merged"]
    for more in ([], ["--overwrite"]):
        with pytest.raises(UserError, match=r"here: b1 is the default there and 0.5 h"):
            merge.run([*argv, *more])
    path.write_bytes(before)
    merge.run(argv)
    assert (tmp_path / "merged" / "results.nc").read_bytes() == undisturbed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--num_shards=2 --out_dir=x", "Runs are shared either by .* --num_shards"),
        ("--shard_index=0 --out_dir=x", "Runs are shared either by"),
        ("--num_shards=2 --shard_index=0", "--num_shards needs .* its --out_dir"),
        ("--num_shards=2 --shard_index=2 --out_dir=x", "'2' is .* from 0 to 1"),
        ("--num_shards=2 --shard_index=-1 --out_dir=x", "'-1' is not allowed"),
        ("--num_shards=0 --shard_index=0 --out_dir=x", "--num_shards: '0' is not"),
        ("--coordinator=a:1 --out_dir=x", "Runs are shared either by"),
        ("--distributed --num_processes=2 --out_dir=x", "Runs are shared either by"),
        ("--distributed", "--distributed needs .* its --out_dir"),
        ("--distributed --coordinator=a:1 --num_processes=2 --process_id=a "
         "--out_dir=x", "--process_id: 'a' is not allowed"),
        ("--distributed --coordinator=a:1 --num_processes=2 --process_id=2 "
         "--out_dir=x", "--process_id: '2' is not allowed; .* from 0 to 1"),
        ("--distributed --coordinator=a --num_processes=2 --process_id=0 "
         "--out_dir=x", "--coordinator: 'a' is not allowed; expected HOST:PORT"),
        ("--distributed --coordinator=a:65536 --num_processes=2 --process_id=0 "
         "--out_dir=x", "--coordinator: 'a:65536' is not .* from 1 to 65535"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        command_line.execute([EXPERIMENT], ["x", *FLAGS, *arguments.split()])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


# Four programs of a group each.
SHARED = [*FLAGS, "--hidden_sizes=8,9"]
SHARED.remove("--hidden_sizes=8")
SHARED.remove("--epochs=4")


def start(out_dir: Path, *more: str, epochs: int = 4) -> subprocess.Popen[str]:
    more = (*more, f"--epochs={epochs}")
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.scale_sweep", *SHARED, *more,
         f"--out_dir={out_dir}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


def together(
    folder: Path, count: int, epochs: int = 4, own: Sequence[str] = ()
) -> list[subprocess.Popen[str]]:
    """Starts processes that share nothing but a port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
    return [
        start(
            folder / str(n),
            "--distributed",
            *shared,
            f"--process_id={n}",
            *own[n : n + 1],
            epochs=epochs,
        )
        for n in range(count)
    ]


def test_four_shards_with_a_group_each_merged_are_the_bytes_of_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["scale_sweep", *SHARED, "--epochs=1"]
    command_line.execute([EXPERIMENT], [*argv, f"--out_dir={tmp_path / 'alone'}"])
    shards = [tmp_path / str(number) for number in range(4)]
    for number, folder in enumerate(shards):
        share = ["--num_shards=4", f"--shard_index={number}", f"--out_dir={folder}"]
        command_line.execute([EXPERIMENT], [*argv, *share])
        assert f"Share {number} of 4 is done: 1 group of" in capsys.readouterr().out
    merge.run(["merge", *map(str, shards), f"--out_dir={tmp_path / 'merged'}"])
    merged, alone = (tmp_path / name / "results.nc" for name in ("merged", "alone"))
    assert merged.read_bytes() == alone.read_bytes()


def results_of(processes: list[subprocess.Popen[str]]) -> list[Any]:
    said = [process.communicate(timeout=300)[0] for process in processes]
    return [(p.returncode, s) for p, s in zip(processes, said, strict=True)]


ON_DEVICES = """
import hashlib, sys
from fmnist_jax import Config, join, load, plan, run_groups, use_cpu_cores
from fmnist_jax.config import Hparams
devices, width = map(int, sys.argv[1:])
use_cpu_cores(devices)
data = load("synthetic", train_examples=96, test_examples=50)
axes, config = {"divisor": [1.0, 255.0], "seed": range(8)}, Config(hidden_sizes=(8,))
todo = plan(axes, config, Hparams(), devices, max_width=width)
found = join(todo, run_groups(todo, data), data)
assert todo.num_devices == devices and {g.width for g in todo.groups} == {width}
content = b"".join(v.values.tobytes() for v in found.variables.values())
print(hashlib.sha256(content).hexdigest())
"""


def test_eight_devices_give_the_bits_of_two_at_the_same_width() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", ON_DEVICES, str(devices), "1"],
            capture_output=True, text=True, cwd=ROOT, check=True,
        ).stdout
        for devices in (2, 8)
    }  # fmt: skip
    assert len(digests) == 1


@pytest.mark.parametrize("count", [2, 4])
def test_processes_on_jax_distributed_give_the_bytes_of_one(
    count: int, tmp_path: Path
) -> None:
    ((code, said),) = results_of([start(tmp_path / "alone")])
    assert code == 0, said
    for code, said in results_of(together(tmp_path, count)):
        assert code == 0, said
        assert f"share of the runs: {4 // count} group" in said
    expected = (tmp_path / "alone" / "results.nc").read_bytes()
    assert (tmp_path / "0" / "results.nc").read_bytes() == expected
    assert [p.name for p in tmp_path.glob("*/results.nc")].count("results.nc") == 2
    assert not list(tmp_path.glob("*/checkpoints"))


JOINING = """
import sys
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.runner import command_line, distributed
distributed.SECONDS_TO_START = int(sys.argv.pop(1))
command_line.main(EXPERIMENT)
"""


def joining(out_dir: Path, seconds: int, *flags: str) -> subprocess.Popen[str]:
    """Starts a process that waits for the others for so long."""
    argv = [sys.executable, "-c", JOINING, str(seconds), *SHARED, "--epochs=1"]
    own = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*argv, "--distributed", *flags, f"--out_dir={out_dir}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip
    signal.signal(signal.SIGINT, own)
    return process


def test_what_cannot_be_joined_is_a_line(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as server, socket.create_server(("", 0)) as free:
        used, port = (each.getsockname()[1] for each in (server, free))
        free.close()
        two = "--num_processes=2"
        here = f"--coordinator=127.0.0.1:{port}"
        taken = f"--coordinator=127.0.0.1:{used}"
        first = joining(tmp_path, 60, here, two, "--process_id=0")
        others = {
            "not all processes came within 1": (taken, two, "--process_id=1"),
            f"cannot have port {used}": (taken, two, "--process_id=0"),
            "no cluster": (),
            "'no host' cannot be": ("--coordinator=no host:1", two, "--process_id=1"),
        }
        started = [joining(tmp_path, 1, *flags) for flags in others.values()]
        for expected, (code, said) in zip(others, results_of(started), strict=True):
            assert code == 2, said
            assert said.count("Error: ") == 1
            assert expected in said.splitlines()[-1]
        assert first.poll() is None, first.communicate()
        first.send_signal(signal.SIGINT)  # while it waits
        ((code, said),) = results_of([first])
        assert code == 130, said
        assert said.endswith("Interrupted. Completed work is saved.\n")
    assert not list(tmp_path.iterdir())


def test_an_error_of_one_process_alone_is_a_line(tmp_path: Path) -> None:
    """Its folder is in use; the other is ended by JAX, or finds it gone."""
    with output_folder.locked(tmp_path / "0"):
        (code, said), (_, other) = results_of(together(tmp_path, 2))
    assert code == 2, said
    assert "is in use" in said.splitlines()[-1]
    last = other.splitlines()[-1]  # to where the other had come decides which
    assert last.startswith(("To resume: ", "Error: --distributed: ")), other


def test_processes_that_plan_other_runs_are_refused(tmp_path: Path) -> None:
    processes = together(tmp_path, 2, own=["--b1s=.5", "--b1s=.6"])
    for code, said in results_of(processes):
        assert code == 2, said
        assert "--distributed: the processes plan other runs; give all" in said
    assert not list(tmp_path.glob("*/parts/plan.json"))


@pytest.mark.parametrize("number", [0, 1])
def test_where_a_process_dies_the_rest_end_and_a_restart_completes(
    number: int, tmp_path: Path
) -> None:
    processes = together(tmp_path, 2, epochs=300)
    while len({path.parent for path in tmp_path.glob("*/parts/*.part")}) < 2:
        assert processes[number].poll() is None, processes[number].communicate()
        time.sleep(0.05)
    processes[number].send_signal(signal.SIGKILL)
    died = time.monotonic()
    code, said = results_of(processes)[1 - number]
    assert time.monotonic() - died < 120
    assert code != 0
    *_, line, how = said.splitlines()
    assert line.startswith("Error: --distributed: ")
    assert line.endswith("; completed work is saved.")
    assert how.startswith("To resume: python -m experiments.scale_sweep ")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/parts/*.part")}
    assert kept
    for code, said in results_of(together(tmp_path, 2, epochs=300)):
        assert code == 0, said
        assert "Resuming: " in said
    found = results.load(tmp_path / "0")
    assert (found.status != "missing").all()
    ((code, said),) = results_of([start(tmp_path / "alone", epochs=300)])
    assert code == 0, said
    expected = (tmp_path / "alone" / "results.nc").read_bytes()
    assert (tmp_path / "0" / "results.nc").read_bytes() == expected
