"""The plane of a map: two settings, and the values of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_jax.config import SETTINGS, TRACED, is_log
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.values import ValueType, spaced

VALUES = 24  # of each setting, unless its flag says otherwise

Window = tuple[float, float]


def plane_axes(
    plane: tuple[str, str], options: Mapping[str, Any]
) -> dict[str, Sequence[float]]:
    """Returns the axes of a map, ascending: first along the bottom, then up the side.

    Args:
      plane: the two settings, where ``--x`` and ``--y`` do not say otherwise.
      options: parsed flags.

    Raises:
      UserError: where one is no setting of ``Hparams``, both are the same, values are
        missing or too few, or the window of ``--zoom`` is none.
    """
    chosen = {flag: options[flag] or n for flag, n in zip("xy", plane, strict=True)}
    for flag, name in chosen.items():
        if name not in TRACED:
            raise unknown(f"setting for --{flag}", name, TRACED)
    if chosen["x"] == chosen["y"]:
        raise UserError(f"--x and --y are both {chosen['x']}; choose two settings.")
    axes = {
        name: _values(flag, name, options["settings"].get(name))
        for flag, name in chosen.items()
    }
    if options["zoom"] is None:
        return axes
    windows = _windows(options["zoom"], list(axes))
    return {
        name: spaced(*window, len(values), is_log(name) and window[0] > 0)
        for (name, values), window in zip(axes.items(), windows, strict=True)
    }


def _values(flag: str, name: str, given: Sequence[float] | None) -> Sequence[float]:
    setting = SETTINGS[name]
    if given is not None:
        if len(given) < 2:
            raise UserError(
                f"--{setting.flag}: {setting.value_type.text(given[0])} is one value, but "
                f"--{flag} needs several, such as 1e-3:1:24."
            )
        return sorted(given)
    if setting.span is None:
        raise UserError(f"--{flag}={name}: give its values with --{setting.flag}=….")
    return spaced(*setting.span, VALUES, is_log(name))


def _windows(text: str, names: Sequence[str]) -> list[Window]:
    parts = text.split(",")
    if len(parts) != len(names):
        raise _no_window(text)
    kinds = [SETTINGS[name].value_type for name in names]
    return [_window(text, part, kind) for part, kind in zip(parts, kinds, strict=True)]


def _window(text: str, part: str, kind: ValueType) -> Window:
    try:
        low, high = (kind.parse(end) for end in part.split(":"))
    except ValueError as error:
        raise _no_window(text) from error
    if not (kind.accepts(low) and kind.accepts(high) and low < high):
        raise UserError(
            f"--zoom={text}: {part!r} is no window; expected a lower and a higher "
            f"end, each {kind.allowed}."
        )
    return low, high


def _no_window(text: str) -> UserError:
    return UserError(
        f"--zoom={text} is not x0:x1,y0:y1, such as 1:1e3,1e-4:1 (from ÷1 to ÷1000 and "
        "rates from 1e-4 to 1)."
    )
