"""A data set as figures: samples, classes, values of the inputs. No jax."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from fmnist_jax.analysis import survey
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import nouns, shortened
from fmnist_jax.figures import style

MAX_CLASSES = 20  # that are drawn or named
SAMPLES = 12  # of each class
GAP = 2  # pixels between samples
INCHES_PER_CHARACTER = 0.08  # of the class names
MAX_ASPECT = 4  # of the sides of an image that is drawn as one


def _title(figure: Figure, data: Data, subject: str) -> None:
    counts = {name: len(part.labels) for name, part in survey.splits(data).items()}
    sizes = survey.sizes(counts, nouns(data.image_shape).example)
    figure.suptitle(f"{subject}\n{data.title}: {sizes}", fontsize=12)


def _names(data: Data) -> list[str]:
    """Returns the names of the first classes, shortened."""
    return [shortened(name) for name in data.findings.class_names[:MAX_CLASSES]]


def is_picture(shape: Sequence[int]) -> bool:
    """Whether an image is drawn as one: ``[H, W]`` or ``[H, W, channels]``.

    Tables, sequences and other arrays are not: ``[D]``, and long strips.
    """
    if len(shape) not in (2, 3):
        return False
    height, width = shape[:2]
    return max(height, width) <= MAX_ASPECT * min(height, width)


def _as_rgb(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns images from ``low`` to ``high`` as RGB in 0…1, ``[N, H, W, 3]``."""
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    return (images - low) / ((high - low) or 1)


def samples(data: Data) -> Figure:
    """Draws the first training examples of each class, next to the class name.

    Pictures are drawn in a row. Of other arrays, each is a row: its values by position,
    each position from its minimum to its maximum over the examples drawn.
    """
    names = _names(data)
    images, labels = data.train
    chosen = [np.flatnonzero(labels == i)[:SAMPLES] for i in range(len(names))]
    is_sheet = is_picture(data.image_shape)
    height = data.image_shape[0] if is_sheet else SAMPLES
    shown = _sheet(images, chosen) if is_sheet else _rows(images, chosen)
    inches = 8 - INCHES_PER_CHARACTER * max(map(len, names))  # of the pictures
    inches *= shown.shape[0] / shown.shape[1] if is_sheet else len(names) / 12
    figure = Figure(figsize=(8, 1.2 + inches), layout="compressed")
    axes = figure.subplots()
    axes.imshow(shown, cmap="viridis", interpolation="nearest")
    if is_sheet:
        axes.set_xticks([])
    else:
        axes.set_aspect("auto")
        axes.set_xlabel("position in the example; colours: its minimum to its maximum")
    axes.spines[:].set_visible(False)
    axes.set_yticks(np.arange(len(names)) * (height + GAP) + (height - 1) / 2, names)
    axes.tick_params(length=0)
    is_cut = data.num_classes > MAX_CLASSES
    truncation = f" (the first {MAX_CLASSES} of {data.num_classes})" if is_cut else ""
    _title(figure, data, f"The first training examples of each class{truncation}")
    return figure


def _sheet(images: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """Returns pictures side by side, a row for each class, as RGB ``[H, W, 3]``."""
    height, width = images.shape[1:3]
    low, high = float(images.min()), float(images.max())
    tiles = np.ones((len(chosen), height + GAP, SAMPLES, width + GAP, 3))
    for row, index in enumerate(chosen):
        rgb = _as_rgb(images[index], low, high)
        tiles[row, :height, : len(index), :width] = rgb.transpose(1, 0, 2, 3)
    sheet = tiles.reshape(len(chosen) * (height + GAP), SAMPLES * (width + GAP), 3)
    return sheet[:-GAP, :-GAP]


def _rows(images: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """Returns examples below each other, each position in 0…1; NaN for gaps."""
    rows = np.full((len(chosen), SAMPLES + GAP, images[0].size), np.nan)
    for row, index in enumerate(chosen):
        rows[row, : len(index)] = images[index].reshape(len(index), -1)
    rows = rows.reshape(-1, rows.shape[-1])[:-GAP]
    low, high = np.fmin.reduce(rows), np.fmax.reduce(rows)
    return (rows - low) / np.where(high > low, high - low, 1)


def _edges(splits: Iterable[Dataset]) -> np.ndarray:
    """Returns the edges of 32 bins, of 8 whole numbers each if the values are uint8."""
    arrays = [images for images, _ in splits]
    if all(images.dtype == np.uint8 for images in arrays):
        return np.arange(0, 257, 8)
    low = min(float(images.min()) for images in arrays)
    high = max(float(images.max()) for images in arrays)
    return np.linspace(low, high if high > low else low + 1, 33)


def distributions(data: Data) -> Figure:
    """Draws the share of each class, and the distribution of the inputs."""
    splits, names = survey.splits(data), _names(data)
    size = max(4.4, 1.6 + 0.28 * len(names))
    is_image = len(data.image_shape) > 1
    noun = "pixel" if is_image else "value"
    figure, ((by_class, by_value),) = style.grid_of_panels(1, 2, (9, size))
    edges, count = _edges(splits.values()), data.num_classes
    bar = 0.8 / len(splits)
    for position, (split, (images, _)) in enumerate(splits.items()):
        colour, title = style.COLOURS[position], survey.TITLES[split]
        counts = data.findings.counts[split]
        heights = np.arange(count) + bar * (position - (len(splits) - 1) / 2)
        shares = 100 * counts / counts.sum()
        by_class.barh(heights, shares, bar, color=colour, label=title)
        values, _ = np.histogram(images, edges)
        by_value.stairs(100 * values / images.size, edges, color=colour)
    if count <= MAX_CLASSES:
        by_class.set_yticks(range(count), names)
    else:
        by_class.set_ylabel("number of the class")
    by_class.invert_yaxis()
    by_class.axvline(100 / count, **style.BASELINE, label="equal shares")
    by_class.set_xlabel("share of the split in %")
    by_class.set_title("Classes", fontsize=10)
    by_value.set(yscale="log", xlabel="pixel value" if is_image else "value")
    by_value.set_ylabel(f"share of the {noun}s in % (log scale)")
    by_value.yaxis.set_major_formatter("{x:g}")
    by_value.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    by_value.set_title("Pixels" if is_image else "Values of all columns", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    _title(figure, data, f"Classes and {noun}s of the splits: balanced and scaled?")
    return figure
