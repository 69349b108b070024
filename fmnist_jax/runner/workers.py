"""The workers that a command trains on: started here, or those of a Dask cluster."""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_jax.errors import Notice, UserError, reason
from fmnist_jax.runner import trial, worker_setup

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

    from fmnist_jax.sweeps.cluster import Cluster

SECONDS_TO_CONNECT = 30
LOOPBACK = "127.0.0.1"
SILENT = logging.CRITICAL + 1


def check(options: Mapping[str, Any]) -> None:
    """Raises UserError for flags that are not allowed together, or without Dask."""
    given = [name for name in ("workers", "scheduler") if options[name] is not None]
    if not given:
        return
    if len(given) > 1 or options["num_shards"]:
        other = "scheduler" if len(given) > 1 else "num_shards"
        raise UserError(f"--{given[0]} and --{other} cannot be combined; pass one.")
    if importlib.util.find_spec("distributed") is None:
        raise UserError(
            f"--{given[0]} needs Dask, which is not installed: "
            "pip install dask distributed (or this package with its extra [workers])."
        )
    gpus = visible_gpus()
    if options["workers"] and gpus and options["workers"] > len(gpus):
        raise UserError(
            f"--workers={options['workers']}: expected at most {len(gpus)}, the number "
            "of GPUs; a worker uses all memory of its GPU."
        )


def visible_gpus() -> list[str]:
    """Returns the NVIDIA GPUs that JAX would use, as for CUDA_VISIBLE_DEVICES.

    JAX is not started: it would reserve their memory.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "cuda")
    names = {d.metadata["Name"] or "" for d in importlib.metadata.distributions()}
    has_plugin = any(name.startswith("jax-cuda") for name in names)
    if not has_plugin or not {"cuda", "gpu"} & set(platforms.split(",")):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


@contextlib.contextmanager
def connected(
    options: Mapping[str, Any], out_dirs: Sequence[Path]
) -> Iterator["Cluster | None"]:
    """Starts the workers of a command, or connects to those that there are.

    Yields the cluster, or None if this process trains.
    """
    if options["workers"] is None and options["scheduler"] is None:
        yield None
        return
    import jax

    from fmnist_jax.sweeps.cluster import connect

    if options["workers"] is not None and visible_gpus():
        jax.config.update("jax_platforms", "cpu")  # leaves the GPUs to the workers
    trial.start_jax(out_dirs)
    for name in ("distributed", "tornado", "asyncio"):  # there are lines of ours
        logging.getLogger(name).setLevel(SILENT)
    with _notes(), contextlib.ExitStack() as stack:
        if options["workers"] is not None:
            print(f"Starting {options['workers']} workers.", flush=True)
            place: Any = stack.enter_context(started(options["workers"]))
        else:
            place = options["scheduler"]
            print(f"Connecting to {place}.", flush=True)
        yield connect(stack.enter_context(connected_to(place)))


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """Prints notices of the library as lines."""
    from tqdm.auto import tqdm

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        tqdm.write(f"Note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def connected_to(place: Any) -> Iterator["Client"]:
    """Connects to a Dask scheduler.

    ``place`` is a cluster, an address, or the path of a scheduler file.
    """
    from distributed import Client

    is_file = isinstance(place, str) and "://" not in place
    where = {"scheduler_file" if is_file else "address": place}
    try:
        if is_file and not os.path.isfile(place):  # Dask would wait for it
            raise FileNotFoundError("there is no such file")
        client = Client(**where, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        raise UserError(
            f"--scheduler={place}: no scheduler answers ({reason(error)}); expected "
            "an address such as tcp://host:8786, or a scheduler file."
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=5)


@contextlib.contextmanager
def started(count: int, gpus: Sequence[str] | None = None) -> Iterator["SpecCluster"]:
    """Starts worker processes on this machine, which end with this process.

    They listen on the loopback interface only. Each has a GPU of its own, or else as
    many CPU devices as this process, so that results are those of this process. If
    ``gpus`` is None, the GPUs are looked for.
    """
    import dask
    import jax
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = visible_gpus() if gpus is None else gpus
    place = {"host": LOOPBACK, "port": 0}
    place |= {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
    threads = 1 if gpus else len(jax.local_devices())
    pages = "distributed.scheduler.http.routes", "distributed.worker.http.routes"
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        dask.config.set({page: [] for page in pages}),
    ):
        options = {**place, "nthreads": threads, "memory_limit": 0}
        options |= {"local_directory": scratch, "silence_logs": SILENT}
        options |= {"preload": [worker_setup.__name__]}
        specs = {
            number: {"cls": Nanny, "options": {**options, "env": env}}
            for number, env in enumerate(_worker_variables(count, gpus))
        }
        scheduler = {"cls": Scheduler, "options": place}
        cluster = SpecCluster({}, scheduler, silence_logs=SILENT)
        # In the background: a worker that fails to start does not stop the others.
        cluster.worker_spec.update(specs)
        cluster.scale(count)
        try:
            yield cluster
        finally:
            with contextlib.suppress(Exception):
                cluster.sync(_kill, cluster)
                cluster.close(timeout=20)


async def _kill(cluster: "SpecCluster") -> None:
    """Ends the worker processes, whose work is done, at once."""
    nannies = cluster.workers.values()
    for nanny in nannies:
        nanny.auto_restart = False
    await asyncio.gather(*(nanny.kill(timeout=0.1) for nanny in nannies))


def _worker_variables(count: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Returns the environment variables of each worker: its GPU, if there are any."""
    if not gpus:
        return [{} for _ in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:count]]
