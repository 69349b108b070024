"""What decides the results of a plan, as JSON knows it, and how two of these differ."""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fmnist_jax.config import STATIC, coordinate
from fmnist_jax.data.dataset import Data
from fmnist_jax.sweeps.checkpoints import digest
from fmnist_jax.sweeps.planning import Group, Plan, run_settings

# How runs go through. What results it decides, where the number of devices differs, is
# left as it was when the sweep began; it is no reason to refuse.
_GROUPING = ("devices", "groups")
_FORM = {
    **dict.fromkeys(("data", "settings", "environment"), dict),
    **dict.fromkeys(("axes", "probes", "groups"), list),
    "devices": int,
}


def described(plan: Plan, data: Data, environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns what decides the results of a plan, as JSON knows it.

    Args:
      plan: what is to run. Of a function, or a network's class, the name stands for
        what it does.
      data: on what.
      environment: in what: versions by package, the platform, ….
    """
    settings = {**vars(plan.config), **vars(plan.hparams)}
    found = {
        "data": {"fingerprint": data.fingerprint, "num_classes": data.num_classes},
        # In pairs: their order decides which run is which.
        "axes": [[n, [_value(n, v) for v in vs]] for n, vs in plan.axes.items()],
        "settings": {name: _value(name, value) for name, value in settings.items()},
        "probes": [
            [_name(p.function), p.when, p.examples, sorted(p.dims.items())]
            for p in plan.probes
        ],
        "environment": dict(environment),
        "devices": plan.num_devices,
        "groups": [{"width": g.width, "runs": g.runs} for g in plan.groups],
    }
    return json.loads(json.dumps(found))


def _value(name: str, value: Any) -> Any:
    """Returns what stands for a setting's value, with all that tells it from others."""
    if value is None:
        return None
    return _name(value) if name == "model" else coordinate(name, value)


def _name(thing: Any) -> str:
    """Returns where a function is defined; of another object its class and content."""
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    content = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(thing).split()))
    return f"{type(thing).__module__}.{type(thing).__qualname__}: {content}"


def is_description(found: Any) -> bool:
    """Whether something has the form of what ``described`` returns."""
    try:
        if not all(isinstance(found[key], form) for key, form in _FORM.items()):
            return False
        axes = dict(found["axes"])
        groups = [(each["width"], each["runs"]) for each in found["groups"]]
        runs = [run for _, own in groups for run in own]
        numbers = [found["devices"], *(width for width, _ in groups), *runs]
        return (
            all(isinstance(name, str) for name in axes)
            and all(type(number) is int for number in numbers)
            and all(0 < len(own) <= width * found["devices"] for width, own in groups)
            and len(runs) == math.prod(len(values) for values in axes.values())
            and sorted(runs) == list(range(len(runs)))
        )
    except (LookupError, TypeError, ValueError):
        return False


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
    """Returns in what two descriptions differ: in data, a setting, …, in words.

    How the runs are grouped is no such difference; None where there is none.
    """
    decisive = [
        {key: value for key, value in each.items() if key not in _GROUPING}
        for each in (one, other)
    ]
    if digest(decisive[0]) == digest(decisive[1]):
        return None
    return next(_differences(one, other), "it is another plan")


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    if one["data"].get("fingerprint") != other["data"].get("fingerprint"):
        yield "the data are not the same"
    yield from _in_entries(one["data"], other["data"])
    values = [_all_values(each) for each in (one, other)]
    for name in dict.fromkeys([*values[0], *values[1]]):
        there, here = (each.get(name, [None]) for each in values)
        if repr(there) != repr(here):
            yield _in_values(name, there, here)
    axes = [[name for name, _ in each["axes"]] for each in (one, other)]
    if axes[0] != axes[1]:
        yield f"the axes are {','.join(axes[0])} there and {','.join(axes[1])} here"
    if one["probes"] != other["probes"]:
        yield "the probes are not the same"
    yield from _in_entries(one["environment"], other["environment"])


def _all_values(description: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Returns the values of each setting, axes first."""
    axes = dict(description["axes"])
    fixed = {name: [value] for name, value in description["settings"].items()}
    return {**axes, **fixed, **axes}


def _in_entries(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*one, *other]):
        there, here = (each.get(name, "not set") for each in (one, other))
        if there != here:
            yield f"{name} is {there} there and {here} here"


def _in_values(name: str, there: Sequence[Any], here: Sequence[Any]) -> str:
    """Returns in what the values of a setting, axis or not, differ."""
    told = [_told(name, values) for values in (there, here)]
    if told[0] != told[1]:
        return f"{name} is {told[0]} there and {told[1]} here"
    pairs = [[repr(v) for v in pair] for pair in itertools.zip_longest(there, here)]
    at = next(i for i, (first, second) in enumerate(pairs) if first != second)
    which = name if len(pairs) == 1 else f"value {at + 1} of {name}"
    return f"{which} is {pairs[at][0]} there and {pairs[at][1]} here"


def _told(name: str, values: Sequence[Any]) -> str:
    """Returns the values of a setting in a few words."""
    if name == "seed":
        return f"{len(values)} seeds"
    texts = [
        "the default" if value is None else
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]  # fmt: skip
    shown = texts if len(texts) <= 6 else [*texts[:5], f"… ({len(texts)} values)"]
    return ",".join(shown)
