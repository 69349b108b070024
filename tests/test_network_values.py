"""What ``Config.model`` may be: recognised, refused, labelled."""

import functools
import importlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fmnist_jax import MLP, Config, Hparams, Network, UserError, plan
from fmnist_jax.config import check
from fmnist_jax.network_values import label, name_of, problem, with_tuples


class Net(nn.Module):
    """With fields of many types."""

    width: int = 4
    sizes: Any = ()
    activation: Any = nn.relu
    dtype: Any = jnp.float32
    inner: Any = None


class Required(nn.Module):
    width: int


class Module(nnx.Module):
    def __call__(self, x: Any) -> Any:
        return x


def apply(params: Any, x: Any) -> Any:
    return x


def library(name: str) -> Any:
    pytest.importorskip(name, reason="in requirements-dev.txt")
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: Module(), "is the Flax NNX module Module; pass from_nnx(make), with"),
        (
            lambda: Module,
            "is the class Module; pass from_nnx(make), with a function or class make(r",
        ),
        (lambda: Net, "is the class Net; pass an instance, such as Net()"),
        (lambda: apply, "is the function apply; pass Network(init, apply), a pair"),
        (
            lambda: functools.partial(apply, 1),
            "is the function apply(1); pass Netw",
        ),
        (lambda: (apply, apply), "is a tuple; expected a Flax Linen module (an inst"),
        (lambda: 3, "is a int; expected a Flax Linen module (an instance), a Network"),
        (lambda: "mlp", "is a str; expected a Flax Linen module"),
        (lambda: np.ones(3), "; expected a Flax Linen module (an instance)"),
        (
            lambda: library("equinox").nn.Linear(2, 3, key=jax.random.key(0)),
            "is the Equinox module Linear; pass from_equinox(make), with a function or",
        ),
        (
            lambda: library("equinox").nn.Linear,
            "make), with a function or class make(key) that returns a Linear.",
        ),
        (
            lambda: library("haiku").transform(apply),
            "is the Transformed of Haiku; pass from_haiku(transformed)",
        ),
        (
            lambda: library("haiku").transform_with_state(apply),
            "is the TransformedWithState of Haiku; pass from_haiku(transformed)",
        ),
        (lambda: library("haiku").Linear, "is the class Linear; expected a Flax Linen"),
        (
            lambda: Net(sizes=np.ones(3)),
            "is a Net whose attribute `sizes`, a ndarray, is not hashable; give it a",
        ),
        (lambda: Net(inner={"a": 1}), "attribute `inner`, a dict, is not hashable"),
        (lambda: Net(inner=Net(sizes={1})), "attribute `inner`, a Net, is not hashab"),
    ],
)
def test_other_things_are_told_apart(value: Any, words: str) -> None:
    given = value()
    for refuse in (
        lambda: check("model", given),
        lambda: plan({}, Config(model=given), Hparams()),
        lambda: plan({"model": [given]}, Config(), Hparams()),
    ):
        with pytest.raises(UserError) as caught:
            refuse()
        assert words in str(caught.value)
        assert str(caught.value).startswith("model is ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, Net(), MLP(3), Network(apply, apply)])
def test_networks_are_taken(value: Any) -> None:
    assert problem(value) is None
    assert Config(model=value).model is value


def test_lists_in_modules_become_tuples() -> None:
    given = Net(sizes=[8, [16, 2]], inner=Net(sizes=[1]), name="mine")
    config = Config(model=given)
    assert config.model.sizes == (8, (16, 2))
    assert config.model.inner.sizes == (1,)
    assert config.model.name == "mine"
    expected = Net(sizes=(8, (16, 2)), inner=Net(sizes=(1,)), name="mine")
    assert config == Config(model=expected)
    assert hash(config) == hash(Config(model=expected))
    sequential = Config(model=nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)])).model
    x = jnp.ones((2, 5))
    logits, _ = sequential.init_with_output(jax.random.key(0), x)
    assert logits.shape == (2, 3)
    assert with_tuples([1]) == [1]  # of modules only
    same = Net(sizes=(8,))
    assert with_tuples(same) is same


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (None, "MLP"),
        (Net(), "Net"),
        (Net(8), "Net(width=8)"),
        (Net(8, (3, 4)), "Net(width=8, sizes=(3, 4))"),
        (Net(activation=nn.tanh), "Net(activation=tanh)"),
        (Net(dtype=jnp.bfloat16), "Net(dtype=bfloat16)"),
        (Net(inner=Net(5)), "Net(inner=Net(width=5))"),
        (Net(inner="same"), "Net(inner=same)"),
        (Net(inner=functools.partial(nn.Dense, 3)), "Net(inner=Dense(3))"),
        (Net(8, name="mine"), "mine"),
        (Required(4), "Required(width=4)"),
        (MLP(10), "MLP(num_classes=10)"),
        (Network(apply, apply), "apply"),
        (Network(apply, apply, name="mine"), "mine"),
    ],
)
def test_labels(model: Any, text: str) -> None:
    assert label(model) == text


def test_names_have_no_addresses() -> None:
    class Thing:
        def method(self) -> None:
            pass

    assert "0x" not in name_of(Thing())
    assert name_of(Thing().method) == "Thing"
    assert name_of(Thing) == "Thing"
    assert name_of(functools.partial(apply, 1, x=(2, 3))) == "apply(1, x=(2, 3))"
