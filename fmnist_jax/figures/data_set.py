"""A data set as figures: samples, classes, pixels. Imports no jax."""

import numpy as np
from matplotlib.figure import Figure

from fmnist_jax.analysis.survey import class_names
from fmnist_jax.data.dataset import Data
from fmnist_jax.figures.plots import COLOURS, GUESSING

MOST_CLASSES = 20  # that are drawn
SAMPLES = 12  # of each class
GAP = 2  # pixels between samples


def _title(figure: Figure, data: Data, subject: str) -> None:
    train, test = len(data.train.labels), len(data.test.labels)
    figure.suptitle(
        f"{subject}\n{data.title}: {train:,} training and {test:,} test images",
        fontsize=12,
    )


def _pictures(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns images from ``low`` to ``high`` as RGB in 0…1, ``[N, H, W, 3]``."""
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    return (images - low) / ((high - low) or 1)


def samples(data: Data) -> Figure:
    """Draws the first training images of each class, a row each, with its name.

    Args:
      data: images ``[N, H, W]`` or ``[N, H, W, channels]``.
    """
    names = class_names(data)[:MOST_CLASSES]
    height, width = data.image_shape[:2]
    low, high = (float(edge(data.train.images)) for edge in (np.min, np.max))
    sheet = np.ones(
        (len(names) * (height + GAP) - GAP, SAMPLES * (width + GAP) - GAP, 3)
    )
    for row in range(len(names)):
        chosen = np.flatnonzero(data.train.labels == row)[:SAMPLES]
        top = row * (height + GAP)
        pictures = _pictures(data.train.images[chosen], low, high)
        for column, picture in enumerate(pictures):
            left = column * (width + GAP)
            sheet[top : top + height, left : left + width] = picture
    figure = Figure(figsize=(8, 1.2 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks(np.arange(len(names)) * (height + GAP) + (height - 1) / 2, names)
    axes.tick_params(length=0)
    cut = f" (the first {MOST_CLASSES} of {data.num_classes})"
    more = cut if data.num_classes > MOST_CLASSES else ""
    _title(figure, data, f"The first training images of each class{more}")
    return figure


def _edges(data: Data) -> np.ndarray:
    """Returns the edges of 32 bins; each holds 8 whole numbers where pixels are."""
    if data.train.images.dtype == data.test.images.dtype == np.uint8:
        return np.arange(0, 257, 8)
    low = min(float(part.images.min()) for part in (data.train, data.test))
    high = max(float(part.images.max()) for part in (data.train, data.test))
    return np.linspace(low, high if high > low else low + 1, 33)


def distributions(data: Data) -> Figure:
    """Draws what share each class has, and how the pixels are distributed."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    by_class, by_pixel = figure.subplots(1, 2)
    names, edges = class_names(data), _edges(data)
    parts = {"training": data.train, "test": data.test}
    for position, (split, (images, labels)) in enumerate(parts.items()):
        colour = COLOURS[position]
        share = np.bincount(labels, minlength=len(names)) / len(labels)
        at = np.arange(len(names)) + 0.4 * (position - 0.5)
        by_class.barh(at, 100 * share, 0.4, color=colour, label=split)
        counts, _ = np.histogram(images, edges)
        by_pixel.stairs(100 * counts / images.size, edges, color=colour)
    if len(names) <= MOST_CLASSES:
        by_class.set_yticks(range(len(names)), names)
    by_class.invert_yaxis()
    by_class.axvline(100 / len(names), **GUESSING, label="equal shares")
    by_class.set_xlabel("share of the split in %")
    by_class.set_title("Classes", fontsize=10)
    by_pixel.set_yscale("log")
    by_pixel.yaxis.set_major_formatter("{x:g}")
    by_pixel.set_xlabel("pixel value")
    by_pixel.set_ylabel("share of the pixels in % (log scale)")
    by_pixel.set_title("Pixels", fontsize=10)
    for axes in (by_class, by_pixel):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _title(figure, data, "Balanced? Scaled? Classes and pixels of both splits")
    return figure
