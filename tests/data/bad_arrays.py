"""Values that users pass as images and labels: right ones, and wrong in many ways.

A strategy gives a name, the values, and whether they are right.
"""

import datetime
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import scipy.sparse

COUNT, SHAPE = 6, (2, 3)  # of the examples, and of each


class Given(NamedTuple):
    """Values, and what they are as a plain array; None if they are wrong."""

    name: str
    values: Any
    expected: Any = None


def _images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (COUNT, *SHAPE))


def right_images(seed: int) -> list[Given]:
    """Images in the forms that are accepted."""
    images = _images(seed)
    floats = images / 4 - 20
    frozen = images.astype(np.uint8)
    frozen.flags.writeable = False
    return [
        *(Given(f"{d} images", images.astype(d), images) for d in "BHIQhilq"),
        *(Given(f"{d} images", floats.astype(d), floats) for d in "efdg"),
        Given("a list of arrays", list(images), images),
        Given("nested lists", images.tolist(), images),
        Given("tuples", tuple(map(tuple, images.tolist())), images),
        Given("a frozen array", frozen, images),
        Given("a Fortran array", np.asfortranarray(floats), floats),
        Given("big-endian numbers", images.astype(">i4"), images),
        Given("a reversed view", images[::-1, ::-1], images[::-1, ::-1]),
        Given("a broadcast view", np.broadcast_to(images[0], images.shape),
              np.broadcast_to(images[0], images.shape)),
    ]  # fmt: skip


def wrong_images(seed: int) -> list[Given]:
    """Images that mean nothing, or would lose their meaning."""
    rng, images = np.random.default_rng(seed), _images(seed)
    at = tuple(rng.integers(0, images.shape))
    ragged = images.tolist()
    ragged[at[0]] = ragged[at[0]][: int(rng.integers(0, SHAPE[0]))]
    special = images.astype(float)
    special[at] = rng.choice([np.nan, np.inf, -np.inf, 1e39, -1e300])
    holes: Any = images.astype(object)
    holes[at] = rng.choice(np.array([None, "", "?", "1,5", {}, b"x"], object))
    outside = images.copy()
    outside[at] = rng.choice([-1, 256, 65_535, -(2**31), 2**40])
    huge = images.tolist()
    huge[0][0][0] = int(rng.choice(np.array([10**20, 2**64, -(10**30)], object)))
    frame = pd.DataFrame(images.reshape(COUNT, -1)).astype("Int64")
    frame.iloc[at[0], 0] = pd.NA
    dates = images.astype("datetime64[s]")
    fields = np.zeros(COUNT, [("pixels", "u1", SHAPE)])
    return [
        Given("ragged lists", ragged),
        Given("not finite", special),
        Given("masked", np.ma.masked_equal(images, images[at])),
        Given("a list of masked", [np.ma.masked_less(image, 128) for image in images]),
        Given("sparse", scipy.sparse.csr_array(images.reshape(COUNT, -1))),
        Given("holes", holes),
        Given("lists with holes", holes.tolist()),
        Given("out of range", outside),
        Given("huge whole numbers", huge),
        Given("missing values of pandas", frame),
        Given("complex", images + 1j),
        Given("datetime", dates),
        Given("timedelta", images.astype("timedelta64[s]")),
        Given("strings", images.astype(str)),
        Given("bytes", images.astype("S")),
        Given("bool", images > 9),
        Given("fields", fields),
        Given("objects", images.astype(object)),
        Given("no example", images[:0]),
        Given("no pixel", images[:, :0]),
        Given("one axis", images[:, 0, 0]),
        Given("one number", images[at]),
        *(Given(type(v).__name__, v) for v in _NO_ARRAYS),
    ]  # fmt: skip


def _labels(seed: int) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 3, COUNT)
    labels[:2] = 0, 1
    return labels


def right_labels(seed: int) -> list[Given]:
    """Labels in forms that are always accepted."""
    labels = _labels(seed)
    return [
        *(
            Given(f"{dtype} labels", labels.astype(dtype), labels)
            for dtype in "BHIQhilq"
        ),
        Given("a list", labels.tolist(), labels),
        Given("a tuple", tuple(labels.tolist()), labels),
        Given("a view", np.repeat(labels, 2)[::2], labels),
        Given("a pandas series", pd.Series(labels), labels),
    ]


def wrong_labels(seed: int) -> list[Given]:
    """Labels that mean nothing, or would lose their meaning."""
    rng, labels = np.random.default_rng(seed), _labels(seed)
    at = int(rng.integers(COUNT))
    holes = labels.tolist()
    holes[at] = rng.choice(np.array([None, [1], {}, 1.5, np.nan], object))
    special = labels.astype(float)
    special[at] = rng.choice([0.5, np.nan, np.inf])
    days = labels.astype("datetime64[D]")
    return [
        Given("holes", holes),
        Given("not whole", special),
        Given("masked", np.ma.masked_equal(labels, labels[at])),
        Given("datetime", days),
        Given("timedelta", days - days[0]),
        Given("complex", labels + 1j),
        Given("an image each", np.zeros((COUNT, *SHAPE), int)),
        Given("too few", labels[:-1]),
        Given("too many", [*labels, 1]),
        Given("none", labels[:0]),
        Given("fields", np.zeros(COUNT, [("label", "i4")])),
        *(Given(type(v).__name__, v) for v in _NO_ARRAYS),
    ]  # fmt: skip


_NO_ARRAYS: list[Any] = [
    None, 3, 2.5, "images", b"images", {"a": [1]}, {1, 2}, object(), print, iter([1]),
    datetime.date(2020, 1, 1), [], [[]], (), [None] * COUNT, ["a"] * COUNT, np.float32,
    [{}] * COUNT, [b"x" * 9] * COUNT, np.nan, slice(3), range(0), ...,
    memoryview(b"ab"),
]  # fmt: skip

seeds = st.integers(0, 2**32 - 1)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[Given, Given]:
    """Images and labels, of which each is right half of the time."""
    seed, is_right = draw(seeds), draw(st.tuples(st.booleans(), st.booleans()))
    images = right_images(seed) if is_right[0] else wrong_images(seed)
    labels = right_labels(seed) if is_right[1] else wrong_labels(seed)
    return draw(st.sampled_from(images)), draw(st.sampled_from(labels))
