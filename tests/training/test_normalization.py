"""Normalizations against NumPy and scikit-learn in float64, and what runs see."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fmnist_jax import Config, Data, Dataset, Hparams, UserError, training
from fmnist_jax.choices import NORMALIZATIONS
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.data.statistics import moments, whitening_matrix
from fmnist_jax.training import fit_normalization, normalize, scaled_inputs

FITTED = [name for name in NORMALIZATIONS if name != "none"]
CONFIG = Config(hidden_sizes=(5,), batch_size=20, num_epochs=2)


def correlated(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns float32 images whose pixels have different means and are correlated."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    mixing = np.eye(size) + 0.3 * rng.standard_normal((size, size)) / size**0.5
    images = rng.standard_normal((200, size)) @ mixing * rng.uniform(1, 9, size)
    return (images + rng.uniform(-20, 20, size)).reshape(200, *shape).astype("f4")


def make_data(shape: tuple[int, ...] = (3, 4), seed: int = 0) -> Data:
    images = correlated(shape, seed)
    labels = np.arange(200, dtype=np.int32) % 3
    train = Dataset(images[:120], labels[:120])
    validation = Dataset(images[120:150], labels[120:150])
    return Data(train, Dataset(images[150:], labels[150:]), validation=validation)


def normalized(images: np.ndarray, others: np.ndarray, **settings: Any) -> np.ndarray:
    """Returns other images, normalized by the statistics of images."""
    train = Dataset(images, np.zeros(len(images), np.int32))
    fitted = fit_normalization(Config(**settings), train)
    assert fitted is not None
    return np.asarray(normalize(fitted, others))


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_per_feature_is_scikit_learns_standard_scaler(shape: tuple[int, ...]) -> None:
    images, others = correlated(shape), correlated(shape, 1)
    expected = StandardScaler().fit(flat(images)).transform(flat(others))
    actual = normalized(images, others, normalization="per_feature")
    assert actual.shape == others.shape
    np.testing.assert_allclose(flat(actual), expected, atol=1e-6)


def test_standard_has_one_mean_and_deviation() -> None:
    images, others = correlated((3, 4)), correlated((3, 4), 1)
    scaler = StandardScaler().fit(images.reshape(-1, 1).astype(np.float64))
    expected = scaler.transform(others.reshape(-1, 1).astype(np.float64))
    actual = normalized(images, others, normalization="standard")
    np.testing.assert_allclose(actual.reshape(-1, 1), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 2), (2, 3, 2, 2), (12,)])
def test_channels_are_the_last_axis(shape: tuple[int, ...]) -> None:
    images, others = correlated(shape), correlated(shape, 1)
    columns = (-1, shape[-1])
    scaler = StandardScaler().fit(images.reshape(columns).astype(np.float64))
    expected = scaler.transform(others.reshape(columns).astype(np.float64))
    actual = normalized(images, others, normalization="per_channel")
    np.testing.assert_allclose(actual.reshape(columns), expected, atol=1e-6)


def test_images_without_a_channel_axis_have_one_channel() -> None:
    images, others = correlated((3, 4)), correlated((3, 4), 1)
    channel = normalized(images, others, normalization="per_channel")
    standard = normalized(images, others, normalization="standard")
    np.testing.assert_array_equal(channel, standard)


def test_unit_and_symmetric_have_the_range_of_the_training_set() -> None:
    images, others = correlated((3, 4)), correlated((3, 4), 1)
    column = images.reshape(-1, 1).astype(np.float64)
    for name, bounds in {"unit": (0, 1), "symmetric": (-1, 1)}.items():
        scaler = MinMaxScaler(bounds).fit(column)
        expected = scaler.transform(others.reshape(-1, 1).astype(np.float64))
        actual = normalized(images, others, normalization=name)
        np.testing.assert_allclose(actual.reshape(-1, 1), expected, atol=1e-6)


def test_unit_and_symmetric_take_bytes_as_0_to_255() -> None:
    images = np.array([[3, 100], [5, 7]], np.uint8)  # neither 0 nor 255 occurs
    unit = normalized(images, images, normalization="unit")
    np.testing.assert_allclose(unit, images / 255.0, rtol=2e-7)
    symmetric = normalized(images, images, normalization="symmetric")
    np.testing.assert_allclose(symmetric, 2 * (images / 255.0) - 1, atol=1e-7)


def test_pca_whitening_is_scikit_learns() -> None:
    images, others = correlated((3, 4)), correlated((3, 4), 1)
    pca = PCA(whiten=True).fit(flat(images))
    expected = pca.transform(flat(others)) * np.sqrt(len(images) / (len(images) - 1))
    settings = {"normalization": "whiten", "whitening": "pca", "whitening_eps": 0.0}
    actual = flat(normalized(images, others, **settings))
    signs = np.sign((actual * expected).sum(0))
    np.testing.assert_allclose(actual, signs * expected, atol=1e-5)
    train = Dataset(images, np.zeros(len(images), np.int32))
    fitted = fit_normalization(Config(**settings), train)  # type: ignore[arg-type]
    assert fitted is not None
    exact = whitening_matrix(images, moments(images), 0.0, is_zca=False)
    centred = flat(others) - flat(images).mean(0)
    np.testing.assert_allclose(centred @ exact, signs * expected, atol=1e-9)
    in_float64 = (flat(others) - flat(fitted.shift)) @ np.float64(fitted.matrix)
    np.testing.assert_allclose(in_float64, signs * expected, atol=2e-6)


@pytest.mark.parametrize("whitening", ["zca", "pca"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_whitened_pixels_are_uncorrelated(whitening: str, eps: float) -> None:
    images = correlated((3, 4))
    settings = {"normalization": "whiten", "whitening": whitening, "whitening_eps": eps}
    actual = flat(normalized(images, images, **settings))
    covariance = np.cov(actual.T, ddof=0)
    variances, axes = np.linalg.eigh(np.cov(flat(images).T, ddof=0))
    expected = variances / (variances + eps * variances.mean())
    if whitening == "zca":
        np.testing.assert_allclose(
            covariance, axes * expected @ axes.T, atol=1e-4 / (1 + eps)
        )
    else:
        np.testing.assert_allclose(covariance, np.diag(expected[::-1]), atol=1e-4)


def test_zca_is_the_whitening_nearest_to_the_images() -> None:
    """The matrix is symmetric and positive, whatever the signs of eigenvectors."""
    train = Dataset(correlated((3, 4)), np.zeros(200, np.int32))
    fitted = fit_normalization(Config(normalization="whiten"), train)
    assert fitted is not None
    np.testing.assert_allclose(fitted.matrix, fitted.matrix.T, rtol=1e-5, atol=1e-7)
    assert np.linalg.eigvalsh(np.float64(fitted.matrix)).min() > 0


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("value", [0.1, 1e4, 0.0])
def test_constant_pixels_are_only_shifted(name: str, value: float) -> None:
    """With 0.1, which has no exact mean, so that a variance is not exactly 0."""
    images = correlated((3, 4))
    images[:, 1, 2] = value
    others = images.copy()
    others[:, 1, 2] += 3
    for whitening in ("zca", "pca"):
        for eps in (0.0, 0.1):
            settings = {"whitening": whitening, "whitening_eps": eps}
            actual = normalized(images, others, normalization=name, **settings)
            assert np.all(np.isfinite(actual))
            if name in ("per_feature", "whiten"):
                column = flat(actual)[:, 6]
                np.testing.assert_allclose(column, 3, atol=2e-3)


@pytest.mark.parametrize("name", FITTED)
def test_a_constant_training_set_stays_finite(name: str) -> None:
    images = np.full((20, 2, 2), 0.1, np.float32)
    actual = normalized(images, images, normalization=name)
    np.testing.assert_array_equal(actual, np.zeros_like(actual))


def test_pixels_that_depend_on_others_are_whitened() -> None:
    """The covariance is singular: with eps 0 the empty direction is left out."""
    images = correlated((3, 4))
    images[:, 0, 0] = images[:, 0, 1] + images[:, 0, 2]
    settings = {"normalization": "whiten", "whitening": "pca", "whitening_eps": 0.0}
    variances = np.var(flat(normalized(images, images, **settings)), axis=0)
    np.testing.assert_allclose(variances[:-1], 1, atol=1e-3)
    others = images.copy()
    others[:, 0, 0] += 1  # outside of the plane
    last = flat(normalized(images, others, **settings))[:, -1]
    np.testing.assert_array_equal(last, 0)
    np.testing.assert_array_equal(variances[-1], 0)


@pytest.mark.parametrize("name", ["unit", "per_feature"])
def test_a_range_that_float32_cannot_hold_is_refused(name: str) -> None:
    wide = np.array([[3e38, 0], [-3e38, 1]] * 5, np.float32)
    narrow = np.array([[1e-39, 0], [0, 1]] * 5, np.float32)
    images = narrow if name == "per_feature" else wide
    with pytest.raises(UserError, match="that float32 cannot hold"):
        normalized(images, images, normalization=name)


def test_large_images_are_not_whitened() -> None:
    train = Dataset(np.zeros((2, 65, 64), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(UserError, match=r"at most 4,096 pixels; these have 4,160"):
        fit_normalization(Config(normalization="whiten"), train)


@pytest.mark.parametrize("name", FITTED)
def test_inputs_are_normalized_shifted_and_divided(name: str) -> None:
    data = make_data()
    fitted = fit_normalization(Config(normalization=name), data.train)
    assert fitted is not None
    hparams = Hparams(divisor=4.0, offset=0.5)
    plain = scaled_inputs(hparams, data.test.images, fitted)
    expected = (np.asarray(normalize(fitted, data.test.images)) - 0.5) / 4
    np.testing.assert_allclose(plain, expected, rtol=1e-6, atol=1e-7)
    jitted = jax.jit(scaled_inputs)(hparams, data.test.images, fitted)
    np.testing.assert_allclose(jitted, plain, rtol=1e-5, atol=1e-5)
    vmapped = jax.vmap(lambda h, x: scaled_inputs(h, x, fitted), (0, None))(
        Hparams(divisor=jnp.array([4.0, 1.0])), data.test.images
    )
    np.testing.assert_allclose(vmapped[1] / 4, vmapped[0], rtol=1e-5, atol=1e-6)


def test_pixels_without_normalization_are_divided_by_255() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    divided = scaled_inputs(Hparams(), images)
    np.testing.assert_allclose(divided, images / 255.0, rtol=2e-7)
    unit = Normalization(np.float32(0), np.float32(255))
    np.testing.assert_array_equal(scaled_inputs(Hparams(), images, unit), divided)
    moved = scaled_inputs(Hparams(divisor=2.0, offset=-3.0), images)
    np.testing.assert_array_equal(moved, (images.astype("f4") + 3) / 2)


def test_init_refuses_a_normalization_without_statistics() -> None:
    config = dataclasses.replace(CONFIG, normalization="standard")
    with pytest.raises(UserError, match=r"pass fit_normalization\(config, data.train"):
        training.init(config, Hparams(), jax.random.key(0), (3, 4), 3)
    train = make_data().train
    fitted = fit_normalization(config, make_data().train)
    with pytest.raises(UserError, match=r"'none', but init got statistics"):
        training.init(CONFIG, Hparams(), jax.random.key(0), (3, 4), 3, fitted)
    config = dataclasses.replace(config, normalization="st")
    with pytest.raises(UserError, match="Unknown normalization 'st'"):
        fit_normalization(config, train)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_other_splits_change_no_statistic_and_no_training_loss(name: str) -> None:
    data, other = make_data(), make_data(seed=5)
    changed = dataclasses.replace(
        data,
        test=other.test._replace(images=other.test.images * 3),
        validation=other.train._replace(images=other.train.images * 2),
    )
    config = dataclasses.replace(CONFIG, normalization=name)
    runs = [training.train(config, Hparams(), 0, d) for d in (data, changed)]
    (first, metrics), (second, changed_metrics) = runs
    jax.tree.map(
        np.testing.assert_array_equal, first.normalization, second.normalization
    )
    np.testing.assert_array_equal(metrics["train_loss"], changed_metrics["train_loss"])
    assert not np.allclose(metrics["test_loss"], changed_metrics["test_loss"])


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_a_run_is_that_on_images_normalized_before(name: str) -> None:
    """In float64 by NumPy, and rounded: the network sees the same images."""
    data = make_data()
    config = dataclasses.replace(CONFIG, normalization=name)
    fitted = fit_normalization(config, data.train)
    assert fitted is not None

    def before(part: Dataset) -> Dataset:
        x = flat(part.images)
        x = x - np.float64(fitted.shift).reshape(-1)
        x = x / np.float64(fitted.scale).reshape(-1) if fitted.scale is not None else x
        x = x @ np.float64(fitted.matrix) if fitted.matrix is not None else x
        return part._replace(images=x.reshape(part.images.shape).astype(np.float32))

    manual = Data(before(data.train), before(data.test), validation=None)
    divided = Hparams(divisor=2.0)
    _, metrics = training.train(config, divided, 0, data)
    _, expected = training.train(CONFIG, divided, 0, manual)
    for metric in ("train_loss", "test_loss"):
        np.testing.assert_allclose(metrics[metric], expected[metric], rtol=2e-5)
