"""A synthetic data set, generated when Fashion-MNIST is not available.

Every image is a pure function of (seed, split, index): a hash supplies random numbers,
and integer arithmetic draws the garment. Floating point and ``np.random`` are avoided,
because neither guarantees the same bytes on every platform and in every NumPy release,
which reproducible measurements require.

Lengths are in sixteenths of a pixel from the centre of the image, y downwards;
fractions are in 128ths.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]
Edge = tuple[Ints, Ints]
Split = tuple[NDArray[np.uint8], Ints]

_SIDE = 28
_CHUNK = 2_000  # examples drawn at once; the arrays fit into the CPU cache
_CENTRES = np.arange(_SIDE, dtype=np.int32) * 16 + 8 - _SIDE * 8

# Each row holds the traits of one class; the function that draws the class names them.
# Similar classes use the same function, so interpolating two rows gives a garment
# between two classes. Similar classes differ only in small features (a collar, a button
# line, a strap), compared to the variation within a class, mainly shifts and mirror
# images. If classes were easy to separate, all input scalings would perform alike.
_TRAITS = np.array(
    [
        [196, 58, 44, 122, 108, 108, 130, 196, 66, 0, 0, 0, -40],  # T-shirt/top
        [210, 70, 0, 92, 98, 110, 0, 60, 30, 0, 0, 200, -200],  # Trouser
        [192, 52, 34, 121, 107, 108, 330, 200, 56, 8, 0, 0, -40],  # Pullover
        [212, 54, 50, 88, 76, 118, 70, 116, 44, 0, 0, 0, -60],  # Dress
        [196, 50, 38, 121, 107, 112, 330, 198, 56, 30, 56, 0, -40],  # Coat
        [58, 6, 140, 110, 44, 30, 36, 200, 120, 0, 0, 0, 0],  # Sandal
        [194, 54, 38, 120, 106, 106, 240, 196, 60, 24, 30, 0, -40],  # Shirt
        [76, 34, 160, 100, 46, 0, 16, 206, 20, 0, 0, 0, 0],  # Sneaker
        [-70, 170, 170, 190, 90, 90, 0, 0, 0, 0, 0, 0, 0],  # Bag
        [76, 140, 176, 90, 46, 36, 0, 202, 0, 0, 0, 0, 0],  # Ankle boot
    ],
    np.int32,
)
_SPREADS = np.array(  # the maximum deviation of an example's traits from its class
    [
        [24, 14, 30, 14, 16, 18, 70, 14, 16, 12, 0, 0, 120],  # T-shirt/top
        [16, 10, 0, 14, 12, 16, 20, 8, 8, 0, 0, 100, 0],  # Trouser
        [24, 14, 24, 14, 16, 16, 60, 14, 16, 12, 0, 0, 120],  # Pullover
        [20, 14, 30, 24, 24, 40, 100, 30, 16, 0, 0, 0, 120],  # Dress
        [24, 14, 24, 14, 16, 20, 60, 14, 16, 24, 40, 0, 120],  # Coat
        [24, 20, 40, 36, 12, 40, 14, 16, 50, 0, 0, 0, 0],  # Sandal
        [24, 14, 30, 14, 16, 18, 150, 14, 16, 24, 30, 0, 120],  # Shirt
        [24, 40, 40, 30, 14, 14, 10, 16, 30, 0, 0, 0, 0],  # Sneaker
        [60, 40, 50, 40, 100, 60, 0, 0, 0, 0, 0, 0, 0],  # Bag
        [24, 100, 40, 30, 16, 50, 8, 16, 10, 0, 0, 0, 0],  # Ankle boot
    ],
    np.int32,
)
_LOOKALIKES = np.array(  # four similar classes per class, each with probability 1/4
    [
        *([6, 6, 2, 3], [3, 3, 3, 1], [4, 4, 6, 6], [0, 4, 6, 1], [2, 2, 6, 6]),
        *([7, 7, 9, 5], [0, 0, 2, 4], [5, 5, 9, 9], [8, 8, 8, 8], [7, 7, 7, 5]),
    ],
    np.int32,
)


def _mix(words: Words) -> Words:
    """Hashes 64-bit words by the finaliser of splitmix64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _stream(keys: Words, skip: int, count: int) -> Words:
    """Returns ``count`` words of each key after the first ``skip``: [keys, count]."""
    steps = np.arange(skip + 1, skip + count + 1, dtype=np.uint64)
    return _mix(keys[:, None] + steps * np.uint64(0x9E3779B97F4A7C15))


class _Random:
    """Random integers, from a separate stream for each example."""

    def __init__(self, keys: Words) -> None:
        self.keys = keys
        self.used = 0

    def words(self, count: int) -> Words:
        self.used += count
        return _stream(self.keys, self.used - count, count)

    def uniform(self, low: int, high: int, count: int = 1) -> Ints:
        """Returns integers from ``low`` to ``high`` inclusive: [examples, count]."""
        scaled = (self.words(count) >> np.uint64(32)) * np.uint64(high - low + 1)
        return (scaled >> np.uint64(32)).astype(np.int32) + np.int32(low)

    def noise(self) -> NDArray[np.int16]:
        """Returns an integer from -128 to 127 for every pixel."""
        words = self.words(_SIDE * _SIDE // 8)
        # An explicit byte order, because that of the machine may differ.
        octets = words.astype("<u8").view(np.uint8).reshape(-1, _SIDE, _SIDE)
        return octets.astype(np.int16) - np.int16(128)


class _Canvas:
    """A batch of images, each with a random shift, size and slant."""

    def __init__(self, random: _Random) -> None:
        self.images = np.zeros((len(random.keys), _SIDE, _SIDE), np.int16)
        self.x, self.y = random.uniform(-38, 38), random.uniform(-34, 34)
        self.wide, self.tall = random.uniform(98, 148), random.uniform(98, 148)
        self.slant = random.uniform(-20, 20)

    def fill(self, tone: Ints, top: Ints, end: Ints, upper: Edge, lower: Edge) -> None:
        """Fills the trapezium between two horizontal edges; a tone of 0 cuts a hole.

        A trapezium of negative height or width draws nothing. A garment omits a part
        by giving it a negative size.
        """
        rows = _CENTRES - self.y
        top, end = top * self.tall >> 7, end * self.tall >> 7
        down = np.clip((rows - top) * 128 // np.maximum(end - top, 1), 0, 128)
        sides = []
        for start, stop in zip(upper, lower, strict=True):
            side = (start + ((stop - start) * down >> 7)) * self.wide >> 7
            side += self.x + (rows * self.slant >> 7)
            sides.append(side.astype(np.int16)[:, :, None])
        # The covered share of a pixel, in sixteenths. Soft edges make a shift by a
        # fraction of a pixel visible, as in a photograph that was scaled down.
        within = np.clip(np.minimum(rows - top, end - rows) + 8, 0, 16)
        columns = _CENTRES.astype(np.int16)
        cover = np.minimum(columns - sides[0], sides[1] - columns) + np.int16(8)
        np.maximum(cover, 0, out=cover)
        np.minimum(cover, within.astype(np.int16)[:, :, None], out=cover)
        cover *= np.clip(tone, 0, 255).astype(np.int16)[:, :, None] - self.images
        self.images += cover >> np.int16(4)

    def pair(self, tone: Ints, top: Ints, end: Ints, upper: Edge, lower: Edge) -> None:
        """Fills a trapezium and its mirror image."""
        self.fill(tone, top, end, upper, lower)
        self.fill(tone, top, end, (-upper[1], -upper[0]), (-lower[1], -lower[0]))


def _clothes(canvas: _Canvas, traits: list[Ints], tone: Ints, trim: Ints) -> None:
    hem, neck, neckline, shoulder, waist, flare = traits[:6]
    sleeve, reach, cuff, collar, front, slit, motif = traits[6:]
    middle = np.zeros_like(hem)
    top, chest, arm = middle - 206, middle - 170, (shoulder - 56, shoulder)
    canvas.pair(tone * 7 >> 3, top + 16, top + sleeve, arm, (reach - cuff, reach))
    # Parts overlap by one pixel; two half-covered rows would leave a visible seam.
    canvas.fill(tone, top, chest + 16, (-neck, neck), (-shoulder, shoulder))
    canvas.fill(tone, chest, middle + 16, (-shoulder, shoulder), (-waist, waist))
    canvas.fill(tone, middle, hem, (-waist, waist), (-flare, flare))
    canvas.fill(trim, middle - 90, motif - 90, (-motif, motif), (-motif, motif))
    buttons = (middle - 8, middle + 8)
    canvas.fill(tone * (128 - front) >> 7, top, hem, buttons, buttons)
    throat = neck * 3 >> 2
    canvas.pair(trim, top, top + collar, (throat, neck + 20), (middle, neck))
    bottom = (-throat >> 2, throat >> 2)
    canvas.fill(middle, top - 16, top + neckline, (-throat, throat), bottom)
    legs = (-slit >> 3, slit >> 3)
    canvas.fill(middle, hem - slit, hem + 16, (middle, middle), legs)


def _shoes(canvas: _Canvas, traits: list[Ints], tone: Ints, trim: Ints) -> None:
    toe, shaft, width, slope, sole, heel, strap, length, gap = traits[:9]
    none = np.zeros_like(toe)
    ground = 130 + (shaft >> 1)
    welt = ground - sole
    cap = welt - toe
    ankle = cap - slope
    instep, foot = (length - width, length), (60 - length, length)
    canvas.fill(tone, ankle - shaft, ankle + 16, instep, instep)
    canvas.fill(tone, ankle, cap + 16, instep, foot)
    canvas.fill(tone, cap, welt + 16, foot, (-length, length))
    for quarter in (1, 2, 3):  # a sandal's straps, a sneaker's laces
        top, heel_side = cap - (slope * quarter >> 2), none + 80 * quarter - 170
        lower = (heel_side, heel_side + strap)
        upper = (heel_side + 40, heel_side + 40 + strap)
        canvas.fill(tone * (128 - gap) >> 7, top, welt, upper, lower)
    canvas.fill(trim, welt, ground, (-length, length), (-length, length))
    vault, arch = (none - 40, length - 130), (none - 90, length - 90)
    canvas.fill(none, ground - heel, ground + 16, vault, arch)


def _bags(canvas: _Canvas, traits: list[Ints], tone: Ints, trim: Ints) -> None:
    top, bottom, rim, base, rise, grip = traits[:6]
    handle, hole = (-grip, grip), (24 - grip, grip - 24)
    canvas.fill(trim, top - rise, top, handle, (-grip - 30, grip + 30))
    none = np.zeros_like(top)
    canvas.fill(none, top - rise + 24, top, hole, (-grip - 6, grip + 6))
    canvas.fill(tone, top, bottom, (-rim, rim), (-base, base))
    canvas.fill(trim, top + 50, top + 66, (-rim, rim), (-rim, rim))


_PAINTERS = ((_clothes, (0, 1, 2, 3, 4, 6)), (_shoes, (5, 7, 9)), (_bags, (8,)))


def _draw(painter: Callable[..., None], keys: Words, labels: Ints) -> NDArray[np.uint8]:
    random = _Random(keys)
    choice = random.uniform(0, 3)
    lookalikes = np.take_along_axis(_LOOKALIKES[labels], choice, axis=1)[:, 0]
    # The traits of most examples are shifted slightly towards a similar class. In a few
    # examples the class is ambiguous, so no classifier can reach 100 %.
    count = _TRAITS.shape[1]
    drift = np.maximum(random.uniform(-800, 70), 0) + random.uniform(-24, 24, count)
    traits = (_TRAITS[lookalikes] - _TRAITS[labels]) * np.clip(drift, 0, 128) >> 7
    traits += _TRAITS[labels]
    wobble = random.uniform(-64, 64, count) + random.uniform(-64, 64, count)
    traits += _SPREADS[labels] * wobble >> 7
    tone = np.minimum(random.uniform(128, 304), 255)
    trim = np.clip(tone + random.uniform(-120, 120), 16, 255)
    canvas = _Canvas(random)
    painter(canvas, np.split(traits, count, axis=1), tone, trim)
    images = canvas.images
    mirrored = random.uniform(0, 1)[:, 0] == 1  # shoes face left or right
    images[mirrored] = images[mirrored][:, :, ::-1]

    depth, pitch = np.maximum(random.uniform(-70, 100), 0), random.uniform(2, 5)
    stripes = 128 - depth * (np.arange(_SIDE, dtype=np.int32) // pitch & 1)
    level = random.uniform(0, 1) == 1
    rows, columns = np.where(level, stripes, 128), np.where(level, 128, stripes)
    for weave in (rows[:, :, None], columns[:, None, :]):
        images *= weave.astype(np.int16)
        images >>= np.int16(7)
    # Noise proportional to the brightness keeps the background at exactly 0.
    noise = random.noise() * images
    images += noise >> random.uniform(10, 12).astype(np.int16)[:, :, None]
    return np.clip(images, 0, 255).astype(np.uint8)


def _split(seed: int, split: int, examples: int) -> Split:
    root = np.array([(2 * seed + split) % 2**64], np.uint64)
    keys = _stream(_mix(root), 0, examples)[0]
    # Every ten examples contain each class once, in random order: classes are balanced
    # at any length, and a shorter data set is the beginning of a longer one.
    order = np.argsort(_stream(~keys[::10], 0, 10), axis=1, kind="stable")
    labels = order.astype(np.int32).ravel()[:examples]
    images = np.empty((examples, _SIDE, _SIDE), np.uint8)
    for start in range(0, examples, _CHUNK):
        chunk = labels[start : start + _CHUNK]
        for painter, classes in _PAINTERS:
            which = start + np.flatnonzero(np.isin(chunk, classes))
            images[which] = _draw(painter, keys[which], labels[which])
    return images, labels


def generate(
    seed: int = 0, train_examples: int = 60_000, test_examples: int = 10_000
) -> tuple[Split, Split]:
    """Generates both sets; a smaller set is the beginning of a larger one.

    Returns (images, labels) of each: uint8 ``[N, 28, 28]`` and int32 ``[N]``.
    """
    return _split(seed, 0, train_examples), _split(seed, 1, test_examples)
