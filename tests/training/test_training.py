"""Steps, epochs, evaluations and runs, against NumPy and against each other."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset, Splits
from fmnist_jax.data.orders import epoch_order
from fmnist_jax.networks.mlp import MLP
from fmnist_jax.training import evaluation
from fmnist_jax.training.evaluation import evaluate
from fmnist_jax.training.loop import run_keys, train_epoch
from fmnist_jax.training.step import (
    State,
    accuracy,
    forward,
    init,
    scaled_inputs,
    train_step,
)

IMAGE_SHAPE, NUM_CLASSES = (5, 4), 3
SGD = Config(hidden_sizes=(6,), optimizer="sgd", batch_size=8, num_epochs=2)
ADAM = dataclasses.replace(SGD, optimizer="adam")
HPARAMS = Hparams(divisor=100.0, learning_rate=0.05)


class WithState(nn.Module):
    """A user's network: batch norm and dropout before the MLP."""

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = x.reshape(len(x), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return MLP(NUM_CLASSES, (6,))(x)


# Not with Adam: before batch norm some gradients are zero except for rounding errors.
# Adam would normalise these to full-size steps, and no two programs would agree.
USERS = dataclasses.replace(SGD, model=WithState())

jit_step = jax.jit(train_step, static_argnums=0)
jit_epoch = jax.jit(train_epoch, static_argnums=0)
jit_evaluate = jax.jit(evaluate, static_argnums=0)


def make_data(num_examples: int, seed: int = 0, largest: int = 255) -> Dataset:
    """Returns images of noise with a brighter pixel at the position of the label."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, NUM_CLASSES, num_examples).astype(np.int32)
    images = random.randint(0, largest // 2 + 1, (num_examples, *IMAGE_SHAPE))
    images[np.arange(num_examples), labels] += largest // 2
    return Dataset(images.astype(np.uint8), labels)


def initial_state(config: Config, seed: int = 0) -> State:
    return init(config, HPARAMS, jax.random.key(seed), IMAGE_SHAPE, NUM_CLASSES)


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5) -> None:
    """Asserts that two trees agree to float32 rounding."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10),
        actual,
        expected,
    )


def assert_same_bits(actual: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# One step, in NumPy's float64.


def product_64(a: np.ndarray, b: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """Returns ``a @ b`` of operands rounded to ``dtype``."""
    a, b = (x.astype(dtype).astype(np.float64) for x in (a, b))
    return a @ b


def outputs_64(
    params: Any, x: np.ndarray, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Returns hidden values and probabilities of a network with one hidden layer."""
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.maximum(product_64(x, first["kernel"], dtype) + first["bias"], 0)
    logits = product_64(hidden, second["kernel"], dtype) + second["bias"]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return hidden, exponentials / exponentials.sum(-1, keepdims=True)


def measure_64(params: Any, divisor: float, data: Dataset) -> dict[str, np.ndarray]:
    """Returns the loss of each example and whether its prediction is correct."""
    x = data.images.reshape(len(data.labels), -1) / divisor
    _, probabilities = outputs_64(params, x)
    losses = -np.log(probabilities[np.arange(len(x)), data.labels])
    return {"loss": losses, "accuracy": probabilities.argmax(-1) == data.labels}


def gradients_64(
    params: Any, divisor: float, batch: Dataset, dtype: Any = np.float64
) -> Any:
    x = batch.images.reshape(len(batch.labels), -1) / divisor
    hidden, probabilities = outputs_64(params, x, dtype)
    g_logits = (probabilities - np.eye(NUM_CLASSES)[batch.labels]) / len(x)
    g_hidden = product_64(g_logits, params["Dense_1"]["kernel"].T, dtype) * (hidden > 0)
    return {
        "Dense_0": {
            "kernel": product_64(x.T, g_hidden, dtype),
            "bias": g_hidden.sum(0),
        },
        "Dense_1": {
            "kernel": product_64(hidden.T, g_logits, dtype),
            "bias": g_logits.sum(0),
        },
    }


def params_64(state: State) -> Any:
    return jax.tree.map(lambda p: np.asarray(p, np.float64), state.params)


def test_one_step_equals_numpy() -> None:
    state, batch = initial_state(SGD), make_data(8)
    before = params_64(state)
    after, metrics = jit_step(SGD, HPARAMS, state, jax.random.key(1), batch)
    gradients = gradients_64(before, 100, batch)
    expected = jax.tree.map(lambda p, g: p - 0.05 * g, before, gradients)
    assert_close(after.params, expected)
    # The metrics are those of the network before the step.
    means = {key: np.mean(v) for key, v in measure_64(before, 100, batch).items()}
    assert_close(metrics, {**means, "penalty": 0})
    assert all(value.dtype == jnp.float32 for value in metrics.values())


def test_a_step_rounds_only_the_operands_of_its_products() -> None:
    """Compares gradients, which are the step at learning rate 1."""
    config = dataclasses.replace(SGD, precision="bf16")
    hparams = dataclasses.replace(HPARAMS, learning_rate=1.0)
    state, batch = initial_state(config), make_data(8)
    after, _ = jit_step(config, hparams, state, jax.random.key(1), batch)
    assert {p.dtype for p in jax.tree.leaves(after.params)} == {jnp.dtype("float32")}
    actual = jax.tree.map(lambda a, b: a - b, params_64(state), params_64(after))
    expected = gradients_64(params_64(state), 100, batch, ml_dtypes.bfloat16)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), actual, expected
    )
    exact = gradients_64(params_64(state), 100, batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_less(1e-4, np.abs(a - b).max()),
        actual,
        exact,
    )


@pytest.mark.parametrize("penalized", ["all", "kernels"])
def test_a_step_minimises_loss_plus_penalty_and_reports_both(penalized: str) -> None:
    config = dataclasses.replace(SGD, penalized=penalized, initializer="pytorch")
    hparams = dataclasses.replace(HPARAMS, l1=0.01, l2=0.3, l2_squared=0.02)
    state, batch = initial_state(config), make_data(8)
    after, metrics = jit_step(config, hparams, state, jax.random.key(1), batch)
    before, penalty = params_64(state), 0.0

    def step(p: np.ndarray, g: np.ndarray) -> np.ndarray:
        nonlocal penalty
        if penalized == "kernels" and p.ndim == 1:
            return p - 0.05 * g
        norm = np.linalg.norm(p)
        penalty += 0.01 * np.abs(p).sum() + 0.3 * norm + 0.02 * np.sum(p**2)
        return p - 0.05 * (g + 0.01 * np.sign(p) + 0.3 * p / norm + 0.04 * p)

    assert_close(
        after.params, jax.tree.map(step, before, gradients_64(before, 100, batch))
    )
    means = {key: np.mean(v) for key, v in measure_64(before, 100, batch).items()}
    assert_close(metrics, {**means, "penalty": penalty})


def test_the_first_step_of_adam_is_the_learning_rate_against_the_signs() -> None:
    state, batch = initial_state(ADAM), make_data(8)
    gradients = gradients_64(params_64(state), 100, batch)
    after, _ = jit_step(ADAM, HPARAMS, state, jax.random.key(1), batch)
    steps = jax.tree.map(lambda g: -0.05 * g / (np.abs(g) + 1e-8), gradients)
    changes = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    assert_close(changes, steps, rtol=1e-4)


def test_the_inputs_are_the_pixels_divided_by_the_divisor() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for divisor in (1.0, 255.0, 1000.0):
        x = scaled_inputs(Hparams(divisor=divisor), jnp.asarray(images))
        assert x.dtype == jnp.float32
        expected = images.astype(np.float32) / np.float32(divisor)
        # XLA multiplies by 1 / divisor, which may change the last bit.
        np.testing.assert_allclose(x, expected, rtol=1.2e-7)


# Epochs.


@pytest.mark.slow
def test_an_epoch_equals_a_loop_over_steps() -> None:
    data, order = make_data(30), jnp.asarray(epoch_order(0, 1, 29))  # 8 + 8 + 8 + 5
    state, metrics = jit_epoch(
        USERS, HPARAMS, initial_state(USERS), jax.random.key(1), data, order
    )
    expected, key, totals = initial_state(USERS), jax.random.key(1), np.zeros(3)
    names = ("loss", "penalty", "accuracy")
    for step in range(4):
        rows = np.asarray(order[8 * step : 8 * step + 8])
        batch = Dataset(data.images[rows], data.labels[rows])
        step_key = jax.random.fold_in(key, step)
        expected, means = jit_step(USERS, HPARAMS, expected, step_key, batch)
        totals += len(rows) * np.array([means[name] for name in names], np.float64)
    assert_close(state, dataclasses.replace(expected, epoch=jnp.int32(1)))
    assert_close([metrics[name] for name in names], list(totals / 29))
    # The partial batch is weighted by its number of examples.
    num_correct = float(metrics["accuracy"]) * 29
    np.testing.assert_allclose(num_correct, round(num_correct), atol=1e-4)


def test_training_uses_only_the_examples_of_the_order() -> None:
    data = make_data(24)
    order = np.array([3, 1, 4, 15, 9, 2, 6, 5, 20, 8, 7, 0], np.int32)
    changed = Dataset(data.images.copy(), data.labels)
    others = np.setdiff1d(np.arange(24), order)
    changed.images[others] = 255 - changed.images[others]
    selected = Dataset(data.images[order], data.labels[order])

    def run(given: Dataset, order: np.ndarray) -> Any:
        start, key = initial_state(SGD), jax.random.key(1)
        return jit_epoch(SGD, HPARAMS, start, key, given, order.astype(np.int32))

    assert_same_bits(run(changed, order), run(data, order))
    assert_close(run(selected, np.arange(12)), run(data, order))


def test_a_batch_size_above_the_data_takes_all_examples() -> None:
    data, order = make_data(6), jnp.arange(6)
    start, key = initial_state(SGD), jax.random.key(1)
    state, metrics = jit_epoch(SGD, HPARAMS, start, key, data, order)
    expected, step_metrics = jit_step(SGD, HPARAMS, start, key, data)
    assert_close(state, dataclasses.replace(expected, epoch=jnp.int32(1)))
    assert_close(metrics, step_metrics)


@pytest.mark.parametrize("config", [SGD, ADAM], ids=["sgd", "adam"])
def test_twice_the_pixels_divided_by_twice_the_divisor_is_the_same_run(
    config: Config,
) -> None:
    data = make_data(20, largest=127)  # uint8: twice 128 would wrap round to 0
    assert data.images.max() > 100
    twice = Dataset(2 * data.images, data.labels)
    assert twice.images.dtype == np.uint8
    assert np.array_equal(twice.images / 2, data.images)
    order = jnp.asarray(epoch_order(0, 1, 20))
    results = []
    for given, divisor in ((data, 51.0), (twice, 102.0)):
        hparams = dataclasses.replace(HPARAMS, divisor=divisor)
        state, metrics = jit_epoch(
            config, hparams, initial_state(config), jax.random.key(1), given, order
        )
        results.append((state, metrics, jit_evaluate(config, hparams, state, given)))
    assert_same_bits(*results)


@pytest.mark.slow
def test_batch_statistics_are_carried_from_step_to_step() -> None:
    data, order = make_data(20), jnp.arange(20)
    state, _ = jit_epoch(
        USERS, HPARAMS, initial_state(USERS), jax.random.key(1), data, order
    )
    mean, var = np.zeros(20), np.ones(20)
    for start in (0, 8, 16):
        x = data.images[start : start + 8].reshape(-1, 20) / 100
        mean, var = (mean + x.mean(0)) / 2, (var + x.var(0)) / 2
    assert_close(
        state.model_state, {"batch_stats": {"BatchNorm_0": {"mean": mean, "var": var}}}
    )


@pytest.mark.slow
def test_the_key_decides_the_dropout_masks_of_each_step() -> None:
    data, order = make_data(24), jnp.arange(24)

    def params(seed: int) -> Any:
        start = initial_state(USERS)
        key = jax.random.key(seed)
        return jit_epoch(USERS, HPARAMS, start, key, data, order)[0].params

    assert_same_bits(params(1), params(1))
    kernels = [params(seed)["MLP_0"]["Dense_1"]["kernel"] for seed in (1, 2)]
    assert jnp.max(jnp.abs(kernels[0] - kernels[1])) > 1e-3

    # Every step has a new mask: three steps on the same batch with learning rate 0 have
    # three losses.
    unchanged = dataclasses.replace(HPARAMS, learning_rate=0.0)
    losses = [
        jit_step(USERS, unchanged, initial_state(USERS), key, make_data(8))[1]["loss"]
        for key in jax.random.split(jax.random.key(1), 3)
    ]
    assert len({float(loss) for loss in losses}) == 3


# Evaluation.


@pytest.mark.parametrize("num_examples", [1, 16, 21])
def test_evaluation_equals_numpy(
    num_examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 8)
    state, data = initial_state(SGD), make_data(num_examples)
    metrics = evaluate(SGD, HPARAMS, state, data)
    expected = measure_64(params_64(state), 100, data)
    assert_close(metrics, {key: np.mean(v) for key, v in expected.items()})


def test_evaluation_without_a_key_is_deterministic() -> None:
    state, data = initial_state(USERS), make_data(20)
    first, again = (jit_evaluate(USERS, HPARAMS, state, data) for _ in range(2))
    assert_same_bits(first, again)
    # Batch norm divides by √(1 + eps), because its initial variance is 1.
    params, divisor = params_64(state)["MLP_0"], 100 * np.sqrt(1 + 1e-5)
    expected = measure_64(params, divisor, data)
    assert_close(first, {key: np.mean(v) for key, v in expected.items()})


class OnlyDropout(nn.Module):
    """A network with the first pixels after dropout as logits."""

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))
        return x[:, :NUM_CLASSES] + 0 * self.param("unused", nn.initializers.zeros, ())


@pytest.mark.slow
def test_evaluation_with_a_key_keeps_dropout_on() -> None:
    config = dataclasses.replace(SGD, model=OnlyDropout())
    # Logits (0, 4, 0), label 1: dropout makes the 4 a 0, which costs ln 3, or an 8.
    images = np.zeros((1200, *IMAGE_SHAPE), np.uint8)
    images[:, 0, 1] = 4
    data = Dataset(images, np.ones(1200, np.int32))
    state, hparams = initial_state(config), Hparams(divisor=1.0, learning_rate=0.1)

    def loss(seed: int | None) -> float:
        key = None if seed is None else jax.random.key(seed)
        return float(jit_evaluate(config, hparams, state, data, key=key)["loss"])

    assert loss(None) == pytest.approx(np.log(1 + 2 * np.exp(-4)), rel=1e-5)
    dropped, doubled = np.log(3), np.log(1 + 2 * np.exp(-8))
    assert loss(1) == pytest.approx((dropped + doubled) / 2, rel=0.1)
    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
    # Every batch has a new mask, also the partial last one.
    assert evaluation.EVALUATION_BATCH == 500
    key, num_dropped = jax.random.key(1), 0
    for batch, size in enumerate((500, 500, 200)):
        batch_key = jax.random.fold_in(key, batch)
        x = jnp.asarray(images[:size])
        logits, _ = forward(config, hparams, state, batch_key, x, True)
        num_dropped += int(jnp.sum(logits[:, 1] == 0))
    expected = doubled + (dropped - doubled) * num_dropped / 1200
    assert loss(1) == pytest.approx(expected, rel=1e-5)


def test_accuracy_is_nan_if_a_logit_is_not_finite() -> None:
    logits = np.array([[1, 2], [3, 0], [0, 1]], np.float32)
    labels = jnp.array([1, 0, 0])
    assert accuracy(jnp.asarray(logits), labels) == pytest.approx(2 / 3)
    for value in (np.nan, np.inf, -np.inf):
        changed = logits.copy()
        changed[2, 0] = value
        assert np.isnan(accuracy(jnp.asarray(changed), labels))


def test_the_accuracy_of_a_diverged_network_is_nan() -> None:
    state, data = initial_state(SGD), make_data(20)
    params = jax.tree.map(lambda p: p + jnp.nan, state.params)
    metrics = jit_evaluate(
        SGD, HPARAMS, dataclasses.replace(state, params=params), data
    )
    assert np.isnan(metrics["accuracy"])
    assert np.isnan(metrics["loss"])


# Plain, jitted and vmapped.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "config"), [("step", ADAM), ("epoch", ADAM), ("evaluate", USERS)]
)
def test_plain_jitted_and_vmapped_agree(function: str, config: Config) -> None:
    data, order = make_data(20), jnp.asarray(epoch_order(0, 1, 20))
    functions: dict[str, Callable[..., Any]] = {
        "step": lambda h, s, k: train_step(config, h, s, k, data),
        "epoch": lambda h, s, k: train_epoch(config, h, s, k, data, order),
        "evaluate": lambda h, s, k: evaluate(config, h, s, data, key=k),
    }
    plain = functions[function]
    jitted = jax.jit(plain)
    hparams = [Hparams(50.0, learning_rate=0.01), Hparams(255.0, learning_rate=0.1)]
    states = [initial_state(config, seed) for seed in (0, 1)]

    def keys() -> jax.Array:
        return jax.random.split(jax.random.key(7), 2)

    vmapped = jax.jit(jax.vmap(plain))(
        jax.tree.map(lambda *leaves: jnp.array(leaves), *hparams),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
        keys(),
    )
    alone = [jitted(hparams[run], states[run], keys()[run]) for run in range(2)]
    assert_close(plain(hparams[0], states[0], keys()[0]), alone[0], rtol=1e-4)
    for run in range(2):
        actual = jax.tree.map(operator.itemgetter(run), vmapped)
        assert_close(actual, alone[run], rtol=1e-4)


# Whole runs.


def test_every_epoch_has_another_permutation() -> None:
    order = epoch_order(3, 2, 1000)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, epoch_order(3, 2, 1000))
    others = [epoch_order(2, 3, 1000), epoch_order(3, 3, 1000), epoch_order(4, 2, 1000)]
    for other in others:
        assert np.mean(order == other) < 0.02  # expected for two shuffles: 0.001


def test_the_order_of_an_epoch_has_not_changed() -> None:
    golden = {
        (0, 1): [48620, 20956, 45422, 160, 38118],
        (0, 2): [49399, 30750, 51145, 10422, 3574],
        (5, 1): [9370, 10011, 34453, 38930, 36223],
    }
    actual = {key: epoch_order(*key, 60_000)[:5].tolist() for key in golden}
    assert actual == golden, (
        "The batches differ from those of earlier results, which are no longer "
        "reproducible. If epoch_order was changed, note it in CHANGELOG.md and update "
        "these numbers. Otherwise NumPy's shuffle has changed: do the same, and raise "
        "the oldest NumPy in requirements.txt."
    )


def test_a_seed_has_three_keys() -> None:
    keys = [key for seed in range(3) for key in run_keys(seed)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 9


TRAIN, TEST, SEED = make_data(50), make_data(20, seed=1), 3


@functools.cache
def small_run() -> tuple[State, dict[str, jax.Array]]:
    return training.train(USERS, HPARAMS, SEED, Data(TRAIN, TEST))


def epochs_one_by_one() -> tuple[State, dict[str, list[Any]]]:
    init_key, epochs_key, _ = run_keys(SEED)
    state = init(USERS, HPARAMS, init_key, IMAGE_SHAPE, NUM_CLASSES)
    metrics: dict[str, list[Any]] = {}
    for epoch in (1, 2):
        key = jax.random.fold_in(epochs_key, epoch)
        order = epoch_order(SEED, epoch, len(TRAIN.labels))
        state, means = jit_epoch(USERS, HPARAMS, state, key, TRAIN, order)
        on_train = jit_evaluate(USERS, HPARAMS, state, TRAIN)
        on_test = jit_evaluate(USERS, HPARAMS, state, TEST)
        row = {
            "train_loss": means["loss"],
            "train_penalty": means["penalty"],
            "train_accuracy_running": means["accuracy"],
            "train_accuracy": on_train["accuracy"],
            "test_loss": on_test["loss"],
            "test_accuracy": on_test["accuracy"],
            "validation_loss": np.nan,
            "validation_accuracy": np.nan,
            "final_train_loss": on_train["loss"],
            "final_train_accuracy": on_train["accuracy"],
            "epoch_learning_rate": 0.05,
        }
        for name, value in row.items():
            metrics.setdefault(name, []).append(value)
    return state, metrics


@pytest.mark.slow
def test_a_run_equals_its_epochs_one_by_one() -> None:
    state, metrics = small_run()
    expected_state, expected = epochs_one_by_one()
    assert_close(state, expected_state)
    assert set(metrics) == set(expected)
    for name, values in expected.items():
        assert metrics[name].shape == (2,)
        np.testing.assert_allclose(metrics[name], values, rtol=1e-5, err_msg=name)
    assert metrics["train_loss"][1] < metrics["train_loss"][0]


@pytest.mark.slow
def test_the_training_set_is_evaluated_only_on_request() -> None:
    config = dataclasses.replace(USERS, evaluate_train=False)
    metrics = dict(training.train(config, HPARAMS, SEED, Data(TRAIN, TEST))[1])
    expected = dict(small_run()[1])
    assert np.all(np.isnan(metrics.pop("train_accuracy")))
    assert np.all(np.isfinite(expected.pop("train_accuracy")))
    assert_close(metrics, expected)


@pytest.mark.slow
def test_the_metrics_of_a_run_have_not_changed() -> None:
    _, metrics = small_run()
    golden = {"train_loss": [1.86651, 1.22339], "test_loss": [1.09139, 0.716486]}
    for name, values in golden.items():
        np.testing.assert_allclose(
            metrics[name],
            values,
            rtol=1e-3,
            err_msg=(
                f"{name} of a small run has changed. If other tests fail, fix them "
                "first. Otherwise the random numbers or the order have changed (a new "
                "JAX, Flax or NumPy?) and earlier results are no longer reproducible: "
                "note it in CHANGELOG.md and update these numbers."
            ),
        )


# What runs are judged and chosen by.


@pytest.mark.slow
@pytest.mark.parametrize("evaluate_train", [True, False])
def test_after_an_epoch_runs_are_judged_on_training_images(
    evaluate_train: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "JUDGED_EXAMPLES", 7)
    config = dataclasses.replace(SGD, evaluate_train=evaluate_train)
    train, test, validation = (make_data(n) for n in (24, 9, 11))
    state, key = initial_state(config), jax.random.key(1)
    splits = Splits(train, test, validation)
    after, metrics = training.run_epoch(
        config, HPARAMS, state, key, splits, jnp.arange(24)
    )
    judged = train
    if not evaluate_train:
        rows = np.sort(np.random.default_rng(0).choice(24, 7, replace=False))
        judged = Dataset(train.images[rows], train.labels[rows])
    parts = {"final_train": judged, "test": test, "validation": validation}
    for name, part in parts.items():
        expected = measure_64(params_64(after), 100, part)
        assert_close(
            {k: metrics[f"{name}_{k}"] for k in ("loss", "accuracy")},
            {k: np.mean(v) for k, v in expected.items()},
        )
    assert np.isnan(metrics["train_accuracy"]) != evaluate_train
    without = training.run_epoch(
        config, HPARAMS, state, key, Splits(train, test), jnp.arange(24)
    )[1]
    assert without.keys() == metrics.keys()
    assert np.isnan(without["validation_loss"])
    assert without["test_loss"] == metrics["test_loss"]


def test_the_judged_images_are_fixed_and_from_the_whole_set() -> None:
    labels = np.repeat([0, 1, 2, 3], 1000).astype(np.int32)  # a sorted file
    dataset = Dataset(np.arange(4000, dtype=np.float32)[:, None], labels)
    judged = training.judged_examples(dataset)
    counts = np.bincount(judged.labels)
    assert counts.sum() == len(np.unique(judged.images)) == 2048
    assert (np.abs(counts - 512) < 70).all()
    few = Dataset(dataset.images[:2048], labels[:2048])
    assert training.judged_examples(few) is few


@pytest.mark.slow
def test_the_plateau_rule_reads_the_validation_loss() -> None:
    config = dataclasses.replace(SGD, schedule="plateau")
    train = make_data(24)
    # The loss of the other labels rises where that of the labels falls.
    validation = Dataset(train.images, (train.labels + 1) % NUM_CLASSES)
    hparams = dataclasses.replace(HPARAMS, plateau_patience=0.0)
    epoch = jax.jit(training.run_epoch, static_argnums=0)
    reductions = []
    for splits in (Splits(train, train), Splits(train, train, validation)):
        state = initial_state(config)
        for number in range(6):
            key = jax.random.key(number)
            state, _ = epoch(config, hparams, state, key, splits, jnp.arange(24))
        assert state.schedule is not None
        reductions.append(float(state.schedule.learning_rate) < 0.05)
    assert reductions == [False, True]
