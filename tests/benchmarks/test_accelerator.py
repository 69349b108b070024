"""The command that checks and times sweeps on an accelerator, at small sizes."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import accelerator, accelerator_floor, accelerator_parts
from benchmarks import accelerator_jobs as jobs
from benchmarks import accelerator_peers as peers
from benchmarks import accelerator_sections as sections
from fmnist_jax import Config, Hparams, load, training
from fmnist_jax.sweeps import memory, programs
from fmnist_jax.sweeps.memory import MemoryUse
from fmnist_jax.sweeps.planning import plan

ROOT = Path(__file__).parents[2]
ADAM, SGD = jobs.keras(), jobs.keras(optimizer="sgd")
KEYS = {"name", "value", "unit", "goal", "is_met"}


@pytest.fixture(scope="module")
def bench() -> jobs.Bench:
    return jobs.Bench(load("synthetic", **jobs.SMALL_EXAMPLES), jobs.SMALL)


def by_name(rows: Any) -> dict[str, Any]:
    return {row.name: row.value for row in rows}


def test_the_bytes_of_a_step_equal_a_count_by_hand() -> None:
    # Parameters: 784 * 128 + 128 + 128 * 10 + 10 = 101,770, or 407,080 bytes.
    # A batch: 32 * 784 = 25,088 pixels, or 100,352 bytes as float32.
    adam = {
        "gather": 25_088 + 128 + 128 + 100_352,
        "products": 2 * 100_352 + 407_080 + 407_080,
        "optimizer": 407_080 + 3 * 407_080 + 3 * 407_080,
    }
    assert accelerator_floor.step_bytes(ADAM) == adam
    assert sum(adam.values()) == 3_990_120
    assert sum(accelerator_floor.step_bytes(SGD).values()) == 2_361_800
    # 1,024 runs, 5 epochs of 1,875 steps: 38.3 TB, at 4 TB/s.
    seconds = accelerator_floor.floor_seconds(ADAM, 1024, 60_000, 784, 4e12)
    assert seconds == pytest.approx(9.57629, rel=1e-5)


@pytest.mark.parametrize("config", [ADAM, SGD], ids=["adam", "sgd"])
def test_the_optimizer_moves_its_arrays_once(config: Config) -> None:
    shapes = jax.random.key(0), (28, 28), 10
    state = training.init(config, Hparams(), *shapes)
    params, moments = (
        sum(x.nbytes for x in jax.tree.leaves(tree) if x.ndim)
        for tree in (state.params, state.opt_state)
    )
    moved = params + 2 * (params + moments)  # gradients; parameters and state
    assert accelerator_floor.step_bytes(config)["optimizer"] == moved


@pytest.mark.parametrize("runs", [1, 2, 4, 8, 16, 64, 256, 1024, 4096, 65_536])
def test_a_grid_has_the_number_of_runs(runs: int) -> None:
    axes = jobs.axes(runs)
    assert math.prod(map(len, axes.values())) == runs
    settings = peers.runs_of(axes)
    distinct = set(zip(*settings.values(), strict=True))
    assert len(distinct) == len(settings["seed"]) == runs


def test_the_runs_of_peers_are_those_of_the_plan(bench: jobs.Bench) -> None:
    planned = jobs.planned(bench, 16, ADAM)
    settings = peers.runs_of(planned.axes)
    for name, values in planned.axes.items():
        index = np.unravel_index(np.arange(16), planned.shape)
        assert np.array_equal(
            settings[name], np.asarray(values)[index[list(planned.axes).index(name)]]
        )


@pytest.mark.slow
def test_the_plain_sweep_has_the_same_results(bench: jobs.Bench) -> None:
    """Rounding may switch a ReLU of one run."""
    theirs = list(peers.plain_epochs(bench.data, jobs.axes(8), 2))
    for epochs, (_, metrics) in enumerate(theirs, 1):
        config = jobs.keras(num_epochs=epochs)
        ours = jobs.timed(jobs.planned(bench, 8, config), bench.data)
        assert ours.runs == 8
        for name, values in metrics.items():
            differences = jobs.errors(values, ours.values[name])
            assert sorted(differences)[-2] < 1e-5, name


@pytest.mark.slow
def test_the_sweep_of_pytorch_has_the_same_results(bench: jobs.Bench) -> None:
    pytest.importorskip("torch")
    ((_, plain),) = peers.plain_epochs(bench.data, jobs.axes(8), 1)
    ((_, _, metrics),) = peers.torch_epochs(bench.data, jobs.axes(8), False)
    for name, values in metrics.items():
        np.testing.assert_allclose(values, plain[name], rtol=1e-5, err_msg=name)


def _loop(bench: jobs.Bench, part: str) -> tuple[Any, accelerator_parts.Inputs]:
    grid = {"divisor": [100.0, 1000.0], "learning_rate": [0.1]}
    inputs = accelerator_parts.inputs(plan(grid, SGD, Hparams()), bench.data, 5)
    function = accelerator_parts.loops(SGD)[part]
    return jax.jit(jax.vmap(function, (0, 0, None, None)))(*inputs), inputs


@pytest.mark.slow
def test_the_parts_of_a_step_do_its_work(bench: jobs.Bench) -> None:
    (images, labels), inputs = _loop(bench, "gather")
    stored, classes = (array[np.asarray(inputs.rows[-1])] for array in bench.data.train)
    for run, divisor in enumerate((100, 1000)):
        np.testing.assert_allclose(images[run], stored / np.float32(divisor), rtol=1e-6)
        assert np.array_equal(labels[run], classes)
    state, inputs = _loop(bench, "optimizer")
    for after, before in zip(
        *map(jax.tree.leaves, (state.params, inputs.state.params)), strict=True
    ):  # 5 steps of learning rate 0.1 along 1e-3 times the parameters
        np.testing.assert_allclose(after, before * (1 - 5e-4), rtol=1e-5, atol=1e-7)
    grads, inputs = _loop(bench, "products")
    single = accelerator_parts.Inputs(*inputs[:3], inputs.rows[:1])
    step = jax.vmap(accelerator_parts.loops(SGD)["whole"], (0, 0, None, None))
    for after, before, grad in zip(
        *map(jax.tree.leaves, (step(*single)[0].params, inputs.state.params, grads)),
        strict=True,
    ):
        np.testing.assert_allclose(before - after, 0.1 * grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_losses_are_compared_and_rounding_is_noticed(
    bench: jobs.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "CHECKED_RATES", {"adam": (1e-3,)})
    rows = {row.name: row for row in sections.correctness(bench)}
    # 32 runs, and as many steps as 320 examples have.
    assert rows["adam: losses compared"].value == 320
    assert rows["adam, float32: share of runs within 1e-05"].is_met
    rounded = by_name(sections.precisions(bench))
    for precision in ("tf32", "bf16"):
        assert rounded[f"adam, {precision}: share of runs within 1e-05"] < 0.9


@pytest.mark.slow
def test_a_plan_too_wide_is_halved_with_the_same_results(
    bench: jobs.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = programs.train_epoch_of_runs

    def limited(program: Any, state: Any, inputs: Any, *arguments: Any) -> Any:
        if len(inputs.seeds) > 4:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return original(program, state, inputs, *arguments)

    monkeypatch.setattr(programs, "train_epoch_of_runs", limited)
    monkeypatch.setattr(memory, "device_bytes", lambda _: 6_000_000)
    uses = [MemoryUse(1_000_000, 1_000_000)]
    monkeypatch.setattr(memory, "memory_uses", lambda *_: uses)
    rows = {row.name: row for row in sections.out_of_memory(bench)}
    assert rows["runs"].value == 8  # the first power of 2 above 1.5 * 5
    assert rows["memory, predicted"].value == pytest.approx(9e-3)
    assert rows["groups after halving"].value == 2
    assert all(row.is_met for row in rows.values() if row.goal)


@pytest.mark.slow
def test_speeds_follow_from_the_times(bench: jobs.Bench) -> None:
    rows = by_name(sections.parts(bench))
    parts = accelerator_floor.step_bytes(ADAM)
    for part, size in parts.items():  # 8 runs; bytes per microsecond are MB/s
        traffic = 8 * size / rows[f"{part}, a step"] / 1e3
        assert rows[f"{part}, traffic"] == pytest.approx(traffic)
    separate = sum(rows[f"{part}, a step"] for part in parts)
    rest = rows["whole, a step"] - separate
    assert rows["whole without the three parts"] == pytest.approx(rest)
    assert 0 < rows["launches (a step of one run)"] < rows["whole, a step"]
    rows = by_name(sections.plain(bench))
    ratio = rows["plain vmap, an epoch"] / rows["fmnist_jax, an epoch"]
    assert rows["speed-up over plain vmap"] == pytest.approx(ratio)
    assert rows["train_loss: median error"] < 1e-5
    speeds = by_name(sections.counts(bench))
    assert list(speeds) == ["1 runs", "4 runs"]
    assert min(speeds.values()) > 0


def test_a_cpu_has_no_limit_to_exceed(bench: jobs.Bench) -> None:
    with pytest.raises(jobs.LeftOutError, match="does not report its memory"):
        next(sections.out_of_memory(bench))


def test_goals_are_judged() -> None:
    assert jobs.at_most("x", 12.0, "s", 12).is_met
    assert not jobs.at_most("x", math.nan, "s", 12).is_met
    assert not jobs.at_least("x", 0.59, "", 0.6).is_met


def test_errors_are_relative_and_the_largest_of_each_run() -> None:
    ours, theirs = [[1.0, 3.0], [4.0, 4.0]], [[1.0, 2.0], [5.0, 4.0]]
    assert jobs.errors(ours, theirs).tolist() == [0.5, 0.2]
    median, largest, share = jobs.compared("x", [1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    assert (median.value, largest.value, share.is_met) == (0, 0.5, False)
    assert share.value == pytest.approx(2 / 3)


def _section(code: str, seconds: float = 60) -> Any:
    return accelerator.measure([sys.executable, "-c", code], {}, seconds)


@pytest.mark.slow
def test_a_section_that_fails_or_hangs_keeps_its_rows() -> None:
    row = jobs.Row("runs", 8.0)._asdict()
    prints = f"import json\nprint(json.dumps({row!r}), flush=True)\n"
    failed = _section(f"{prints}raise ValueError('no such kernel')")
    assert (failed["status"], failed["rows"]) == ("failed", [row])
    assert failed["reason"] == "ValueError: no such kernel"
    hanging = _section(f"{prints}import time\ntime.sleep(60)", 2)
    assert (hanging["status"], hanging["rows"]) == ("stopped", [row])
    done = _section(f'{prints}print(\'{{"device": "a GPU"}}\')')
    assert (done["status"], done["device"]) == ("done", "a GPU")


def test_a_table_has_a_line_for_each_row() -> None:
    rows = [jobs.at_most("sweep", 12.5, "s", 12)._asdict(), jobs.Row("runs", 1024)]
    rows[1] = rows[1]._asdict()  # type: ignore[attr-defined]
    section = {"status": "stopped", "reason": "late", "device": "", "rows": rows}
    lines = accelerator.table("adam", section | {"seconds": 61.2}).splitlines()
    assert lines[0] == "adam: stopped; late; 61 s"
    assert lines[1].split() == [
        "sweep",
        "12.5",
        "s",
        "(at",
        "most",
        "12:",
        "not",
        "met)",
    ]
    assert lines[2].split() == ["runs", "1,024"]


def _run(out: Path, *flags: str) -> tuple[Any, str]:
    command = [sys.executable, "-m", "benchmarks.accelerator", f"--out={out}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(out.read_text()), done.stdout


@pytest.mark.slow
def test_a_small_run_measures_what_it_says(tmp_path: Path) -> None:
    flags = "--small", "--sections=out_of_memory,adam"
    results, output = _run(tmp_path / "a.json", *flags)
    assert list(results["sections"]) == ["adam", "out_of_memory"]
    section = results["sections"]["adam"]
    assert section["status"] == "done"
    assert all(row.keys() == KEYS for row in section["rows"])
    rows = {row["name"]: row["value"] for row in section["rows"]}
    assert rows["runs"] == rows["runs trained"] == 8
    assert rows["epochs"] == 2
    moved = 8 * 2 * 10 * sum(accelerator_floor.step_bytes(ADAM).values())
    speed = 1e9 * max(rows[f"bandwidth of a {n}"] for n in ("copy", "triad"))
    assert rows["floor"] == pytest.approx(moved / speed)
    assert rows["share of the floor"] == pytest.approx(rows["floor"] / rows["sweep"])
    assert rows["speed"] == pytest.approx(8 * 2 / rows["sweep"])
    assert results["sections"]["out_of_memory"]["status"] == "left out"
    assert "adam: done; cpu (cpu)" in output


@pytest.mark.slow
def test_without_time_every_section_is_left_out(tmp_path: Path) -> None:
    results, output = _run(tmp_path / "a.json", "--minutes=0.2")
    assert list(results["sections"]) == list(sections.SECTIONS)
    assert {section["status"] for section in results["sections"].values()} == {
        "left out"
    }
    assert "s are left, and it needs 15 s" in output
    assert "synthetic" in results["data"]


def test_training_needs_no_packages_for_files_and_figures() -> None:
    modules = ["sections", "peers", "plain", "parts"]
    imports = [f"benchmarks.accelerator_{name}" for name in modules]
    absent = "h5netcdf tensorflow_datasets matplotlib dask torch tqdm PIL"
    code = (
        f"import sys, {', '.join(imports)}\n"
        "import benchmarks.epochs, fmnist_jax.sweeps.engine\n"
        f"print(sorted({{*{absent.split()!r}}} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--sections=adm", "Did you mean adam"),
        ("--out=/no/such/folder/a.json", "its folder does not exist"),
        ("--data_dir=/no/such/folder", "/no/such/folder"),
    ],
)
def test_mistakes_get_one_line(flag: str, message: str, tmp_path: Path) -> None:
    out = f"--out={tmp_path / 'a.json'}"
    command = [sys.executable, "-m", "benchmarks.accelerator", out, flag]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
