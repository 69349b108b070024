"""Plans and what their groups gave, as files that prove that they are whole.

A plan is JSON. A part file holds a line of JSON, the bytes of the arrays that the line
lists, and the sha256 of all before it. Nothing in either is believed, and no memory is
taken for it, before the sha256 is found right.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.config import STATIC, coordinate
from fmnist_jax.data import Data
from fmnist_jax.joining import Part
from fmnist_jax.kinds import UserError
from fmnist_jax.planning import Group, Plan, run_settings
from fmnist_jax.results import replaced
from fmnist_jax.seats import Halfway

_DIGEST_BYTES = hashlib.sha256().digest_size
_MALFORMED = (ValueError, LookupError, TypeError, RecursionError)


class Kept(NamedTuple):
    """What a group gave so far.

    Attributes:
      parts: in the order in which they came.
      left: where it is to go on; None where it is done.
    """

    parts: Sequence[Part]
    left: Halfway | None = None


def described(plan: Plan, data: Data, environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns what decides the results of a plan, as JSON knows it.

    Args:
      plan: what is to run. Of a probe's function the name stands for what it does.
      data: on what.
      environment: in what: versions by package, and the platform.
    """
    axes = {
        name: [coordinate(name, value) for value in values]
        for name, values in plan.axes.items()
    }
    settings = {**vars(plan.config), **vars(plan.hparams)}
    fixed = {
        name: coordinate(name, value) if value is not None else None
        for name, value in settings.items()
    }
    found = {
        "data": data.fingerprint,
        "axes": axes,
        "settings": fixed,
        "probes": [
            [_name(p.function), p.when, p.examples, sorted(p.dims.items())]
            for p in plan.probes
        ],
        "environment": dict(environment),
        "devices": plan.num_devices,
        "groups": [{"width": g.width, "runs": g.runs} for g in plan.groups],
    }
    return json.loads(json.dumps(found))


def _name(function: Any) -> str:
    """Returns where a function is defined, or of what kind it is."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def as_described(plan: Plan, description: Mapping[str, Any]) -> Plan:
    """Returns a plan with the groups and the devices of a description."""
    groups = []
    for each in description["groups"]:
        settings = run_settings(plan, each["runs"][0])
        static = {name: v for name, v in settings.items() if name in STATIC}
        config = dataclasses.replace(plan.config, **static)
        groups.append(Group(config, tuple(each["runs"]), each["width"]))
    return dataclasses.replace(
        plan, groups=tuple(groups), num_devices=description["devices"]
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Returns the first that differs between two descriptions: data, a setting, ….

    How the runs are grouped is no such difference; None where there is none.
    """
    if one["data"] != other["data"]:
        return "the data are not the same"
    for kind in ("axes", "settings"):
        for name in dict.fromkeys([*one[kind], *other[kind]]):
            values = [_told(name, each) for each in (one, other)]
            if values[0] != values[1]:
                return f"{name} is {values[0]} there and {values[1]} here"
    if list(one["axes"]) != list(other["axes"]):
        return "the axes have another order"
    if one["probes"] != other["probes"]:
        return "the probes are not the same"
    there, here = (each.get("environment", {}) for each in (one, other))
    for name in dict.fromkeys([*there, *here]):
        if there.get(name) != here.get(name):
            known = [each.get(name, "not recorded") for each in (there, here)]
            return f"{name} is {known[0]} there and {known[1]} here"
    return None


def _told(name: str, description: Mapping[str, Any]) -> str:
    """Returns the values of a setting, axis or not, in a few words."""
    values = description["axes"].get(name, [description["settings"].get(name)])
    if name == "seed":
        return f"{len(values)} seeds"
    texts = [
        "the default" if value is None else
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]  # fmt: skip
    shown = texts if len(texts) <= 6 else [*texts[:5], f"… ({len(texts)} values)"]
    return ",".join(shown)


def digest(content: Any) -> str:
    """Returns the sha256 of what JSON can write."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_plan(path: Path, content: Any) -> None:
    """Writes what JSON knows, with its sha256."""
    sealed = {"sha256": digest(content), "plan": content}
    with replaced(path) as new:
        new.write_text(json.dumps(sealed, indent=1) + "\n", encoding="utf-8")


def read_plan(path: Path) -> Any:
    """Returns what ``write_plan`` has written; None where there is no file.

    Raises:
      UserError: where it cannot be read, or is not what was written.
    """
    try:
        sealed = json.loads(path.read_bytes())
        if digest(sealed["plan"]) == sealed["sha256"]:
            return sealed["plan"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except _MALFORMED:
        pass
    raise UserError(f"{path} is damaged.")


def write(path: Path, kept: Kept, plan_digest: str) -> None:
    """Writes what a group gave so far: all of it, or nothing."""
    arrays = [array for part in kept.parts for array in part.values.values()]
    head: dict[str, Any] = {
        "plan": plan_digest,
        "name": path.name,
        "parts": [[p.group, p.runs, p.epoch, list(p.values)] for p in kept.parts],
        "left": None,
    }
    if kept.left is not None:
        head["left"] = [kept.left.epoch, list(kept.left.values), len(kept.left.leaves)]
        arrays += [*kept.left.values.values(), kept.left.positions, *kept.left.leaves]
    arrays = [np.ascontiguousarray(array) for array in arrays]
    head["arrays"] = [[array.dtype.str, array.shape] for array in arrays]
    with replaced(path) as new, open(new, "wb") as file:
        total = hashlib.sha256()
        pieces: list[Any] = [json.dumps(head).encode() + b"\n", *arrays]
        for piece in pieces:
            total.update(piece)
            file.write(piece)
        file.write(total.digest())


def read(path: Path, plan_digest: str) -> Kept:
    """Returns what ``write`` has written.

    Raises:
      UserError: where it cannot be read, is not what was written, or belongs to another
        plan.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    body = memoryview(content)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != content[-_DIGEST_BYTES:]:
        raise UserError(f"{path} is damaged.")
    try:
        start = content.index(b"\n") + 1
        head = json.loads(content[:start])
        if (head["plan"], head["name"]) != (plan_digest, path.name):
            raise UserError(f"{path} holds something else.")
        return _unpacked(head, _arrays(head["arrays"], body, start))
    except UserError:
        raise
    except (*_MALFORMED, StopIteration) as error:
        raise UserError(f"{path} is no part of a sweep.") from error


def _arrays(listed: Any, body: memoryview, start: int) -> list[np.ndarray]:
    found = []
    for dtype, shape in listed:
        flat = np.frombuffer(body, np.dtype(dtype), math.prod(shape), start)
        start += flat.nbytes
        found.append(flat.reshape(shape))
    return found


def _unpacked(head: Mapping[str, Any], arrays: list[np.ndarray]) -> Kept:
    each = iter(arrays)
    parts = [
        Part(group, tuple(runs), epoch, {name: next(each) for name in names})
        for group, runs, epoch, names in head["parts"]
    ]
    if head["left"] is None:
        return Kept(parts)
    epoch, names, num_leaves = head["left"]
    values = {name: next(each) for name in names}
    positions, leaves = next(each), [next(each) for _ in range(num_leaves)]
    return Kept(parts, Halfway(epoch, values, positions, leaves))
