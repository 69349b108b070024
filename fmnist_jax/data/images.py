"""Images in PNG and JPEG files, in folders by class or in tables. Imports Pillow."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.npy import Pairs
from fmnist_jax.data.splits import SPLITS
from fmnist_jax.errors import UserError, reason

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # of PNG and JPEG


def is_visible(path: Path) -> bool:
    """Whether a file or folder is one of the user's, not of the operating system."""
    return not path.name.startswith((".", "__")) and path.name != "Thumbs.db"


def is_image(path: Path) -> bool:
    """Whether a file is an image, or its name says so."""
    if path.suffix.lower() in _SUFFIXES or not path.is_file():
        return path.is_file()
    with open(path, "rb") as file:
        return file.read(8).startswith(_STARTS)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Returns the images in the visible subfolders of a folder, by their names."""
    subfolders = [p for p in sorted(folder.iterdir()) if is_visible(p) and p.is_dir()]
    images = {}
    for path in subfolders:
        entries = [p for p in sorted(path.iterdir()) if is_visible(p)]
        if files := [p for p in entries if is_image(p)]:
            images[path.name] = files
            if inner := [p for p in entries if p.is_dir()]:
                raise UserError(
                    f"{path} has images, and a folder {inner[0].name} beside them; a "
                    "class is one folder of images."
                )
    return images


def _splits(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Returns the images of each split by class; of 'all' if the folders are classes.

    Raises:
      UserError: if two folders are one split, such as train and training.
    """
    subfolders = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    splits: dict[str, dict[str, list[Path]]] = {}
    for split, words in SPLITS.items():
        present = [word for word in words if word in subfolders]
        contents = {word: _classes(subfolders[word]) for word in present}
        contents = {word: classes for word, classes in contents.items() if classes}
        if len(contents) > 1:
            raise UserError(
                f"{folder} has {' and '.join(contents)}, which are both the {split} "
                "set; leave one out."
            )
        for classes in contents.values():
            splits[split] = classes
    if not splits and (alone := _classes(folder)):
        splits["all"] = alone
    return splits


def has_folders(folder: Path) -> bool:
    """Whether a folder has images by class, which ``read_folders`` reads."""
    return bool(_splits(folder))


def read_folders(folder: Path) -> Pairs:
    """Reads images ``SPLIT/CLASS/*`` or ``CLASS/*``, with the classes as labels.

    Returns:
      Images and labels of each split, 'all' if there is one; nothing if there are no
      images in such folders.

    Raises:
      UserError: if a split lacks a class of another one, or an image is damaged or has
        another size than the first one.
    """
    splits = _splits(folder)
    for split, classes in splits.items():
        first, others = next(iter(splits.items()))
        for missing in classes.keys() ^ others.keys():
            without = split if missing in others else first
            raise UserError(
                f"{folder} has no images of the class {missing!r} in the {without} "
                "set; all splits must have the same classes."
            )
    pairs = {}
    for split, classes in splits.items():
        paths = [(str(path), path) for files in classes.values() for path in files]
        labels = np.repeat([*classes], [len(files) for files in classes.values()])
        pairs[split] = stack(len(paths), paths), labels
    return pairs


def stack(count: int, files: Iterable[tuple[str, Path | bytes]]) -> np.ndarray:
    """Returns images as one array, uint8 ``[N, H, W]`` (grey) or ``[N, H, W, 3]``.

    The size in the header of an image is checked before it is decoded.

    Args:
      count: the number of images.
      files: the name and the path or the bytes of each.

    Raises:
      UserError: if an image is damaged, has another size than the first one, has 16
        bits or is transparent.
    """
    from PIL import Image

    images, first, position = np.empty(0, np.uint8), "", -1
    with warnings.catch_warnings():
        # Pillow warns of images of more than 90 million pixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for position, (name, content) in enumerate(files):
            pixels = _decode(name, content, count)
            if not first:
                first, images = name, np.empty((count, *pixels.shape), np.uint8)
            if pixels.shape != images.shape[1:]:
                shapes = [images.shape[1:], pixels.shape]
                texts = [" x ".join(map(str, shape)) for shape in shapes]
                raise UserError(
                    f"{first} is {texts[0]}, but {name} is {texts[1]}; all images must "
                    "have one size (height x width, and x 3 for colours)."
                )
            images[position] = pixels
    if position + 1 != count:
        raise UserError(f"{count:,} images are specified, but {position + 1:,} follow.")
    images.flags.writeable = False
    return images


def _decode(name: str, content: Path | bytes, count: int) -> np.ndarray:
    """Returns an image; refuses it if ``count`` of its size are over the limit."""
    from PIL import Image

    file = content if isinstance(content, Path) else io.BytesIO(content)
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:
            channels = 1 if image.mode in ("1", "L", "LA") else 3
            limits.check(name, count * image.height * image.width * channels)
            return _pixels(image)
    except UserError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise UserError(f"{name} cannot be read: {reason(error)}.") from error


def _pixels(image: Any) -> np.ndarray:
    """Returns an opened image as uint8 ``[H, W]`` or ``[H, W, 3]``."""
    if image.mode == "P" or "transparency" in image.info:
        has_colours = image.mode not in ("1", "L")
        is_opaque = "transparency" not in image.info
        image = image.convert(("RGB" if has_colours else "L") + "A" * (not is_opaque))
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema()[0] < 255:
            raise ValueError("it is transparent; save it without an alpha channel")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"its mode is {image.mode}; expected 8 bits, grey or RGB")
    return np.asarray(image)
