"""Data sets that TensorFlow Datasets (TFDS) has prepared on this machine.

The package tensorflow-datasets reads them without TensorFlow; only this module imports
it. A folder is located on disk first, so TFDS never prepares or downloads anything.
"""

import contextlib
import json
import logging
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import idx
from fmnist_jax.errors import UserError, reason

_NAME = re.compile(r"([a-z0-9_]+)(/[A-Za-z0-9][\w.+-]*)?(:\d+\.\d+\.\d+)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_BATCH = 1000
_FEATURES = "tensorflow_datasets.core.features."
_MAX_FEATURES_BYTES = 2**20


def find(root: Path, name: str) -> Path | None:
    """Returns the newest version of NAME[/CONFIG][:VERSION] in a TFDS directory."""
    base, _, version = name.partition(":")
    if not _NAME.fullmatch(name):
        return None
    for config in ("", "*/"):
        paths = (root / base).glob(f"{config}{version or '*'}/dataset_info.json")
        folders = [path.parent for path in paths if _VERSION.fullmatch(path.parts[-2])]
        configs = sorted({folder.parent.name for folder in folders})
        if len(configs) > 1:
            choices = ", ".join(f"{base}/{config}" for config in configs)
            raise UserError(f"Data set {base!r} is prepared as {choices}: choose one.")
        if folders:
            return max(folders, key=lambda path: [*map(int, path.name.split("."))])
    return None


def is_known(name: str) -> bool:
    """Returns whether TFDS has a data set of this name."""
    match = _NAME.fullmatch(name)
    return match is not None and match[1] in known_names()


def known_names() -> list[str]:
    """Returns the names of the data sets of TFDS, without a network request."""
    try:
        import tensorflow_datasets as tfds
    except Exception:  # not installed, or not working
        return []
    return list(tfds.list_builders(with_community_datasets=False))


def read(folder: Path) -> tuple[idx.Arrays, tuple[str, ...]]:
    """Reads images with one label each from the folder of a version.

    Returns the arrays in the order of TFDS, by the keys of ``idx.FILES``: images uint8
    ``[N, H, W]`` or ``[N, H, W, C]``, labels int64 ``[N]``; and the class names.
    """
    try:
        import tensorflow_datasets as tfds

        with _no_messages():
            _check_classes(folder)
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
            f"{folder} requires more packages ({reason(error)}): pip install "
            "tensorflow-datasets importlib_resources array_record pillow"
        ) from error
    except Exception as error:  # TFDS raises many types for a damaged folder
        raise UserError(
            f"{folder} cannot be read as a TFDS data set: "
            f"{type(error).__name__}: {reason(error)}"
        ) from error


@contextlib.contextmanager
def _no_messages() -> Iterator[None]:
    """Hides what TFDS logs of its work, with the logger of absl."""
    logger = logging.getLogger("absl")
    hide = logging.Filter("no logger")  # passes the messages of this logger only
    logger.addFilter(hide)
    try:
        yield
    finally:
        logger.removeFilter(hide)


def _check_classes(folder: Path) -> None:
    """Raises UserError for foreign classes: TFDS imports any module in the file."""
    path = Path(folder, "features.json")
    with open(path, "rb") as file:
        text = file.read(_MAX_FEATURES_BYTES + 1)
    if len(text) > _MAX_FEATURES_BYTES:
        raise UserError(f"{path} is larger than {_MAX_FEATURES_BYTES:,} bytes.")
    for name in _class_names(json.loads(text.decode())):
        if not name.startswith(_FEATURES):
            raise UserError(
                f"{path} uses the class {name!r}; only the features of TFDS itself "
                f"({_FEATURES}…) are supported."
            )


def _class_names(node: Any) -> Iterator[str]:
    """Yields the classes in a features.json, also from strings that contain JSON."""
    children: list[Any] = []
    if isinstance(node, str):
        with contextlib.suppress(ValueError):
            children = [json.loads(node)]
    elif isinstance(node, list):
        children = node
    elif isinstance(node, dict):
        children = list(node.values())
        # "type" is the key that TFDS used before protocol buffers.
        for key in ("pythonClassName", "python_class_name", "type"):
            if isinstance(node.get(key), str):
                yield node[key]
    for child in children:
        yield from _class_names(child)


def _check_features(tfds: Any, features: Any, folder: Path) -> None:
    fields = dict(features) if hasattr(features, "keys") else {}
    image, label = fields.get("image"), fields.get("label")
    if not (
        isinstance(image, tfds.features.Image)
        and isinstance(label, tfds.features.ClassLabel)
        and image.np_dtype == np.uint8
    ):
        raise UserError(
            f"{folder} is not a data set of uint8 images ('image') with one class each "
            "('label'), the only kind of TFDS data set that is supported."
        )


def _read_split(
    tfds: Any, builder: Any, split: str, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    splits, features = builder.info.splits, builder.info.features
    if split not in splits:
        raise UserError(
            f"{folder} has no split {split!r}, only {', '.join(splits) or 'none'}; "
            "train and test are required."
        )
    expected, count = splits[split].num_examples, 0
    images = labels = np.empty(0)
    for record in _records(tfds, builder, split, folder):
        example = features.deserialize_example_np(record)
        image = example["image"]
        if count == 0:
            size = expected * image.size
            if size > idx.MAX_BYTES:
                raise UserError(
                    f"{folder} specifies {expected:,} images of shape {image.shape}, "
                    f"{size:,} bytes; the limit is {idx.MAX_BYTES:,}."
                )
            images = np.empty((expected, *image.shape), np.uint8)
            labels = np.empty(expected, np.int64)
        if image.shape != images.shape[1:]:
            raise UserError(
                f"{folder} has images of several shapes, such as {images.shape[1:]} "
                f"and {image.shape}; all images must have one shape."
            )
        if count < expected:
            images[count], labels[count] = image, example["label"]
        count += 1
    if count != expected or not expected:
        raise UserError(
            f"{folder} is damaged: split {split!r} has {count:,} examples, but its "
            f"metadata specify {expected:,}."
        )
    return (images[..., 0] if images.shape[-1] == 1 else images), labels


def _records(tfds: Any, builder: Any, split: str, folder: Path) -> Iterator[bytes]:
    file_format = builder.info.file_format.value
    if file_format == "array_record":
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        for start in range(0, len(source), _BATCH):
            batch = range(start, min(start + _BATCH, len(source)))
            yield from source.__getitems__(list(batch))
    elif file_format == "tfrecord":
        for path in builder.info.splits[split].filepaths:
            yield from _tfrecords(Path(path))
    else:  # TFDS silently drops rows of parquet files
        raise UserError(
            f"{folder} has the format {file_format}, which is not supported; prepare "
            "it with --file_format=array_record or tfrecord."
        )


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: length, crc, data, crc each.

    The crc32c are ignored, as they would require another library. PNG and JPEG have
    their own checksums, and the official data sets are checked by sha256.
    """
    remaining = path.stat().st_size
    with open(path, "rb") as file:
        while remaining:
            head = file.read(12)
            size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else remaining
            remaining -= 16 + size
            if remaining < 0:
                raise UserError(f"{path} is truncated or damaged.")
            yield file.read(size)
            file.read(4)
