"""Images in PNG and JPEG files, in folders by class or in tables. Imports Pillow."""

import io
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_jax.data import limits
from fmnist_jax.data.splits import SPLITS, Pairs
from fmnist_jax.errors import UserError

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


def find(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Returns the images ``SPLIT/CLASS/*`` or ``CLASS/*`` of each split, by class.

    The split is 'all' if the folders are classes. The dict is empty without images. Two
    folders of one split, such as train and training, are refused.
    """
    by_word = {word: split for split, words in SPLITS.items() for word in words}
    splits: dict[str, dict[str, list[Path]]] = {}
    names: dict[str, str] = {}
    for path in sorted(filter(Path.is_dir, folder.iterdir())):
        split = by_word.get(path.name.lower())
        if split and (classes := _classes(path)):
            if split in splits:
                raise UserError(
                    f"{folder} has {names[split]} and {path.name}, which are both the "
                    f"{split} set; leave one out."
                )
            splits[split], names[split] = classes, path.name
    if not splits and (alone := _classes(folder)):
        splits["all"] = alone
    return splits


def read(folder: Path, splits: Mapping[str, Mapping[str, list[Path]]]) -> Pairs:
    """Reads the images that ``find`` found in a folder; the labels are the classes.

    All splits must have the same classes.
    """
    first, others = next(iter(splits.items()))
    for split, classes in splits.items():
        for missing in classes.keys() ^ others.keys():
            without = split if missing in others else first
            raise UserError(
                f"{folder} has no images of the class {missing!r} in the {without} "
                "set; all splits must have the same classes."
            )
    pairs = {}
    for split, classes in splits.items():
        paths = [path for files in classes.values() for path in files]
        labels = np.repeat([*classes], [len(files) for files in classes.values()])
        count = len(paths)
        pixels = ((str(path), decode(str(path), path, count)) for path in paths)
        pairs[split] = stack(count, pixels), labels
    return pairs


def stack(count: int, arrays: Iterable[tuple[str, np.ndarray]]) -> np.ndarray:
    """Returns ``count`` images, each given with a name, as one array of uint8.

    All must have the shape of the first one, and there must be ``count`` of them.
    """
    from PIL import Image

    images, first, number = np.empty(0, np.uint8), "", 0
    with warnings.catch_warnings():
        # Pillow warns of images of more than 90 million pixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for number, (name, pixels) in enumerate(arrays, 1):
            if not first:
                limits.check(name, count * pixels.nbytes)
                first, images = name, np.empty((count, *pixels.shape), np.uint8)
            if pixels.shape != images.shape[1:]:
                shapes = [images.shape[1:], pixels.shape]
                texts = [" x ".join(map(str, shape)) for shape in shapes]
                raise UserError(
                    f"{first} is {texts[0]}, but {name} is {texts[1]}; all images must "
                    "have one size (height x width, and x 3 for colours)."
                )
            images[number - 1 : number] = pixels  # no element if there are too many
    if number != count:
        raise ValueError(f"{count:,} images are specified, but {number:,} follow")
    images.flags.writeable = False
    return images


def decode(name: str, content: Path | bytes, count: int) -> np.ndarray:
    """Returns a PNG or JPEG image as uint8 ``[H, W]`` (grey) or ``[H, W, 3]``.

    An image that is damaged, has 16 bits or is transparent is refused. So are ``count``
    images that are too large by the size in the header, before it is decoded.
    """
    from PIL import Image

    file = content if isinstance(content, Path) else io.BytesIO(content)
    with (
        limits.explaining(name),
        Image.open(file, formats=("PNG", "JPEG")) as image,
    ):
        channels = 1 if image.mode in ("1", "L", "LA") else 3
        limits.check(name, count * image.height * image.width * channels)
        return _pixels(image)


def _pixels(image: Any) -> np.ndarray:
    """Returns an opened image as uint8 ``[H, W]`` or ``[H, W, 3]``."""
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise ValueError(f"its mode is {image.mode}; expected 8 bits, grey or RGB")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        image = image.convert(f"{mode}A")
        if image.getchannel("A").getextrema()[0] < 255:
            raise ValueError("it is transparent; save it without an alpha channel")
    return np.asarray(image if image.mode == mode else image.convert(mode))
