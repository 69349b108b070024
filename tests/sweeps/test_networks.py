"""Networks of users in sweeps: checked before the first run, trained, resumed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    Network,
    Notice,
    Probe,
    UserError,
    add_channel_axis,
    plan,
    sweep,
    training,
)
from fmnist_jax.sweeps import checkpoints
from fmnist_jax.sweeps.checks import check_plan
from fmnist_jax.sweeps.engine import (
    checkpoint,
    plan_for_local_devices,
    run_groups_resumably,
)
from fmnist_jax.sweeps.labelling import notices
from fmnist_jax.sweeps.model_size import num_parameters
from tests.networks.variants import VARIANTS

RNG = np.random.default_rng(0)
LABELS = np.arange(70) % 10
IMAGES = RNG.integers(0, 256, (2, 70, 8, 6)).astype(np.uint8)
DATA = Data(Dataset(IMAGES[0], LABELS), Dataset(IMAGES[1][:45], LABELS[:45]))
FLOATS = Data(
    Dataset(IMAGES[0] / 255, LABELS), Dataset(IMAGES[1][:45] / 255, LABELS[:45])
)
CHANNELS = add_channel_axis(DATA)


def flat(x: Any) -> Any:
    return x.reshape(len(x), -1)


def check(model: Any, data: Data = DATA, **settings: Any) -> None:
    """Checks a sweep of a network, as before its first run."""
    config = Config(model=model, **settings)
    check_plan(plan({}, config, Hparams(), data=data), data, 2)


def module(body: Callable[..., Any], name: str = "Net") -> Any:
    """Returns a Linen module whose ``__call__(x)`` is ``body(self, x)``."""
    body.__name__ = "__call__"
    return type(name, (nn.Module,), {"__call__": nn.compact(body)})()


class Conv(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(10)(flat(nn.relu(nn.Conv(4, (3, 3))(x))))


class Pool(nn.Module):
    """As in tutorials."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(2):
            x = nn.avg_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(flat(x))


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (DATA, {}),
        (FLOATS, {}),
        (DATA, {"normalization": "standard"}),
        (DATA, {"normalization": "whiten", "precision": "bf16"}),
    ],
)
def test_convolutions_over_the_batch_are_refused(data: Data, settings: Any) -> None:
    with pytest.raises(UserError, match="depend on the other images of its batch") as e:
        check(Conv(), data, **settings)
    assert "[B, 8, 6], is the batch" in str(e.value)
    assert "pass fmnist_jax.add_channel_axis(data)" in str(e.value)
    assert "\n" not in str(e.value)
    check(Conv(), add_channel_axis(data), **settings)


def test_pooling_over_the_batch_is_the_same_line() -> None:
    with pytest.raises(
        UserError, match=r"ZeroDivisionError: .*test_networks.py:\d+"
    ) as e:
        check(Pool())
    assert "pass fmnist_jax.add_channel_axis(data)" in str(e.value)
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    check(Pool(), CHANNELS)


def centred(self: Any, x: Any) -> Any:
    """Starts with logits of 0, so that only noise shows what they depend on."""
    x = nn.Dense(10)(flat(x))
    return nn.Dense(10, kernel_init=nn.initializers.zeros)(x - jnp.mean(x, 0)[None])


def self_normed(self: Any, x: Any) -> Any:
    norm = nn.BatchNorm(use_running_average=False, use_scale=False, use_bias=False)
    if self.is_initializing():
        return nn.Dense(10)(flat(x))
    del norm
    x = flat(x) - jnp.mean(flat(x), 0)[None]
    return nn.Dense(10)(x)


@pytest.mark.parametrize("body", [centred, self_normed])
def test_statistics_of_the_batch_in_evaluation_are_refused(body: Any) -> None:
    with pytest.raises(UserError, match="depend on the other images of its batch") as e:
        check(module(body), CHANNELS)
    assert "batch norm must use its running statistics" in str(e.value)


@pytest.mark.parametrize("name", VARIANTS)
def test_networks_that_treat_images_alone_pass(name: str, small: Data) -> None:
    check(VARIANTS[name](), small)


def fixed_size(self: Any, x: Any) -> Any:
    return nn.Dense(10)(x.reshape(32, -1))


def only(*sizes: int) -> Any:
    """Returns a module that takes batches of these sizes alone."""

    def body(self: Any, x: Any) -> Any:
        size = len(x) if len(x) in sizes else sizes[-1]
        return nn.Dense(10)(x.reshape(size, 48))

    return module(body)


def numpy(self: Any, x: Any) -> Any:
    return nn.Dense(10)(np.tanh(np.asarray(flat(x))))


def condition(self: Any, x: Any) -> Any:
    return nn.Dense(10)(flat(-x if x.sum() > 0 else x))


def own_error(self: Any, x: Any) -> Any:
    raise KeyError("a\nb")


def in_evaluation(self: Any, x: Any) -> Any:
    return (
        nn.Dense(10)(flat(x)) + jax.random.normal(self.make_rng("noise"), (10,))[None]
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (module(fixed_size), r"batches of size 1: TypeError: cannot reshape array"),
        # Batches of 32, the last of an epoch, the test set, and the training set.
        (only(1), r"batches of size 32: TypeError: cannot reshape array of shape"),
        (only(1, 32), r"batches of size 6: TypeError: cannot reshape array of shape"),
        (only(1, 32, 6), r"batches of size 45: TypeError: cannot reshape array of"),
        (only(1, 32, 6, 45), r"batches of size 70: TypeError: cannot reshape array"),
        (module(numpy), r"TracerArrayConversionError.*use jax.numpy instead of NumPy"),
        (
            module(condition),
            r"TracerBoolConversionError.*jax.lax.cond instead of if",
        ),
        (module(own_error), r"KeyError: 'a\\nb'"),
        (module(in_evaluation), 'InvalidRngError: .*needs PRNG for "noise"'),
        (
            Network(lambda key, x: {"n": jnp.int32(1)}, lambda p, x: flat(x)),
            r"parameter n is int32; expected floating arrays",
        ),
        (Network(lambda key, x: {}, lambda p, x: flat(x)), "has no parameters"),
        (
            Network(
                lambda key, x: (jnp.ones((48, 10)), jnp.zeros(())),
                lambda p, s, x: (flat(x) @ p, s[None]),
                stateful=True,
            ),
            r"change their shapes from step to step \(its state\)",
        ),
    ],
)
def test_what_a_network_raises_is_one_line(model: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check(model)
    text = str(caught.value)
    assert "\n" not in text
    if "failed for" in text:
        assert f"({__file__}:" in text
        assert caught.value.__cause__ is not None


def probability(self: Any, x: Any) -> Any:
    return nn.softmax(nn.Dense(10)(flat(x)))


def log_probability(self: Any, x: Any) -> Any:
    return nn.log_softmax(nn.Dense(10)(flat(x)))


def positive(self: Any, x: Any) -> Any:
    return nn.relu(nn.Dense(10)(flat(x)))


def optional(self: Any, x: Any, noisy: bool = True) -> Any:
    return nn.Dense(10)(flat(x))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (probability, "returns probabilities .* leave out the softmax at its end"),
        (log_probability, None),
        (positive, None),
        (optional, "keeps the default True of its argument `noisy`"),
    ],
)
def test_what_may_be_a_mistake_is_noticed(body: Any, words: str | None) -> None:
    planned = plan({}, Config(model=module(body)), Hparams())
    lines = notices(planned, DATA)
    assert len(lines) == (words is not None)
    assert words is None or re.search(words, lines[0])


@pytest.mark.slow
def test_a_sweep_warns_and_keeps_the_notices() -> None:
    config = Config(model=module(probability), num_epochs=1)
    with pytest.warns(Notice, match="returns probabilities") as record:
        results = sweep({"learning_rate": [1e-3, 1e-2]}, DATA, config)
    assert len(record) == 1
    assert results.attrs["notices"] == [str(record[0].message)]


class Sized(nn.Module):
    """One to many parameters."""

    width: int = 4
    sizes: Any = ()
    activation: Any = nn.relu

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = flat(x)
        for size in (*self.sizes, self.width):
            x = self.activation(nn.Dense(size)(x))
        return nn.Dense(10)(x)


def test_parameters_of_users_networks_are_counted() -> None:
    config = Config(model=Sized(20, [7]))
    expected = 48 * 7 + 7 + 7 * 20 + 20 + 20 * 10 + 10
    assert num_parameters(config, data=DATA) == expected
    assert num_parameters(config) == 100_000  # nothing is known of the images
    conv = (3 * 3 * 1 * 4 + 4) + (8 * 6 * 4 * 10 + 10)
    assert num_parameters(Config(model=Conv()), data=CHANNELS) == conv


def test_the_width_of_a_plan_follows_the_count() -> None:
    """Of 16 runs, as many at once as stay in the cache: 4 states of 5.2 MB do not."""
    axes = {"seed": range(16)}
    small = plan(axes, Config(model=Sized(4)), Hparams(), data=DATA)
    assert [group.width for group in small.groups] == [16]
    large = plan(axes, Config(model=Sized(2000, [300])), Hparams(), data=DATA)
    assert [group.width for group in large.groups] == [1] * 16
    local = plan_for_local_devices(axes, DATA, Config(model=Sized(4)), Hparams())
    assert [group.width for group in local.groups] == [8]  # on each of two devices


@pytest.mark.slow
def test_modules_that_differ_in_their_fields_are_an_axis() -> None:
    models = [None, Sized(), Sized(8), Sized(sizes=[3, 4]), Sized(activation=nn.tanh)]
    config = Config(num_epochs=1, hidden_sizes=(4,))
    results = sweep({"model": models}, DATA, config)
    names = ["MLP", "Sized", "Sized(width=8)", "Sized(sizes=(3, 4))"]
    assert results.model.values.tolist() == [*names, "Sized(activation=tanh)"]
    assert len(np.unique(results.train_loss)) == 5
    with pytest.raises(UserError, match=r"model has Sized\(width=8\) twice.*a name"):
        plan({"model": [Sized(8), Sized(8)]}, config, Hparams())


METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_is_the_same_in_a_sweep_alone_and_resumed(
    name: str, small: Data, tmp_path: Path
) -> None:
    """With dropout and batch norm; the checkpoint is written to a file and read."""
    config = Config(model=VARIANTS[name](), num_epochs=2)
    axes = {"learning_rate": [1e-3, 1e-2], "seed": [1, 4]}
    planned = plan_for_local_devices(axes, small, config, Hparams())
    ((_, steps),) = run_groups_resumably(planned, small)
    parts = []
    for part, batch in steps:
        parts.append(part)
        if part.epoch == 1:
            assert batch is not None
            saved = checkpoint(parts, batch)
    final = parts[-1].values
    assert all(np.isfinite(final[metric]).all() for metric in METRICS)
    assert {final[metric].dtype for metric in METRICS} == {np.dtype("float32")}

    checkpoints.write(tmp_path / "0-0.part", saved, "d")
    read = checkpoints.read(tmp_path / "0-0.part", "d")
    ((_, steps),) = run_groups_resumably(planned, small, (), {0: read})
    ((resumed, _),) = steps
    for metric in METRICS:
        np.testing.assert_array_equal(resumed.values[metric], final[metric])

    state, alone = training.train(config, Hparams(learning_rate=1e-2), 4, small)
    tolerance = 0.05 if "bfloat16" in name else 1e-3
    for metric in METRICS:
        np.testing.assert_allclose(
            final[metric][3], alone[metric][-1], rtol=tolerance, atol=0.03
        )
    expected = "bfloat16" if "bfloat16" in name else "float32"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {expected}
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert {leaf.dtype.name for leaf in moments} == {"float32"}
    if "bfloat16" in name:
        assert any(leaf.dtype == jnp.bfloat16 for leaf in read.leaves)


@pytest.mark.slow
def test_penalties_of_parameters_of_low_precision_are_float32() -> None:
    params = jnp.full((100, 100), 0.1, jnp.bfloat16)
    config = Config(model=Network(lambda key, x: params, lambda p, x: x))
    penalty = training.losses.penalty(config, Hparams(l2_squared=1.0), params)
    assert penalty.dtype == jnp.float32
    np.testing.assert_allclose(penalty, 1e4 * float(params[0, 0]) ** 2, rtol=1e-5)


@pytest.mark.slow
def test_networks_in_float64_have_results_in_float32() -> None:
    with jax.enable_x64(True):
        config = Config(
            model=VARIANTS["linen"]().clone(dtype="float64"),
            num_epochs=1,
            schedule="plateau",
            optimizer="sgd",
        )
        results = sweep({"learning_rate": [1e-3, 1e-2]}, DATA, config)
        state, _ = training.train(config, Hparams(), 0, DATA)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {"float64"}
    assert {results[metric].dtype.name for metric in METRICS} == {"float32"}


def test_each_probe_that_fails_is_one_line() -> None:
    def few(config: Any, hparams: Any, state: Any) -> Any:
        return {}

    def condition(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        return {"a": 1.0 if batch.images.sum() > 0 else 2.0}

    def text(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        return {"a": {"b": "x"}}

    def callback(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
        shape = jax.ShapeDtypeStruct((), jnp.int32)
        return {"a": jax.pure_callback(lambda e: e, shape, state.epoch)}

    cases: dict[Any, str] = {
        few: r"The probe few failed: TypeError: .*takes 3 positional arguments",
        condition: r"The probe condition failed: TracerBoolConversionError",
        text: r"The probe output 'a.b' is a str; expected an array or a number",
        callback: r"The probe callback failed: NotImplementedError: vmap",
    }
    for function, words in cases.items():
        probes = [Probe(function)]
        planned = plan({"seed": range(4)}, Config(), Hparams(), probes=probes)
        with pytest.raises(UserError, match=words) as caught:
            check_plan(planned, DATA, 2)
        assert "\n" not in str(caught.value)
        if "failed" in words:
            assert f"({__file__}:" in str(caught.value)
