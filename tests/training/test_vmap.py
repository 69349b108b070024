"""``train`` vmapped over seeds and settings has the numbers of each run alone."""

import dataclasses
import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Config, Data, Hparams, UserError, epoch_order, run_orders, train
from tests.training.test_training import make_data

DATA = Data(make_data(50), make_data(20, seed=1))
CONFIG = Config(
    hidden_sizes=(6,),
    optimizer="momentum",
    batch_size=8,
    num_epochs=2,
    schedule="cosine",
)
HPARAMS = Hparams(divisor=100.0, learning_rate=0.05, dropout_rate=0.1)
SEEDS = (3, 2**32 - 1)

pytestmark = pytest.mark.usefixtures("_unoptimised")


@functools.cache
def runs_alone() -> list[Any]:
    return [train(CONFIG, HPARAMS, seed, DATA) for seed in SEEDS]


def assert_equal_to_runs_alone(actual: Any, alone: list[Any]) -> None:
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        actual,
        stacked,
    )


def test_the_orders_of_a_run_are_those_of_its_epochs() -> None:
    orders = run_orders(CONFIG, SEEDS, DATA)
    assert (orders.shape, orders.dtype) == ((2, 2, 50), np.int32)
    for seed, order in zip(SEEDS, orders, strict=True):
        np.testing.assert_array_equal(order[0], epoch_order(seed, 1, 50))
        np.testing.assert_array_equal(order[1], epoch_order(seed, 2, 50))
        np.testing.assert_array_equal(order, run_orders(CONFIG, seed, DATA))
    for seeds in (range(3), np.arange(3), jnp.arange(3)):
        np.testing.assert_array_equal(
            run_orders(CONFIG, seeds, DATA), run_orders(CONFIG, [0, 1, 2], DATA)
        )


@pytest.mark.slow
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_train_is_vmapped_over_seeds(transform: Any) -> None:
    def run(seed: Any, orders: Any) -> Any:
        return train(CONFIG, HPARAMS, seed, DATA, orders)

    orders = run_orders(CONFIG, SEEDS, DATA)
    actual = transform(jax.vmap(run))(np.array(SEEDS, np.uint32), orders)
    assert_equal_to_runs_alone(actual, runs_alone())
    losses = actual[1]["test_loss"]
    assert len(np.unique(losses)) == losses.size  # no two runs are the same


@pytest.mark.slow
def test_train_is_vmapped_over_settings_and_seeds() -> None:
    rates, divisors = [0.01, 0.1], [50.0, 100.0]
    hparams = dataclasses.replace(
        HPARAMS, learning_rate=jnp.array(rates), divisor=np.array(divisors)
    )
    mapped = Hparams(learning_rate=0, divisor=0)  # the dropout rate is shared

    def run(hparams: Hparams, seed: Any, orders: Any) -> Any:
        return train(CONFIG, hparams, seed, DATA, orders)

    over_seeds = jax.vmap(run, in_axes=(None, 0, 0))
    over_all = jax.vmap(over_seeds, in_axes=(mapped, None, None))
    orders = run_orders(CONFIG, SEEDS, DATA)
    _, metrics = jax.jit(over_all)(hparams, np.array(SEEDS, np.uint32), orders)
    for i, seed in enumerate(SEEDS):
        alone = jax.jit(
            lambda hparams, seed=seed: train(CONFIG, hparams, seed, DATA)[1]
        )
        one_by_one = [
            alone(dataclasses.replace(HPARAMS, learning_rate=rate, divisor=divisor))
            for rate, divisor in zip(rates, divisors, strict=True)
        ]
        of_seed = jax.tree.map(lambda x, i=i: x[:, i], metrics)
        assert_equal_to_runs_alone(of_seed, one_by_one)


@pytest.mark.slow
def test_the_code_of_the_docs_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "how_to" / "own_functions.md"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    (code,) = (block for block in blocks if "runs = Hparams(" in block)
    imports, _, code = code.partition("runs = ")
    code = f"runs = {code}"
    config = dataclasses.replace(CONFIG, num_epochs=1)
    names: dict[str, Any] = {"jax": jax, "Hparams": Hparams, "data": DATA}
    names |= {"config": config, "hparams": HPARAMS}
    before, _, after = code.partition("\n\n")
    for part, key, count in ((before, "runs", 8), (after, "orders", 5)):
        exec(imports + part, used := {**names})
        assert len(jax.tree.leaves(used[key])[0]) == count
        assert used["metrics"]["test_loss"].shape == (count, 1)


def test_hparams_are_a_pytree_of_their_numbers() -> None:
    runs = [Hparams(learning_rate=0.5, l2=2.0), Hparams(learning_rate=0.25, l2=4.0)]
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *runs)
    assert isinstance(stacked, Hparams)
    np.testing.assert_array_equal(stacked.learning_rate, [0.5, 0.25])
    np.testing.assert_array_equal(stacked.l2, [2.0, 4.0])
    assert stacked.eps is None
    half = jax.tree.map(lambda value: value / 2, runs[0])
    assert half == Hparams(learning_rate=0.25, l2=1.0)


@pytest.mark.slow
def test_hparams_of_a_preset_are_a_pytree_without_further_imports() -> None:
    code = (
        "import jax; from fmnist_jax import PRESETS\n"
        "assert jax.tree.leaves(PRESETS['book'][1]) == [1e-2]"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize("transform", [jax.vmap, jax.jit], ids=["vmap", "jit"])
def test_a_traced_seed_without_orders_is_refused(transform: Any) -> None:
    mapped = transform(lambda seed: train(CONFIG, HPARAMS, seed, DATA))
    with pytest.raises(
        UserError, match=r"train takes .* run_orders\(config, seeds, da"
    ):
        mapped(jnp.arange(3) if transform is jax.vmap else 3)


@pytest.mark.parametrize("order", ["file", "sorted"])
def test_orders_without_a_seed_need_none(order: str) -> None:
    config = dataclasses.replace(CONFIG, order=order)
    shapes = jax.eval_shape(
        jax.vmap(lambda seed: train(config, HPARAMS, seed, DATA)[1]), jnp.arange(3)
    )
    assert shapes["test_loss"].shape == (3, 2)


def test_orders_of_another_shape_are_refused() -> None:
    orders = run_orders(CONFIG, SEEDS, DATA)
    for wrong in (orders, orders[0, :1], orders[0, 0]):
        with pytest.raises(UserError, match=r"^orders has shape .*; expected \[E, N\]"):
            train(CONFIG, HPARAMS, 0, DATA, wrong)
