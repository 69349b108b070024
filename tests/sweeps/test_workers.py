"""Sweeps on the workers of a Dask cluster give the results of one process."""

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

from experiments.scale_sweep import EXPERIMENT
from fmnist_jax import Notice, UserError, halving, refined_map, sweep
from fmnist_jax.config import Config, Hparams
from fmnist_jax.probes.probe import Probe
from fmnist_jax.runner import command_line, workers
from fmnist_jax.sweeps import cluster as clusters
from fmnist_jax.sweeps import session as sessions
from fmnist_jax.sweeps import worker
from fmnist_jax.sweeps import workers as training
from fmnist_jax.sweeps.cluster import Cluster
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.random_keys import without_keys
from fmnist_jax.sweeps.session import Session, Task, Work, next_group
from tests.sweeps.runs import DATA
from tests.sweeps.test_random_keys import noisy_sgd
from tests.sweeps.test_resuming import FLAGS

pytest.importorskip("distributed", reason="in requirements-workers.txt")

AXES = {"optimizer": ["sgd", "adam"], "divisor": [1, 255], "seed": range(4)}
CONFIG = Config(hidden_sizes=(6,), batch_size=16, num_epochs=3)


def norm_of_weights(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    kernel = state.params["Dense_0"]["kernel"]
    return {"norm": (kernel**2).sum() ** 0.5}


PROBES = (Probe(norm_of_weights, when="end"),)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with workers.started(2) as started, workers.connected_to(started) as client:
        yield client


def assert_same(first: xr.Dataset, second: xr.Dataset) -> None:
    assert first.variables.keys() == second.variables.keys()
    for name, variable in second.variables.items():
        np.testing.assert_array_equal(first[name].values, variable.values, str(name))


@pytest.mark.slow
def test_workers_give_the_results_of_one_process(client: Any, tmp_path: Path) -> None:
    arguments = AXES, DATA, CONFIG, Hparams(), PROBES, 1
    alone = sweep(*arguments)
    assert_same(sweep(*arguments, client=client), alone)
    assert_same(sweep(*arguments, client=client, folder=tmp_path), alone)
    assert_same(sweep(*arguments, folder=tmp_path), alone)  # finished


@pytest.mark.slow
def test_searches_on_workers_give_the_results_of_one_process(client: Any) -> None:
    held_out = DATA.with_validation(16)
    how: Any = {"rungs": (1, 3), "max_width": 1}
    pruned = halving(AXES, held_out, CONFIG, **how)
    assert (pruned.status == "pruned").any()
    assert_same(halving(AXES, held_out, CONFIG, **how, client=client), pruned)
    plane: Any = {"divisor": np.geomspace(1, 1e4, 9), "learning_rate": [0.01, 0.1, 1.0]}
    config = dataclasses.replace(CONFIG, num_epochs=1)
    whole = refined_map(plane, {}, DATA, config, step=4)
    assert_same(refined_map(plane, {}, DATA, config, step=4, client=client), whole)


@pytest.mark.slow
def test_random_keys_of_an_optimizer_travel_to_workers_and_back(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch is a task of its own, which sends the keys of the states."""
    monkeypatch.setattr(training, "SECONDS_OF_TRAINING", 0.0)
    config = dataclasses.replace(CONFIG, optimizer=noisy_sgd)
    axes: Any = {"learning_rate": [0.001, 0.01], "seed": range(2)}
    alone, kept = sweep(axes, DATA, config, keep_states="all", max_width=1)
    how: Any = {"keep_states": "all", "max_width": 1}
    results, states = sweep(axes, DATA, config, client=client, **how)
    assert_same(results, alone)
    last = [s.sel(learning_rate=0.01, seed=1).state for s in (kept, states)]
    jax.tree.map(np.testing.assert_array_equal, *map(without_keys, last))


def processes(client: Any) -> dict[str, int]:
    """Returns the process of each worker by address."""
    return client.run(os.getpid)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_ends_or_stops_costs_its_group_only(
    number: int, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks end after each epoch; the worker of the second one is struck."""
    monkeypatch.setattr(training, "SECONDS_OF_TRAINING", 0.0)
    monkeypatch.setattr(training, "SENDING_SHARE", 1e9)
    monkeypatch.setattr(sessions, "SECONDS_TO_ANSWER", 2.0)
    monkeypatch.setattr(sessions, "TIMES_TO_ANSWER", 1.0)
    config = dataclasses.replace(CONFIG, num_epochs=8)
    arguments: Any = AXES, DATA, config, Hparams(), (), 1
    alone = sweep(*arguments)
    pids, submitted = processes(client), []
    submit = training._submit

    def striking(session: Session, task: Task, *more: Any) -> None:
        submit(session, task, *more)
        if task.name == "train":
            submitted.append(task.group)
            if len(submitted) == 3:
                os.kill(pids[task.address], number)

    monkeypatch.setattr(training, "_submit", striking)
    try:
        if number == signal.SIGKILL:
            with pytest.warns(Notice, match="because worker . ended"):
                results = sweep(*arguments, client=client)
        else:
            results = sweep(*arguments, client=client)
    finally:
        if number == signal.SIGSTOP:
            for pid in pids.values():
                os.kill(pid, signal.SIGCONT)
    assert_same(results, alone)
    assert len(submitted) > 8 * len(set(submitted))


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0, "300MB"], ids=["late", "small"])
def test_a_worker_may_join_late_or_have_too_little_memory(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX alone takes 300 MB, so that Dask ends the worker whenever it starts."""
    monkeypatch.setattr(training, "SECONDS_OF_TRAINING", 0.0)
    monkeypatch.setattr(training, "SENDING_SHARE", 1e9)
    config = dataclasses.replace(CONFIG, num_epochs=8 if memory else 60)
    arguments: Any = AXES, DATA, config, Hparams(), (), 1
    alone = sweep(*arguments)
    submit = training._submit
    trained: list[str] = []
    second: list[Task] = []
    with workers.started(1) as started, workers.connected_to(started) as client:
        spec = started.worker_spec[0]
        other = {**spec, "options": {**spec["options"], "memory_limit": memory}}

        def starting_another(session: Session, task: Task, *more: Any) -> None:
            submit(session, task, *more)
            if task.name == "train":
                trained.append(task.address)
            if len(trained) == 3 and not second:
                started.worker_spec[1] = other
                started.scale(2)
                client.wait_for_workers(2, timeout=30)
                second.append(task)
            elif second and not memory and len(set(trained)) < 2:
                time.sleep(0.02)  # so that the other worker has time to start JAX

        monkeypatch.setattr(training, "_submit", starting_another)
        results = sweep(*arguments, client=client)
    assert_same(results, alone)
    assert len(set(trained[:3])) == 1
    assert (len(set(trained)) == 2) == (memory == 0)


@pytest.mark.slow
def test_what_dask_remembers_of_its_workers_is_not_trusted(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every two seconds, new versions of Dask remember a list without workers."""
    cluster = clusters.connect(client)
    names = dict(cluster.names)
    nobody = {**client._scheduler_identity, "workers": {}}
    with monkeypatch.context() as patch:
        patch.setattr(client, "_update_scheduler_info", lambda **_: asyncio.sleep(0))
        patch.setattr(client, "_scheduler_identity", nobody)
        assert client.scheduler_info()["workers"] == {}
        assert clusters.update_workers(cluster) == set()
    assert cluster.names == names
    assert names


@pytest.mark.slow
def test_a_worker_with_other_code_or_data_is_not_used(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = worker.environment_and_python()
    arguments: Any = {"seed": [0]}, DATA, CONFIG
    for name in ("fmnist_jax", "jax", "python"):
        other = {**here, name: "another"}
        with monkeypatch.context() as patch:
            patch.setattr(worker, "environment_and_python", lambda o=other: dict(o))
            text = f"Worker . is not used: {name} is another here and {here[name]} th"
            with (
                pytest.warns(Notice, match=text),
                pytest.raises(UserError, match="None of the workers can be used"),
            ):
                sweep(*arguments, client=client)
    other_data = dataclasses.replace(DATA, train=DATA.train)
    vars(other_data)["fingerprint"] = "of other data"
    with (
        pytest.warns(Notice, match="Worker . is not used: the data are not the same"),
        pytest.raises(UserError, match="None of the workers can be used"),
    ):
        sweep({"seed": [0]}, other_data, CONFIG, client=client)


@pytest.mark.slow
def test_a_worker_that_was_not_asked_before_plans_for_all_its_devices() -> None:
    """The first worker may end after it was asked; another then makes the plan."""
    with workers.started(1) as started, workers.connected_to(started) as client:
        cluster = clusters.connect(client)
        client.restart()  # JAX starts anew there
        clusters.update_workers(cluster)
        planned, _ = clusters.plan_for(cluster, AXES, DATA, CONFIG, Hparams())
    assert planned.num_devices == len(jax.local_devices()) == 2


def session_of(num_groups: int) -> Session:
    planned = plan({"seed": range(num_groups)}, CONFIG, Hparams(), max_width=1)
    work = Work(planned, DATA, range(num_groups), {}, None)
    return Session(Cluster(None), work, "", list(range(num_groups)), 5.0)


def test_groups_that_ended_workers_come_last() -> None:
    session = session_of(3)
    session.ends[0] = 1
    given = [next_group(session, set()) for _ in range(3)]
    assert given == [1, 2, 0]
    assert next_group(session, set()) is None


def test_a_worker_gets_groups_whose_program_it_has_compiled() -> None:
    axes = {"hidden_sizes": [(6,), (7,)], "seed": range(2)}
    planned = plan(axes, CONFIG, Hparams(), max_width=1)
    programs = [(group.config, group.width) for group in planned.groups]
    assert programs[0] == programs[1] != programs[2]
    work = Work(planned, DATA, range(4), {}, None)
    session = Session(Cluster(None), work, "", [0, 1, 2, 3], 5.0)
    session.ready = {"a": {programs[2]}, "b": set()}
    assert next_group(session, session.ready["a"]) == 2
    assert next_group(session, session.ready["b"]) == 0  # which no worker has


def test_an_idle_worker_repeats_work_that_is_late() -> None:
    session = session_of(2)
    session.pending.clear()
    now = time.monotonic()
    session.tasks = {
        "a": Task("train", "a", 0, now - sessions.SECONDS_TO_ANSWER - 1),
        "b": Task("train", "b", 1, now),
    }
    assert next_group(session, set()) == 0
    session.longest = 2 * sessions.SECONDS_TO_ANSWER
    assert next_group(session, set()) is None


class Failed:
    """A future whose worker cannot unpack its arguments."""

    def add_done_callback(self, function: Any) -> None:
        function(self)

    def result(self, timeout: float) -> Any:
        raise ModuleNotFoundError("No module named 'mine'")


def test_a_worker_that_lacks_a_module_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "submit", lambda *_: Failed())
    cluster = Cluster(None, names={"a": "first"}, checked={"a"})
    monkeypatch.setattr(clusters, "update_workers", lambda _: set())
    with (
        pytest.warns(Notice, match="first is not used: No module named 'mine'.*PYTH"),
        pytest.raises(UserError, match="None of the workers can be used"),
    ):
        clusters.plan_on_worker(cluster, DATA, {})


def test_without_workers_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SECONDS_WITHOUT_WORKERS", 0.0)
    with pytest.raises(UserError, match="There has been no worker for 0 s; start"):
        clusters.check_workers(Cluster(None), time.monotonic() - 1)


def test_a_worker_that_ends_repeatedly_is_not_used_any_more() -> None:
    cluster = Cluster(None, names={"a": "first"})
    for _ in range(clusters.MAX_ENDS - 1):
        clusters.count_end(cluster, "first")
    assert cluster.usable == ["a"]
    with pytest.warns(Notice, match="Worker first is not used any more: it ended 3"):
        clusters.count_end(cluster, "first")
    assert cluster.usable == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--workers=2 --scheduler=tcp://a:1", "--workers and --scheduler cannot be"),
        ("--workers=2 --num_shards=2 --shard_index=0", "--workers and --num_shards"),
        ("--workers=0", "--workers: '0' is not allowed"),
    ],
)
def test_flags_that_exclude_each_other_are_refused(
    flags: str, message: str, tmp_path: Path
) -> None:
    argv = ["x", *FLAGS, *flags.split(), f"--out_dir={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=message) as error:
        command_line.execute([EXPERIMENT], argv)
    assert "\n" not in str(error.value)


def test_without_dask_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--workers needs Dask, .* pip install dask"):
        workers.check({"workers": 2, "scheduler": None, "num_shards": None})


def test_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"workers": 3, "scheduler": None, "num_shards": None}
    monkeypatch.setattr(workers, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(UserError, match="--workers=3: expected at most 2, the number"):
        workers.check(options)
    workers.check({**options, "workers": 2})
    variables = [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert workers._worker_variables(2, ["0", "1"]) == variables
    assert workers._worker_variables(2, []) == [{}, {}]
