"""The two settings that span a map, and their values."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.config import SETTINGS, TRACED, is_log
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.values import spaced_values

NUM_VALUES = 24  # of each setting, unless its flag gives the values


def plane_axes(
    plane: tuple[str, str], options: Mapping[str, Any]
) -> dict[str, Sequence[float]]:
    """Returns the axes of a map, ascending: first the horizontal, then the vertical.

    Args:
      plane: the two settings, unless ``--x`` and ``--y`` are given.
      options: parsed flags.

    Raises:
      UserError: if one is not a setting of ``Hparams``, both are the same, values are
        missing or too few, or ``--zoom`` is not a window.
    """
    names = {flag: options[flag] or n for flag, n in zip("xy", plane, strict=True)}
    for flag, name in names.items():
        if name not in TRACED:
            raise unknown(f"setting for --{flag}", name, TRACED)
    if names["x"] == names["y"]:
        raise UserError(f"--x and --y are both {names['x']}; choose two settings.")
    axes = {
        name: _values(flag, name, options["settings"].get(name))
        for flag, name in names.items()
    }
    if options["zoom"] is None:
        return axes
    windows = _windows(options["zoom"], list(axes))
    return {
        name: spaced_values(low, high, len(axes[name]), is_log(name) and low > 0)
        for name, (low, high) in windows.items()
    }


def _values(flag: str, name: str, values: Sequence[float] | None) -> Sequence[float]:
    setting = SETTINGS[name]
    if values is None:
        if setting.span is None:
            raise UserError(f"--{flag}={name}: give values with --{setting.flag}=….")
        return spaced_values(*setting.span, NUM_VALUES, is_log(name))
    if len(values) < 2:
        value = setting.value_type.text(values[0])
        raise UserError(
            f"--{setting.flag}: {value} is one value, but --{flag} needs several, such "
            "as 1e-3:1:24."
        )
    return sorted(values)


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
