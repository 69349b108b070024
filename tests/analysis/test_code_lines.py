"""Recommended lines of code are run, against the normalization of this library."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax.analysis.code_lines import LIBRARIES, code_lines
from fmnist_jax.choices import OPTIMIZERS
from fmnist_jax.config import Config, Hparams, resolve
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.normalization import fit_normalization
from fmnist_jax.search.candidates import SCALINGS
from fmnist_jax.search.scalings import traced_scalings
from fmnist_jax.training.normalization import normalize
from fmnist_jax.training.optimizers import make_optimizer

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 200, (30, 4, 3, 2)).astype(np.uint8)
IMAGES[:, 0, 0] = 7  # constant pixels
TRAIN = Dataset(IMAGES, np.arange(30, dtype=np.int32) % 3)
DATA = Data(TRAIN, TRAIN)
RAW = {"normalization": "none", "offset": 0.0, "divisor": 1.0}


def names(library: str, images: np.ndarray) -> dict[str, Any]:
    """Returns what lines of code may use, or skips the test."""
    scope: dict[str, Any] = {"np": np, "jnp": jnp, "x": images, "x_train": IMAGES}
    if library == "PyTorch":
        torch = pytest.importorskip("torch")
        scope |= {"torch": torch, "x": torch.tensor(images)}
        scope["x_train"] = torch.tensor(IMAGES)
    return scope


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_is_the_normalization(library: str, scaling: str) -> None:
    settings = {**traced_scalings(SCALINGS, DATA)[scaling], "optimizer": "sgd"}
    lines = code_lines({**settings, "learning_rate": 0.1}, (4, 3, 2))[library]
    images = RANDOM.integers(0, 255, (8, 4, 3, 2)).astype(np.uint8)
    scope = names(library, images)
    with jax.numpy_rank_promotion("allow"):  # as a user has it
        exec("\n".join(lines[:-1]), scope)
    config = Config(normalization=SCALINGS[scaling].get("normalization", "none"))
    fitted = fit_normalization(config, TRAIN)
    expected = images if fitted is None else normalize(fitted, images)
    np.testing.assert_allclose(np.asarray(scope["x"]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_of_optax_have_the_settings(optimizer: str) -> None:
    config = Config(optimizer=optimizer)
    hparams = resolve(config, Hparams(learning_rate=0.03))
    values = {name: getattr(hparams, name) for name in OPTIMIZERS[optimizer]}
    settings = {**RAW, "optimizer": optimizer, **values}
    scope: dict[str, Any] = {"optax": optax}
    exec(code_lines(settings, (2,))["Flax"][-1], scope)
    params, gradients = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, -0.1, 2.0])
    steps = []
    for optimizer_here in (scope["optimizer"], make_optimizer(config, hparams)):
        state = optimizer_here.init(params)
        updates, state = optimizer_here.update(gradients, state, params)
        updates, _ = optimizer_here.update(-0.5 * gradients, state, params)
        steps.append(updates)
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("library", "optimizer", "line"),
    [
        (
            "Keras",
            "adam",
            "optimizer = keras.optimizers.Adam(learning_rate=0.1, beta_1=0.9, "
            "beta_2=0.999, epsilon=1e-08)",
        ),
        (
            "PyTorch",
            "adam",
            "optimizer = torch.optim.Adam(model.parameters(), lr=0.1, eps=1e-08, "
            "betas=(0.9, 0.999))",
        ),
        (
            "PyTorch",
            "nesterov",
            "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, "
            "nesterov=True)",
        ),
        (
            "Keras",
            "rmsprop",
            "optimizer = keras.optimizers.RMSprop(learning_rate=0.1, rho=0.9, "
            "epsilon=1e-08)",
        ),
    ],
)
def test_optimizers_of_other_libraries(library: str, optimizer: str, line: str) -> None:
    settings = {**RAW, **OPTIMIZERS[optimizer]}
    settings |= {"optimizer": optimizer, "learning_rate": 0.1}
    assert code_lines(settings, (2,))[library][-1] == line


def test_pytorch_has_no_lion() -> None:
    settings = {**RAW, "optimizer": "lion", **OPTIMIZERS["lion"]}
    assert [*code_lines(settings, (2,))] == ["Keras", "Flax"]


def test_large_offsets_keep_their_digits() -> None:
    settings = {**RAW, "optimizer": "sgd", "learning_rate": 0.1, "offset": 1234567.8}
    line = "x = (jnp.asarray(x, jnp.float32) - 1234567.8)"
    assert code_lines(settings, (2,))["Flax"][0] == line
    scaled = {**settings, "normalization": "per_feature", "divisor": 2.0}
    assert code_lines(scaled, (2,))["Keras"][-2] == "x = (x - 1234567.8) / 2.0"
