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


def class_folders(folder: Path) -> dict[str, Path]:
    """Returns the visible subfolders that contain an image, sorted by their names."""
    subfolders = sorted(p for p in folder.iterdir() if is_visible(p) and p.is_dir())
    return {p.name: p for p in subfolders if any(map(is_image, p.iterdir()))}


def read_folders(folders: dict[str, Path]) -> Pairs:
    """Reads images ``SPLIT/CLASS/*``, with the names of their folders as labels.

    Args:
      folders: of each split; 'all' if there is one only.

    Raises:
      UserError: if a split lacks a class of another one, or an image is damaged or has
        another size than the first one.
    """
    files = {}
    for split, folder in folders.items():
        files[split] = {
            name: sorted(p for p in path.iterdir() if is_visible(p) and is_image(p))
            for name, path in class_folders(folder).items()
        }
    first = next(iter(files))
    for split, classes in files.items():
        for missing in classes.keys() ^ files[first].keys():
            without = split if missing in files[first] else first
            raise UserError(
                f"{folders[without]} has no images of the class {missing!r}; all "
                "splits must have the same classes."
            )
    pairs = {}
    for split, classes in files.items():
        paths = [(str(path), path) for group in classes.values() for path in group]
        names = [name for name, group in classes.items() for _ in group]
        pairs[split] = stack(len(paths), paths), np.array(names)
    return pairs


def split_folders(folder: Path) -> dict[str, Path]:
    """Returns the folders of splits with classes in a folder, 'all' for itself."""
    subfolders = {path.name.lower(): path for path in folder.iterdir()}
    folders = {
        split: subfolders[word]
        for split, words in SPLITS.items()
        for word in words
        if word in subfolders and class_folders(subfolders[word])
    }
    if folders:
        return folders
    return {"all": folder} if class_folders(folder) else {}


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
