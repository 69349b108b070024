"""The examples: one MLP in each library, the same numbers."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Config, Hparams, init, sweep, train_step
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.training.step import State, forward

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "networks"
LIBRARIES = ("linen", "nnx", "equinox", "haiku", "pair")
PACKAGES = {"equinox": "equinox", "haiku": "haiku"}
HPARAMS = Hparams(divisor=255.0, learning_rate=1e-2)

Layers = list[tuple[np.ndarray, np.ndarray]]


def example(library: str) -> Any:
    if library in PACKAGES:
        pytest.importorskip(PACKAGES[library], reason="in requirements-dev.txt")
    return importlib.import_module(f"examples.networks.mlp_{library}").network


def layers() -> Layers:
    """Weights ``[inputs, outputs]`` and biases."""
    rng = np.random.default_rng(0)
    sizes = [(784, 32), (32, 10)]
    return [
        (
            rng.normal(0, i**-0.5, (i, o)).astype("f4"),
            rng.normal(0, 0.1, o).astype("f4"),
        )
        for i, o in sizes
    ]


def of_dicts(names: list[str], kernel: str, bias: str) -> Callable[[Any], Any]:
    return lambda _: {
        name: {kernel: w, bias: b} for name, (w, b) in zip(names, layers(), strict=True)
    }


def of_equinox(params: Any) -> Any:
    """Equinox has ``[outputs, inputs]``."""
    arrays = [jnp.asarray(a) for w, b in layers() for a in (w.T, b)]
    return jax.tree.unflatten(jax.tree.structure(params), arrays)


PARAMS = {
    "linen": of_dicts(["Dense_0", "Dense_1"], "kernel", "bias"),
    "nnx": of_dicts(["hidden", "out"], "kernel", "bias"),
    "equinox": of_equinox,
    "haiku": of_dicts(["linear", "linear_1"], "w", "b"),
    "pair": lambda _: [(w, b[None]) for w, b in layers()],
}


def started(library: str, optimizer: str) -> tuple[Config, State]:
    """A state with the parameters of ``layers``."""
    config = Config(model=example(library), optimizer=optimizer)
    state = init(config, HPARAMS, jax.random.key(0), (28, 28), 10)
    params = jax.tree.map(jnp.asarray, PARAMS[library](state.params))
    shapes = [[a.shape for a in jax.tree.leaves(p)] for p in (params, state.params)]
    assert shapes[0] == shapes[1]
    new = {**vars(state), "params": params}
    return config, State(**new)


@pytest.fixture(scope="module")
def batches() -> list[Dataset]:
    rng = np.random.default_rng(1)
    return [
        Dataset(
            jnp.asarray(rng.integers(0, 256, (16, 28, 28)).astype(np.uint8)),
            jnp.asarray(rng.integers(0, 10, 16).astype(np.int32)),
        )
        for _ in range(5)
    ]


@pytest.mark.parametrize("library", LIBRARIES)
def test_logits_are_those_of_numpy(library: str, batches: list[Dataset]) -> None:
    config, state = started(library, "sgd")
    images = batches[0].images
    logits, _ = forward(config, HPARAMS, state, None, images, False)
    (w1, b1), (w2, b2) = [(w.astype(float), b.astype(float)) for w, b in layers()]
    x = np.asarray(images).reshape(16, -1) / 255
    expected = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES[1:])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_those_of_linen(
    library: str, optimizer: str, batches: list[Dataset]
) -> None:
    losses, logits = [], []
    for name in ("linen", library):
        config, state = started(name, optimizer)
        first, _ = forward(config, HPARAMS, state, None, batches[0].images, False)
        step = jax.jit(train_step, static_argnums=0)
        values = []
        for number, batch in enumerate(batches):
            key = jax.random.key(number)
            state, metrics = step(config, HPARAMS, state, key, batch)
            values.append(float(metrics["loss"]))
        logits.append(first)
        losses.append(values)
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][0] != pytest.approx(losses[0][-1], abs=1e-3)  # it has moved


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_examples_train_in_a_sweep(library: str, small: Data) -> None:
    axes = {"learning_rate": [1e-6, 1e-2], "seed": [0, 1]}
    results = sweep(axes, small, Config(model=example(library), num_epochs=8))
    accuracy = results.test_accuracy.isel(epoch=-1).mean("seed").values
    assert accuracy[0] < 0.3 < 0.45 < accuracy[1]
    expected = {"haiku": "net", "pair": "Pair"}.get(library, "Net")
    assert results.model.item() == expected


def test_each_example_is_short_and_printed_in_the_docs() -> None:
    page = (ROOT / "docs" / "how_to" / "own_network.md").read_text(encoding="utf-8")
    assert {path.stem for path in FOLDER.glob("*.py")} == {
        f"mlp_{library}" for library in LIBRARIES
    }
    for path in FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 25
        assert text in page
