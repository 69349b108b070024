"""Code of the same name is told apart, in any process alike."""

import functools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import Data
from fmnist_jax import Network as Pair
from fmnist_jax.sweeps.code_names import code_name
from tests.sweeps.runs import DATA

ROOT = Path(__file__).parents[2]


def apply(params: Any, x: Any) -> Any:
    return params * x


def _network(factor: int, size: int) -> Any:
    class Net(nn.Module):
        width: int = size

        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(10)(nn.Dense(self.width)(x) * factor)

    return Net()


def _doubling() -> Any:
    class Net(nn.Module):
        width: int = 8

        @nn.compact
        def __call__(self, x: Any) -> Any:
            return 2 * nn.Dense(10)(nn.Dense(self.width)(x))

    Net.__qualname__ = type(_network(1, 8)).__qualname__
    return Net()


def test_code_of_the_same_name_differs() -> None:
    """So that neither a sweep resumes nor a state is loaded with other code."""
    assert code_name(_network(1, 8)) == code_name(_network(1, 8))
    applies: list[Any] = [lambda p, x: p * x, lambda p, x: p + x]
    pairs = [Pair(lambda key, x: x, apply, name="n") for apply in applies]
    things: list[Any] = [
        _network(1, 8),
        _network(2, 8),
        _network(1, 9),
        _doubling(),
        *pairs,
    ]
    things += [lambda x: x, lambda x: 2 * x, np.arange(3), np.arange(4)]
    assert len({*map(code_name, things)}) == len(things)
    assert code_name(apply) != code_name(functools.partial(apply))

    def recursive(n: int) -> int:
        return recursive(n - 1) if n else 0

    assert code_name(recursive) == code_name(recursive)


MODULE = """
import functools
import equinox as eqx
from flax import nnx
import flax.linen as nn
import jax
import jax.numpy as jnp

from fmnist_jax import from_equinox

WIDTH = 8
SIZES = (1, 2)
KINDS = {"one", "two", "three"}

def helper(x):
    return x + 1

class Base(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(784, WIDTH, rngs=rngs)

class Net(Base):
    slope = 0.1

    def __call__(self, x):
        return self.layer(helper(x)) * self.slope

class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.tanh(x)

class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(WIDTH)(Inner()(x))

@jax.jit
def jitted(logits, labels, *, weight=1):
    return weight * logits

class Weighted:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, logits, labels):
        return self.weight * logits

    def loss(self, logits, labels):
        return self.weight + logits

def loss(logits, labels):
    if labels.name in {"one", "two", "three", "four"}:
        return helper(logits)
    return [helper(row) for row in logits]

def make(rngs, *, size=SIZES):
    return Net(rngs)

class Eqx(eqx.Module):
    layer: eqx.nn.Linear

    def __init__(self, key):
        self.layer = eqx.nn.Linear(784, WIDTH, key=key)

    def __call__(self, x):
        return self.layer(x.ravel())

scan = functools.partial(jax.lax.scan, unroll=2)

def scanned(logits, labels):
    return jax.vmap(lambda x: scan(lambda c, y: (c, y), 0, x)[1])(logits)

THINGS = [Net, Linen(), loss, make, functools.partial(make, 1), jitted,
    Weighted(1.0), Weighted(2.0).loss, from_equinox(Eqx), scanned]
"""
# A changed line, and the things that depend on it.
CHANGES = [
    ("WIDTH = 8", "WIDTH = 9", "Net Linen make partial eqx"),
    ("return x + 1", "return x + 2", "Net loss make partial"),
    ("slope = 0.1", "slope = 0.2", "Net make partial"),
    ("x.ravel()", "2 * x.ravel()", "eqx"),
    ("unroll=2", "unroll=3", "scan"),
    ("nn.tanh(x)", "nn.relu(x)", "Linen"),
    ('"three", "four"', '"three", "five"', "loss"),
    ("SIZES = (1, 2)", "SIZES = (1, 3)", "make partial"),
    ("weight=1)", "weight=2)", "jitted"),
    ("return weight * logits", "return weight + logits", "jitted"),
    ("Weighted(1.0)", "Weighted(1.5)", "object"),
    ("Weighted(2.0)", "Weighted(2.5)", "method"),
    ("return x + 1", "return x + 1  # a comment", ""),
]
NAMES = [
    "Net",
    "Linen",
    "loss",
    "make",
    "partial",
    "jitted",
    "object",
    "method",
    "eqx",
    "scan",
]


def names_in(sources: list[str], hash_seed: int) -> list[list[str]]:
    """Returns the names of ``THINGS`` of each source, in a fresh process."""
    script = textwrap.dedent(f"""
        import json
        from fmnist_jax.sweeps.code_names import code_name
        for source in {sources!r}:
            variables = {{"__name__": "__main__"}}
            exec(source, variables)
            print(json.dumps([code_name(thing) for thing in variables["THINGS"]]))
    """)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_name_changes_with_all_that_the_code_refers_to_and_nothing_else() -> None:
    pytest.importorskip("equinox")
    assert all(line in MODULE for line, _, _ in CHANGES)
    changed = [MODULE.replace(line, other) for line, other, _ in CHANGES]
    [names] = names_in([MODULE], 0)
    assert len(names) == len(NAMES)
    all_names = names_in(changed, 1)  # another process orders sets otherwise
    for (_, other, dependent), others in zip(CHANGES, all_names, strict=True):
        pairs = zip(NAMES, names, others, strict=True)
        differing = [name for name, one, other in pairs if one != other]
        assert differing == dependent.split(), other


def test_arrays_of_any_size_are_compared_whole() -> None:
    large = np.zeros(10_000)
    other = large.copy()
    other[5000] = 1
    for convert in (np.asarray, jnp.asarray):
        one, two = convert(large), convert(other)
        assert code_name((one,)) == code_name((convert(large),))
        assert code_name({"w": [one]}) != code_name({"w": [two]})
    assert code_name(jax.random.key(0)) != code_name(jax.random.key(1))


def test_what_is_remembered_of_data_does_not_matter() -> None:
    def loss_of(data: Data) -> Any:
        return lambda logits, labels: data.num_classes * logits

    before = code_name(loss_of(DATA))
    DATA.memo["anything"] = DATA.findings
    assert code_name(loss_of(DATA)) == before
    assert code_name(loss_of(Data(DATA.test, DATA.train))) != before


def test_collections_are_named_by_their_content() -> None:
    assert code_name({3, 1, 2}) == code_name({2, 3, 1})
    assert code_name([1, 2]) != code_name([2, 1])
    assert "at 0x" not in code_name({"f": [object(), lambda x: x]})
