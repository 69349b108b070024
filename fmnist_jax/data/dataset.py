"""What a data set is: images with labels, for training and for testing, checked."""

import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError, reason


class Dataset(NamedTuple):
    """Images and their labels: a whole data set, or a batch of one."""

    images: Any  # uint8 or float32 [N, *image_shape]
    labels: Any  # int32 [N]


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A training and a test set, checked, and what they are.

    A user's own arrays are given as a `Dataset` each: images uint8 or floating
    [N, ...], labels whole numbers [N] from 0. They are kept as uint8 or float32, and
    int32.

    Attributes:
        train: what is trained on.
        test: what is not.
        name: for files and tables: 'fashion_mnist', 'mnist', 'synthetic', 'idx', the
            name of a TFDS set, or any other.
        class_names: one for each class; empty: classes are 0 to the largest label.
        source: where the arrays come from, for people.
        notice: what a user must be told, such as that a stand-in is used.

    Raises:
        UserError: the arrays are not such; the line says what was given.
    """

    train: Dataset
    test: Dataset
    name: str = "custom"
    class_names: tuple[str, ...] = ()
    source: str = "arrays given"
    notice: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for split in ("train", "test"):
            checked = _checked(split, getattr(self, split), len(self.class_names))
            object.__setattr__(self, split, checked)
        train, test = self.train.images.shape, self.test.images.shape
        if train[1:] != test[1:]:
            raise UserError(
                f"train and test images must have one shape, got {train[1:]} in train "
                f"and {test[1:]} in test."
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        largest = max(self.train.labels.max(), self.test.labels.max())
        return len(self.class_names) or int(largest) + 1

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return self.train.images.shape[1:]

    @property
    def title(self) -> str:
        """The name to show in figures and tables."""
        if self.name == "synthetic":
            return "synthetic stand-in, not Fashion-MNIST"
        return OFFICIAL[self.name].title if self.name in OFFICIAL else self.name

    def first(self, train: int | None = None, test: int | None = None) -> "Data":
        """Returns the first so many examples at most of each; None for all."""
        return dataclasses.replace(
            self,
            train=Dataset(*(array[:train] for array in self.train)),
            test=Dataset(*(array[:test] for array in self.test)),
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of all four arrays: their types, shapes and bytes."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _checked(split: str, given: Any, num_classes: int) -> Dataset:
    try:
        images, labels = given
    except (TypeError, ValueError):
        raise UserError(
            f"{split} must be a Dataset(images, labels), got {type(given).__name__}."
        ) from None
    images = _checked_images(f"{split} images", images)
    labels = _checked_labels(f"{split} labels", labels, num_classes)
    if len(images) != len(labels):
        raise UserError(
            f"{split} has {len(images):,} images, but {len(labels):,} labels."
        )
    return Dataset(images, labels)


def _as_array(what: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} must be one array: {reason(error)}.") from error


def _checked_images(what: str, given: Any) -> np.ndarray:
    images = _as_array(what, given)
    if images.ndim < 2 or 0 in images.shape:
        raise UserError(
            f"{what} must be [N, ...] with at least one image, got shape "
            f"{images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if np.issubdtype(images.dtype, np.integer):
        if images.min() < 0 or images.max() > 255:
            raise UserError(
                f"{what} are {images.dtype} from {images.min()} to {images.max()}; "
                "whole numbers must be 0 to 255 (or give them as float32)."
            )
        return images.astype(np.uint8)
    # np.issubdtype does not know bfloat16; it is of no kind of NumPy's, but casts.
    if not (np.issubdtype(images.dtype, np.floating) or "float" in images.dtype.name):
        raise UserError(f"{what} must be uint8 or floating, got {images.dtype}.")
    with np.errstate(over="ignore"):  # too large for float32: infinite, found below
        images = images.astype(np.float32, copy=False)
    if bad := int(np.count_nonzero(~np.isfinite(images))):
        raise UserError(f"{what} must be finite float32; {bad:,} values are not.")
    return images


def _checked_labels(what: str, given: Any, num_classes: int) -> np.ndarray:
    labels = _as_array(what, given)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{what} must be whole numbers [N], got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    largest = (num_classes or 2**31 - 1) - 1
    if labels.size and (labels.min() < 0 or labels.max() > largest):
        classes = f", with {num_classes} class names" if num_classes else ""
        raise UserError(
            f"{what} must be 0 to {largest}{classes}, got {labels.min()} to "
            f"{labels.max()}."
        )
    return labels.astype(np.int32, copy=False)
