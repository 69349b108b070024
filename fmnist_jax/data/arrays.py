"""Arrays of the caller: no loss of meaning, no aliases, one scale."""

from typing import Any

import numpy as np

from fmnist_jax.errors import UserError, reason

MAX_SCALE_RATIO = 20.0  # between the scales of two splits; 255 if one is divided
MIN_COMPARED = 10  # examples: fewer have no scale of their own


def as_array(name: str, values: Any) -> np.ndarray:
    """Returns values as an array, and refuses those that would lose their meaning."""
    parts = values if isinstance(values, list | tuple) else [values]
    if any(np.ma.isMaskedArray(part) for part in parts):
        raise UserError(
            f"{name} are masked: the values under the mask would be used; fill them "
            "with .filled(VALUE), or leave these examples out."
        )
    if any(hasattr(part, "toarray") for part in parts):
        raise UserError(f"{name} are sparse; convert them with .toarray().")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} must be one array: {reason(error)}.") from error


def read_only(array: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Returns the array; a copy of it if it could be changed through ``given``."""
    if np.may_share_memory(array, given):
        if not _is_writable(given):
            return array
        array = array.copy()
    array.flags.writeable = False
    return array


def _is_writable(array: Any) -> bool:
    """Whether an array can be changed, by itself or by an array that it is part of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return False


def label_array(name: str, values: Any) -> np.ndarray:
    """Returns labels as an array; lists that mix text and numbers as objects."""
    labels = as_array(name, values)
    if not labels.ndim:
        raise UserError(f"{name} must be [N], got {values!r}.")
    # NumPy makes text of lists that have numbers beside text.
    is_list = isinstance(values, list | tuple) and labels.dtype.kind in "SU"
    return np.array(values, object) if is_list else labels


def is_lost_in_float32(column: np.ndarray) -> bool:
    """Whether the values of a column differ by less than float32 can tell apart.

    The rounding error exceeds a hundredth of their standard deviation.
    """
    values = column.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(values.astype(np.float32) - values)
    if not np.isfinite(errors).all():  # refused elsewhere
        return False
    return bool(values.size and errors.max() > 0.01 * values.std() > 0)


def check_columns(name: str, table: np.ndarray) -> None:
    """Refuses columns whose values are lost in float32."""
    for number, column in enumerate(table.T):
        if is_lost_in_float32(column):
            raise UserError(
                f"{name} have values from {column.min():g} to {column.max():g} in "
                f"column {number}, which float32 cannot tell apart; subtract an offset."
            )


def check_scale(split: str, train: np.ndarray, images: np.ndarray) -> None:
    """Refuses images whose scale is far from that of the training images.

    The largest absolute value, and the mean and the median of some, have to differ: one
    alone does so in tables with outliers. Zeros have any scale.
    """
    arrays = (train, images)
    if min(map(len, arrays)) < MIN_COMPARED:
        return
    samples = [np.abs(a[:: max(1, len(a) // 1000)]).astype(float) for a in arrays]
    if _is_one_scale([sample.mean() for sample in samples]):
        return
    if _is_one_scale([np.median(s[s > 0]) if s.any() else 0.0 for s in samples]):
        return
    ranges = [(float(array.min()), float(array.max())) for array in arrays]
    if _is_one_scale([max(-low, high) for low, high in ranges]):
        return
    texts = [f"from {low:g} to {high:g}" for low, high in ranges]
    raise UserError(
        f"train images are {texts[0]}, but {split} images {texts[1]}: they are not on "
        "one scale; scale both alike."
    )


def _is_one_scale(sizes: list[float]) -> bool:
    smaller, larger = sorted(sizes)
    return smaller == 0 or larger / smaller <= MAX_SCALE_RATIO
