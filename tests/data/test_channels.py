"""The channel axis of images."""

from typing import Any

import numpy as np
import pytest

from fmnist_jax import Data, Dataset, UserError, add_channel_axis

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 4, 5)).astype(np.uint8)
NAMES = ("cat", "dog", "owl")
LABELS = np.arange(30) % 3


@pytest.mark.parametrize("names", [(), NAMES])
def test_every_split_gets_the_axis_and_nothing_else_changes(names: Any) -> None:
    given = Data(
        Dataset(IMAGES, LABELS), Dataset(IMAGES[:9], LABELS[:9]), "pets", names
    ).with_validation(6)
    data = add_channel_axis(given)
    assert data.image_shape == (4, 5, 1)
    for part, before in zip(data.splits, given.splits, strict=True):
        assert part is not None
        assert before is not None
        np.testing.assert_array_equal(part.images[..., 0], before.images)
        np.testing.assert_array_equal(part.labels, before.labels)
        assert np.shares_memory(part.images, before.images)
        assert not part.images.flags.writeable
    for name in ("name", "class_names", "source", "notice", "num_classes", "targets"):
        assert getattr(data, name) == getattr(given, name)


def test_targets_as_given_stay() -> None:
    targets = RNG.normal(size=(30, 2)).astype(np.float32)
    part = Dataset(IMAGES, targets)
    data = add_channel_axis(Data(part, part, targets="as_given"))
    np.testing.assert_array_equal(data.train.labels, targets)


@pytest.mark.parametrize("shape", [(30, 20), (30, 4, 5, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    part = Dataset(IMAGES.reshape(shape), LABELS)
    with pytest.raises(UserError, match=rf"\[N, H, W\]; these are \[N, {shape[1]}"):
        add_channel_axis(Data(part, part))
    value: Any = IMAGES
    with pytest.raises(UserError, match="data is a ndarray; expected Data"):
        add_channel_axis(value)
