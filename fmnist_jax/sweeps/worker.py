"""What runs on a worker of a Dask cluster: groups of one plan, for a while each.

The client sends the data and the plan to each worker once. A worker has as many CPU
devices as it has threads, and one group at a time.
"""

import contextlib
import pickle
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fmnist_jax.data.dataset import Data
from fmnist_jax.devices import use_compilation_cache, use_cpu_cores
from fmnist_jax.errors import UserError
from fmnist_jax.sweeps.checkpoints import Checkpoint
from fmnist_jax.sweeps.engine import (
    Context,
    open_plan,
    plan_for_local_devices,
    run_group,
    train_until,
)
from fmnist_jax.sweeps.environment import environment
from fmnist_jax.sweeps.fingerprint import fingerprint
from fmnist_jax.sweeps.jax_settings import usual_settings
from fmnist_jax.sweeps.planning import Plan
from fmnist_jax.sweeps.precompile import precompiled


class Opened(NamedTuple):
    """A plan that this worker has opened, and the programs that it has compiled."""

    context: Context
    programs: set[Any]


class Trained(NamedTuple):
    """The checkpoint of a group, and the seconds that its training took."""

    checkpoint: Checkpoint
    seconds: float


# State of the process, by key: the latest data and plan, and the plans to be stopped.
# Compiled programs belong to the process, too.
_data: dict[str, Data] = {}
_plans: dict[str, Opened] = {}
_stopped: set[str] = set()


def describe() -> dict[str, str]:
    """Starts JAX on this worker; returns ``environment_and_python``."""
    from distributed import get_worker

    use_compilation_cache()
    with contextlib.suppress(RuntimeError):  # JAX has started
        use_cpu_cores(get_worker().state.nthreads)
    return environment_and_python()


def environment_and_python() -> dict[str, str]:
    """Returns what must be the same on all workers, by name."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {**environment(), "python": python}


def receive_data(key: str, content: bytes) -> str:
    """Keeps a data set instead of the one before; returns its fingerprint."""
    _data.clear()
    _plans.clear()
    data = pickle.loads(content)
    vars(data).pop("fingerprint", None)  # to be computed from the arrays received
    _data[key] = data
    return data.fingerprint


def make_plan(data_key: str, content: bytes) -> Plan | None:
    """Plans a sweep for the devices of this worker; None without the data."""
    if data_key not in _data:
        return None
    with usual_settings():
        return plan_for_local_devices(data=_data[data_key], **pickle.loads(content))


def prepare(data_key: str, key: str, content: bytes) -> Mapping[str, Any] | str | None:
    """Opens a plan instead of the one before.

    Returns the fingerprint of the plan as this worker understands it; the reason why it
    cannot run it; or None without the data.
    """
    if data_key not in _data:
        return None
    _plans.clear()
    _stopped.discard(key)
    plan: Plan = pickle.loads(content)
    data = _data[data_key]
    try:
        with usual_settings():
            _plans[key] = Opened(open_plan(plan, data), set())
    except UserError as error:
        return str(error)
    return fingerprint(plan, data, {})


def train(
    key: str, index: int, saved: Checkpoint | None, pause: int | None, seconds: float
) -> Trained | None:
    """Trains a group of the plan for some seconds, or until it ends or pauses.

    The group starts from its saved checkpoint, or with None from the first epoch. It
    pauses after epoch ``pause``; None: it runs to the last. After ``seconds``, training
    ends with the current epoch. Returns None if this worker does not have the plan.
    """
    if key not in _plans:
        return None
    start = time.monotonic()

    def is_due() -> bool:
        return key in _stopped or time.monotonic() - start > seconds

    with usual_settings():
        return Trained(
            _trained(key, index, saved, pause, is_due), time.monotonic() - start
        )


def _trained(
    key: str,
    index: int,
    saved: Checkpoint | None,
    pause: int | None,
    is_due: Callable[[], bool],
) -> Checkpoint:
    context, compiled = _plans[key]
    group = context.plan.groups[index]
    if (group.config, group.width) not in compiled:
        with precompiled(context.plan, [group], context.data) as wait_for:
            wait_for(group)
        compiled.add((group.config, group.width))
    parts = list(saved.parts) if saved is not None else []
    steps = train_until(run_group(context, index, saved), parts, pause, is_due)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def stop(key: str) -> None:
    """Ends the training of a plan's groups after the current epoch."""
    _stopped.add(key)
