"""Images with labels: training, validation and test sets, checked when built."""

import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError, reason

MAX_SCALE_RATIO = 20.0  # between the scales of two splits; 255 if one is divided


class Dataset(NamedTuple):
    """Images and their labels: a whole data set or a batch."""

    images: Any  # uint8 or float32 [N, *image_shape]
    labels: Any  # int32 [N]


class Splits(NamedTuple):
    """The arrays of a ``Data``, as a pytree."""

    train: Dataset
    test: Dataset
    validation: Dataset | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A training and a test set, both checked, with their name and origin.

    Images may be any integers from 0 to 255 or any floating type, ``[N, ...]``; they
    are converted to uint8 or float32. Labels are integers ``[N]`` from 0, converted to
    int32. The arrays are read-only, and copies of arrays that the caller could change.

    Attributes:
      train: the training set.
      test: the held-out set.
      name: the name in files and tables: 'fashion_mnist', 'mnist', 'synthetic', 'idx',
        the name of a TFDS data set, or any other.
      class_names: one name per class; if empty, classes are 0 to the largest label.
      source: the origin of the arrays, as text.
      notice: a note to the user, for instance that the images are synthetic; or "".
      validation: what settings are chosen by, as ``with_validation`` makes it; or None.
      fitted_to: the training set whose statistics a normalization uses, if this is a
        part of it; None: ``train``.
      memo: results of functions that are computed once for each ``Data``.

    Raises:
      UserError: if an array has the wrong type, shape or values; the message states
        them.
    """

    train: Dataset
    test: Dataset
    name: str = "custom"
    class_names: tuple[str, ...] = ()
    source: str = "arrays given"
    notice: str = ""
    validation: Dataset | None = None
    fitted_to: Dataset | None = None
    memo: dict[Any, Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for split in ("train", "test", "validation"):
            if split == "validation" and self.validation is None:
                continue
            checked = _checked(split, getattr(self, split), len(self.class_names))
            object.__setattr__(self, split, checked)
            train, other = self.train.images.shape, checked.images.shape
            if train[1:] != other[1:]:
                raise UserError(
                    f"train and {split} images must have one shape, got {train[1:]} in "
                    f"train and {other[1:]} in {split}."
                )
            if split != "train":
                _check_scale(split, self.train.images, checked.images)

    @property
    def splits(self) -> Splits:
        """The arrays alone."""
        return Splits(self.train, self.test, self.validation)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        parts = [part for part in self.splits if part is not None]
        largest = max(part.labels.max() for part in parts)
        return len(self.class_names) or int(largest) + 1

    @property
    def largest_class_share(self) -> float:
        """The training accuracy of predicting the most frequent class."""
        return float(np.bincount(self.train.labels).max() / len(self.train.labels))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return self.train.images.shape[1:]

    @property
    def title(self) -> str:
        """The name in figures and tables."""
        if self.name == "synthetic":
            return "synthetic data, not Fashion-MNIST"
        return OFFICIAL[self.name].title if self.name in OFFICIAL else self.name

    def first(self, train: int | None = None, test: int | None = None) -> "Data":
        """Returns at most the first ``train`` and ``test`` examples; None keeps all.

        The classes stay those of the whole set.
        """
        return dataclasses.replace(
            self,
            class_names=self.class_names or tuple(map(str, range(self.num_classes))),
            train=Dataset(*(array[:train] for array in self.train)),
            test=Dataset(*(array[:test] for array in self.test)),
        )

    def with_validation(self, num_examples: int, seed: int = 0) -> "Data":
        """Returns the data with a validation set, taken from the training set.

        It is stratified: each class has its share of the training set, rounded. All
        runs have the same validation set, whatever their seeds.

        Args:
          num_examples: of the validation set; with 0, nothing is taken.
          seed: of the choice of examples.

        Raises:
          UserError: if there is a validation set already, or if ``num_examples`` leaves
            no training examples.
        """
        labels = self.train.labels
        if self.validation is not None:
            raise UserError("The data has a validation set already.")
        if not 0 <= num_examples < len(labels):
            raise UserError(
                f"{num_examples:,} validation examples of {len(labels):,} training "
                f"examples are not possible; expected 0 to {len(labels) - 1:,}."
            )
        if not num_examples:
            return self
        shares = np.bincount(labels) * num_examples / len(labels)
        counts = np.floor(shares).astype(int)
        largest_remainders = np.argsort(counts - shares, kind="stable")
        counts[largest_remainders[: num_examples - counts.sum()]] += 1
        order = np.random.default_rng(seed).permutation(len(labels))
        is_chosen = np.zeros(len(labels), bool)
        for label, count in enumerate(counts):
            is_chosen[order[labels[order] == label][:count]] = True
        return dataclasses.replace(
            self,
            train=Dataset(*(array[~is_chosen] for array in self.train)),
            validation=Dataset(*(array[is_chosen] for array in self.train)),
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of the types, shapes and bytes of all arrays."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test, *(self.validation or ())):
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _checked(split: str, dataset: Any, num_classes: int) -> Dataset:
    try:
        images, labels = dataset
    except (TypeError, ValueError):
        raise UserError(
            f"{split} must be a Dataset(images, labels), got {type(dataset).__name__}."
        ) from None
    images = _checked_images(f"{split} images", images)
    labels = _checked_labels(f"{split} labels", labels, num_classes)
    if len(images) != len(labels):
        raise UserError(
            f"{split} has {len(images):,} images, but {len(labels):,} labels."
        )
    return Dataset(images, labels)


def _check_scale(split: str, train: np.ndarray, images: np.ndarray) -> None:
    """Refuses images whose scale is far from that of the training images.

    Both the largest absolute value and the mean of some have to differ: one alone does
    so in tables with outliers. Zeros have any scale.
    """
    arrays = (train, images)
    samples = [array[:: max(1, len(array) // 1000)] for array in arrays]
    means = [float(np.abs(sample).mean(dtype=float)) for sample in samples]
    if _is_one_scale(means):
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


def _as_array(name: str, values: Any) -> np.ndarray:
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


def _read_only(array: np.ndarray, given: np.ndarray) -> np.ndarray:
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


def _checked_images(name: str, values: Any) -> np.ndarray:
    images = _as_array(name, values)
    if images.ndim < 2 or 0 in images.shape:
        raise UserError(
            f"{name} must be [N, ...] with at least one image, got shape "
            f"{images.shape}."
        )
    if np.issubdtype(images.dtype, np.integer):
        low, high = images.min(), images.max()
        if low < 0 or high > 255:
            raise UserError(
                f"{name} are {images.dtype} from {low} to {high}; whole numbers must "
                "be 0 to 255 (or pass them as float32)."
            )
        return _read_only(images.astype(np.uint8, copy=False), images)
    # np.issubdtype does not recognise bfloat16, which NumPy can nevertheless cast.
    if not (np.issubdtype(images.dtype, np.floating) or "float" in images.dtype.name):
        raise UserError(f"{name} must be uint8 or floating, got {images.dtype}.")
    with np.errstate(over="ignore"):  # float32 overflow gives inf, rejected below
        converted = images.astype(np.float32, copy=False)
    if invalid := int(np.count_nonzero(~np.isfinite(converted))):
        raise UserError(f"{name} must be finite float32; {invalid:,} values are not.")
    return _read_only(converted, images)


def _checked_labels(name: str, values: Any, num_classes: int) -> np.ndarray:
    labels = _as_array(name, values)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{name} must be whole numbers [N], got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    largest = (num_classes or 2**31 - 1) - 1
    if labels.size and (labels.min() < 0 or labels.max() > largest):
        classes = f", with {num_classes} class names" if num_classes else ""
        raise UserError(
            f"{name} must be 0 to {largest}{classes}, got {labels.min()} to "
            f"{labels.max()}."
        )
    return _read_only(labels.astype(np.int32, copy=False), labels)
