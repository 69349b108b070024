"""A drawn stand-in for Fashion-MNIST, for machines that cannot download the real one.

Every image is a pure function of (seed, split, index): a hash supplies the random
numbers and integer arithmetic draws the garment. There is no floating point and no
`np.random` here, because neither promises the same bytes on every platform and in
every NumPy release, and a measurement is only worth repeating on identical data.

Lengths are in sixteenths of a pixel from the image's centre, y downwards; fractions
are in 128ths.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]
Pixels = NDArray[np.uint8]
Edge = tuple[Ints, Ints]
Split = tuple[Pixels, Ints]

SYNTHETIC_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# The default data set's digest: a change to a single pixel is a different data set,
# whose measurements are not to be compared with the old one's.
FINGERPRINT = "a908eefdd7c9fd5a221dc2af98d07fbaa8531b2367285d000b725405a13f604f"

_SIDE = 28
_CHUNK = 2_000  # examples drawn at once, few enough to stay in the CPU's cache
_CENTRES = np.arange(_SIDE, dtype=np.int32) * 16 + 8 - _SIDE * 8

# A class is a row of traits, which the functions that draw it name. Classes that can be
# mistaken for each other share those names, so a garment halfway between two classes is
# a row halfway between two rows. What tells such classes apart is deliberately small
# (a collar, a button line, a strap) next to what varies within each, shift and mirror
# image above all: were the classes easy, every input scaling would learn them alike.
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
_SPREADS = np.array(  # the most by which an example's trait differs from its class's
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
_TWINS = np.array(  # what a class is mistaken for; a twin listed twice, twice as often
    [
        *([6, 6, 2, 3], [3, 3, 3, 1], [4, 4, 6, 6], [0, 4, 6, 1], [2, 2, 6, 6]),
        *([7, 7, 9, 5], [0, 0, 2, 4], [5, 5, 9, 9], [8, 8, 8, 8], [7, 7, 7, 5]),
    ],
    np.int32,
)


def _mix(words: Words) -> Words:
    """Scrambles 64-bit words: the finaliser of splitmix64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _stream(keys: Words, skip: int, count: int) -> Words:
    """After the first `skip`, the next `count` words of each key: [keys, count]."""
    steps = np.arange(skip + 1, skip + count + 1, dtype=np.uint64)
    return _mix(keys[:, None] + steps * np.uint64(0x9E3779B97F4A7C15))


class _Dice:
    """Random integers, each example's from a stream of its own."""

    def __init__(self, keys: Words) -> None:
        self.keys = keys
        self.used = 0

    def words(self, count: int) -> Words:
        self.used += count
        return _stream(self.keys, self.used - count, count)

    def even(self, low: int, high: int, count: int = 1) -> Ints:
        """Uniform on `low` to `high`, both included: [examples, count]."""
        scaled = (self.words(count) >> np.uint64(32)) * np.uint64(high - low + 1)
        return (scaled >> np.uint64(32)).astype(np.int32) + np.int32(low)

    def noise(self) -> NDArray[np.int16]:
        """Uniform on -128 to 127 for every pixel."""
        words = self.words(_SIDE * _SIDE // 8)
        # The byte order is spelt out: a bare view would follow the machine's own.
        octets = words.astype("<u8").view(np.uint8).reshape(-1, _SIDE, _SIDE)
        return octets.astype(np.int16) - np.int16(128)


class _Canvas:
    """A batch of images, each seen through its own shift, size and slant."""

    def __init__(self, dice: _Dice) -> None:
        self.images = np.zeros((len(dice.keys), _SIDE, _SIDE), np.int16)
        self.x, self.y = dice.even(-38, 38), dice.even(-34, 34)
        self.wide, self.tall = dice.even(98, 148), dice.even(98, 148)
        self.slant = dice.even(-20, 20)

    def fill(self, tone: Ints, top: Ints, end: Ints, upper: Edge, lower: Edge) -> None:
        """Fills the trapezium between two level edges; a tone of 0 cuts a hole.

        One that ends above its top, or whose sides have crossed, draws nothing: a
        garment does without a part by that part's size being negative.
        """
        rows = _CENTRES - self.y
        top, end = top * self.tall >> 7, end * self.tall >> 7
        down = np.clip((rows - top) * 128 // np.maximum(end - top, 1), 0, 128)
        sides = []
        for start, stop in zip(upper, lower, strict=True):
            side = (start + ((stop - start) * down >> 7)) * self.wide >> 7
            side += self.x + (rows * self.slant >> 7)
            sides.append(side.astype(np.int16)[:, :, None])
        # How much of a pixel is covered, in sixteenths. Soft edges let a shift of a
        # fraction of a pixel show, as it does in a photograph scaled down.
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
    # Parts overlap by a pixel: two half-covered rows would leave a seam between them.
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
        top, left = cap - (slope * quarter >> 2), none + 80 * quarter - 170
        upper, lower = (left + 40, left + 40 + strap), (left, left + strap)
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


def _draw(painter: Callable[..., None], keys: Words, labels: Ints) -> Pixels:
    dice = _Dice(keys)
    twins = np.take_along_axis(_TWINS[labels], dice.even(0, 3), axis=1)[:, 0]
    # Most examples drift a little way to a twin, trait by trait; a few go so far that
    # no one could tell, which keeps the best possible accuracy short of 100 %.
    count = _TRAITS.shape[1]
    drift = np.maximum(dice.even(-800, 70), 0) + dice.even(-24, 24, count)
    traits = (_TRAITS[twins] - _TRAITS[labels]) * np.clip(drift, 0, 128) >> 7
    traits += _TRAITS[labels]
    wobble = dice.even(-64, 64, count) + dice.even(-64, 64, count)
    traits += _SPREADS[labels] * wobble >> 7
    tone = np.minimum(dice.even(128, 304), 255)
    trim = np.clip(tone + dice.even(-120, 120), 16, 255)
    canvas = _Canvas(dice)
    painter(canvas, np.split(traits, count, axis=1), tone, trim)
    images = canvas.images
    mirrored = dice.even(0, 1)[:, 0] == 1  # shoes face either way
    images[mirrored] = images[mirrored][:, :, ::-1]

    depth, pitch = np.maximum(dice.even(-70, 100), 0), dice.even(2, 5)
    stripes = 128 - depth * (np.arange(_SIDE, dtype=np.int32) // pitch & 1)
    level = dice.even(0, 1) == 1
    rows, columns = np.where(level, stripes, 128), np.where(level, 128, stripes)
    for weave in (rows[:, :, None], columns[:, None, :]):
        images *= weave.astype(np.int16)
        images >>= np.int16(7)
    # Noise in proportion to the brightness keeps the background at exactly 0.
    noise = dice.noise() * images
    images += noise >> dice.even(10, 12).astype(np.int16)[:, :, None]
    return np.clip(images, 0, 255).astype(np.uint8)


def _split(seed: int, split: int, examples: int) -> Split:
    root = np.array([(2 * seed + split) % 2**64], np.uint64)
    keys = _stream(_mix(root), 0, examples)[0]
    # Every ten examples are one of each class in an order of their own: balanced at
    # any length, and a shorter data set is the start of a longer one.
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
    """Draws the data set.

    Args:
        seed: Which data set: 0 is the one that `FINGERPRINT` is of.
        train_examples: How many to train on. Fewer are the first of more.
        test_examples: How many to test on, likewise.

    Returns:
        (images, labels) to train on and to test on: uint8 [N, 28, 28], int32 [N].
    """
    return _split(seed, 0, train_examples), _split(seed, 1, test_examples)
