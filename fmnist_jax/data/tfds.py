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

from fmnist_jax.data import limits
from fmnist_jax.data.images import stack
from fmnist_jax.data.splits import Contents
from fmnist_jax.errors import UserError, reason

_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9][\w.+-]*)?(:\d+\.\d+\.\d+)?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_BATCH = 1000
_FEATURES = "tensorflow_datasets.core.features."
_MAX_FEATURES_BYTES = 2**20


def find(root: Path, name: str) -> Path | None:
    """Returns the newest version of NAME[/CONFIG][:VERSION] in a TFDS directory."""
    base, _, version = name.partition(":")
    return newest(root / base, version or "*") if _NAME.fullmatch(name) else None


def newest(folder: Path, version: str = "*") -> Path | None:
    """Returns the newest version in a folder NAME or NAME/CONFIG; None if it has none.

    A folder that is a version is returned as it is.
    """
    if (folder / "dataset_info.json").is_file():
        return folder
    for config in ("", "*/"):
        paths = folder.glob(f"{config}{version}/dataset_info.json")
        folders = [path.parent for path in paths if _VERSION.fullmatch(path.parts[-2])]
        configs = sorted({path.parent.name for path in folders})
        if len(configs) > 1:
            choices = ", ".join(f"{folder.name}/{config}" for config in configs)
            raise UserError(
                f"Data set {folder.name!r} is prepared as {choices}: choose one."
            )
        if folders:
            return max(folders, key=lambda path: [*map(int, path.name.split("."))])
    return None


def known_names() -> list[str]:
    """Returns the names of the data sets of TFDS, without a network request."""
    try:
        import tensorflow_datasets as tfds
    except Exception:  # not installed, or not working
        return []
    return list(tfds.list_builders(with_community_datasets=False))


def read(folder: Path) -> Contents:
    """Reads images with one label each from the folder of a version.

    The arrays are in the order of TFDS: images uint8 ``[N, H, W]`` or ``[N, H, W, C]``,
    labels int64 ``[N]``.
    """
    source = f"TFDS directory {folder}"
    with limits.explaining(source), _no_messages():
        try:
            import tensorflow_datasets as tfds

            _check_classes(folder)
            builder = tfds.builder_from_directory(str(folder))
            features = builder.info.features
            _check_features(tfds, features, folder)
            splits = ("train", "test")
            pairs = {
                split: _read_split(tfds, builder, split, folder) for split in splits
            }
        except ImportError as error:
            raise UserError(
                f"{folder} requires more packages ({reason(error)}): pip install "
                "tensorflow-datasets importlib_resources array_record pillow"
            ) from error
    return Contents(pairs, source, tuple(features["label"].names or ()))


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

    def check(node: dict[str, Any]) -> None:
        for key, value in node.items():
            if not isinstance(value, str):
                continue
            # "type" is the key that TFDS used before protocol buffers.
            is_class = key in ("pythonClassName", "python_class_name", "type")
            if is_class and not value.startswith(_FEATURES):
                raise UserError(
                    f"{path} uses the class {value!r}; only the features of TFDS "
                    f"itself ({_FEATURES}…) are supported."
                )
            with contextlib.suppress(json.JSONDecodeError):  # a string with JSON in it
                json.loads(value, object_hook=check)

    json.loads(text.decode(), object_hook=check)


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
    labels = []

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for number, record in enumerate(_records(tfds, builder, split, folder), 1):
            example = features.deserialize_example_np(record)
            labels.append(example["label"])
            image = example["image"]
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            yield f"{split} image {number} of {folder}", pixels

    return stack(splits[split].num_examples, images()), np.array(labels, np.int64)


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
