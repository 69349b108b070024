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


def is_float(array: np.ndarray) -> bool:
    """Whether an array is floating-point; also for types such as bfloat16."""
    return array.dtype.kind == "f" or "float" in array.dtype.name


def read_only(array: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Returns the array; a copy of it if it could be changed through ``given``."""
    if np.may_share_memory(array, given):
        owner: Any = given  # the array, or one of which it is a view
        while isinstance(owner, np.ndarray) and not owner.flags.writeable:
            owner = owner.base
        if not isinstance(owner, np.ndarray):
            return array
        array = array.copy()
    array.flags.writeable = False
    return array


def image_array(name: str, values: Any) -> np.ndarray:
    """Returns images as uint8 or float32, read-only; refuses other values."""
    images = as_array(name, values)
    if images.ndim < 2 or 0 in images.shape:
        raise UserError(
            f"{name} must be [N, ...] with at least one image, got shape "
            f"{images.shape}."
        )
    if images.dtype.kind in "iu":  # np.integer includes timedelta64
        low, high = images.min(), images.max()
        if low < 0 or high > 255:
            raise UserError(
                f"{name} are {images.dtype} from {low} to {high}; whole numbers must "
                "be 0 to 255 (or pass them as float32)."
            )
        return read_only(images.astype(np.uint8, copy=False), images)
    if not is_float(images):
        raise UserError(f"{name} must be uint8 or floating, got {images.dtype}.")
    with np.errstate(over="ignore"):  # float32 overflow gives inf, rejected below
        converted = images.astype(np.float32, copy=False)
    if invalid := int(np.count_nonzero(~np.isfinite(converted))):
        raise UserError(f"{name} must be finite float32; {invalid:,} values are not.")
    if images.ndim == 2 and converted is not images:
        for number, column in enumerate(images.T):
            check_float32(column, f"{name} have", number)
    return read_only(converted, images)


def label_array(name: str, values: Any) -> np.ndarray:
    """Returns labels as an array; lists that mix text and numbers as objects."""
    labels = as_array(name, values)
    if not labels.ndim:
        raise UserError(f"{name} must be [N], got {values!r}.")
    # NumPy makes text of lists that have numbers beside text.
    is_list = isinstance(values, list | tuple) and labels.dtype.kind in "SU"
    return np.array(values, object) if is_list else labels


def check_float32(values: np.ndarray, subject: str, column: int | str) -> None:
    """Refuses a column whose values differ by less than the precision of float32.

    The rounding error exceeds a hundredth of their standard deviation.
    """
    exact = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(exact.astype(np.float32) - exact)
    if not values.size or not np.isfinite(errors).all():  # refused elsewhere
        return
    if errors.max() > 0.01 * exact.std() > 0:
        raise UserError(
            f"{subject} values from {values.min():g} to {values.max():g} in column "
            f"{column!r}, which float32 cannot tell apart; subtract an offset from "
            "them, or leave the column out."
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
    ranges = [(float(array.min()), float(array.max())) for array in arrays]
    for sizes in (
        [sample.mean() for sample in samples],
        [np.median(s[s > 0]) if s.any() else 0.0 for s in samples],
        [max(-low, high) for low, high in ranges],
    ):
        smaller, larger = sorted(sizes)
        if smaller == 0 or larger / smaller <= MAX_SCALE_RATIO:
            return
    texts = [f"from {low:g} to {high:g}" for low, high in ranges]
    raise UserError(
        f"train images are {texts[0]}, but {split} images {texts[1]}: they are not on "
        "one scale; scale both alike."
    )
