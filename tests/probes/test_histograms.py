"""Probes of distributions, against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.probes.histograms import (
    BINS,
    by_name,
    hidden_histogram,
    histogram,
    near_zero_share,
    parameter_histograms,
    parameter_probe,
    predicted_shares,
)
from fmnist_jax.sweeps.sweep import sweep

CONFIG, HPARAMS = Config(hidden_sizes=(7,), batch_norm="on"), Hparams(divisor=3.0)


@pytest.fixture(scope="module")
def state() -> training.State:
    return training.init(CONFIG, HPARAMS, jax.random.key(3), (4, 5), 3)


@pytest.fixture(scope="module")
def batch() -> Dataset:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (9, 4, 5)).astype(np.uint8)
    return Dataset(images, np.arange(9, dtype=np.int32) % 3)


def logits_and_hidden(
    state: training.State, batch: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Returns values of the network in evaluation; batch norm divides by √(1 + eps)."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    x = batch.images.reshape(9, -1) / 3.0
    hidden = x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
    hidden = np.maximum(hidden / np.sqrt(1 + 1e-5), 0)
    return hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"], hidden


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_histogram_equals_numpy(size: int) -> None:
    x = np.random.RandomState(size).standard_normal((size, 2)).astype(np.float32)
    values = jax.jit(histogram, static_argnums=0)("x", x)
    counts = values["x_counts"]
    expected, edges = np.histogram(x, BINS)
    # In float32 a value next to an edge may be in the neighbouring bin.
    assert np.abs(np.asarray(counts) - expected).max() <= (1 if size > 10 else 0)
    assert counts.sum() == x.size
    np.testing.assert_allclose(values["x_range"], [edges[0], edges[-1]], rtol=1e-6)


@pytest.mark.slow
def test_histogram_of_equal_values_and_of_nan() -> None:
    values = histogram("x", jnp.full(4, 2.5))
    assert values["x_counts"].tolist() == [4] + [0] * (BINS - 1)
    assert values["x_range"].tolist() == [2.5, 2.5]
    assert np.isnan(histogram("x", jnp.array([1.0, jnp.nan]))["x_counts"]).all()


@pytest.mark.slow
def test_parameters_have_the_names_of_the_sources(
    state: training.State, batch: Dataset
) -> None:
    values = parameter_histograms(CONFIG, HPARAMS, state, jax.random.key(0), batch)
    names = {"w1", "b1", "w2", "b2", "gamma1", "beta1"}
    assert set(values) == {f"{n}_{part}" for n in names for part in ("counts", "range")}
    kernel = np.asarray(state.params["Dense_1"]["kernel"])
    np.testing.assert_array_equal(values["w2_range"], [kernel.min(), kernel.max()])
    assert set(parameter_probe([CONFIG]).dims) == set(values)


@pytest.mark.slow
def test_parameters_of_other_libraries_have_their_paths() -> None:
    one = jnp.ones(1)
    params = {"linear/~/a": {"w": one}, "blocks": {0: [one, one]}, "Dense_0": one}
    names = ["dense_0", "blocks_0_0", "blocks_0_1", "linear_~_a_w"]
    assert list(by_name(params)) == names
    assert list(by_name(one)) == ["params"]


@pytest.mark.slow
def test_hidden_values_and_predictions(state: training.State, batch: Dataset) -> None:
    logits, hidden = logits_and_hidden(state, batch)
    key = jax.random.key(0)
    values = hidden_histogram(CONFIG, HPARAMS, state, key, batch)
    np.testing.assert_allclose(values["hidden_counts"], np.histogram(hidden, 10)[0])
    ends = [hidden.min(), hidden.max()]
    np.testing.assert_allclose(values["hidden_range"], ends, rtol=1e-5)
    shares = predicted_shares(CONFIG, HPARAMS, state, key, batch)["predicted_share"]
    expected = np.bincount(logits.argmax(1), minlength=3) / 9
    np.testing.assert_allclose(shares, expected, rtol=1e-6)


@pytest.mark.slow
def test_near_zero_counts_kernels_only(state: training.State, batch: Dataset) -> None:
    kernel = np.array([[0.0005, 0.002], [-0.0009, -0.5]], np.float32)
    params = {"a": {"kernel": kernel, "bias": np.zeros(2, np.float32)}}
    small = dataclasses.replace(state, params=params)
    values = near_zero_share(CONFIG, HPARAMS, small, jax.random.key(0), batch)
    assert values["near_zero_share"] == 0.5


@pytest.mark.slow
def test_a_sweep_of_two_depths_records_the_parameters(small: Data) -> None:
    config = Config(num_epochs=1, batch_size=100)
    sizes: list[tuple[int, ...]] = [(), (5,)]
    configs = [dataclasses.replace(config, hidden_sizes=size) for size in sizes]
    probes = [parameter_probe(configs)]
    results = sweep({"hidden_sizes": sizes}, small, config, probes=probes)
    assert results.w1_counts.dims == ("hidden_sizes", "seed", "epoch", "bin")
    totals = results.w1_counts.sum("bin").values.ravel()
    assert totals.tolist() == [784 * 10, 784 * 5]
    assert np.isnan(results.w2_counts.sel(hidden_sizes="none")).all()
    assert results.w2_counts.sel(hidden_sizes="5").sum() == 50
