import hashlib

import numpy as np
import pytest

from fmnist_jax.data import synthetic
from fmnist_jax.data.synthetic import Split

# Any change of a pixel makes another data set, with which earlier measurements cannot
# be compared.
FINGERPRINT = "a908eefdd7c9fd5a221dc2af98d07fbaa8531b2367285d000b725405a13f604f"


@pytest.fixture(scope="module")
def full() -> tuple[Split, Split]:
    return synthetic.generate()


@pytest.mark.slow
def test_the_default_data_set_has_the_committed_fingerprint(
    full: tuple[Split, Split],
) -> None:
    digest = hashlib.sha256()
    for images, labels in full:
        digest.update(images.tobytes())
        digest.update(labels.astype("<i4").tobytes())
    assert digest.hexdigest() == FINGERPRINT


def test_shapes_types_and_balance(full: tuple[Split, Split]) -> None:
    for (images, labels), count in zip(full, (60_000, 10_000), strict=True):
        assert images.shape == (count, 28, 28)
        assert images.dtype == np.uint8
        assert labels.shape == (count,)
        assert labels.dtype == np.int32
        assert np.bincount(labels).tolist() == [count // 10] * 10


def test_classes_have_a_random_order(full: tuple[Split, Split]) -> None:
    (_, labels), _ = full
    blocks = labels.reshape(-1, 10)
    assert (np.sort(blocks, axis=1) == np.arange(10)).all()
    # Expected: 600 times each class at each position of the 6,000 blocks, with a
    # standard deviation of 23.
    for position in range(10):
        counts = np.bincount(blocks[:, position], minlength=10)
        assert np.abs(counts - 600).max() < 116


def test_pixels_are_distributed_like_those_of_fashion_mnist(
    full: tuple[Split, Split],
) -> None:
    (images, _), _ = full
    assert abs(images.mean() - 72.94) < 3
    assert abs(images.std() - 90.02) < 3
    assert images.min() == 0
    assert images.max() == 255
    assert 0.45 < (images == 0).mean() < 0.65


def test_classes_differ_from_each_other(full: tuple[Split, Split]) -> None:
    (images, labels), (test_images, test_labels) = full
    means = np.stack([images[labels == c].mean(axis=0).ravel() for c in range(10)])
    flat = test_images.reshape(len(test_images), -1).astype(np.float32)
    scores = flat @ means.T - (means**2).sum(axis=1) / 2
    # Well above chance and well below the accuracy of a network: the classes overlap.
    assert 0.4 < (scores.argmax(axis=1) == test_labels).mean() < 0.8


def test_no_image_appears_twice(full: tuple[Split, Split]) -> None:
    (train, _), (test, _) = full
    seen = {image.tobytes() for image in train}
    assert len(seen) == 60_000
    assert not any(image.tobytes() in seen for image in test)


def test_fewer_examples_are_the_first_of_more(full: tuple[Split, Split]) -> None:
    for counts in [(2_345, 17), (10, 2_001), (1, 0)]:
        few = synthetic.generate(0, *counts)
        for (images, labels), (all_images, all_labels), count in zip(
            few, full, counts, strict=True
        ):
            assert images.shape == (count, 28, 28)
            np.testing.assert_array_equal(images, all_images[:count])
            np.testing.assert_array_equal(labels, all_labels[:count])


def test_seeds_differ() -> None:
    sets = [synthetic.generate(seed, 500, 500) for seed in (0, 1, 2, 2**63 - 1)]
    images = [
        image.tobytes() for train, test in sets for image in (*train[0], *test[0])
    ]
    assert len(set(images)) == 4 * 1_000
    labels = {split[1].tobytes() for pair in sets for split in pair}
    assert len(labels) == 8


def test_hash_is_splitmix64() -> None:
    # The reference implementation's first outputs for the seed 1234567.
    words = synthetic._stream(np.array([1234567], np.uint64), 0, 5)
    assert words.tolist() == [
        [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ]
    ]
