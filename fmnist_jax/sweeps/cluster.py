"""A Dask cluster: which of its workers can be used, and plans made on them."""

import dataclasses
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import Notice, UserError, check_is, reason
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import worker
from fmnist_jax.sweeps.checks import DATA
from fmnist_jax.sweeps.engine import plan_for_local_devices
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.planning import Plan

SECONDS_WITHOUT_WORKERS = 60.0  # how long to wait for a worker if there is none
# A worker that ends so many times, without finishing anything, is not used again.
MAX_ENDS = 3
SECONDS_BETWEEN_QUESTIONS = 0.2  # to the scheduler, for a first worker
SECONDS_TO_FETCH = 120.0  # an answer, until its worker counts as ended


class WorkerEndedError(Exception):
    """A worker ended or failed before it answered."""


@dataclasses.dataclass
class Cluster:
    """A Dask client, and what is known of its workers."""

    client: Any  # ``distributed.Client``
    # What determines the bits of results on its workers.
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # By address, the names of the workers that are there. A worker that is started
    # again has another address and the same name.
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    # Addresses of workers whose code, versions and settings are the same.
    checked: set[str] = dataclasses.field(default_factory=set)
    # By address, the key of the data set that a worker holds.
    data_keys: dict[str, str] = dataclasses.field(default_factory=dict)
    # Names of workers that are not used.
    refused: set[str] = dataclasses.field(default_factory=set)
    # By name, how often a worker ended since it last finished anything.
    ends: dict[str, int] = dataclasses.field(default_factory=dict)
    data: tuple[Data, str, bytes] | None = None  # the latest, its key, and its bytes

    @property
    def usable(self) -> list[str]:
        """Addresses of the workers that are not refused."""
        return [a for a, name in self.names.items() if name not in self.refused]


def connect(client: Any) -> Cluster:
    """Returns the cluster of a client, after its first worker has answered."""
    cluster = Cluster(client)
    start = time.monotonic()
    while True:
        update_workers(cluster)
        if any(_is_checked(cluster, address) for address in cluster.usable):
            return cluster
        check_workers(cluster, start)
        time.sleep(SECONDS_BETWEEN_QUESTIONS)


def _is_checked(cluster: Cluster, address: str) -> bool:
    """Whether a worker can be used; asks it if it has not been asked.

    A worker must be asked first: it then starts JAX, with a device for each thread.
    """
    if address not in cluster.checked:
        there = ask(cluster, address, "describe")
        if there is None or not is_same(cluster, address, there):
            return False
        if not cluster.environment:
            cluster.environment = {n: v for n, v in there.items() if n != "python"}
        cluster.checked.add(address)
    return True


def is_same(cluster: Cluster, address: str, there: Mapping[str, str]) -> bool:
    """Whether a worker has the same code, versions and settings; refuses it if not.

    The platform is that of the first worker, which may differ from this process's.
    """
    here = worker.environment_and_python()
    here["platform"] = {**there, **cluster.environment}["platform"]
    for name in dict.fromkeys([*here, *there]):
        ours, theirs = here.get(name), there.get(name)
        if ours != theirs:
            refuse(cluster, address, f"{name} is {ours} here and {theirs} there")
            return False
    return True


def refuse(cluster: Cluster, address: str, why: str) -> None:
    """Does not use a worker any more, and warns of it."""
    name = cluster.names[address]
    cluster.refused.add(name)
    warnings.warn(f"Worker {name} is not used: {why}.", Notice, stacklevel=2)


def _scheduler_identity(client: Any) -> Mapping[str, Any]:
    """Asks the scheduler for its workers.

    ``client.scheduler_info`` returns what was received last, which a periodic call of
    Dask replaces by a list without workers.
    """
    identity: Mapping[str, Any] = client.sync(
        client.scheduler.identity, n_workers=-1, callback_timeout=SECONDS_TO_FETCH
    )
    return identity


def update_workers(cluster: Cluster) -> set[str]:
    """Asks the scheduler for the workers; returns the addresses of those that left."""
    try:
        if cluster.client.status != "running":
            raise OSError(f"the connection is {cluster.client.status}")
        workers = _scheduler_identity(cluster.client)["workers"]
    except (OSError, TimeoutError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"The scheduler of the workers does not answer ({reason(error)}); "
            "completed work is saved if there is a folder."
        ) from error
    left = cluster.names.keys() - workers.keys()
    for address in left:
        name = cluster.names.pop(address)
        cluster.data_keys.pop(address, None)
        cluster.checked.discard(address)
        count_end(cluster, name)
    cluster.names |= {a: str(w["name"]) for a, w in workers.items()}
    return left


def count_end(cluster: Cluster, name: str) -> None:
    """Takes note of the end or failure of a worker, which is refused after some."""
    cluster.ends[name] = cluster.ends.get(name, 0) + 1
    if cluster.ends[name] == MAX_ENDS and name not in cluster.refused:
        cluster.refused.add(name)
        text = f"Worker {name} is not used any more: it ended {MAX_ENDS} times."
        warnings.warn(text, Notice, stacklevel=2)


@usual_settings()
def plan_for(
    client: Any,
    axes: Mapping[str, Any],
    data: Data,
    config: Config,
    hparams: Hparams,
    probes: Iterable[Probe] = (),
    max_width: int | None = None,
) -> tuple[Plan, Cluster | None]:
    """Plans a sweep for the workers of a Dask client; without one, for this process.

    Returns the plan and the cluster; see ``plan_for_local_devices``.
    """
    if client is None:
        return (
            plan_for_local_devices(axes, data, config, hparams, probes, max_width),
            None,
        )
    check_is("data", data, Data, DATA)
    cluster = client if isinstance(client, Cluster) else connect(client)
    arguments = {
        "axes": axes,
        "config": config,
        "hparams": hparams,
        "probes": list(probes),
        "max_width": max_width,
    }
    return plan_on_worker(cluster, data, arguments), cluster


def check_workers(cluster: Cluster, since: float) -> None:
    """Raises UserError if no worker can be used, or if there is none for too long.

    There was a worker at the time ``since``, in seconds of ``time.monotonic``.
    """
    if cluster.usable:
        return
    if cluster.names:
        raise UserError("None of the workers can be used; see the lines above.")
    if time.monotonic() - since > SECONDS_WITHOUT_WORKERS:
        raise UserError(
            f"There has been no worker for {SECONDS_WITHOUT_WORKERS:.0f} s; start "
            "workers, then repeat the command or call."
        )


def submit(cluster: Cluster, address: str, name: str, *arguments: Any) -> Any:
    """Returns the future of a function of ``worker`` on one worker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of large arguments
        return cluster.client.submit(
            getattr(worker, name),
            *arguments,
            key=f"{name}-{uuid.uuid4().hex}",
            workers=[address],
        )


def fetch(future: Any) -> Any:
    """Returns the result of a future that is done.

    Raises the UserError of its worker, or WorkerEndedError if the worker ended or its
    device failed.
    """
    from distributed import CancelledError, KilledWorker
    from jax.errors import JaxRuntimeError

    gone = CancelledError, KilledWorker, JaxRuntimeError, MemoryError, OSError
    try:
        return future.result(timeout=SECONDS_TO_FETCH)
    except (*gone, TimeoutError) as error:
        raise WorkerEndedError(reason(error)) from error


def ask(cluster: Cluster, address: str, name: str, *arguments: Any) -> Any:
    """Returns the answer of a worker; None if it ends, or does not answer."""
    future, done = submit(cluster, address, name, *arguments), threading.Event()
    future.add_done_callback(lambda _: done.set())
    start = time.monotonic()
    while not done.wait(timeout=1.0):
        update_workers(cluster)
        is_late = time.monotonic() - start > SECONDS_TO_FETCH
        if is_late or address not in cluster.names:
            future.cancel()
            return None
    try:
        return fetch(future)
    except WorkerEndedError:
        return None
    except ImportError as error:
        cure = "a worker must find your modules, by PYTHONPATH for example"
        refuse(cluster, address, f"{reason(error)} ({cure})")


def data_of(cluster: Cluster, data: Data) -> tuple[str, bytes]:
    """Returns the key of a data set and its bytes, with what was computed of it."""
    import cloudpickle

    if cluster.data is None or cluster.data[0] is not data:
        cluster.data = data, uuid.uuid4().hex, cloudpickle.dumps(data)
    return cluster.data[1:]


def plan_on_worker(cluster: Cluster, data: Data, arguments: Mapping[str, Any]) -> Plan:
    """Plans a sweep for the devices of the first worker that can be used.

    ``arguments`` are the other arguments of ``plan_for_local_devices``, by name.
    """
    import cloudpickle

    start, content = time.monotonic(), cloudpickle.dumps(arguments)
    key, data_content = data_of(cluster, data)
    while True:
        for address in cluster.usable:
            if not _is_checked(cluster, address):
                continue
            if cluster.data_keys.get(address) != key:
                if ask(cluster, address, "receive_data", key, data_content) is None:
                    continue
                cluster.data_keys[address] = key
            planned = ask(cluster, address, "make_plan", key, content)
            if isinstance(planned, Plan):
                return planned
        update_workers(cluster)
        check_workers(cluster, start)
        time.sleep(SECONDS_BETWEEN_QUESTIONS)
