"""Checks that networks, probes and data of a plan fit, before anything runs."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from fmnist_jax import training
from fmnist_jax.config import Config
from fmnist_jax.data.dataset import Data
from fmnist_jax.errors import TRACED_HINT, UserError, check_is, explaining
from fmnist_jax.network_values import name_of
from fmnist_jax.probes.probe import Probe, run_probes
from fmnist_jax.sweeps.grid import axes_setting
from fmnist_jax.sweeps.labelling import STATE, VARIABLES
from fmnist_jax.sweeps.model_size import explaining_network
from fmnist_jax.sweeps.network_checks import (
    check_network,
    network_notices,
)
from fmnist_jax.sweeps.planning import Plan, run_hparams
from fmnist_jax.sweeps.program_data import fitted

PEAK_HINT = (
    "For a schedule of optax that has such an if, multiply one with a peak of 1 by "
    "hparams.learning_rate."
)
DATA = "Data, as load('fashion_mnist') returns it"


def check_data(data: Data, plan: Plan) -> None:
    """Raises UserError for anything but ``Data``, and for targets that do not fit."""
    check_is("data", data, Data, DATA)
    if data.targets == "classes":
        return
    needs = ["target_accuracy"] * bool(axes_setting(plan.axes, "target_accuracy"))
    needs += [] if plan.hparams.target_accuracy is None else ["target_accuracy"]
    for config in {group.config for group in plan.groups}:
        needs += [f"the loss {config.loss!r}"] if isinstance(config.loss, str) else []
        needs += ["order 'sorted'"] if config.order == "sorted" else []
    if needs:
        raise UserError(
            f"The data has targets='as_given', but {needs[0]} needs class labels. For "
            "a loss, pass a function as Config.loss; leave out any other such setting."
        )


def check_plan(plan: Plan, data: Data, num_devices: int) -> None:
    """Raises UserError for the first thing that does not fit."""
    check_data(data, plan)
    for probe in plan.probes:
        check_is("A probe", probe, Probe, "a Probe, such as Probe(function)")
        if probe.split == "validation" and data.validation is None:
            raise UserError(
                f"The probe {name_of(probe.function)} takes validation images, but "
                "the data has none; pass data.with_validation(…)."
            )
    for axis in plan.axes:
        if axis in (*VARIABLES, "status"):
            raise UserError(f"The axis {axis} has the name of a result; rename it.")
    if plan.num_devices > num_devices:
        raise UserError(
            f"The saved sweep uses {plan.num_devices} devices (GPUs or CPU cores), but "
            f"this process has {num_devices}. On a CPU, call "
            f"use_cpu_cores({plan.num_devices}) before any other use of JAX; or use "
            "another folder (on the command line: another --out_dir, or --overwrite)."
        )
    examples = len(data.train.labels)
    groups = {group.config: group for group in plan.groups}
    for config in groups:
        if config.batch_size > examples:
            raise UserError(
                f"batch_size is {config.batch_size}; expected at most the {examples} "
                "training examples."
            )
    for config, group in groups.items():
        fitted(config, data)  # refuses images to which it cannot be fitted
        if plan.probes or _has_own_code(config):  # otherwise the shapes always fit
            hparams = run_hparams(plan, config, group.runs[0])
            _check_program(config, hparams, plan, data)


def _has_own_code(config: Config) -> bool:
    """Whether the network, loss, optimizer or schedule is a user's own."""
    return config.model is not None or bool(_own_functions(config))


def _own_functions(config: Config) -> list[str]:
    """Returns the settings whose value is a function of the user's."""
    choices = ("loss", "optimizer", "schedule")
    return [name for name in choices if callable(getattr(config, name))]


def _check_program(config: Config, hparams: Any, plan: Plan, data: Data) -> None:
    """Checks the shapes of probes, and a user's network and functions."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), np.float32), hparams)
    splits = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, data.splits))
    shapes = data.image_shape, data.num_classes, fitted(config, data)
    with _explaining_run(config, data, 1):
        state = jax.eval_shape(
            lambda hparams, key: training.init(config, hparams, key, *shapes),
            traced,
            key,
        )
    widths = [group.width for group in plan.groups if group.config == config]
    is_vmapped = max(widths) > 1
    if config.model is not None:
        check_network(config, hparams, state, data)
    if _has_own_code(config):
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype),
            splits.train,
        )
        step = functools.partial(training.train_step, config)
        with _explaining_run(config, data, config.batch_size):
            after, _ = _shapes_of_run(step, (traced, state, key), batch, is_vmapped)
        _check_state(state, after)
    reserved = *VARIABLES, *plan.axes, "epoch", "step", "status"
    owners = dict.fromkeys(reserved, "the results")
    for probe in plan.probes:
        outputs = functools.partial(run_probes, (probe,), config)
        subject = f"The probe {name_of(probe.function)} failed"
        with explaining(subject, function=probe.function):
            values = _shapes_of_run(outputs, (traced, state, key), splits, is_vmapped)
        _check_probe(probe, values, owners, plan)
    if config.model is not None:
        network_notices(config, data)


def _explaining_run(
    config: Config, data: Data, batch_size: int
) -> contextlib.AbstractContextManager[None]:
    """Returns a context that explains exceptions of a user's network or functions."""
    given = _own_functions(config)
    if not given:
        return explaining_network(data, batch_size)
    subject = f"A training step with the given {' and '.join(given)} failed"
    hint = f"{TRACED_HINT} {PEAK_HINT if callable(config.schedule) else ''}".rstrip()
    return explaining(subject, traced_hint=hint)


def _shapes_of_run(
    function: Callable[..., Any], run: tuple[Any, ...], shared: Any, is_vmapped: bool
) -> Any:
    """Returns the shapes of what a function of one run returns.

    It is vmapped over runs if the program is: some functions cannot be.
    """
    if not is_vmapped:
        return jax.eval_shape(function, *run, shared)
    runs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), run)
    mapped = jax.vmap(function, in_axes=(*[0] * len(run), None))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
        jax.eval_shape(mapped, *runs, shared),
    )


def _check_state(before: training.State, after: training.State) -> None:
    """Refuses a network whose state changes its shapes or types in a step."""
    types = [
        [
            (jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.model_state)
        ]
        for state in (before, after)
    ]
    if types[0] == types[1]:
        return
    collections = before.model_state
    names = ", ".join(collections) if isinstance(collections, dict) else "its state"
    raise UserError(
        f"The network's collections change their shapes from step to step ({names}); "
        "only 'intermediates' may be sown into."
    )


def _check_probe(
    probe: Probe, values: Mapping[str, Any], owners: dict[str, str], plan: Plan
) -> None:
    """Checks the names and dimensions of a probe's outputs; adds them to ``owners``."""
    for name, value in values.items():
        if name.startswith(STATE):
            continue  # not part of the results
        if name in owners:
            raise UserError(
                f"The probe output {name!r} has the same name as one of "
                f"{owners[name]}; give it another name."
            )
        owners[name] = "another probe"
        dims = probe.dims.get(name, ())
        if len(dims) != len(value.shape):
            raise UserError(
                f"The probe output {name!r} has shape {value.shape}, but dims names "
                f"{len(dims)} dimensions: {dims}. Name them all, as in "
                f"Probe(…, dims={{{name!r}: (…)}})."
            )
        for dim in dims:
            if dim in (*plan.axes, "epoch", "step"):
                raise UserError(
                    f"The probe output {name!r} has a dimension {dim!r}, which is an "
                    "axis of the results; give it another name."
                )
