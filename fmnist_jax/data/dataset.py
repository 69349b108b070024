"""Images with labels: training, validation and test sets, checked when built."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fmnist_jax.data import inspection, subsets
from fmnist_jax.data import labels as label_types
from fmnist_jax.data.arrays import check_scale, image_array, label_array, read_only
from fmnist_jax.data.official import OFFICIAL
from fmnist_jax.errors import UserError, choose
from fmnist_jax.values import SUBSETS


class Dataset(NamedTuple):
    """Images and their labels: a whole data set or a batch.

    ``images`` are uint8 or float32 ``[N, *image_shape]``, and ``labels`` int32 ``[N]``
    (of targets as given, int32 or float32 ``[N, ...]``).
    """

    images: Any
    labels: Any


class Splits(NamedTuple):
    """The arrays of a ``Data``, as a pytree."""

    train: Dataset
    test: Dataset
    validation: Dataset | None = None

    @property
    def by_name(self) -> dict[str, Any]:
        """The splits by name; the validation set only if there is one."""
        names = self._fields if self.validation is not None else ("train", "test")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A training and a test set, both checked, with their name and origin.

    Images may be any integers from 0 to 255 or any floating type, ``[N, ...]``; they
    are converted to uint8 or float32. Labels may be integers, whole floats, booleans or
    text, ``[N]`` or ``[N, 1]``, or one-hot ``[N, C]``; they become int32 ``[N]`` from 0
    to C-1, in sorted order over all splits. The arrays are read-only, and copies of
    arrays that the caller could change.

    Attributes:
      train: the training set.
      test: the held-out set.
      name: the name in files and tables: 'fashion_mnist', 'mnist', 'synthetic', 'idx',
        the name of a TFDS data set, or any other.
      class_names: a name per class; if given, the labels are these names or their
        positions. Empty if the labels are 0 to the largest one, without gaps.
      source: the origin of the arrays, as text.
      notice: a note to the user, for instance that the images are synthetic; or "".
      validation: what settings are chosen by, as ``with_validation`` makes it; or None.
      memo: results of functions that are computed once for each ``Data``.
      targets: 'classes', or 'as_given': labels are then any targets ``[N, ...]``, for a
        training loop with a loss of the caller's; they are converted to float32 or
        int32, but not mapped. ``num_classes`` is then the size of their last dimension,
        or 1, unless there are class names.

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
    memo: dict[Any, Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    targets: str = "classes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for split, part in self.splits.by_name.items():
            checked = _checked(split, part)
            object.__setattr__(self, split, checked)
            train, other = self.train.images.shape, checked.images.shape
            if train[1:] != other[1:]:
                raise UserError(
                    f"train and {split} images must have one shape, got {train[1:]} in "
                    f"train and {other[1:]} in {split}."
                )
            if split != "train":
                check_scale(split, self.train.images, checked.images)
        self._convert_labels()
        if self.targets == "classes" and self.num_classes == 1:
            raise UserError(
                f"All examples have one label, {self._classes[0]!r}: there is "
                "nothing to learn; give examples of at least two classes."
            )

    def _convert_labels(self) -> None:
        """Replaces labels by classes; class names and source tell which ones."""
        parts = self.splits.by_name
        given = {split: part.labels for split, part in parts.items()}
        encoders = {"as_given": label_types.as_given, "classes": label_types.encode}
        encoder = choose("targets", self.targets, encoders)
        encoded = encoder(given, self.class_names)
        for split, part in parts.items():
            labels = read_only(encoded.labels[split], given[split])
            object.__setattr__(self, split, part._replace(labels=labels))
        object.__setattr__(self, "class_names", encoded.class_names)
        if encoded.note:
            object.__setattr__(self, "source", f"{self.source}, {encoded.note}")

    @property
    def splits(self) -> Splits:
        """The arrays alone."""
        return Splits(self.train, self.test, self.validation)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        if self.class_names:
            return len(self.class_names)
        if self.targets == "as_given":
            return (1, *self.train.labels.shape[1:])[-1]
        return int(max(part.labels.max() for part in self.splits if part)) + 1

    @property
    def _classes(self) -> tuple[str, ...]:
        """The name of each class, or its number."""
        return self.class_names or tuple(map(str, range(self.num_classes)))

    @property
    def largest_class_share(self) -> float:
        """The training accuracy of predicting the most frequent class."""
        if self.targets == "as_given":
            raise UserError("Targets as given have no classes, so no largest class.")
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
            train=_take(self.train, slice(train)),
            test=_take(self.test, slice(test)),
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
        choose("subset", method, dict.fromkeys(SUBSETS))
        names = self._classes
        parts: dict[str, Any] = {"train": self.train, "test": self.test}
        for (split, part), count in zip(parts.items(), (train, test), strict=True):
            labels = self._strata(part)
            if count is None or count >= len(labels):
                continue
            index: slice | np.ndarray = slice(count)
            if method == "stratified":
                index = subsets.stratified_mask(labels, count)
            else:
                subsets.check_first(split, labels, count, names)
            parts[split] = _take(part, index)
        return dataclasses.replace(self, class_names=names, **parts)

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
        labels = self._strata(self.train)
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
            train=_take(self.train, ~is_chosen),
            validation=_take(self.train, is_chosen),
        )

    def with_validation_share(self, share: float) -> "Data":
        """Returns the data with a share of the training set held out for validation.

        Raises:
          UserError: as ``with_validation``, and if the share is less than an example.
        """
        total = len(self.train.labels)
        if not int(share * total):
            raise UserError(
                f"{total} training examples are too few to hold {share:.2g} of them "
                "out for validation."
            )
        return self.with_validation(int(share * total))

    def _strata(self, part: Dataset) -> np.ndarray:
        """The labels by which subsets are stratified; all 0 for targets as given."""
        is_given = self.targets == "as_given"
        return np.zeros(len(part.labels), int) if is_given else part.labels

    @functools.cached_property
    def findings(self) -> inspection.Findings:
        """What is counted of the images and labels of all splits."""
        return inspection.inspect(self.splits.by_name, self._classes)

    def notices(self, divisors: Iterable[float] = ()) -> list[str]:
        """Returns a line for everything that may be a mistake.

        Args:
          divisors: those of a sweep; the scale of the images is judged by them.
        """
        lines = [self.notice] if self.notice else []
        if self.targets == "as_given":
            return lines
        return lines + inspection.notices(self.findings, divisors)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The sha256 of the types, shapes and bytes of all arrays."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test, *(self.validation or ())):
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _take(part: Dataset, index: slice | np.ndarray) -> Dataset:
    return Dataset(*(array[index] for array in part))


def _checked(split: str, dataset: Any) -> Dataset:
    try:
        images, labels = dataset
    except (TypeError, ValueError):
        raise UserError(
            f"{split} must be a Dataset(images, labels), got {type(dataset).__name__}."
        ) from None
    images = image_array(f"{split} images", images)
    labels = label_array(f"{split} labels", labels)
    if len(images) != len(labels):
        raise UserError(
            f"{split} has {len(images):,} images, but {len(labels):,} labels."
        )
    return Dataset(images, labels)
