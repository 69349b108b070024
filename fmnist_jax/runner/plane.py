"""The two settings that span a map, and their values; ``--refine`` and ``--zoom``."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_jax.config import SETTINGS, TRACED, is_log
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.files import local_folder
from fmnist_jax.runner.flag_values import Span, check_apart
from fmnist_jax.search.refinement import Refinement
from fmnist_jax.values import STATUS, spaced_values

NUM_VALUES = 24  # of each setting, unless its flag gives the values
MIN_CELLS = 8  # of the coarse grid of an adaptive map, along each setting
EXCLUDED = ("keep_states", "extend", "num_shards")


def refinement_of(options: Mapping[str, Any]) -> Refinement | None:
    """Returns the search of an adaptive map; None without ``--refine``."""
    size = options["refine"]
    if options["zoom_from"] is not None and (size is None or options["zoom"] is None):
        raise UserError("--zoom_from requires --refine and --zoom.")
    if size is None:
        return None
    check_apart("refine", EXCLUDED, options)
    step = min(Refinement().step, 2 ** int(math.log2((size - 1) / MIN_CELLS)))
    return Refinement(step, options["criterion"] or STATUS)


def plane_axes(
    plane: tuple[str, str], options: Mapping[str, Any]
) -> dict[str, Sequence[float]]:
    """Returns the axes of a map, ascending: first the horizontal, then the vertical.

    ``plane`` has the two settings, unless ``--x`` and ``--y`` are given.
    """
    names = {flag: options[flag] or n for flag, n in zip("xy", plane, strict=True)}
    for flag, name in names.items():
        if name not in TRACED:
            raise unknown(f"setting for --{flag}", name, TRACED)
    if names["x"] == names["y"]:
        raise UserError(f"--x and --y are both {names['x']}; choose two settings.")
    axes = {
        name: _values(flag, name, options["settings"].get(name), options["refine"])
        for flag, name in names.items()
    }
    if options["zoom"] is None:
        return axes
    windows = _windows(options["zoom"], list(axes))
    if options["zoom_from"] is not None:
        folder = local_folder(options["zoom_from"], "--zoom_from")
        return _finer_axes(folder, windows, options["refine"])
    return {
        name: spaced_values(low, high, len(axes[name]), is_log(name) and low > 0)
        for name, (low, high) in windows.items()
    }


def _finer_axes(
    folder: Path, windows: Mapping[str, tuple[float, float]], size: int
) -> dict[str, Sequence[float]]:
    """Returns the values of a finished map in a window, and more between them.

    There are about ``size`` values of each setting.
    """
    from fmnist_jax.analysis.results import load

    results, axes, factors = load(folder), dict[str, Sequence[float]](), []
    for name, (low, high) in windows.items():
        known = results[name].values.tolist() if name in results.status.dims else []
        known = [value for value in known if low <= value <= high]
        if len(known) < 2:
            raise UserError(
                f"--zoom_from={folder}: at least 2 values of {name} must be in the "
                f"window, but there are {len(known)}; widen --zoom."
            )
        factor = 2 ** max(0, round(math.log2((size - 1) / (len(known) - 1))))
        is_log_spaced = is_log(name) and known[0] > 0
        gaps = (
            spaced_values(*ends, factor + 1, is_log_spaced)[:-1]
            for ends in itertools.pairwise(known)
        )
        axes[name] = [*itertools.chain(*gaps), known[-1]]
        factors.append(factor)
    if max(factors) == 1:
        raise UserError(
            f"--refine={size}: {folder} already has that many values in the window; "
            "give a larger --refine, or a smaller --zoom."
        )
    return axes


def _values(
    flag: str, name: str, values: Sequence[Any] | None, size: int | None
) -> Sequence[float]:
    setting = SETTINGS[name]
    if values is None:
        if setting.span is None:
            raise UserError(f"--{flag}={name}: give values with --{setting.flag}=….")
        return spaced_values(*setting.span, size or NUM_VALUES, is_log(name))
    values = [
        v for value in values for v in (value if type(value) is Span else [value])
    ]
    if len(values) < 2:
        value = setting.value_type.text(values[0])
        raise UserError(
            f"--{setting.flag}: {value} is one value, but --{flag} needs several, such "
            "as 1e-3:1:24."
        )
    values = sorted(values)
    if size is None:
        return values
    if len(values) > 2:
        raise UserError(
            f"--{setting.flag}: --refine={size} chooses the values itself; give a "
            f"range start:stop, such as {values[0]:g}:{values[-1]:g}."
        )
    low, high = values
    return spaced_values(low, high, size, is_log(name) and low > 0)


def _windows(text: str, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns the minimum and the maximum of each setting in ``--zoom``."""
    parts = text.split(",")
    try:
        (x0, x1), (y0, y1) = (map(float, part.split(":")) for part in parts)
    except ValueError as error:
        raise UserError(
            f"--zoom={text} is not x0:x1,y0:y1, such as 1:1e3,1e-4:1 (divisors from 1 "
            "to 1000 and learning rates from 1e-4 to 1)."
        ) from error
    windows = dict(zip(names, [(x0, x1), (y0, y1)], strict=True))
    for part, (name, (low, high)) in zip(parts, windows.items(), strict=True):
        value_type = SETTINGS[name].value_type
        if not (value_type.accepts(low) and value_type.accepts(high) and low < high):
            raise UserError(
                f"--zoom={text}: {part!r} is not a window; expected a lower and a "
                f"higher end, each {value_type.allowed}."
            )
    return windows
