"""The initial sharpness knows every setting that it depends on."""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fmnist_jax import training
from fmnist_jax.config import OPTIMIZERS, SETTINGS, TRACED, Config, Hparams
from fmnist_jax.data import load
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.normalization import Normalization
from fmnist_jax.errors import Notice
from fmnist_jax.probes import sharpness
from fmnist_jax.probes.activation import activation_stability_probe
from fmnist_jax.probes.sharpness import sharpness_probe
from fmnist_jax.stability import PRECONDITIONED
from fmnist_jax.sweeps import initial_sharpness
from fmnist_jax.sweeps.initial_sharpness import DEPENDS_ON, PRECONDITIONED_BY
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.sweep import sweep
from fmnist_jax.training.optimizers import make_optimizer


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(x.reshape(len(x), -1))


# Two values of every setting. A new setting needs an entry.
VALUES: dict[str, tuple[Any, Any]] = {
    "divisor": (0.02, 0.04),  # saturates outputs, so that the losses differ
    "offset": (0.5, 1.0),
    "learning_rate": (0.1, 0.2),
    "momentum": (0.9, 0.5),
    "decay": (0.9, 0.5),
    "b1": (0.9, 0.5),
    "b2": (0.99, 0.5),
    "eps": (0.1, 0.2),
    "initial_accumulator_value": (0.1, 0.2),
    "weight_decay": (0.1, 0.2),
    "dropout_rate": (0.1, 0.5),
    "l1": (0.1, 0.2),
    "l2": (0.1, 0.2),
    "l2_squared": (0.1, 0.2),
    "target_accuracy": (0.5, 0.9),
    "plateau_factor": (0.1, 0.5),
    "plateau_patience": (1.0, 2.0),
    "plateau_threshold": (0.1, 0.2),
    "min_learning_rate": (0.01, 0.02),
    "first_kernel_scale": (1.0, 2.0),
    "first_kernel_rate": (1.0, 2.0),
    "first_kernel_eps": (1.0, 2.0),
    "name": (None, "another"),
    "model": (None, Linear()),
    "normalization": ("whiten", "standard"),
    "whitening": ("zca", "pca"),
    "whitening_eps": (0.01, 1.0),
    "hidden_sizes": ((6,), (5,)),
    "initializer": ("keras", "pytorch"),
    "loss": ("softmax", "clipped"),
    "optimizer": ("adam", "rmsprop"),
    "schedule": ("constant", "cosine"),
    "batch_norm": ("off", "on"),
    "penalized": ("all", "kernels"),
    "order": ("shuffled", "sorted"),
    "batch_size": (20, 10),
    "precision": ("float32", "bf16"),
    "num_epochs": (2, 3),
    "record_every": (0, 2),
    "evaluate_train": (True, False),
    "evaluate_dropout": (False, True),
}
FIRST = {name: values[0] for name, values in VALUES.items()}
HPARAMS = Hparams(**{name: FIRST[name] for name in TRACED})
CONFIG = Config(**{name: FIRST[name] for name in SETTINGS.keys() - TRACED.keys()})
KERNEL_SETTINGS = ("first_kernel_scale", "first_kernel_rate", "first_kernel_eps")


def test_every_setting_has_two_values() -> None:
    assert VALUES.keys() == SETTINGS.keys()


@functools.partial(
    jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0}
)
def measured_with(
    config: Config, hparams: Hparams, batch: Dataset, normalization: Normalization
) -> Any:
    shapes = (3, 3), 3
    state = training.init(config, hparams, jax.random.key(0), *shapes, normalization)
    probes = (sharpness.sharpness, sharpness.preconditioned_sharpness)
    outputs: dict[str, Any] = {}
    for number, probe in enumerate(probes, start=1):
        outputs |= probe(config, hparams, state, jax.random.key(number), batch)
    return outputs


def measured(config: Config, hparams: Hparams, batch: Dataset) -> Any:
    normalization = training.fit_normalization(config, batch)
    return measured_with(config, hparams, batch, normalization)


@pytest.mark.slow
def test_settings_that_change_the_sharpness_are_listed() -> None:
    """Otherwise it would be computed for one value and broadcast to the others."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 3), dtype=np.uint8)
    batch = Dataset(images, rng.integers(0, 3, 40).astype(np.int32))
    first = measured(CONFIG, HPARAMS, batch)
    changing: dict[str, set[str]] = {"sharpness": set()}
    changing["preconditioned_sharpness"] = set()
    for name, (_, value) in VALUES.items():
        config, hparams = CONFIG, HPARAMS
        if name in TRACED:
            hparams = dataclasses.replace(hparams, **{name: value})
        else:
            config = dataclasses.replace(config, **{name: value})
        if name == "model":
            hparams = dataclasses.replace(hparams, **dict.fromkeys(KERNEL_SETTINGS))
        second = measured(config, hparams, batch)
        for output, names in changing.items():
            if not np.allclose(first[output], second[output], rtol=1e-3):
                names.add(name)
    expected = {*DEPENDS_ON} - {"seed"}
    assert changing["sharpness"] == expected
    assert changing["preconditioned_sharpness"] == expected | {*PRECONDITIONED_BY}
    for optimizer in PRECONDITIONED:
        config = dataclasses.replace(CONFIG, optimizer=optimizer)
        first = measured(config, HPARAMS, batch)["preconditioned_sharpness"]
        for name in OPTIMIZERS[optimizer]:
            hparams = dataclasses.replace(HPARAMS, **{name: VALUES[name][1]})
            second = measured(config, hparams, batch)["preconditioned_sharpness"]
            is_listed = name in PRECONDITIONED_BY
            assert is_listed or np.isclose(first, second, rtol=1e-3), (optimizer, name)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", PRECONDITIONED)
def test_the_preconditioner_is_what_the_optimizer_divides_by(optimizer: str) -> None:
    """With any value of each of its settings, at a constant gradient.

    A setting of the optimizer that ``sharpness`` does not know fails here.
    """
    config = Config(hidden_sizes=(3,), optimizer=optimizer)
    state = training.init(config, Hparams(), jax.random.key(0), (2, 2), 3)
    gradient, unravel = ravel_pytree(state.params)
    gradient = jax.random.normal(jax.random.key(1), gradient.shape)
    params = jax.tree.map(jnp.zeros_like, state.params)  # no weight decay
    for name in OPTIMIZERS[optimizer]:
        hparams = Hparams(**{"learning_rate": 1.0, name: VALUES[name][1]})
        transform = make_optimizer(config, hparams)
        opt_state = transform.init(params)
        for _ in range(40):
            updates, opt_state = transform.update(unravel(gradient), opt_state, params)
        divided = -ravel_pytree(updates)[0] / gradient
        root = sharpness._inverse_root_preconditioner(
            config, hparams, state, gradient**2
        )
        rate = 1.0 if hparams.learning_rate is None else hparams.learning_rate
        np.testing.assert_allclose(divided / rate, root**2, rtol=1e-2, err_msg=name)


@pytest.mark.slow
def test_theory_measures_each_distinct_network_once(small: Data) -> None:
    """The same as a probe of every run, but without the axes it does not depend on."""
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="adam")
    values = {"learning_rate": [1e-3, 1e-2], "divisor": [1.0, 255.0], "seed": [0, 1]}
    results = initial_sharpness.initial_sharpness(
        plan(values, config, Hparams()), small
    )
    assert results.sharpness.dims == ("divisor", "seed")
    every = sweep(values, small, config, Hparams(), [sharpness_probe()])
    np.testing.assert_allclose(
        results.sharpness.values, every.sharpness.isel(learning_rate=1), rtol=1e-4
    )
    limits = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    np.testing.assert_array_equal(limits.sharpness, results.sharpness)
    assert limits.stable_rate.dims == ("divisor", "seed")
    np.testing.assert_allclose(
        limits.stable_rate, 38 / limits.preconditioned_sharpness, rtol=1e-6
    )
    merged = every.drop_vars(["sharpness", "sharpness_residual"]).merge(results)
    assert merged.optimizer == "adam"
    assert math.isfinite(merged.sharpness.max())


@pytest.mark.slow
def test_stable_rates_of_several_optimizers_and_their_settings(small: Data) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1)
    values = {
        "optimizer": ["sgd", "momentum", "rmsprop", "adam", "lion"],
        "divisor": [1.0, 255.0],
        "momentum": [0.5, 0.9], "learning_rate": [1e-3, 1.0],
    }  # fmt: skip
    results = initial_sharpness.stable_rates(plan(values, config, Hparams()), small)
    assert set(results.stable_rate.dims) == {"optimizer", "divisor", "momentum", "seed"}
    assert results.optimizer.values.tolist() == values["optimizer"]
    rates = results.stable_rate.squeeze("seed").transpose(..., "divisor", "momentum")
    sharpness = results.sharpness.squeeze("seed").values[:, None]
    np.testing.assert_allclose(
        rates.sel(optimizer="sgd"), np.repeat(2 / sharpness, 2, 1), rtol=1e-6
    )
    np.testing.assert_allclose(
        rates.sel(optimizer="momentum"), 2 * np.array([1.5, 1.9]) / sharpness, rtol=1e-6
    )
    divided = results.preconditioned_sharpness.sel(optimizer="adam").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="adam", momentum=0.5), 38 / divided, rtol=1e-6
    )
    divided = results.preconditioned_sharpness.sel(optimizer="rmsprop").squeeze("seed")
    np.testing.assert_allclose(
        rates.sel(optimizer="rmsprop", momentum=0.9), 2 / divided, rtol=1e-6
    )
    assert np.isnan(rates.sel(optimizer="lion")).all()


@pytest.mark.slow
def test_the_stable_learning_rate_depends_on_that_of_the_first_kernel(
    small: Data,
) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    values = {"first_kernel_rate": [1e-6, 1.0, 100.0], "learning_rate": [1e-3, 1.0]}
    results = initial_sharpness.stable_rates(
        plan(values, config, Hparams(divisor=1.0)), small
    )
    rates = results.stable_rate.squeeze("seed").values
    np.testing.assert_allclose(rates[1], 2 / results.sharpness.item(), rtol=1e-4)
    assert rates[0] > 10 * rates[1] > 100 * rates[2]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[], [20, 150, 190]])
def test_batches_larger_than_the_sample_for_theory_are_capped(
    sizes: list[int], small: Data
) -> None:
    few = small.first(train=30)
    config = Config(hidden_sizes=(6,), batch_size=30, num_epochs=1, optimizer="adam")
    axes = {"batch_size": sizes} if sizes else {}
    results = initial_sharpness.stable_rates(plan(axes, config, Hparams()), few)
    rates = results.stable_rate.squeeze("seed").values
    assert np.isfinite(rates).all()
    if sizes:
        assert results.batch_size.values.tolist() == sizes
        assert rates[1] == rates[2] != rates[0]


@pytest.mark.slow
def test_an_unconverged_eigenvalue_gives_no_stable_learning_rate(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="sgd")
    monkeypatch.setattr(initial_sharpness, "MAX_RESIDUAL", 0.0)
    results = initial_sharpness.stable_rates(plan({}, config, Hparams()), small)
    assert np.isnan(results.stable_rate).all()
    assert np.isfinite(results.sharpness).all()


@pytest.mark.slow
def test_activation_stable_rates_equal_the_probe_without_needless_axes(
    small: Data,
) -> None:
    """200 images are enough for no batch of 32 and 256 images; 600 for six."""
    config = Config(hidden_sizes=(6,), batch_size=50, num_epochs=1, optimizer="adam")
    values = {
        "optimizer": ["sgd", "adam"],
        "divisor": [60.0, 255.0],
        "learning_rate": [1e-3, 1.0],
        "batch_size": [20, 50],
        "seed": [0, 1],
    }
    whole = load("synthetic", train_examples=600, test_examples=10)
    few = initial_sharpness.activation_stable_rates
    assert not few(plan(values, config, Hparams()), small).data_vars
    rates = few(plan(values, config, Hparams()), whole).activation_stable_rate
    assert set(rates.dims) == {"divisor", "batch_size", "seed"}
    probes = [activation_stability_probe()]
    sgd = dataclasses.replace(config, optimizer="sgd")
    axes = {name: values[name] for name in ("divisor", "batch_size", "seed")}
    every = sweep(axes, whole, sgd, Hparams(), probes).activation_stable_rate
    np.testing.assert_allclose(rates.transpose(*every.dims), every, rtol=1e-5)


@pytest.mark.slow
def test_classes_that_the_first_images_lack_belong_to_the_network() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (130, 3, 3), dtype=np.uint8)
    labels = np.repeat([0, 1, 2], 30)  # without names of classes, and sorted
    test = Dataset(images[90:], np.zeros(40, int))
    data = Data(Dataset(images[:90], labels), test)
    config = Config(hidden_sizes=(4,), batch_size=10, num_epochs=1, optimizer="sgd")
    actual = initial_sharpness._at_initialisation(
        plan({}, config, Hparams()), data, ["seed"], sharpness_probe(), 40
    )
    probes = [sharpness_probe(examples=40)]
    with pytest.warns(Notice, match="The test set has no example of the 2 classes"):
        expected = sweep({}, data, config, Hparams(), probes).sharpness
    np.testing.assert_allclose(actual.sharpness, expected, rtol=1e-4)
