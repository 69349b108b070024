"""The arithmetic of the benchmarks, and their workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    jobs,
    machine,
    peers,
    startup,
    step,
    table,
    throughput,
    tuner_ours,
    tuner_table,
    tuner_task,
)
from benchmarks.startup import Seconds
from benchmarks.tuner_contestants import CONTESTANTS
from benchmarks.tuner_task import Outcome, Setting, Task
from benchmarks.workers import Worker, WorkerError, fastest
from fmnist_jax.data.dataset import Data

RATES = machine.Rates(flops=200e9, bandwidth=100e9)
STEPS = 6


def test_the_floor_equals_a_calculation_by_hand() -> None:
    assert machine.num_parameters(128) == 100_480 + 1_290
    # Forward 2*32*(784*128 + 128*10), the gradients of the weights the same, and the
    # gradient of the hidden layer 2*32*128*10.
    assert machine.gemm_flops(128) == 6_504_448 * 2 + 81_920 == 13_090_816
    assert machine.peak_seconds(128, RATES) == pytest.approx(65.45408e-6)
    # Streams: 4 bytes * 4 (11) * 101,770 = 1.62832 (4.47788) MB at 100 GB/s.
    assert machine.floor_seconds(128, "sgd", RATES) == pytest.approx(81.73728e-6)
    assert machine.floor_seconds(128, "adam", RATES) == pytest.approx(110.23288e-6)


def test_summaries_and_ratios_are_medians_over_the_rounds() -> None:
    assert table.summarise([3.0, 1.0, 2.0, 9.0, 4.0]) == (3.0, 1.0, 9.0)
    assert table.throughputs([2.0, 0.5], steps=10, runs=8) == [1280.0, 5120.0]
    # The ratios per round are 2, 1 and 4; the ratio of the medians would be 1.5.
    assert table.ratio([2.0, 3.0, 12.0], [1.0, 3.0, 3.0]) == 2.0
    assert table.best_rates([[1, 5], [3, 4]]) == machine.Rates(3, 5)


def _cell() -> dict[str, object]:
    seconds = {"book": [1.0, 2.0, 4.0], "torch_x2": [1.0] * 3, "ours_many": [2.0] * 3}
    choices = {name: {"variant": f"{name}'s", "failed": {}} for name in seconds}
    rates = [[200e9, 90e9], [150e9, 100e9]]
    return table.cell(128, "adam", 1000, seconds, rates, choices)


def test_a_cell_contains_the_values_of_the_table() -> None:
    by_name = json.loads(json.dumps(_cell()))["peers"]
    assert [by_name[name]["runs"] for name in by_name] == [1, 2, 8]
    assert by_name["book"]["median"] == 16_000
    assert (by_name["book"]["min"], by_name["book"]["max"]) == (8_000, 32_000)
    assert by_name["ours_many"]["median"] == 128_000
    assert by_name["book"]["ratios"] == {"ours_many": 8.0}
    assert by_name["torch_x2"]["ratios"] == {"ours_many": 2.0}
    # 250 us per run and step; the products take 65.5 us and the floor is 110 us.
    assert by_name["ours_many"]["share_of_peak"] == pytest.approx(65.45408 / 250)
    assert by_name["ours_many"]["share_of_floor"] == pytest.approx(110.23288 / 250)


def test_the_table_is_markdown() -> None:
    lines = table.markdown({**_cell(), "left_out": {"keras_tf": "no"}}).splitlines()
    assert lines[0] == "### 128 units, adam"
    assert lines[2].startswith("GEMM peak 200 GFLOP/s, cache 100 GB/s; 1000 steps")
    assert "| speed-up of fmnist_jax (8 runs) |" in lines[4]
    assert len({line.count("|") for line in lines[4:9]}) == 1
    assert lines[6] == (
        "| PyTorch, the book's loop with DataLoader | 1 | 16,000 | 8,000 | 32,000 "
        "| 8.00 | 3% | 6% | book's |"
    )
    assert lines[-1] == "Left out: Keras 3 `fit` on TensorFlow: no."


def test_shuffled_rows_are_an_epoch_for_each_run() -> None:
    rows = jobs.orders(np.random.default_rng(0), 3, 2)
    assert rows.shape == (3, 2, 32)
    for run in range(2):
        assert sorted(rows[:, run].ravel()) == list(range(96))
    assert not np.array_equal(rows[:, 0], rows[:, 1])


def test_the_fastest_variant_that_works_is_chosen() -> None:
    def fails(steps: int) -> float:
        raise ValueError("no compiler\nat all")

    variants = {"slow": lambda _: 2.0, "compiled": fails, "fast": lambda _: 1.0}
    choice, run = fastest(variants, 8)
    assert (choice["variant"], run(8)) == ("fast", 1.0)
    assert choice["failed"] == {"compiled": "no compiler"}
    with pytest.raises(WorkerError, match="every variant failed"):
        fastest({"a": fails, "b": fails}, 8)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--peers=tourch", "Did you mean torch"),
        ("--peers=", "--peers is empty"),
        ("--optimizers=sgd,lion", "expected one of adam, sgd"),
        ("--widths=12,x", "'x' is not a whole number"),
        ("--rounds=0", "rounds"),
        ("--out=/no/such/folder/a.json", "its folder does not exist"),
        ("--nothing", "nothing"),
        ("stray", "Unexpected argument 'stray'"),
    ],
)
def test_mistakes_get_one_line(
    flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert throughput.main(["throughput", flag]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_help_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert throughput.main(["throughput", "--help"]) == 0
    assert "rounds" in capsys.readouterr().out


def test_a_missing_library_is_reported() -> None:
    peer = peers.Peer("x", "x:y", ("json", "no_such_library"))
    assert peers.missing(peer) == ("no_such_library",)
    with pytest.raises(WorkerError, match="not installed: no_such_library"):
        throughput.start("x", peer, jobs.Job("x", 8, "sgd", 1, STEPS, "."))


@pytest.fixture
def data_folder(tmp_path: Path, small: Data) -> str:
    jobs.save_data(tmp_path, *small.train)
    return str(tmp_path)


@pytest.mark.slow
def test_the_error_of_a_stopped_worker_is_reported(data_folder: str) -> None:
    job = jobs.Job("flax_loop", 8, "no_optimizer", 1, STEPS, data_folder)
    worker = Worker(peers.PEERS["flax_loop"], job, Path(data_folder) / "log")
    with pytest.raises(WorkerError, match="KeyError: 'no_optimizer'"):
        worker.receive()


@pytest.mark.slow
def test_ours_and_the_flax_loop_work_in_turns(data_folder: str) -> None:
    by_peer = {}
    try:
        for name in ("ours_9", "flax_loop"):
            peer = peers.PEERS[name]
            runs = peers.num_runs(peer, 8)
            job = jobs.Job(name, 8, "sgd", runs, STEPS, data_folder)
            by_peer[name], choice = throughput.start(name, peer, job)
            assert choice["failed"] == {}
        for workers in by_peer.values():
            assert all(0 < throughput.turn(workers, STEPS) < 60 for _ in range(2))
    finally:
        for workers in by_peer.values():
            for worker in workers:
                worker.close()


HLO = """
%fused_computation.1 (p.0: f32[4,32,784]) -> f32[4,32,128] {
  %p.0 = f32[4,32,784]{2,1,0} parameter(0)
  ROOT %dot.1 = f32[4,32,128]{2,1,0} dot(%p.0, %p.0), lhs_contracting_dims={2}
}

%body.1 (p.1: (s32[], f32[4,784,128])) -> (s32[], f32[4,784,128]) {
  %gather_fusion = f32[4,32,784]{2,1,0} fusion(%p.1), calls=%fused_computation.0
  %ynn_fusion = f32[4,32,128]{2,1,0} fusion(%gather_fusion), calls=%fused_computation.1
  %add_fusion = (f32[4,784,128]{2,1,0}, f32[4]{0}) fusion(%p.1), kind=kLoop
  ROOT %copy.1 = s32[] copy(%p.1)
}
"""


def test_kernels_are_classified_by_their_operation() -> None:
    kernels = {name: (elements, dot) for name, elements, dot in step.kernels(HLO)}
    parts = {name: step.part_of(*kernel, 128, 4) for name, kernel in kernels.items()}
    assert kernels["copy.1"] == (1, False)
    assert kernels["ynn_fusion"] == (4 * 32 * 128, True)
    assert parts["gather_fusion"] == "batch"
    assert parts["ynn_fusion"] == parts["dot.1"] == "products"
    assert parts["add_fusion"] == "optimizer"
    assert parts["copy.1"] == "other kernels"


def test_the_table_of_a_step_equals_a_calculation_by_hand() -> None:
    parts = dict(zip(step.PARTS, (65.45408, 20.0, 7.0, 3.0), strict=True))
    lines = step.table({(128, "adam"): step.Step(4, parts, 100.0)}, 250e9).splitlines()
    # 13,090,816 FLOPs in 65.45 us are 200 GFLOP/s; 4.47788 MB in 20 us are 224 GB/s.
    assert lines[-1] == (
        "| 128 | adam | 4 | 65.5 | 80% | 20.0 | 224 GB/s | 7.0 | 3.0 | 95.5 | 100.0 |"
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_parts_of_a_step_are_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.step", "--widths=16", "--steps=8"]
    command += ["--optimizers=adam", "--rounds=1", "--gemm_size=64"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    *numbers, whole = done.stdout.splitlines()[-1].split("|")[4:12]
    products, update, batch = (float(numbers[i]) for i in (0, 2, 4))
    assert min(products, update, batch, float(whole)) > 0


def test_the_stages_equal_a_calculation_by_hand() -> None:
    """Two groups with three epochs of 2 s each, after 5 s and 1 s of compilation."""
    ends = {"group 0": (17, 19, 21), "group 1": (24, 26, 28)}
    marks = [("started", 0), ("imported", 3), ("loading", 4), ("loaded", 6)]
    marks += [("running", 10), *((n, end) for n, e in ends.items() for end in e)]
    timed = [(name, Seconds(float(at), 0.5 * at)) for name, at in [*marks, ("run", 28)]]
    stages = startup.stages(timed, Seconds(31.0, 20.0))
    assert {name: seconds.wall for name, seconds in stages.items()} == {
        "Python and imports": 3,
        "data": 2,
        "tracing and compilation": 6,
        "start-up and compilation": 11,
        "training": 12,
        "the rest: table, files, figures": 8,
        "all": 31,
    }
    assert stages["tracing and compilation"].cpu == 3
    assert stages["the rest: table, files, figures"].cpu == 20 - 5.5 - 6
    lines = startup.table(stages, stages).splitlines()
    assert lines[4] == "| tracing and compilation | 6.0 (3.0) | 6.0 (3.0) |"


@pytest.mark.slow
def test_the_main_job_is_timed_in_another_process(tmp_path: Path) -> None:
    argv = ["--dataset=synthetic", "--train_examples=64", "--test_examples=32"]
    argv += ["--hidden_sizes=4", "--divisors=255", "--losses=softmax", "--epochs=2"]
    stages = startup.measure(argv, tmp_path)
    assert any(tmp_path.iterdir())  # compiled programs
    compiling = stages["tracing and compilation"]
    assert 0 < compiling.wall < stages["start-up and compilation"].wall
    assert stages["start-up and compilation"].wall < stages["all"].wall
    assert stages["all"].cpu > 0


def test_the_programs_of_a_search_are_balanced() -> None:
    for seed in range(5):
        recipes = tuner_ours.recipes(seed)
        assert len({*recipes}) == len(recipes) == 32
        assert len({optimizer for _, optimizer, _ in recipes[:2]}) == 2
        assert len({recipe[:2] for recipe in recipes[:8]}) == 8
        sizes = [size for _, _, size in recipes[:8]]
        assert sorted(sizes) == [32, 32, 64, 64, 128, 128, 512, 512]


@pytest.mark.parametrize(
    ("budget", "expected"), [(5, 1), (20, 1), (24, 2), (120, 8), (300, 16), (9999, 32)]
)
def test_a_budget_pays_for_some_programs(budget: float, expected: int) -> None:
    # A sixth of it, at 2 s for a program: 120 s pay for 10, and 8 is a power of 2.
    assert tuner_ours.num_recipes(budget) == expected


def test_learning_rates_are_spread_over_the_space() -> None:
    recipes = tuner_ours.recipes(0)[:3]
    settings = tuner_ours.points(recipes, 5, np.random.default_rng(0))
    rates = np.log10([setting.learning_rate for setting in settings]).reshape(3, 5)
    assert np.array_equal(np.floor(rates), [[-5, -4, -3, -2, -1]] * 3)
    assert [setting[:3] for setting in settings[::5]] == recipes


def outcome(setting: Setting, epochs: int, loss: float) -> Outcome:
    return Outcome(setting, epochs, loss, 0.8, 0.75)


def test_settings_that_were_trained_to_the_end_are_preferred() -> None:
    recipes = tuner_ours.recipes(0)[:3]
    a, b, c = (Setting(*recipe, 0.1) for recipe in recipes)
    outcomes = [outcome(a, 1, 0.1), outcome(b, 9, 0.4), outcome(c, 9, np.nan)]
    task = Task("ours", ".", 120.0, 0)
    answer = tuner_task.answer_of(task, outcomes)
    assert (answer.best.setting, answer.num_settings, answer.num_epochs) == (b, 3, 19)
    by = "validation_loss"
    ranked = tuner_ours.next_recipes(recipes, outcomes, by, 2)
    assert ranked == [recipes[1], recipes[0]]
    assert tuner_ours.next_recipes(recipes, outcomes, by, 0) == []


def test_contestants_are_compared_after_retraining() -> None:
    common = {"dataset": "x", "train_examples": 100}
    settings = [Setting("none", "sgd", 32, 0.1), Setting("none", "adam", 64, 0.01)]
    records: list[dict[str, object]] = []
    for name, setting in zip(("ours", "optuna"), settings, strict=True):
        best = outcome(setting, 9, 0.5)._asdict() | {"setting": setting._asdict()}
        key = {**common, "contestant": name, "budget": 120.0, "seed": 0}
        metrics = {"num_settings": 7, "num_epochs": 20, "seconds": 119.6}
        records.append({**key, "best": best, **metrics})
    assert tuner_table.settings(records, common) == [s._asdict() for s in settings]
    for setting, accuracies in zip(settings, ([0.8, 0.9], [0.7, 0.8]), strict=True):
        retrained = {"retrained": setting._asdict(), "accuracies": accuracies}
        records.append({**common, **retrained})
    lines = tuner_table.markdown(records, common, CONTESTANTS).splitlines()
    assert lines[4].endswith("| 120 | 120 | 7 | 20 | 80.00 | 75.00 | 85.00 |  |")
    assert lines[5].endswith("| 80.00 | 75.00 | 75.00 | -10.00 |")
    assert lines[-1].endswith(
        "| 120 | 0 | none | adam | 64 | 0.01 | 75.00 (11.47 to 138.53) |"
    )
