"""Coordinates of the results: axes, epochs, steps and the settings of all runs."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from fmnist_jax.config import (
    LOSS_LEGENDS,
    SETTINGS,
    STATIC,
    Config,
    axis_label,
    coordinate,
)
from fmnist_jax.effects import owning_choice, settings_by_name, uses_setting
from fmnist_jax.sweeps.grid import axes_setting, axis_coordinate
from fmnist_jax.sweeps.planning import Plan, run_hparams

Programs = list[tuple[int, Config, int]]  # position on axes, program, one of its runs


def _recorded_steps(config: Config, num_examples: int) -> np.ndarray:
    """Returns the numbers of steps taken at each record, over all epochs."""
    steps = math.ceil(num_examples / config.batch_size)
    every = config.record_every
    in_epoch = np.minimum(np.arange(every, steps + every, every), steps)
    return (steps * np.arange(config.num_epochs)[:, None] + in_epoch).ravel()


def coordinates(plan: Plan, num_examples: int) -> dict[str, xr.Variable]:
    """Returns the axes, epochs, steps and all other settings as coordinates."""
    labels = {}
    for name, values in plan.axes.items():
        shown = np.asarray([axis_coordinate(name, value) for value in values])
        attrs = {"long_name": axis_label(name)}
        labels[name] = xr.Variable((name,), shown, attrs)
    epochs = np.arange(1, plan.config.num_epochs + 1)
    labels["epoch"] = xr.Variable(("epoch",), epochs, {"long_name": "epoch"})
    if plan.config.record_every:
        steps = _recorded_steps(plan.config, num_examples)
        labels["step"] = xr.Variable(("step",), steps, {"long_name": "step"})
    along = functools.cache(functools.partial(programs_along, plan))
    for name in (*SETTINGS, *plan.hparams.extra):
        is_fixed = name != "name" and name not in plan.axes
        if is_fixed and (setting := _setting(plan, name, along)) is not None:
            labels[name] = setting
    labels["loss"].attrs |= LOSS_LEGENDS
    return labels


def _setting(
    plan: Plan, name: str, along: Callable[[tuple[str, ...]], Programs]
) -> xr.Variable | None:
    """Returns a setting that is not an axis; None if no run uses it.

    It is a scalar if it has one value. Otherwise, its dimensions are the axes that set
    it, or that set the option on which its default depends. A value that no run uses is
    NaN or "".
    """
    dims = axes_setting(plan.axes, name, owning_choice(name))
    sizes = [len(plan.axes[dim]) for dim in dims]
    values: list[Any] = [None] * math.prod(sizes)
    for cell, config, run in along(dims):
        if values[cell] is None and uses_setting(config, name):
            values[cell] = _value(plan, name, config, run)
    used = [value for value in values if value is not None]
    if not used:
        return None
    attrs = {"long_name": axis_label(name)}
    if len(used) == len(values) and len({*used}) == 1:
        return xr.Variable((), used[0], attrs)
    absent = "" if isinstance(used[0], str) else np.nan
    shown = np.asarray([absent if value is None else value for value in values])
    return xr.Variable(dims, shown.reshape(sizes), attrs)


def programs_along(plan: Plan, dims: Sequence[str]) -> Programs:
    """Returns each program and its first run at each position along some axes."""
    configs = list(dict.fromkeys(group.config for group in plan.groups))
    numbers = np.full(plan.num_runs, -1)  # of runs that are not in the plan
    for group in plan.groups:
        numbers[list(group.runs)] = configs.index(group.config)
    index = np.unravel_index(np.arange(plan.num_runs), plan.shape)
    cells = np.zeros(plan.num_runs, int)
    for axis, positions in zip(plan.axes, index, strict=True):
        if axis in dims:
            cells = cells * len(plan.axes[axis]) + positions
    (known,) = np.nonzero(numbers[plan.trained_runs] >= 0)
    keys = cells[known] * len(configs) + numbers[plan.trained_runs[known]]
    distinct, first = np.unique(keys, return_index=True)
    return [
        (key // len(configs), configs[key % len(configs)], run)
        for key, run in zip(distinct.tolist(), known[first].tolist(), strict=True)
    ]


def _value(plan: Plan, name: str, config: Config, run: int) -> Any:
    """Returns the coordinate of a setting of a run; None if it has no value."""
    if name == "model" and plan.config.name:
        return plan.config.name
    if name in STATIC:
        return coordinate(name, getattr(config, name))
    value = settings_by_name(config, run_hparams(plan, config, run))[name]
    return SETTINGS[name].off if value is None and name in SETTINGS else value
