"""Networks of NNX, Equinox and Haiku, and pairs: state, equality and refusals."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fmnist_jax import Config, Hparams, Network, UserError, from_haiku, from_nnx, init
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.networks import calls
from fmnist_jax.training.step import State, forward, train_step

REASON = "in requirements-dev.txt"
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(3, 2, size=(64, 5)), jnp.float32)
HPARAMS = Hparams(divisor=1.0)


def package(name: str) -> Any:
    pytest.importorskip(name, reason=REASON)
    return importlib.import_module(name)


def of_equinox(make: Any, name: str = "") -> Network:
    package("equinox")
    from fmnist_jax import from_equinox

    return from_equinox(make, name)


class Normed(nnx.Module):
    """Batch norm with a momentum of 0.9, and then a layer."""

    def __init__(self, rngs: Any) -> None:
        self.norm = nnx.BatchNorm(5, momentum=0.9, epsilon=0, rngs=rngs)
        self.out = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(self.norm(x))


def normed_equinox() -> Network:
    eqx: Any = package("equinox")

    class Module(eqx.Module):
        norm: Any
        out: Any

        def __init__(self, key: Any) -> None:
            self.norm = eqx.nn.BatchNorm(5, "batch", momentum=0.9, eps=0, mode="batch")
            self.out = eqx.nn.Linear(5, 3, key=key)

        def __call__(self, x: Any, state: Any) -> Any:
            x, state = self.norm(x, state)
            return self.out(x), state

    return of_equinox(Module)


def normed_haiku() -> Network:
    hk = package("haiku")

    def normed(x: Any, is_training: bool) -> Any:
        return hk.Linear(3)(hk.BatchNorm(True, True, 0.9, eps=0)(x, is_training))

    return from_haiku(hk.transform_with_state(normed))


def normed_pair() -> Network:
    def init(key: Any, x: Any) -> Any:
        return {"w": jax.random.normal(key, (5, 3))}, (jnp.zeros(5), jnp.ones(5))

    def apply(params: Any, state: Any, x: Any, train: bool) -> Any:
        if train:
            state = jax.tree.map(
                lambda old, new: 0.9 * old + 0.1 * new, state, (x.mean(0), x.var(0))
            )
            mean, var = x.mean(0), x.var(0)
        else:
            mean, var = state
        x = (x - mean[None]) / jnp.sqrt(var[None])
        return x @ params["w"], state

    return Network(init, apply, stateful=True)


NORMED: dict[str, Callable[[], Network]] = {
    "nnx": lambda: from_nnx(Normed),
    "equinox": normed_equinox,
    "haiku": normed_haiku,
    "pair": normed_pair,
}


def layer(params: Any, x: np.ndarray) -> np.ndarray:
    """Returns what the layer after the norm makes of its input, in float64."""
    arrays = [np.asarray(a, float) for a in jax.tree.leaves(params)]
    (w,) = [a if a.shape == (5, 3) else a.T for a in arrays if a.size == 15]
    return x @ w + sum((a for a in arrays if a.shape == (3,)), np.zeros(3))


@pytest.mark.parametrize("library", NORMED)
def test_batch_statistics_are_updated_in_training_only(library: str) -> None:
    """Against NumPy: batch statistics in training, then averages in evaluation."""
    config = Config(model=NORMED[library]())
    state = init(config, HPARAMS, jax.random.key(0), (5,), 3)
    x = np.asarray(X, float)
    trained, after = forward(config, HPARAMS, state, jax.random.key(1), X, True)
    mean, var = x.mean(0), x.var(0)
    expected = layer(state.params, (x - mean) / np.sqrt(var))
    np.testing.assert_allclose(trained, expected, rtol=1e-3, atol=1e-4)
    # Averages start at 0 and 1. Haiku divides both by 1 - 0.9, from starts of 0, and
    # Equinox from these starts.
    corrected = 0.1 if library in ("haiku", "equinox") else 1
    start = 0 if library == "haiku" else 0.9
    mean, var = 0.1 * mean / corrected, (start + 0.1 * var) / corrected
    now = State(**{**vars(state), "model_state": after})
    evaluated, unchanged = forward(config, HPARAMS, now, None, X, False)
    expected = layer(state.params, (x - mean) / np.sqrt(var))
    np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, unchanged, after)
    changed = [
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (state.model_state, after)), strict=True)
    ]
    assert any(changed)


@pytest.mark.slow
@pytest.mark.parametrize("library", NORMED)
def test_steps_work_plain_jitted_and_vmapped(library: str) -> None:
    config = Config(model=NORMED[library](), optimizer="sgd")
    labels = jnp.asarray(np.arange(64) % 3)

    def losses(seed: Any) -> Any:
        state = init(config, HPARAMS, jax.random.key(seed), (5,), 3)
        values = []
        for number in range(2):
            key = jax.random.key(number)
            batch = Dataset(X, labels)
            state, metrics = train_step(config, HPARAMS, state, key, batch)
            values.append(metrics["loss"])
        return jnp.stack(values)

    plain = losses(3)
    np.testing.assert_allclose(jax.jit(losses)(3), plain, rtol=1e-4)
    both = jax.jit(jax.vmap(losses))(jnp.arange(2, 4))
    np.testing.assert_allclose(both[1], plain, rtol=1e-4)
    assert plain[1] < plain[0]
    assert not np.isclose(both[0], both[1]).any()


def test_networks_of_one_function_are_equal_and_share_a_program() -> None:
    traces = []

    def make(rngs: Any) -> Any:
        traces.append(1)
        return nnx.Linear(5, 3, rngs=rngs)

    first, second = from_nnx(make), from_nnx(make)
    assert first == second
    assert hash(first) == hash(second)
    assert first != from_nnx(functools.partial(make))

    step: Any = jax.jit(forward, static_argnums=(0, 5))
    for network in (first, second):
        config = Config(model=network)
        state = init(config, HPARAMS, jax.random.key(0), (5,), 3)
        step(config, HPARAMS, state, None, X, False)
    assert step._cache_size() == 1
    assert len(traces) == 3  # two of init, one for the structure
    eqx, hk = package("equinox"), package("haiku")
    linear = functools.partial(eqx.nn.Linear, 5, 3)
    assert of_equinox(linear) == of_equinox(linear)
    transformed = hk.transform(lambda x: hk.Linear(3)(x))
    assert from_haiku(transformed) == from_haiku(transformed)


def test_names_are_those_of_what_is_adapted() -> None:
    eqx, hk = package("equinox"), package("haiku")

    def small(rngs: Any) -> Any:
        return Normed(rngs)

    def apply(params: Any, x: Any) -> Any:
        return x @ params

    assert from_nnx(small).name == "small"
    assert from_nnx(Normed).name == from_nnx(lambda rngs: Normed(rngs)).name == "Normed"
    assert from_nnx(functools.partial(nnx.Linear, 5, 3)).name == "Linear(5, 3)"
    assert from_nnx(Normed, "mine").name == "mine"
    assert normed_equinox().name == "Module"
    norm = functools.partial(eqx.nn.BatchNorm, 5, "batch", mode="batch")
    stateful = of_equinox(lambda key: eqx.nn.make_with_state(norm)())
    assert stateful.name == "BatchNorm"
    assert of_equinox(functools.partial(eqx.nn.Linear, 5, 3), "a").name == "a"
    assert from_haiku(hk.transform(small)).name == "small"
    assert Network(apply, apply).name == "apply"
    assert Network(apply, lambda p, x: x).name == "Network"


@pytest.mark.parametrize(
    ("adapter", "value", "message"),
    [
        ("nnx", 3, "from_nnx got a int; expected a function make"),
        ("nnx", lambda: Normed(nnx.Rngs(0)), "got a Flax NNX Normed; expected a func"),
        (
            "haiku",
            lambda: RNG,
            "from_haiku got a Generator; expected what hk.transform",
        ),
        ("equinox", None, "from_equinox got a NoneType; expected a function make"),
    ],
)
def test_adapters_refuse_other_things(adapter: str, value: Any, message: str) -> None:
    value = value() if callable(value) else value
    adapters = {"nnx": from_nnx, "haiku": from_haiku, "equinox": of_equinox}
    with pytest.raises(UserError, match=message):
        adapters[adapter](value)


def test_modules_given_as_functions_of_equinox_are_refused() -> None:
    module = package("equinox").nn.Linear(5, 3, key=jax.random.key(0))
    with pytest.raises(UserError, match="from_equinox got a Equinox Linear"):
        of_equinox(module)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from fmnist_jax import from_equinox

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs a package: pip install equinox"):
        from_equinox(Normed)


def test_a_pair_of_other_things_is_refused() -> None:
    value: Any = 3
    with pytest.raises(UserError, match=r"Network\.apply is a int; expected"):
        Network(len, value)


def test_values_that_nnx_modules_sow_are_no_state() -> None:
    class Sowing(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.out = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            self.sow(nnx.Intermediate, "x", x)
            return self.out(x)

    network = from_nnx(Sowing)
    params, state = calls.init_network(network, jax.random.key(0), X)
    key = jax.random.key(1)
    with pytest.warns(DeprecationWarning, match="sow") if _sow_warns() else _nothing():
        _, after = calls.apply_network(network, params, state, key, X, True)
    assert after == state == {}
    assert params.keys() == {"out"}


def _sow_warns() -> bool:
    return hasattr(nnx, "capture")


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_fields_that_differ_between_equinox_modules_do_no_harm() -> None:
    eqx: Any = package("equinox")

    class Module(eqx.Module):
        out: Any
        function: Any = eqx.field(static=True)
        count: Any = eqx.field(default_factory=lambda: jnp.int32(2))

        def __call__(self, x: Any) -> Any:
            return self.function(self.out(x)) * self.count

    def make(key: Any) -> Any:
        return Module(eqx.nn.Linear(5, 3, key=key), lambda x: -x)  # another each time

    network = of_equinox(make)
    params, state = calls.init_network(network, jax.random.key(0), X)
    logits, after = calls.apply_network(network, params, state, None, X, False)
    module = make(jax.random.key(0))
    expected = -2 * (X @ module.out.weight.T + module.out.bias[None])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert jax.tree.leaves(after) == [2]
    assert len(jax.tree.leaves(params)) == 2


def test_parameters_make_a_module_again() -> None:
    eqx = package("equinox")
    linear = functools.partial(eqx.nn.Linear, 5, 3)

    def start(network: Network) -> Any:
        config = Config(model=network)
        state = init(config, HPARAMS, jax.random.key(0), (5,), 3)
        state = State(**{**vars(state), "params": jax.tree.map(jnp.sin, state.params)})
        return state.params, forward(config, HPARAMS, state, None, X, False)[0]

    params, logits = start(of_equinox(lambda key: linear(key=key)))
    module = eqx.combine(params, linear(key=jax.random.key(7)))
    np.testing.assert_allclose(jax.vmap(module)(X), logits, rtol=1e-5, atol=1e-5)

    params, logits = start(from_nnx(Normed))
    module = Normed(nnx.Rngs(7))
    nnx.update(module, params)
    module.eval()
    np.testing.assert_allclose(module(X), logits, rtol=1e-5, atol=1e-5)


def test_a_haiku_function_without_random_numbers() -> None:
    hk = package("haiku")
    function = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(3)(x)))
    network = from_haiku(function)
    params, state = calls.init_network(network, jax.random.key(0), X)
    key = jax.random.key(1)
    logits, _ = calls.apply_network(network, params, state, key, X, True)
    np.testing.assert_allclose(logits, X @ params["linear"]["w"], rtol=1e-5, atol=1e-5)


def test_a_state_keeps_its_types_and_logits_are_float32() -> None:
    def start(key: Any, x: Any) -> Any:
        return jnp.ones((5, 3), jnp.bfloat16), {"n": jnp.float16(0), "k": jnp.int32(0)}

    def apply(params: Any, state: Any, x: Any) -> Any:
        new = {"n": state["n"] + jnp.float32(1), "k": state["k"] + 1}
        return x.astype(jnp.bfloat16) @ params, new

    network = Network(start, apply, stateful=True)
    params, state = calls.init_network(network, jax.random.key(0), X)
    for _ in range(3):
        logits, state = calls.apply_network(network, params, state, None, X, True)
    assert {k: (v.dtype, float(v)) for k, v in state.items()} == {
        "n": (jnp.float16, 3),
        "k": (jnp.int32, 3),
    }
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits[:, 0], X.sum(1), rtol=0.02, atol=0.1)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda z: {"logits": z}, "returns a dict; expected one floating array"),
        (lambda z: (z, {}), r"returns a tuple \(an array of type float32, a dict\)"),
        (lambda z: z.argmax(-1), "returns an array of type int32"),
        (lambda z: None, "returns None"),
    ],
)
def test_other_outputs_than_logits_are_refused(output: Any, words: str) -> None:
    network = Network(lambda key, x: jnp.ones((5, 3)), lambda p, x: output(x @ p))
    config = Config(model=network)
    state = init(config, HPARAMS, jax.random.key(0), (5,), 3)
    with pytest.raises(UserError, match=f"The network Network {words}"):
        forward(config, HPARAMS, state, None, X, False)


def test_a_network_with_state_returns_pairs() -> None:
    network = Network(lambda key, x: X, lambda p, s, x: x, True, "A")
    with pytest.raises(UserError, match=r"init of A, .* an array .*\(params, state\)"):
        calls.init_network(network, jax.random.key(0), X)
    with pytest.raises(UserError, match=r"apply of A, .* an array.*\(logits, state\)"):
        calls.apply_network(network, {}, {}, None, X, True)


@pytest.mark.parametrize("library", NORMED)
def test_parameters_are_counted_without_computing_them(library: str) -> None:
    sizes = {"pair": 15}
    assert calls.num_parameters(NORMED[library](), (5,)) == sizes.get(library, 28)
