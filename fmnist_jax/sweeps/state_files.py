"""States of runs, saved in a folder and loaded.

The folder has a file of settings, ``states.json``, and a safetensors file for each
program, with arrays ``[runs, …]`` named like ``params/Dense_0/kernel``. Nothing is
pickled: loading executes no code from the folder.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.flax import load_file, save_file

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import UserError, check_is, reason
from fmnist_jax.files import atomic_write, explaining_write_errors, local_folder
from fmnist_jax.sweeps.code_names import code_name
from fmnist_jax.sweeps.grid import Axes, Bundle, distinct_runs
from fmnist_jax.sweeps.states import States

FILE = "states.json"
MAX_NAME = 100  # characters, in messages
CODE, LABEL = "code", "label"  # keys in FILE of code names and of bundles


def save_states(states: States, folder: Path | str) -> None:
    """Saves states in a folder, as safetensors files and JSON.

    Args:
      states: as ``sweep(…, keep_states=…)`` returns them.
      folder: which is created; states in it are replaced.

    Raises:
      UserError: if the folder cannot be written.
    """
    check_is("states", states, States, "States, the second of what sweep returns")
    folder = local_folder(folder)
    content: dict[str, Any] = {
        "axes": [[n, [_encoded(v) for v in vs]] for n, vs in states.axes.items()],
        "config": {n: _encoded(v) for n, v in vars(states.config).items()},
        "hparams": {n: _encoded(v) for n, v in vars(states.hparams).items()},
        "image_shape": states.shapes[0],
        "num_classes": states.shapes[1],
        "data": states.data_fingerprint,
        "programs": [],
    }
    programs = _programs(states.axes, states.config, states.hparams)
    with explaining_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # The file of settings is written last: without it, the folder has no states.
        remove_states(folder)
        for number, (config, positions) in enumerate(programs.items()):
            runs = [run for run in positions if run in states.arrays]
            content["programs"].append(runs)
            if not runs:
                continue
            names = states.arrays[runs[0]]
            arrays = {n: np.stack([states.arrays[r][n] for r in runs]) for n in names}
            normalization = states.normalizations.get(config, Normalization())
            for name, array in normalization._asdict().items():
                if array is not None:
                    arrays[f"normalization/{name}"] = np.asarray(array)
            tensors = {n: jax.numpy.asarray(a) for n, a in arrays.items()}
            with atomic_write(folder / f"{number}.safetensors") as new:
                save_file(tensors, new)
        with atomic_write(folder / FILE) as new:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _programs(
    axes: Axes, config: Config, hparams: Hparams
) -> Mapping[Config, Sequence[int]]:
    """Returns each program with the positions of all its runs in the grid."""
    programs, trained = distinct_runs(axes, config, hparams)
    return {
        program: np.flatnonzero(np.isin(trained, runs)).tolist()
        for program, runs in programs.items()
    }


def remove_states(folder: Path) -> None:
    """Removes the files that ``save_states`` has written in a folder, if it has."""
    if (folder / FILE).exists():
        (folder / FILE).unlink()
        for path in folder.glob("*.safetensors"):
            if path.stem.isdigit():
                path.unlink()


def _encoded(value: Any) -> Any:
    """Returns a setting as JSON; functions and networks by name."""
    if isinstance(value, Bundle):
        settings = {n: _encoded(v) for n, v in value.settings.items()}
        return {LABEL: value.label, "settings": settings}
    if value is None or isinstance(value, str | bool | int | float | dict):
        return value
    return [*value] if isinstance(value, tuple) else {CODE: code_name(value)}


def load_states(
    folder: Path | str,
    config: Config = Config(),  # noqa: B008 - frozen
    axes: Mapping[str, Any] | None = None,
) -> States:
    """Returns the states that ``save_states`` has saved.

    Args:
      folder: with the file ``states.json``.
      config: supplies the network, loss, optimizer and schedule if they are your own,
        because code is not saved; every other setting comes from the folder.
      axes: for each axis of functions or networks, all its values in the original
        order, such as ``{"model": [Net(8), Net(16)]}``.

    Raises:
      UserError: if the folder has no states, they are damaged, or a function or network
        is missing or is not the one that was used.
    """
    check_is("config", config, Config, "a Config: load_states(folder, config)")
    check_is("axes", axes or {}, Mapping, "a dict of axes to their values")
    folder = local_folder(folder)
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return _states(folder, content, config, axes or {})
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{folder} has no saved states: {reason(error)}.") from error
    except (ValueError, TypeError, LookupError, SafetensorError) as error:
        raise UserError(
            f"The states in {folder} are damaged or were saved by another version: "
            f"{reason(error)}."
        ) from error


def _states(
    folder: Path, content: Any, config: Config, given: Mapping[str, Any]
) -> States:
    static = {
        name: _decoded(name, value, getattr(config, name))
        for name, value in dict(content["config"]).items()
    }
    axes = {
        name: tuple(
            _decoded(name, value, other)
            for value, other in _pairs(values, given.get(name, ()))
        )
        for name, values in content["axes"]
    }
    fixed = Config(**static), Hparams(**content["hparams"])
    programs = _programs(axes, *fixed)
    arrays: dict[int, Mapping[str, np.ndarray]] = {}
    normalizations = {}
    for number, (program, runs) in enumerate(
        zip(programs, content["programs"], strict=True)
    ):
        if not runs:
            continue
        stacked = load_file(folder / f"{number}.safetensors")
        statistics = {
            name: np.asarray(stacked.pop(f"normalization/{name}"))
            for name in Normalization._fields
            if f"normalization/{name}" in stacked
        }
        if statistics:
            normalizations[program] = Normalization(**statistics)
        host = {name: np.asarray(array) for name, array in stacked.items()}
        for row, run in enumerate(runs):
            arrays[run] = {name: array[row] for name, array in host.items()}
    shapes = tuple(content["image_shape"]), content["num_classes"]
    in_order = dict(sorted(arrays.items()))
    return States(axes, *fixed, in_order, shapes, normalizations, content["data"])


def _pairs(values: Sequence[Any], given: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the saved values of an axis with the given ones; bundles by label."""
    if isinstance(given, Mapping):
        return ((value, given.get(value[LABEL])) for value in values)
    return itertools.zip_longest(values, given)


def _short(code: str) -> str:
    """Returns the name of code, cut to fit into a message."""
    return code if len(code) <= MAX_NAME else f"{code[:MAX_NAME]}…"


def _decoded(name: str, value: Any, given: Any, axis: str = "") -> Any:
    if isinstance(value, dict) and LABEL in value:
        others = given.settings if isinstance(given, Bundle) else given or {}
        settings = value["settings"].items()
        return Bundle(
            value[LABEL], {n: _decoded(n, v, others.get(n), name) for n, v in settings}
        )
    if isinstance(value, dict):
        wanted = value[CODE]
        if given is None or isinstance(given, str) or code_name(given) != wanted:
            is_missing = given is None or isinstance(given, str)
            got = "none" if is_missing else _short(code_name(given))
            cure = (
                f"Pass load_states(folder, Config({name}=…)) or, if {name} was an "
                f"axis, load_states(folder, axes={{{name!r}: […]}}) with all its "
                "values in their order."
            )
            if axis:
                cure = (
                    f"Pass load_states(folder, axes={{{axis!r}: …}}) as in the sweep."
                )
            raise UserError(
                f"The states were trained with the {name} {_short(wanted)}, but {got} "
                f"was given. {cure}"
            )
        return given
    return tuple(value) if isinstance(value, list) else value
