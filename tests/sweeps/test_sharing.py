"""Sweeps shared by several processes, whose shards are merged."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import merge
from experiments.scale_sweep import EXPERIMENT
from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import UserError
from fmnist_jax.runner import command_line
from fmnist_jax.sweeps import checkpoints, environment, resuming
from fmnist_jax.sweeps.planning import plan, split_for_shards
from tests.sweeps.test_resuming import FILES, FLAGS, ROOT, execute, undisturbed

__all__ = ["undisturbed"]


def test_plans_for_shares_have_smaller_groups_only_if_needed() -> None:
    whole = plan({"seed": range(40)}, Config(), Hparams(), 2)
    widths = [group.width for group in whole.groups]
    assert (len(widths), min(widths)) == (4, 5)
    assert split_for_shards(whole, 4) is whole
    finer = split_for_shards(whole, 8)
    assert [group.width for group in finer.groups] == [2] * 10  # no padding
    assert sorted(r for group in finer.groups for r in group.runs) == [*range(40)]
    assert len(split_for_shards(whole, 100).groups) == 20  # two devices, a run each


@pytest.mark.slow
def test_merged_shards_equal_one_process_byte_for_byte(
    undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [tmp_path / str(number) for number in range(3)]
    for number in (0, 2):
        execute(shards[number], "--num_shards=3", f"--shard_index={number}")
    text = capsys.readouterr().out
    assert "This process's shard: 1 group of runs." in text
    assert "Shard 2 of 3 is done: 0 groups of runs" in text
    merged = tmp_path / "merged"
    argv = ["merge", *map(str, shards), f"--out_dir={merged}"]
    with pytest.raises(UserError, match="1 is not a folder"):
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


@pytest.mark.slow
def test_shards_may_share_a_folder_and_one_process_may_finish_the_sweep(
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


@pytest.mark.slow
def test_damaged_shards_and_shards_of_other_sweeps_are_not_merged(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    execute(one, "--num_shards=2", "--shard_index=1")
    (plan_file,) = one.glob("parts/plan.json")
    (part,) = one.glob("parts/*.part")
    part.write_bytes(part.read_bytes()[1:])
    with pytest.raises(UserError, match=r"2 of 2 groups.*0-1\.part is damaged or wa"):
        merge.run(["merge", str(one)])
    execute(other, "--num_shards=2", "--shard_index=0", "--b1s=.5")
    with pytest.raises(
        UserError, match=r"sweeps: b1 is the default in .*one and 0.5 in .*other "
    ):
        merge.run(["merge", str(one), str(other)])
    plan_file.write_text("{}")
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        merge.run(["merge", str(one)])
    with pytest.raises(UserError, match="Name the folders"):
        merge.run(["merge"])


@pytest.mark.slow
def test_other_folders_are_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(message: str, *folders: Path | str) -> None:
        with pytest.raises(UserError, match=message) as error:
            merge.run(["merge", *map(str, folders)])
        assert "\n" not in str(error.value)

    one, other = tmp_path / "one", tmp_path / "other"
    refused("one is not a folder", one)
    (other / "parts").mkdir(parents=True)
    refused("other contains no shards: its sweep has finished or not started", other)
    execute(one, "--num_shards=2", "--shard_index=1")
    path = other / "parts" / "plan.json"
    saved = checkpoints.read_json(one / "parts" / "plan.json")
    selection = {"selection": {"a": []}, "old": []}  # of an earlier version
    foreign: list[Any] = [5, {}, selection, {"sweeps": [{}]}, saved | {"sweeps": [{}]}]
    for content in foreign:
        checkpoints.write_json(path, content)
        for argv in ([other], [one, other], [one, f"--out_dir={other}"]):
            refused(r"plan\.json is damaged or was written", *argv)
    checkpoints.write_json(path, saved | {"experiment": "scale_sweeps"})
    refused("Unknown experiment 'scale_sweeps'; .* Did you mean scale_sweep", other)
    (sweep,) = saved["sweeps"]
    turned = sweep | {"axes": [sweep["axes"][i] for i in (1, 0, 2)]}
    checkpoints.write_json(path, saved | {"sweeps": [turned]})
    axes = "the axes are divisor,loss,seed in .*one and loss,divisor,seed in .*other "
    refused(axes, one, other)
    shutil.rmtree(other)
    here = environment.environment()
    monkeypatch.setattr(resuming, "environment", lambda: {**here, "jax": "0.1"})
    execute(other, "--num_shards=2", "--shard_index=0")
    refused(
        f"different sweeps: jax is {here['jax']} in .*one and 0.1 in .*other ",
        one,
        other,
    )


@pytest.mark.slow
def test_merging_never_trains_and_may_be_done_on_another_platform(
    undisturbed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (0, 1):
        share = ["--num_shards=2", f"--shard_index={number}"]
        execute(tmp_path / f"s{number}", *share)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(resuming, "run_groups_resumably", None)  # training fails
    elsewhere = {**environment.environment(), "platform": "another"}
    monkeypatch.setattr(resuming, "environment", lambda: elsewhere)
    path = tmp_path / "s0" / "parts" / "plan.json"
    before, saved = path.read_bytes(), checkpoints.read_json(path)
    saved["arguments"] = [*saved["arguments"], "--b1s=.5"]
    checkpoints.write_json(path, saved)
    argv = ["merge", "~/s0", "~/s1", "--out_dir=~/merged"]
    for more in ([], ["--overwrite"]):
        with pytest.raises(
            UserError, match=r"now describes: b1 .* in the saved sweep and 0.5 n"
        ):
            merge.run([*argv, *more])
    path.write_bytes(before)
    merge.run(argv)
    assert (tmp_path / "merged" / "results.nc").read_bytes() == undisturbed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--num_shards=2 --out_dir=x", "--num_shards is given alone; .* needs both"),
        ("--shard_index=0 --out_dir=x", "--shard_index is given alone"),
        ("--num_shards=2 --shard_index=0", "--num_shards requires .* an explicit"),
        ("--num_shards=2 --shard_index=2 --out_dir=x", "'2' is .* from 0 to 1"),
        ("--num_shards=2 --shard_index=-1 --out_dir=x", "'-1' is not allowed"),
        ("--num_shards=0 --shard_index=0 --out_dir=x", "--num_shards: '0' is not"),
    ],
)  # fmt: skip
def test_flags_that_exclude_each_other_are_refused(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        command_line.execute([EXPERIMENT], ["x", *FLAGS, *arguments.split()])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


# Four programs with one group each.
SHARED = [*FLAGS, "--hidden_sizes=8,9"]
SHARED.remove("--hidden_sizes=8")
SHARED.remove("--epochs=4")


@pytest.mark.slow
def test_four_merged_shards_with_one_group_each_equal_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["scale_sweep", *SHARED, "--epochs=1"]
    command_line.execute([EXPERIMENT], [*argv, f"--out_dir={tmp_path / 'alone'}"])
    shards = [tmp_path / str(number) for number in range(4)]
    for number, folder in enumerate(shards):
        share = ["--num_shards=4", f"--shard_index={number}", f"--out_dir={folder}"]
        command_line.execute([EXPERIMENT], [*argv, *share])
        assert f"Shard {number} of 4 is done: 1 group of" in capsys.readouterr().out
    merge.run(["merge", *map(str, shards), f"--out_dir={tmp_path / 'merged'}"])
    merged, alone = (tmp_path / name / "results.nc" for name in ("merged", "alone"))
    assert merged.read_bytes() == alone.read_bytes()


ON_DEVICES = """
import hashlib, sys
from fmnist_jax import Config, join, load, plan, run_groups, use_cpu_cores
from fmnist_jax.config import Hparams
devices, width = map(int, sys.argv[1:])
use_cpu_cores(devices)
data = load("synthetic", train_examples=96, test_examples=50)
axes, config = {"divisor": [1.0, 255.0], "seed": range(8)}, Config(hidden_sizes=(8,))
runs = plan(axes, config, Hparams(), devices, max_width=width)
dataset = join(runs, run_groups(runs, data), data)
assert runs.num_devices == devices and {g.width for g in runs.groups} == {width}
content = b"".join(v.values.tobytes() for v in dataset.variables.values())
print(hashlib.sha256(content).hexdigest())
"""


@pytest.mark.slow
def test_eight_devices_equal_two_bit_for_bit_at_the_same_width() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", ON_DEVICES, str(devices), "1"],
            capture_output=True, text=True, cwd=ROOT, check=True,
        ).stdout
        for devices in (2, 8)
    }  # fmt: skip
    assert len(digests) == 1
