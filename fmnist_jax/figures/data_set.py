"""A data set as figures: sample images, classes, pixels. No jax."""

import numpy as np
from matplotlib.figure import Figure

from fmnist_jax.analysis.survey import class_names
from fmnist_jax.data.dataset import Data
from fmnist_jax.figures import style

MAX_CLASSES = 20  # that are drawn or named
SAMPLES = 12  # of each class
GAP = 2  # pixels between samples


def _title(figure: Figure, data: Data, subject: str) -> None:
    train, test = len(data.train.labels), len(data.test.labels)
    counts = f"{data.title}: {train:,} training and {test:,} test images"
    figure.suptitle(f"{subject}\n{counts}", fontsize=12)


def _as_rgb(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns images from ``low`` to ``high`` as RGB in 0…1, ``[N, H, W, 3]``."""
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    return (images - low) / ((high - low) or 1)


def samples(data: Data) -> Figure:
    """Draws the first training images of each class, in a row with the class name.

    Images are ``[N, H, W]`` or ``[N, H, W, channels]``.
    """
    names = class_names(data)[:MAX_CLASSES]
    height, width = data.image_shape[:2]
    images, labels = data.train
    low, high = float(images.min()), float(images.max())
    tiles = np.ones((len(names), height + GAP, SAMPLES, width + GAP, 3))
    for row in range(len(names)):
        first = images[np.flatnonzero(labels == row)[:SAMPLES]]
        rgb = _as_rgb(first, low, high)
        tiles[row, :height, : len(first), :width] = rgb.transpose(1, 0, 2, 3)
    sheet = tiles.reshape(len(names) * (height + GAP), SAMPLES * (width + GAP), 3)
    figure = Figure(figsize=(8, 1.2 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet[:-GAP, :-GAP], interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks(np.arange(len(names)) * (height + GAP) + (height - 1) / 2, names)
    axes.tick_params(length=0)
    truncation = f" (the first {MAX_CLASSES} of {data.num_classes})"
    truncation = truncation if data.num_classes > MAX_CLASSES else ""
    _title(figure, data, f"The first training images of each class{truncation}")
    return figure


def _edges(data: Data) -> np.ndarray:
    """Returns the edges of 32 bins, of 8 whole numbers each if the pixels are uint8."""
    splits = [data.train.images, data.test.images]
    if all(images.dtype == np.uint8 for images in splits):
        return np.arange(0, 257, 8)
    low = min(float(images.min()) for images in splits)
    high = max(float(images.max()) for images in splits)
    return np.linspace(low, high if high > low else low + 1, 33)


def distributions(data: Data) -> Figure:
    """Draws the share of each class, and the distribution of the pixels."""
    figure, ((by_class, by_pixel),) = style.grid_of_panels(1, 2)
    names, edges = class_names(data), _edges(data)
    splits = {"training": data.train, "test": data.test}
    for position, (split, (images, labels)) in enumerate(splits.items()):
        colour = style.COLOURS[position]
        shares = 100 * np.bincount(labels, minlength=len(names)) / len(labels)
        heights = np.arange(len(names)) + 0.4 * (position - 0.5)
        by_class.barh(heights, shares, 0.4, color=colour, label=split)
        counts, _ = np.histogram(images, edges)
        by_pixel.stairs(100 * counts / images.size, edges, color=colour)
    if len(names) <= MAX_CLASSES:
        by_class.set_yticks(range(len(names)), names)
    by_class.invert_yaxis()
    by_class.axvline(100 / len(names), **style.BASELINE, label="equal shares")
    by_class.set_xlabel("share of the split in %")
    by_class.set_title("Classes", fontsize=10)
    by_pixel.set(yscale="log", xlabel="pixel value")
    by_pixel.set_ylabel("share of the pixels in % (log scale)")
    by_pixel.yaxis.set_major_formatter("{x:g}")
    by_pixel.set_title("Pixels", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _title(figure, data, "Classes and pixels of both splits: balanced and scaled?")
    return figure
