"""What determines the results of a plan, as JSON, and how two fingerprints differ."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fmnist_jax.config import coordinate
from fmnist_jax.data.dataset import Data
from fmnist_jax.effects import settings_by_name
from fmnist_jax.sweeps.checkpoints import digest
from fmnist_jax.sweeps.code_names import code_name
from fmnist_jax.sweeps.grid import Axes, Bundle
from fmnist_jax.sweeps.planning import Group, Plan, run_config

Fingerprint = Mapping[str, Any]
Words = tuple[str, ...]  # the start of a sentence and, if they are short, two values

# The grouping affects only last bits. It is kept when a sweep resumes on another number
# of devices, and is no reason to refuse.
_GROUPING = ("devices", "groups")
KEPT = "keep_states"  # the probe of this name returns the states
_TYPES = {
    **dict.fromkeys(("data", "settings", "environment"), dict),
    **dict.fromkeys(("axes", "probes", "groups"), list),
    "devices": int,
}


def settings_fingerprint(axes: Axes, config: Any, hparams: Any, data: Data) -> Any:
    """Returns what the command line and the data determine, as JSON.

    The axes are in the order of the results' dimensions.
    """
    settings = settings_by_name(config, hparams)
    content = {
        "data": {"fingerprint": data.fingerprint, "num_classes": data.num_classes},
        # Pairs, because their order determines the positions of runs.
        "axes": [[name, [_value(name, v) for v in vs]] for name, vs in axes.items()],
        "settings": {name: _value(name, value) for name, value in settings.items()},
    }
    return json.loads(json.dumps(content))


def fingerprint(plan: Plan, data: Data, environment: Mapping[str, str]) -> Fingerprint:
    """Returns what determines the results of a plan, as JSON.

    A function or the class of a network is represented by its name. ``environment`` has
    versions by package, the platform and the like.
    """
    content = {
        **settings_fingerprint(plan.axes, plan.config, plan.hparams, data),
        "probes": probe_fingerprints(plan.probes),
        "environment": dict(environment),
        "devices": plan.num_devices,
        "groups": [{"width": g.width, "runs": g.runs} for g in plan.groups],
    }
    return json.loads(json.dumps(content))


def probe_fingerprints(probes: Iterable[Any]) -> list[Any]:
    """Returns what determines the outputs of probes, as JSON."""
    return [
        [
            code_name(p.function),
            p.when,
            p.examples if isinstance(p.examples, int) else code_name(p.examples),
            sorted(p.dims.items()),
            p.split,
        ]
        for p in probes
    ]


def _value(name: str, value: Any) -> Any:
    """Returns a setting's value as JSON, distinct from that of every other value."""
    if value is None:
        return None
    if isinstance(value, Bundle):
        settings = {n: _value(n, v) for n, v in value.settings.items()}
        return [value.label, settings]
    is_code = name == "model" or callable(value)
    return code_name(value) if is_code else coordinate(name, value)


def is_fingerprint(value: Any) -> bool:
    """Whether a value has the form of what ``fingerprint`` returns."""
    try:
        if not all(isinstance(value[key], cls) for key, cls in _TYPES.items()):
            return False
        axes, devices = dict(value["axes"]), value["devices"]
        groups = [(group["width"], group["runs"]) for group in value["groups"]]
        runs = [run for _, group_runs in groups for run in group_runs]
        numbers = [devices, *(width for width, _ in groups), *runs]
        return (
            all(isinstance(name, str) for name in axes)
            and all(type(number) is int for number in numbers)
            and all(0 < len(some) <= width * devices for width, some in groups)
            and len({*runs}) == len(runs)
            and 0 <= min(runs) <= max(runs) < math.prod(map(len, axes.values()))
        )
    except (LookupError, TypeError, ValueError):
        return False


def regroup(plan: Plan, saved: Fingerprint) -> Plan:
    """Returns a plan with the groups and the number of devices of a fingerprint."""
    groups = []
    for entry in saved["groups"]:
        config = run_config(plan, entry["runs"][0])
        groups.append(Group(config, tuple(entry["runs"]), entry["width"]))
    devices = saved["devices"]
    return dataclasses.replace(plan, groups=tuple(groups), num_devices=devices)


def difference(saved: Fingerprint, current: Fingerprint, *labels: str) -> str | None:
    """Returns the first difference of two fingerprints in words; None if they agree.

    A different grouping of the runs does not count. The ``labels`` of the fingerprints
    are "in the saved sweep" and "now" unless they are given.
    """
    decisive = [
        {key: value for key, value in content.items() if key not in _GROUPING}
        | {"runs": sorted(run for group in content["groups"] for run in group["runs"])}
        for content in (saved, current)
    ]
    if digest(decisive[0]) == digest(decisive[1]):
        return None
    subject, *values = next(_differences(saved, current), ("the plans differ",))
    pairs = zip(values, labels or ("in the saved sweep", "now"), strict=False)
    return f"{subject} {' and '.join(map(' '.join, pairs))}".rstrip()


def _differences(saved: Fingerprint, current: Fingerprint) -> Iterator[Words]:
    if saved["data"].get("fingerprint") != current["data"].get("fingerprint"):
        yield ("the data are not the same",)
    yield from _entry_differences(saved["data"], current["data"])
    before, now = _settings(saved), _settings(current)
    for name in dict.fromkeys([*before, *now]):
        values = before.get(name, [None]), now.get(name, [None])
        if repr(values[0]) != repr(values[1]):
            yield _value_difference(name, *values)
    axes = [",".join(dict(content["axes"])) for content in (saved, current)]
    if axes[0] != axes[1]:
        yield "the axes are", *axes
    if saved["probes"] != current["probes"]:
        names = [_probe_names(content["probes"]) for content in (saved, current)]
        kept = ["on" if KEPT in some.split(",") else "off" for some in names]
        if kept[0] != kept[1]:
            yield f"{KEPT} is", *kept
        if names[0] != names[1]:
            yield "the probes are", *names
        yield ("the probes are not the same",)
    yield from _entry_differences(saved["environment"], current["environment"])


def _probe_names(probes: Sequence[Any]) -> str:
    """Returns the names of probes' functions; ``KEPT`` is that of the states."""
    names = [str(entry[0]).split(" ")[0].rpartition(".")[2] for entry in probes]
    return ",".join(names) or "none"


def _settings(content: Fingerprint) -> dict[str, Sequence[Any]]:
    """Returns the values of each setting, axes first."""
    axes = dict(content["axes"])
    fixed = {name: [value] for name, value in content["settings"].items()}
    return {**axes, **fixed, **axes}


def _entry_differences(
    saved: Mapping[str, Any], current: Mapping[str, Any]
) -> Iterator[Words]:
    for name in dict.fromkeys([*saved, *current]):
        before, now = saved.get(name, "not set"), current.get(name, "not set")
        if before != now:
            yield f"{name} is", str(before), str(now)


def _value_difference(name: str, old: Sequence[Any], new: Sequence[Any]) -> Words:
    """Returns the difference between the values of a setting, axis or not."""
    before, now = _summary(name, old), _summary(name, new)
    if before != now:
        return f"{name} is", before, now
    pairs = list(enumerate(itertools.zip_longest(old, new), start=1))
    number, (before, now) = next(
        (number, pair) for number, pair in pairs if repr(pair[0]) != repr(pair[1])
    )
    which = name if len(pairs) == 1 else f"value {number} of {name}"
    return f"{which} is", repr(before), repr(now)


def _summary(name: str, values: Sequence[Any]) -> str:
    """Returns the values of a setting in a few words."""
    if name == "seed":
        return f"{len(values)} seeds"
    texts = ["the default" if v is None else _text(v) for v in values]
    if len(texts) > 6:
        texts = [*texts[:5], f"… ({len(texts)} values)"]
    return ",".join(texts)


def _text(value: Any) -> str:
    """Returns a short text for a value of the JSON; for a bundle, with its settings."""
    if isinstance(value, list):
        label, settings = value
        texts = (f"{name}={_text(one)}" for name, one in settings.items())
        return f"{label} ({', '.join(texts)})"
    return f"{value:g}" if isinstance(value, float) else str(value)
