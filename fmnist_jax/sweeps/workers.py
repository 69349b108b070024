"""Trains the groups of a plan on the workers of a Dask cluster.

Groups are independent, so a worker that dies, stops answering or runs out of memory
costs the epochs since the latest checkpoint of its group. This process hands out the
groups and keeps the checkpoints: a worker trains a group for a few seconds, then
returns its checkpoint. Workers need no shared folder.
"""

import contextlib
import queue
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from fmnist_jax.errors import Notice, UserError, reason
from fmnist_jax.sweeps import cluster as clusters
from fmnist_jax.sweeps import worker
from fmnist_jax.sweeps.checkpoints import Checkpoint, Part
from fmnist_jax.sweeps.cluster import Cluster, WorkerEndedError
from fmnist_jax.sweeps.fingerprint import difference, fingerprint
from fmnist_jax.sweeps.session import (
    Session,
    Task,
    Work,
    next_group,
    program_of,
)

# A worker returns the checkpoint of a group after this time, and so rarely that sending
# it takes at most a fiftieth of the time.
SECONDS_OF_TRAINING, SENDING_SHARE = 5.0, 1 / 50
SECONDS_BETWEEN_SAVES = 60.0  # of an unfinished group
SECONDS_BETWEEN_QUESTIONS = 1.0  # to the scheduler
SECONDS_TO_STOP = 60.0  # until the answers of stopped workers are not awaited any more


def train_groups(
    cluster: Cluster,
    work: Work,
    save: Callable[[int, Checkpoint], None],
    is_stopped: Callable[[], bool],
) -> Iterator[Part]:
    """Trains groups on the workers of a cluster.

    Yields new parts, and calls ``save`` with each checkpoint of a group. Once
    ``is_stopped()`` is true, KeyboardInterrupt is raised after the current epochs, when
    all checkpoints are saved.
    """
    groups = sorted(work.groups)
    session = Session(cluster, work, uuid.uuid4().hex, groups, SECONDS_OF_TRAINING)
    saves = dict.fromkeys(work.groups, time.monotonic())
    deadline = None
    try:
        while not all(map(work.is_done, work.groups)):
            _update_workers(session)
            if not is_stopped():
                _hand_out(session)
            elif deadline is None:
                deadline = time.monotonic() + SECONDS_TO_STOP
                _stop(session)
            elif deadline < time.monotonic() or not any(
                map(session.is_trained, work.groups)
            ):
                raise KeyboardInterrupt
            for group, parts in _answered(session):
                yield from parts
                is_old = time.monotonic() - saves[group] > SECONDS_BETWEEN_SAVES
                if is_old or work.is_done(group):
                    save(group, work.saved[group])
                    saves[group] = time.monotonic()
                    session.unsaved.discard(group)
    finally:
        for group in session.unsaved:
            save(group, work.saved[group])
        _leave(session)


def _update_workers(session: Session) -> None:
    """Takes note of workers that have left, and prepares those that have joined."""
    now = time.monotonic()
    if now - session.asked < SECONDS_BETWEEN_QUESTIONS:
        return
    session.asked, cluster = now, session.cluster
    names = dict(cluster.names)
    for address in clusters.update_workers(cluster):
        session.ready.pop(address, None)
        for future in [f for f, t in session.tasks.items() if t.address == address]:
            future.cancel()
            _lose(session, session.tasks.pop(future), f"worker {names[address]} ended")
    busy = {task.address for task in session.tasks.values()}
    for address in cluster.usable:
        if address not in busy and address not in session.ready:
            _prepare(session, address)
    if cluster.usable:
        session.manned = now
    clusters.check_workers(cluster, session.manned)


def _lose(session: Session, task: Task, why: str) -> None:
    """Takes note of a task without a result; its group is pending again."""
    group = task.group
    if group is None or session.work.is_done(group):
        return
    session.ends[group] += 1
    if session.is_trained(group):
        return
    session.pending.append(group)
    text = f"A group of runs continues from its latest checkpoint, because {why}."
    warnings.warn(text, Notice, stacklevel=2)


def _prepare(session: Session, address: str) -> None:
    """Sends the data or, if a worker has it, the plan."""
    import cloudpickle

    cluster, work = session.cluster, session.work
    key, content = clusters.data_of(cluster, work.data)
    if address not in cluster.checked:
        _submit(session, Task("describe", address))
    elif cluster.data_keys.get(address) != key:
        _submit(session, Task("receive_data", address), key, content)
    else:
        plan = cloudpickle.dumps(work.plan)
        _submit(session, Task("prepare", address), key, session.key, plan)


def _submit(session: Session, task: Task, *arguments: Any) -> None:
    future = clusters.submit(session.cluster, task.address, task.name, *arguments)
    session.tasks[future] = task
    future.add_done_callback(session.answers.put)


def _hand_out(session: Session) -> None:
    """Gives a group to each free worker."""
    busy = {task.address for task in session.tasks.values()}
    for address, programs in session.ready.items():
        if address in busy or address not in session.cluster.usable:
            continue
        group = next_group(session, programs)
        if group is None:
            continue
        work = session.work
        arguments = group, work.saved.get(group), work.pause, session.seconds
        _submit(session, Task("train", address, group), session.key, *arguments)
        programs.add(program_of(session, group))


def _answered(session: Session) -> Iterator[tuple[int, list[Part]]]:
    """Waits for an answer; yields the group that it is about, and its new parts."""
    with contextlib.suppress(queue.Empty):
        future = session.answers.get(timeout=SECONDS_BETWEEN_QUESTIONS)
        task = session.tasks.pop(future, None)
        if task is None:  # of a worker that has left
            return
        try:
            answer = clusters.fetch(future)
        except WorkerEndedError as error:
            session.ready.pop(task.address, None)
            clusters.count_end(session.cluster, session.cluster.names[task.address])
            _lose(session, task, f"a worker failed: {error}")
        except UserError:
            raise
        except Exception as error:
            if task.name == "train":
                raise
            clusters.refuse(session.cluster, task.address, reason(error))
        else:
            yield from _take(session, task, answer)


def _take(
    session: Session, task: Task, answer: Any
) -> Iterator[tuple[int, list[Part]]]:
    """Takes the answer of a worker; yields a group and its new parts if it trained."""
    cluster, address = session.cluster, task.address
    if task.name == "describe":
        if clusters.is_same(cluster, address, answer):
            cluster.checked.add(address)
            _prepare(session, address)
    elif answer is None:  # another client of the cluster has replaced data or plan
        cluster.data_keys.pop(address, None)
        session.ready.pop(address, None)
        _lose(session, task, "its worker has received another plan")
    elif task.name == "receive_data":
        if answer == session.work.data.fingerprint:
            cluster.data_keys[address] = clusters.data_of(cluster, session.work.data)[0]
            _prepare(session, address)
        else:
            clusters.refuse(cluster, address, "the data are not the same")
    elif task.name == "prepare":
        if problem := _problem(session, answer):
            clusters.refuse(cluster, address, problem)
        else:
            session.ready[address] = set()
    else:
        yield from _take_checkpoint(session, task, answer)


def _problem(session: Session, answer: Any) -> str | None:
    """Returns why a worker that has opened the plan cannot be used, if so."""
    if isinstance(answer, str):
        return answer.rstrip(".")
    here = fingerprint(session.work.plan, session.work.data, {})
    return difference(here, answer, "here", "there")


def _take_checkpoint(
    session: Session, task: Task, answer: worker.Trained
) -> Iterator[tuple[int, list[Part]]]:
    """Yields the group of a task and its new parts, unless another was faster."""
    group, work, elapsed = task.group, session.work, time.monotonic() - task.start
    session.cluster.ends.pop(session.cluster.names[task.address], None)
    session.longest = max(session.longest, elapsed)
    if group is None:
        return
    for other in session.tasks.values():
        if other.group == group:
            other.group = None
    session.ends.pop(group, None)
    before = work.saved.get(group)
    work.saved[group] = answer.checkpoint
    session.unsaved.add(group)
    session.seconds = max(
        SECONDS_OF_TRAINING, (elapsed - answer.seconds) / SENDING_SHARE
    )
    if not work.is_done(group):
        session.pending.append(group)
    yield group, list(answer.checkpoint.parts[len(before.parts) if before else 0 :])


def _stop(session: Session) -> None:
    """Lets the workers end their tasks after the current epoch."""
    tasks = session.tasks.values()
    addresses = [task.address for task in tasks if task.name == "train"]

    def tell() -> None:
        with contextlib.suppress(Exception):
            session.cluster.client.run(
                worker.stop, session.key, workers=addresses, on_error="ignore"
            )

    if addresses:  # in a thread, which waits for workers that do not answer
        threading.Thread(target=tell, daemon=True).start()


def _leave(session: Session) -> None:
    """Ends what the workers still do for this plan."""
    _stop(session)
    with contextlib.suppress(Exception):
        if session.tasks and session.cluster.client.status == "running":
            session.cluster.client.cancel(list(session.tasks))
