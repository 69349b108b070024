"""Losses, optimizers and schedules of the user's, and their settings."""

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fmnist_jax import (
    Config,
    Data,
    Dataset,
    Hparams,
    UserError,
    plan,
    sweep,
    train,
    training,
)
from fmnist_jax.effects import settings_read
from fmnist_jax.sweeps.checks import check_plan
from fmnist_jax.training import init, run_keys, train_step
from fmnist_jax.training.losses import softmax
from tests.sweeps.runs import CONFIG, DATA, HPARAMS, shuffled

EXTRA = dataclasses.replace(HPARAMS, extra={"clip_norm": 1.0})
SMALL = dataclasses.replace(CONFIG, num_epochs=2)


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def clipped_adam(hparams: Hparams) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(hparams.extra["clip_norm"])
    return optax.chain(clip, optax.adam(hparams.learning_rate))


def warmup(hparams: Hparams) -> Callable[[Any], Any]:
    return optax.linear_schedule(0.0, hparams.learning_rate, 6)


def mean_squared(logits: Any, targets: Any) -> Any:
    return jnp.mean((logits - targets) ** 2, axis=-1)


def by_hand(config: Config, rate: Any, clip: float) -> list[float]:
    """Test losses after each epoch of plain Flax-like parameters under optax."""
    init_key, *_ = run_keys(2)
    hparams = dataclasses.replace(EXTRA, learning_rate=0.01)
    params = init(config, hparams, init_key, (10,), 3).params
    tx = optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate))
    state, losses = tx.init(params), []

    def loss(params: Any, batch: Dataset) -> Any:
        x = jnp.asarray(batch.images, jnp.float32) / 100
        first, second = params["Dense_0"], params["Dense_1"]
        hidden = jax.nn.relu(x @ first["kernel"] + first["bias"][None])
        logits = hidden @ second["kernel"] + second["bias"][None]
        return cross_entropy(logits, batch.labels).mean()

    for order in shuffled()[: config.num_epochs]:
        for rows in order.reshape(-1, 16):
            batch = Dataset(DATA.train.images[rows], DATA.train.labels[rows])
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            params = optax.apply_updates(params, updates)
        losses.append(float(loss(params, DATA.test)))
    return losses


@pytest.mark.slow
def test_own_loss_chain_and_setting_equal_a_loop_by_hand() -> None:
    config = dataclasses.replace(SMALL, loss=cross_entropy, optimizer=clipped_adam)
    rates, clips = [0.01, 0.1], [0.05, 0.5]
    axes = {"learning_rate": rates, "clip_norm": clips, "seed": [2]}
    results = sweep(axes, DATA, config, EXTRA)
    assert results.test_loss.dims == ("learning_rate", "clip_norm", "seed", "epoch")
    for rate, clip in itertools.product(rates, clips):
        run = results.test_loss.sel(learning_rate=rate, clip_norm=clip, seed=2)
        np.testing.assert_allclose(run, by_hand(config, rate, clip), rtol=1e-5)
    assert results.loss.item() == "cross_entropy"
    assert results.optimizer.item() == "clipped_adam"
    assert "units" not in results.test_loss.attrs  # not known to be nats
    fixed = sweep({"seed": [2]}, DATA, config, EXTRA)
    assert fixed.clip_norm.item() == 1.0


@pytest.mark.slow
def test_own_functions_equal_the_built_in_ones_bit_for_bit() -> None:
    def sgd(hparams: Hparams) -> optax.GradientTransformation:
        return optax.sgd(hparams.learning_rate)

    def loss(logits: Any, labels: Any) -> Any:
        return softmax(logits, labels)

    axes = {"learning_rate": [0.01, 0.1], "seed": range(2)}
    expected = sweep(axes, DATA, dataclasses.replace(SMALL, optimizer="sgd"), HPARAMS)
    results = sweep(
        axes, DATA, dataclasses.replace(SMALL, loss=loss, optimizer=sgd), HPARAMS
    )
    for name in expected.data_vars:
        np.testing.assert_array_equal(results[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_an_own_schedule_counts_steps() -> None:
    config = dataclasses.replace(SMALL, schedule=warmup, optimizer="adam", num_epochs=3)
    results = sweep({"learning_rate": [0.06], "seed": [2]}, DATA, config, HPARAMS)
    run = results.isel(learning_rate=0, seed=0)
    # Four steps in each epoch, six of warm-up.
    np.testing.assert_allclose(run.epoch_learning_rate, [0, 0.04, 0.06], rtol=1e-6)
    rate = optax.linear_schedule(0.0, 0.06, 6)
    np.testing.assert_allclose(run.test_loss, by_hand(config, rate, 1e9), rtol=1e-5)
    hparams = dataclasses.replace(HPARAMS, learning_rate=0.06)
    state, metrics = train(config, hparams, 2, DATA)
    assert state.schedule == 12
    np.testing.assert_allclose(metrics["test_loss"], run.test_loss, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "multi-label", "soft labels"])
def test_targets_as_given_are_the_business_of_the_loss(kind: str) -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(200, 4)).astype(np.float32)
    scores = images @ random.normal(size=(4, 3))
    targets, loss = {
        "regression": (scores[:, 0], lambda z, y: (z[:, 0] - y) ** 2),
        "multi-label": (
            (scores > 0).astype(np.float32),
            lambda z, y: optax.sigmoid_binary_cross_entropy(z, y).mean(-1),
        ),
        "soft labels": (
            np.exp(scores) / np.exp(scores).sum(1, keepdims=True),
            optax.softmax_cross_entropy,
        ),
    }[kind]
    parts = [Dataset(images[s], targets[s]) for s in (slice(150), slice(150, None))]
    data = Data(parts[0], parts[1], targets="as_given")
    config = Config(hidden_sizes=(), loss=loss, batch_size=10, num_epochs=30)
    axes = {"divisor": [1, 1e6], "seed": [0]}
    results = sweep(axes, data, config, Hparams(learning_rate=0.05)).isel(seed=0)
    assert (results.status == "finished").all()
    assert not any("accuracy" in str(name) for name in results.data_vars)
    scaled, unscaled = results.test_loss.isel(epoch=-1).values
    assert scaled < 0.85 * unscaled
    hparams = Hparams(learning_rate=0.05, divisor=1)
    _, metrics = train(config, hparams, 0, data)
    assert np.isnan(metrics["test_accuracy"]).all()
    np.testing.assert_allclose(metrics["test_loss"][-1], scaled, rtol=1e-4, atol=1e-6)


def _lazy(hparams: Hparams) -> optax.GradientTransformation:
    return optax.stateless(
        lambda grads, _: jax.tree.map(lambda g: -hparams.learning_rate * g, grads)
    )


def _no_rate(hparams: Hparams) -> optax.GradientTransformation:
    return optax.adam(1e-3, b1=hparams.b1)


def test_the_settings_that_functions_read() -> None:
    assert settings_read(clipped_adam) == {"clip_norm", "learning_rate"}
    assert settings_read(_lazy) == {"learning_rate"}
    assert settings_read(_no_rate) == {"b1"}
    assert settings_read(warmup) == {"learning_rate"}
    assert settings_read(lambda h: lambda step: h.extra["x"] * step) == {"x"}


def _fails(hparams: Hparams) -> optax.GradientTransformation:
    raise KeyError("no such thing")


def _warmup_cosine(hparams: Hparams) -> Callable[[Any], Any]:
    return optax.warmup_cosine_decay_schedule(0.0, hparams.learning_rate, 2, 10)


OWN = dataclasses.replace(CONFIG, optimizer=clipped_adam)
HALVES = [p._replace(labels=p.labels[:, None] * 0.5) for p in (DATA.train, DATA.test)]
REGRESSION = Data(HALVES[0], HALVES[1], targets="as_given")


@pytest.mark.parametrize(
    ("axes", "config", "hparams", "data", "message"),
    [
        ({"clip_norm": [1]}, OWN, HPARAMS, DATA, "Unknown axis 'clip_norm'"),
        (
            {"clip_norm": [1]},
            CONFIG,
            EXTRA,
            DATA,
            r"clip_norm has no effect here: it needs an optimizer or a schedule that "
            r"reads hparams\.extra\['clip_norm'\]",
        ),
        ({}, CONFIG, EXTRA, DATA, "clip_norm has no effect here"),
        ({"b1": [0.5]}, OWN, EXTRA, DATA, "b1 .* has no effect here"),
        (
            {"learning_rate": [1]},
            dataclasses.replace(CONFIG, optimizer=_no_rate),
            Hparams(),
            DATA,
            "learning_rate .* has no effect here",
        ),
        (
            {"schedule": ["cosine"]},
            dataclasses.replace(CONFIG, optimizer=_no_rate),
            Hparams(),
            DATA,
            "schedule .* has no effect here: it needs an optimizer that reads the",
        ),
        (
            {},
            OWN,
            dataclasses.replace(EXTRA, learning_rate=None),
            DATA,
            "The optimizer clipped_adam has no default learning rate",
        ),
        (
            {},
            dataclasses.replace(CONFIG, optimizer=_fails),
            HPARAMS,
            DATA,
            r"_fails\(hparams\), with 0.5 for each setting, failed: KeyError",
        ),
        (
            {},
            OWN,
            dataclasses.replace(HPARAMS, extra={"seed": 1.0}),
            DATA,
            "Hparams.extra has the name 'seed'",
        ),
        (
            {},
            OWN,
            dataclasses.replace(HPARAMS, extra=0.5),
            DATA,
            "Hparams.extra is a float; expected a dict",
        ),
        (
            {},
            OWN,
            dataclasses.replace(HPARAMS, extra={"clip_norm": "1"}),
            DATA,
            "clip_norm is '1'; expected a number",
        ),
        (
            {"loss": [lambda z, y: y, lambda z, y: z]},
            CONFIG,
            HPARAMS,
            DATA,
            "loss has different values that are all called <lambda>",
        ),
        ({"loss": [int]}, CONFIG, HPARAMS, DATA, "loss is <class 'int'>; expected one"),
        (
            {},
            dataclasses.replace(CONFIG, loss=lambda z, y: z),
            HPARAMS,
            DATA,
            r"The loss <lambda> returns shape \(4, 3\); expected \(4,\)",
        ),
        (
            {},
            dataclasses.replace(CONFIG, loss=lambda z, y: z.argmax(-1) != y),
            HPARAMS,
            DATA,
            "The loss <lambda> returns bool, which has no gradient",
        ),
        (
            {"learning_rate": [1]},
            dataclasses.replace(OWN, schedule=lambda h: optax.constant_schedule(0.1)),
            EXTRA,
            DATA,
            r"no effect here: <lambda> does not read hparams\.learning_rate\. Read it",
        ),
        (
            {},
            dataclasses.replace(CONFIG, optimizer=lambda h: None),
            HPARAMS,
            DATA,
            r"<lambda>\(hparams\) returns None\. Pass a function of Hparams that",
        ),
        (
            {},
            dataclasses.replace(CONFIG, schedule=optax.constant_schedule(0.1)),
            HPARAMS,
            DATA,
            r"returns 0\.1\. Pass a function of Hparams that returns an optax",
        ),
        (
            {"learning_rate": [0.1, 1]},
            dataclasses.replace(CONFIG, schedule=_warmup_cosine),
            HPARAMS,
            DATA,
            "schedule failed: TracerBoolConversionError.* with a peak of 1",
        ),
        (
            {"learning_rate": [np.float32(0.1), 0.1]},
            CONFIG,
            HPARAMS,
            DATA,
            "learning_rate has 0.1 twice",
        ),
        ({}, CONFIG, HPARAMS, REGRESSION, "the loss 'softmax' needs class labels"),
        (
            {},
            dataclasses.replace(CONFIG, loss=mean_squared, order="sorted"),
            HPARAMS,
            REGRESSION,
            "order 'sorted' needs class labels",
        ),
        (
            {"target_accuracy": [0.5]},
            dataclasses.replace(CONFIG, loss=mean_squared),
            HPARAMS,
            REGRESSION,
            "target_accuracy needs class labels",
        ),
    ],
)
def test_mistakes_are_one_clear_line(
    axes: Any, config: Config, hparams: Hparams, data: Data, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        sweep(axes, data, config, hparams)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_schedule_with_an_if_on_its_peak_has_a_peak_of_1() -> None:
    """As the error says; against optax with numbers in place of traced settings."""

    def scaled(hparams: Hparams) -> Callable[[Any], Any]:
        shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, 2, 10)
        return lambda step: hparams.learning_rate * shape(step)

    config = dataclasses.replace(SMALL, schedule=scaled, record_every=1)
    results = sweep({"learning_rate": [0.01, 0.1]}, DATA, config, HPARAMS)
    steps = len(DATA.train.labels) // config.batch_size
    for rate in (0.01, 0.1):
        expected = optax.warmup_cosine_decay_schedule(0.0, rate, 2, 10)
        recorded = results.epoch_learning_rate.sel(learning_rate=rate, method="nearest")
        first = [expected(epoch * steps) for epoch in range(config.num_epochs)]
        np.testing.assert_allclose(recorded.values.ravel(), first, rtol=1e-5)


@pytest.mark.slow
def test_a_loss_that_mixes_its_batch_has_a_notice() -> None:
    def over_deviation(logits: Any, labels: Any) -> Any:
        return cross_entropy(logits, labels) / logits.std()

    for loss, expected in ((over_deviation, 1), (cross_entropy, 0)):
        config = dataclasses.replace(SMALL, num_epochs=1, loss=loss)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sweep({}, DATA, config, HPARAMS)
        lines = [str(warning.message) for warning in caught]
        mixed = [line for line in lines if "depends on the other examples" in line]
        assert len(mixed) == expected


def test_sweeps_and_settings_that_jax_traces_are_refused() -> None:
    with pytest.raises(UserError, match="A sweep cannot be part of a function that"):
        jax.jit(lambda x: x * sweep({}, DATA, SMALL, HPARAMS).test_loss.values)(1.0)
    leaked: list[Any] = []
    jax.jit(leaked.append)(1.0)
    for axes, hparams in (
        ({}, Hparams(divisor=leaked[0])),
        ({"divisor": leaked}, HPARAMS),
    ):
        with pytest.raises(UserError, match="whose value is unknown while JAX traces"):
            sweep(axes, DATA, SMALL, hparams)


def test_built_in_losses_refuse_other_labels() -> None:
    state = init(CONFIG, HPARAMS, jax.random.key(0), (10,), 3)
    batch = Dataset(DATA.train.images[:4], np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match=r"labels are float32 \[4, 3\]"):
        train_step(CONFIG, HPARAMS, state, jax.random.key(1), batch)


@pytest.mark.slow
def test_functions_have_a_name_on_their_axis() -> None:
    partial = functools.partial(cross_entropy)
    axes = {"loss": [softmax, partial, "softmax "[:-1]], "seed": [0]}
    with pytest.raises(UserError, match="all called softmax"):
        sweep(axes, DATA, SMALL, HPARAMS)
    axes["loss"] = [partial, "softmax"]
    results = sweep(axes, DATA, dataclasses.replace(SMALL, num_epochs=1), HPARAMS)
    assert results.loss.values.tolist() == ["cross_entropy()", "softmax"]
    np.testing.assert_allclose(
        results.test_loss[0], results.test_loss[1], rtol=1e-5, atol=1e-6
    )


def test_a_setting_without_a_value_is_explained() -> None:
    def clipped(hparams: Any) -> Any:
        clip = optax.clip_by_global_norm(hparams.extra["clip"])
        return optax.chain(clip, optax.sgd(hparams.learning_rate))

    config = dataclasses.replace(CONFIG, optimizer=clipped)
    hparams = Hparams(learning_rate=0.1)
    with pytest.raises(UserError, match=r"reads hparams.extra\['clip'\], which"):
        sweep({"seed": [0]}, DATA, config, hparams)
    with pytest.raises(UserError, match=r"needs a value in Hparams\(extra=\{'clip'"):
        sweep({"clip": [1.0]}, DATA, config, hparams)
    passed: Any = optax.adam
    config = dataclasses.replace(CONFIG, optimizer=passed)
    with pytest.raises(UserError, match="Pass a function of Hparams, as lambda"):
        sweep({"seed": [0]}, DATA, config, hparams)


def test_only_a_users_own_code_is_traced_before_training(
    small: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[Config] = []

    def step(config: Config, hparams: Hparams, state: Any, *_: Any) -> Any:
        traced.append(config)
        return state, {}

    monkeypatch.setattr(training, "train_step", step)
    custom = Config(loss=cross_entropy)
    for config in (Config(), custom):
        check_plan(plan({}, config, Hparams(), data=small), small, num_devices=2)
    assert traced == [custom]
