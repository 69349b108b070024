"""Data sets that TensorFlow Datasets (TFDS) has prepared on this machine.

They are read through tensorflow-datasets, which is imported only here, and without
TensorFlow. Nothing is ever prepared or downloaded: the folder is found on disk first.
"""

import contextlib
import json
import logging
import math
import re
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import idx
from fmnist_jax.errors import UserError, reason

_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9][\w.+-]*)?(:\d+\.\d+\.\d+)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_BATCH = 1000
_FEATURES = "tensorflow_datasets.core.features."
_MAX_FEATURES_BYTES = 2**20


def find(root: Path, name: str) -> Path | None:
    """The newest prepared version of a data set below a TFDS directory.

    Args:
        root: a TFDS directory, such as ~/tensorflow_datasets.
        name: NAME, NAME/CONFIG, either with :VERSION.

    Raises:
        UserError: several configurations are there and none was named.
    """
    base, _, version = name.partition(":")
    if not _NAME.fullmatch(name):
        return None
    for pattern in ("*/dataset_info.json", "*/*/dataset_info.json"):
        folders = [
            path.parent
            for path in (root / base).glob(pattern)
            if _VERSION.fullmatch(path.parent.name)
            and version in ("", path.parent.name)
        ]
        configs = sorted({folder.parent.name for folder in folders})
        if len(configs) > 1:
            choices = ", ".join(f"{base}/{config}" for config in configs)
            raise UserError(f"Data set {base!r} is prepared as {choices}: name one.")
        if folders:
            return max(folders, key=lambda folder: _numbers(folder.name))
    return None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def known(name: str) -> bool:
    """Whether TFDS knows a data set of this name."""
    return bool(_NAME.fullmatch(name)) and re.split("[/:]", name)[0] in known_names()


def known_names() -> list[str]:
    """The names of the data sets that TFDS knows, without asking the network."""
    try:
        import tensorflow_datasets as tfds
    except Exception:  # not installed, or not working: no names then
        return []
    return list(tfds.list_builders(with_community_datasets=False))


def how_to_prepare(name: str, root: Path | None) -> str:
    """The command that prepares a data set, where it will be found."""
    where = f" --data_dir={shlex.quote(str(root))}" if root else ""
    return f"tfds build {name}{where}"


def read(folder: Path) -> tuple[idx.Arrays, tuple[str, ...]]:
    """Reads a prepared set of images with one label each.

    Args:
        folder: the one with its dataset_info.json.

    Returns:
        The arrays, in the order of TFDS, by the keys of `idx.FILES`: images uint8
        [N, H, W] or [N, H, W, C], labels int64 [N]; and the names of the classes.

    Raises:
        UserError: it is no such set, or cannot be read.
    """
    try:
        import tensorflow_datasets as tfds

        _check_classes(folder)
        with _quiet():
            builder = tfds.builder_from_directory(str(folder))
            _check_features(tfds, builder.info.features, folder)
            arrays: idx.Arrays = {}
            for split in ("train", "test"):
                images, labels = _read_split(tfds, builder, split, folder)
                arrays |= {f"{split}_images": images, f"{split}_labels": labels}
            return arrays, tuple(builder.info.features["label"].names or ())
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{folder} needs more packages to be read ({reason(error)}): pip "
            "install tensorflow-datasets importlib_resources array_record pillow"
        ) from error
    except Exception as error:  # whatever foreign code makes of a damaged folder
        raise UserError(
            f"{folder} cannot be read as a TFDS data set: "
            f"{type(error).__name__}: {reason(error)}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # TFDS logs through absl's logger, which exists once TFDS is imported.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_classes(folder: Path) -> None:
    """Refuses classes that are not TFDS' own: it imports whatever module is named."""
    path = Path(folder, "features.json")
    with open(path, "rb") as file:
        text = file.read(_MAX_FEATURES_BYTES + 1)
    if len(text) > _MAX_FEATURES_BYTES:
        raise UserError(
            f"{path} is larger than {_MAX_FEATURES_BYTES:,} bytes; it is not read."
        )
    for name in _class_names(json.loads(text.decode())):
        if not name.startswith(_FEATURES):
            raise UserError(
                f"{path} names the class {name!r}; only sets of TFDS' own features "
                f"({_FEATURES}…) are read."
            )


def _class_names(node: Any) -> Iterator[str]:
    """The classes that a features.json names, in texts that are JSON themselves too."""
    if isinstance(node, str):
        with contextlib.suppress(ValueError):
            yield from _class_names(json.loads(node))
    elif isinstance(node, list):
        for each in node:
            yield from _class_names(each)
    elif isinstance(node, dict):
        for key, each in node.items():
            # The last: as TFDS wrote it before it had protocol buffers.
            if key in ("pythonClassName", "python_class_name", "type"):
                yield from [each] if isinstance(each, str) else []
            yield from _class_names(each)


def _check_features(tfds: Any, features: Any, folder: Path) -> None:
    image, label = (
        features[key] if hasattr(features, "keys") and key in features else None
        for key in ("image", "label")
    )
    if not (
        isinstance(image, tfds.features.Image)
        and isinstance(label, tfds.features.ClassLabel)
        and image.np_dtype == np.uint8
    ):
        raise UserError(
            f"{folder} is not a set of uint8 images ('image') with one class each "
            "('label'); only such TFDS sets can be used."
        )


def _read_split(
    tfds: Any, builder: Any, split: str, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    splits = builder.info.splits
    if split not in splits:
        raise UserError(
            f"{folder} has no split {split!r}, only {', '.join(splits) or 'none'}; "
            "train and test are needed."
        )
    count, features = splits[split].num_examples, builder.info.features
    images = labels = np.empty(0)
    read = 0
    for record in _records(tfds, builder, split, folder):
        example = features.deserialize_example_np(record)
        image = example["image"]
        if read == 0:
            images = _allocate(count, image.shape, folder)
            labels = np.empty(count, np.int64)
        if image.shape != images.shape[1:]:
            raise UserError(
                f"{folder} has images of several shapes, such as "
                f"{images.shape[1:]} and {image.shape}; all must have one."
            )
        if read < count:
            images[read], labels[read] = image, example["label"]
        read += 1
    if read != count or not count:
        raise UserError(
            f"{folder} is damaged: split {split!r} has {read:,} examples, not the "
            f"{count:,} that it says."
        )
    return (images[..., 0] if images.shape[-1] == 1 else images), labels


def _allocate(count: int, shape: tuple[int, ...], folder: Path) -> np.ndarray:
    size = count * math.prod(shape)
    if size > idx.MAX_BYTES:
        raise UserError(
            f"{folder} claims {count:,} images of shape {shape}, {size:,} bytes; at "
            f"most {idx.MAX_BYTES:,} are read."
        )
    return np.empty((count, *shape), np.uint8)


def _records(tfds: Any, builder: Any, split: str, folder: Path) -> Iterator[bytes]:
    format_ = builder.info.file_format.value
    if format_ == "array_record":
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        for start in range(0, len(source), _BATCH):
            batch = range(start, min(start + _BATCH, len(source)))
            yield from source.__getitems__(list(batch))
    elif format_ == "tfrecord":
        for path in builder.info.splits[split].filepaths:
            yield from _tfrecords(Path(path))
    else:
        # parquet, for one, loses rows without a word.
        raise UserError(
            f"{folder} is in the format {format_}, which cannot be read; prepare it "
            "with --file_format=array_record or tfrecord."
        )


def _tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its crc, data, its crc.

    The crcs (crc32c) are not computed, which would need one more library; PNG and
    JPEG have their own, and the official sets are checked by sha256.
    """
    left = path.stat().st_size
    with open(path, "rb") as file:
        while left:
            head = file.read(12)
            size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else left
            left -= 16 + size
            if left < 0:
                raise UserError(f"{path} is truncated or damaged.")
            yield file.read(size)
            file.read(4)


def official_order(arrays: idx.Arrays) -> idx.Arrays:
    """Puts a set whose keys are 0, 1, 2, … back from the order of TFDS.

    TFDS sorts examples by a hash of their key, salted with the split's name; MNIST's
    and Fashion-MNIST's keys are their positions in the official files.
    """
    from tensorflow_datasets.core import hashing

    restored = {}
    for split in ("train", "test"):
        hasher = hashing.Hasher(split)
        count = len(arrays[f"{split}_labels"])
        order = sorted(range(count), key=hasher.hash_key)
        for role in (f"{split}_images", f"{split}_labels"):
            restored[role] = np.empty(arrays[role].shape, np.uint8)
            restored[role][order] = arrays[role]
    return restored
