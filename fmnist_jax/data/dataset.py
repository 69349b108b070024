"""Images with labels: training, validation and test sets, checked when built."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data import inspection, subsets
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError, reason


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
                inspection.check_scale(split, self.train.images, checked.images)
        if self.num_classes == 1:
            raise UserError(
                f"All examples have one label, {self.train.labels[0]}: there is "
                "nothing to learn; give examples of at least two classes."
            )

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
    def _classes(self) -> tuple[str, ...]:
        """The name of each class, or its number."""
        return self.class_names or tuple(map(str, range(self.num_classes)))

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
            class_names=self._classes,
            train=Dataset(*(array[:train] for array in self.train)),
            test=Dataset(*(array[:test] for array in self.test)),
        )

    def subset(
        self, train: int | None = None, test: int | None = None, method: str = "first"
    ) -> "Data":
        """Returns at most ``train`` and ``test`` examples, in their order; None: all.

        The classes stay those of the whole set.

        Args:
          train: number of training examples.
          test: number of test examples.
          method: 'first', or 'stratified': each class keeps its share, rounded.

        Raises:
          UserError: for an unknown method, and if the first examples lose classes, as
            those of sorted files do.
        """
        names, kept = self._classes, []
        for split, count in (("train", train), ("test", test)):
            part = getattr(self, split)
            index = subsets.select(split, part.labels, count, method, names)
            kept.append(Dataset(*(array[index] for array in part)))
        return dataclasses.replace(self, class_names=names, train=kept[0], test=kept[1])

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
        is_chosen = subsets.stratified_mask(labels, num_examples, seed)
        return dataclasses.replace(
            self,
            train=Dataset(*(array[~is_chosen] for array in self.train)),
            validation=Dataset(*(array[is_chosen] for array in self.train)),
        )

    @functools.cached_property
    def findings(self) -> inspection.Findings:
        """What is counted of the images and labels of all splits."""
        splits = {k: v for k, v in self.splits._asdict().items() if v is not None}
        return inspection.inspect(splits, self._classes)

    def notices(self, divisors: Iterable[float] = ()) -> list[str]:
        """Returns a line for everything that may be a mistake.

        Args:
          divisors: those of a sweep; the scale of the images is judged by them.
        """
        lines = [self.notice] if self.notice else []
        return lines + inspection.notices(self.findings, divisors)

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
    if images.dtype.kind in "iu":  # np.integer includes timedelta64
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
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
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
