"""The switch between training and evaluation, under each of its names.

Every network here is a dropout of 0.9 and then a product with fixed weights: in
evaluation its logits are ``x @ w``, in training those of a tenth of the inputs.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fmnist_jax import Network, UserError, from_haiku, from_nnx
from fmnist_jax.networks import calls
from fmnist_jax.networks.switch import EVALUATION, TRAINING

RATE = 0.9
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 50)), jnp.float32)
W = jnp.asarray(np.random.default_rng(1).normal(size=(50, 3)), jnp.float32)
NAMES = (*TRAINING, *EVALUATION)


def with_argument(argument: str, body: Callable[..., Any], *first: str) -> Any:
    """Returns a function with an argument such as ``train: bool = False``."""
    name = argument.split(":")[0].split("=")[0]
    positional = ", ".join(first)
    source = f"lambda {positional}, {argument}: body({positional}, {name})"
    function = eval(source, {"body": body})
    function.__name__ = function.__qualname__ = "__call__"
    return function


def is_train(name: str, value: bool) -> bool:
    return value == (name in TRAINING)


def linen(argument: str) -> Any:
    name = argument.split("=")[0]

    def body(self: Any, x: Any, value: bool) -> Any:
        w = self.param("w", lambda _: W)
        deterministic = not is_train(name, value)
        return nn.Dropout(RATE, deterministic=deterministic)(x) @ w

    call = nn.compact(with_argument(argument, body, "self", "x"))
    return type("Net", (nn.Module,), {"__call__": call})()


def linen_field(name: str, given: bool) -> Any:
    def body(self: Any, x: Any) -> Any:
        w = self.param("w", lambda _: W)
        deterministic = not is_train(name, getattr(self, name))
        return nn.Dropout(RATE, deterministic=deterministic)(x) @ w

    body.__name__ = "__call__"
    members = {"__annotations__": {name: bool}, "__call__": nn.compact(body)}
    return type("Net", (nn.Module,), members)(**{name: given})


def pair(argument: str) -> Any:
    name = argument.split("=")[0]

    def body(params: Any, x: Any, key: Any, value: bool) -> Any:
        if is_train(name, value):
            mask = jax.random.bernoulli(key, 1 - RATE, x.shape)
            x = jnp.where(mask, x / (1 - RATE), 0)
        return x @ params

    apply = with_argument(argument, body, "params", "x", "key")
    return Network(lambda key, x: W, apply)


def haiku(argument: str) -> Any:
    hk = pytest.importorskip("haiku", reason="in requirements-dev.txt")
    name = argument.split("=")[0]

    def body(x: Any, value: bool) -> Any:
        if is_train(name, value):
            x = hk.dropout(hk.next_rng_key(), RATE, x)
        return x @ hk.get_parameter("w", W.shape, init=lambda *_: W)

    return from_haiku(hk.transform(with_argument(argument, body, "x")))


def nnx_argument(argument: str) -> Any:
    """The module's own switch is an argument; its layer is not switched by NNX."""
    name = argument.split("=")[0]

    def body(self: Any, x: Any, value: bool) -> Any:
        if is_train(name, value):
            mask = jax.random.bernoulli(self.rngs.noise(), 1 - RATE, x.shape)
            x = jnp.where(mask, x / (1 - RATE), 0)
        return x @ self.w[...]

    def start(self: Any, rngs: Any) -> None:
        self.w, self.rngs = nnx.Param(W), rngs

    call = with_argument(argument, body, "self", "x")
    return from_nnx(type("Net", (nnx.Module,), {"__init__": start, "__call__": call}))


def nnx_module() -> Any:
    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.w, self.dropout = nnx.Param(W), nnx.Dropout(RATE, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.dropout(x) @ self.w[...]

    return from_nnx(Net)


def nnx_call_rngs() -> Any:
    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.w, self.dropout = nnx.Param(W), nnx.Dropout(RATE)

        def __call__(self, x: Any, rngs: Any) -> Any:
            return self.dropout(x, rngs=rngs) @ self.w[...]

    return from_nnx(Net)


def equinox(argument: str = "", keyword: str = "key") -> Any:
    eqx = pytest.importorskip("equinox", reason="in requirements-dev.txt")
    from fmnist_jax import from_equinox

    def body(self: Any, x: Any, key: Any, value: Any = None) -> Any:
        if argument:
            train = is_train(argument.split("=")[0], value)
            return self.dropout(x, key=key, inference=not train) @ self.w
        return self.dropout(x, key=key) @ self.w

    def start(self: Any, key: Any) -> None:
        self.w, self.dropout = W, eqx.nn.Dropout(RATE)

    call = with_argument(f"{keyword}=None", body, "self", "x")
    if argument:
        call = with_argument(argument, body, "self", "x", "key")
    members = {"__annotations__": {"w": Any, "dropout": Any}}
    cls = type("Net", (eqx.Module,), {"__init__": start, "__call__": call, **members})
    return from_equinox(cls)


NETWORKS: dict[str, Callable[[], Any]] = {
    "nnx": nnx_module,
    "nnx rngs": nnx_call_rngs,
    "equinox": equinox,
}
for switch in NAMES:
    NETWORKS |= {
        f"linen {switch}": functools.partial(linen, f"{switch}=False"),
        f"linen {switch} required": functools.partial(linen, switch),
        f"linen field {switch}": functools.partial(linen_field, switch, True),
        f"linen field {switch} off": functools.partial(linen_field, switch, False),
        f"haiku {switch}": functools.partial(haiku, switch),
        f"pair {switch}": functools.partial(pair, f"{switch}=False"),
        f"nnx {switch}": functools.partial(nnx_argument, switch),
        f"equinox {switch}": functools.partial(equinox, switch),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_is_on_in_training_only(name: str) -> None:
    network = NETWORKS[name]()
    params, state = calls.init_network(network, jax.random.key(0), X[:1])

    def logits(seed: int | None, train: bool) -> np.ndarray:
        key = None if seed is None else jax.random.key(seed)
        output, after = calls.apply_network(network, params, state, key, X, train)
        same = jax.tree.map(np.array_equal, after, state)
        assert jax.tree.all(same)
        return np.asarray(output)

    np.testing.assert_allclose(logits(None, False), X @ W, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits(None, False), logits(None, False))
    one, other = logits(1, True), logits(2, True)
    assert not np.isclose(one, other).any()
    np.testing.assert_array_equal(one, logits(1, True))
    # A tenth of the inputs, times 10: the variance of the logits is 10 times as large.
    ratio = np.mean([np.var(logits(seed, True)) for seed in range(4)]) / np.var(X @ W)
    assert 4 < ratio < 25
    # The rows are not masked alike.
    same_x = jnp.tile(X[:1], (6, 1))
    output, _ = calls.apply_network(
        network, params, state, jax.random.key(3), same_x, True
    )
    assert len(np.unique(np.asarray(output)[:, 0])) == 6


def function_of(library: str, argument: str) -> Any:
    """Returns a network whose function has one more argument, which it ignores."""
    if library == "linen":

        def linear(self: Any, x: Any, _: Any) -> Any:
            return nn.Dense(3)(x)

        call = nn.compact(with_argument(argument, linear, "self", "x"))
        return type("Net", (nn.Module,), {"__call__": call})()
    if library == "pair":

        def product(params: Any, x: Any, _: Any) -> Any:
            return x @ params

        apply = with_argument(argument, product, "params", "x")
        return Network(lambda key, x: W, apply)
    hk = pytest.importorskip("haiku", reason="in requirements-dev.txt")

    def of_haiku(x: Any, _: Any) -> Any:
        return hk.Linear(3)(x)

    return from_haiku(hk.transform(with_argument(argument, of_haiku, "x")))


def call(network: Any) -> Any:
    params, state = calls.init_network(network, jax.random.key(0), X)
    key = jax.random.key(1)
    return calls.apply_network(network, params, state, key, X, True)[0]


@pytest.mark.parametrize("library", ["linen", "pair", "haiku"])
def test_another_required_argument_is_refused(library: str) -> None:
    with pytest.raises(UserError, match=r"requires the argument `mask`.*train") as e:
        call(function_of(library, "mask"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("library", ["linen", "pair", "haiku"])
@pytest.mark.parametrize(
    ("argument", "is_noticed"),
    [
        ("mode=False", True),
        ("mode=True", True),
        ("mode: bool | None = None", True),
        ("mode=None", False),
        ("mode=3", False),
        ("*, train=False, mode=False", False),
    ],
)
def test_an_optional_switch_of_unknown_name_is_noticed(
    library: str, argument: str, is_noticed: bool
) -> None:
    if ":" in argument or "*" in argument:

        def linear(self: Any, x: Any, mode: bool | None = None) -> Any:
            return nn.Dense(3)(x)

        def switched(
            self: Any, x: Any, *, train: bool = False, mode: bool = False
        ) -> Any:
            return nn.Dense(3)(x)

        function = switched if "*" in argument else linear
        function.__name__ = "__call__"
        members = {"__call__": nn.compact(function)}
        network: Any = type("Net", (nn.Module,), members)()
    else:
        network = function_of(library, argument)
    lines = calls.notices(network)
    assert len(lines) == is_noticed
    assert all("argument `mode`" in line and "`train`" in line for line in lines)
    assert call(network).shape == (6, 3)


def test_the_notices_of_modules_are_those_of_their_call() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.w = nnx.Param(W)

        def __call__(self, x: Any, mode: bool = False) -> Any:
            return x @ self.w[...]

    (line,) = calls.notices(from_nnx(Net))
    assert "Net.__call__ keeps the default False of its argument `mode`" in line
    pytest.importorskip("equinox", reason="in requirements-dev.txt")
    from fmnist_jax import from_equinox

    eqx: Any = importlib.import_module("equinox")

    class Module(eqx.Module):
        w: Any

        def __init__(self, key: Any) -> None:
            self.w = W

        def __call__(self, x: Any, key: Any = None, mode: bool = True) -> Any:
            return x @ self.w

    (line,) = calls.notices(from_equinox(Module))
    assert "Module.__call__ keeps the default True of its argument `mode`" in line


def test_unknown_keywords_are_refused_unless_the_library_defines_them() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any, **kwargs: Any) -> Any:
            return nn.Dense(3)(x)

    with pytest.raises(UserError, match=r"__call__ takes \*\*kwargs, so that the name"):
        call(Net())

    class Switched(nn.Module):
        training: bool = False

        @nn.compact
        def __call__(self, x: Any, **kwargs: Any) -> Any:
            assert not kwargs
            return nn.Dense(3)(x)

    assert call(Switched()).shape == (6, 3)

    class Named(nn.Module):
        @nn.compact
        def __call__(self, x: Any, train: bool, **kwargs: Any) -> Any:
            assert not kwargs
            return nn.Dense(3)(x)

    assert call(Named()).shape == (6, 3)
    sequential = nn.Sequential((nn.Dense(4), nn.relu, nn.Dense(3)))
    assert call(sequential).shape == (6, 3)
    assert calls.notices(sequential) == []

    def apply(params: Any, x: Any, **kwargs: Any) -> Any:
        assert kwargs.keys() == {"train", "key"}
        return x @ params

    assert call(Network(lambda key, x: W, apply)).shape == (6, 3)
    hk = pytest.importorskip("haiku", reason="in requirements-dev.txt")
    with pytest.raises(UserError, match=r"takes \*\*kwargs, so that the name of its"):
        call(from_haiku(hk.transform(lambda x, **kwargs: hk.Linear(3)(x))))
