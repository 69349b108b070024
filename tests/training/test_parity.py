"""Losses and parameters equal those of PyTorch for the same weights and batches.

The comparison with committed losses always runs; the live comparison needs PyTorch.
"""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax.config import PRESETS, Config, Hparams, resolve
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.networks.mlp import make_model
from fmnist_jax.training.evaluation import evaluate
from fmnist_jax.training.loop import train_epoch
from fmnist_jax.training.optimizers import make_optimizer
from fmnist_jax.training.schedules import (
    epoch_learning_rate,
    init_schedule,
    next_schedule,
)
from fmnist_jax.training.step import State, init, train_step
from tests.networks.linen_calls import init_variables
from tests.training import pytorch_reference as reference
from tests.training.pytorch_reference import RUNS, Run

TOLERANCE = 1e-4
COMMITTED = json.loads(reference.LOSSES_FILE.read_text(encoding="utf-8"))
RUN = pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])

jit_step = jax.jit(train_step, static_argnums=0)
jit_epoch = jax.jit(train_epoch, static_argnums=0)
jit_evaluate = jax.jit(evaluate, static_argnums=0)


def settings(run: Run) -> tuple[Config, Hparams]:
    """Returns the settings of a run: a preset with a few changes."""
    config, hparams = PRESETS[run.preset]
    config = dataclasses.replace(
        config, optimizer=run.optimizer, loss=run.loss, batch_norm=run.batch_norm
    )
    penalties = reference.PENALTIES if run.penalties else {}
    hparams = dataclasses.replace(hparams, divisor=run.divisor, **penalties)
    if run.optimizer == "sgd":  # the learning rate of the preset is that of Adam
        hparams = dataclasses.replace(hparams, learning_rate=1e-2)
    return config, resolve(config, hparams)


def initial_state(run: Run) -> State:
    config, hparams = settings(run)
    state = init(config, hparams, jax.random.key(0), (28, 28), reference.NUM_CLASSES)
    params = jax.tree.map(jnp.asarray, reference.initial_weights(run.preset))
    params = {**state.params, **params}  # batch norm has ones and zeros
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, state.params)
    return dataclasses.replace(state, params=params)


@functools.cache
def steps_of(run: Run) -> tuple[dict[str, np.ndarray], State]:
    """Returns our metrics, float64 ``[steps]`` each, and the state after all steps."""
    config, hparams = settings(run)
    state = initial_state(run)
    key = jax.random.key(0)
    steps = []
    for step, (images, labels) in enumerate(zip(*reference.batches(), strict=True)):
        epoch = jnp.int32(step // reference.STEPS_PER_EPOCH)
        state = dataclasses.replace(state, epoch=epoch)
        step_key = jax.random.fold_in(key, step)
        batch = Dataset(images, labels)
        state, metrics = jit_step(config, hparams, state, step_key, batch)
        steps.append(metrics)
    stacked = jax.tree.map(lambda *m: np.asarray(jnp.stack(m), np.float64), *steps)
    return stacked, state


def summary(run: Run, state: State) -> dict[str, list[float]]:
    statistics = state.model_state.get("batch_stats", {})
    return reference.summary(run, state.params, statistics)


def deviation(actual: Any, expected: Any) -> float:
    """Returns the largest relative deviation."""
    expected = np.asarray(expected, np.float64)
    return float(np.max(np.abs(np.asarray(actual) / expected - 1)))


def compare_parameters(actual: Any, expected: Any) -> None:
    for name, numbers in expected.items():
        (norm, change, along), (norm_0, change_0, along_0) = actual[name], numbers
        np.testing.assert_allclose(norm, norm_0, rtol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(change, change_0, rtol=TOLERANCE, err_msg=name)
        assert abs(along - along_0) <= TOLERANCE * change_0, (name, along, along_0)


def test_committed_losses_belong_to_these_inputs() -> None:
    assert reference.inputs_fingerprint() == COMMITTED["inputs_sha256"], (
        "The weights or batches of the parity test differ from those of the committed "
        "PyTorch losses. If the synthetic data set was changed on purpose, install "
        f"PyTorch and compute the losses again: `{reference.COMMAND}`. Until then the "
        "other tests in this file mean nothing."
    )
    assert set(COMMITTED["runs"]) == {run.name for run in RUNS}


@pytest.mark.slow
@RUN
def test_losses_equal_pytorch(run: Run) -> None:
    losses = steps_of(run)[0]["loss"]
    expected = COMMITTED["runs"][run.name]["float32"]
    assert len(expected) == reference.STEPS == 100
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)
    penalties = COMMITTED["runs"][run.name].get("penalties", 0)
    np.testing.assert_allclose(steps_of(run)[0]["penalty"], penalties, rtol=1e-5)


@pytest.mark.slow
@RUN
def test_losses_are_as_close_to_float64_as_those_of_pytorch(run: Run) -> None:
    losses = steps_of(run)[0]["loss"]
    committed = COMMITTED["runs"][run.name]
    ours = deviation(losses, committed["float64"])
    pytorchs = deviation(committed["float32"], committed["float64"])
    assert ours <= 3 * pytorchs + 1e-6, (ours, pytorchs)


@pytest.mark.slow
@RUN
def test_parameters_after_the_last_step_equal_pytorch(run: Run) -> None:
    _, state = steps_of(run)
    expected = COMMITTED["runs"][run.name]
    compare_parameters(summary(run, state), expected["parameters"])
    batch = Dataset(*(array[0] for array in reference.batches()))
    loss = jit_evaluate(*settings(run), state, batch)["loss"]
    # Adam amplifies rounding errors of biases before batch norm; running means lag.
    rounding = (run.batch_norm, run.optimizer) == ("on", "adam")
    rtol = 100 * TOLERANCE if rounding else TOLERANCE
    np.testing.assert_allclose(loss, expected["evaluated"], rtol=rtol)


@pytest.mark.slow
@RUN
def test_epochs_in_a_given_order_equal_pytorch(run: Run) -> None:
    config, hparams = settings(run)
    images, labels = (x.reshape(-1, *x.shape[2:]) for x in reference.batches())
    # The data set is shuffled, and the order of the epochs reverses the shuffle.
    shuffle = np.random.RandomState(3).permutation(len(labels))
    dataset = Dataset(images[shuffle], labels[shuffle])
    orders = np.argsort(shuffle).reshape(-1, reference.STEPS_PER_EPOCH * 32)
    state, losses = initial_state(run), []
    for order in orders:
        key = jax.random.key(0)
        state, metrics = jit_epoch(config, hparams, state, key, dataset, order)
        losses.append(metrics["loss"])
    expected = COMMITTED["runs"][run.name]
    means = np.reshape(expected["float32"], (len(orders), -1)).mean(-1)
    np.testing.assert_allclose(losses, means, rtol=TOLERANCE)
    compare_parameters(summary(run, state), expected["parameters"])


@RUN
def test_losses_equal_pytorch_run_live(run: Run) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    live = reference.train(run, "float32")
    committed = COMMITTED["runs"][run.name]
    ours, state = steps_of(run)
    np.testing.assert_allclose(ours["loss"], live.losses, rtol=TOLERANCE)
    np.testing.assert_allclose(ours["penalty"], live.penalties, rtol=1e-5)
    np.testing.assert_allclose(
        committed["float32"],
        live.losses,
        rtol=TOLERANCE,
        err_msg=f"This version of PyTorch has other losses: `{reference.COMMAND}`.",
    )
    theirs = reference.summary(run, live.params, live.statistics)
    compare_parameters(summary(run, state), theirs)
    for name in theirs:
        layer, leaf = name.split(".")
        if layer in reference.initial_weights(run.preset):
            start = reference.initial_weights(run.preset)[layer][leaf]
            end = live.params[layer][leaf]
            error = np.linalg.norm(state.params[layer][leaf] - end)
            assert error <= TOLERANCE * np.linalg.norm(end - start), (name, error)


# PyTorch's name of a setting -> ours.
SETTINGS = {
    "lr": "learning_rate",
    "alpha": "decay",
    **{
        name: name
        for name in ("momentum", "eps", "weight_decay", "initial_accumulator_value")
    },
}


def path_hparams(name: str) -> Hparams:
    _, options = reference.PATHS[name]
    values = {SETTINGS[key]: value for key, value in options.items() if key in SETTINGS}
    if "betas" in options:
        values["b1"], values["b2"] = options["betas"]
    return Hparams(**values)


@functools.partial(jax.jit, static_argnums=0)
def our_path(name: str, hparams: Hparams) -> jax.Array:
    """Returns our parameters after each gradient, ``[steps, size]``, traced."""
    optimizer = make_optimizer(Config(optimizer=name), hparams)
    start = jnp.asarray(reference.path_start())

    def step(carry: Any, gradient: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (params + updates, opt_state), params + updates

    carry = start, optimizer.init(start)
    return jax.lax.scan(step, carry, jnp.asarray(reference.gradients()))[1]


@pytest.mark.parametrize("name", reference.PATHS)
def test_optimizer_equals_pytorch(name: str) -> None:
    expected = np.reshape(COMMITTED["optimizers"][name], (-1, reference.PATH_SIZE))
    ours = our_path(name, path_hparams(name))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", reference.PATHS)
def test_optimizer_equals_pytorch_run_live(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = reference.optimizer_path(name)
    ours = our_path(name, path_hparams(name))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    committed = np.reshape(COMMITTED["optimizers"][name], expected.shape)
    np.testing.assert_allclose(committed, expected, rtol=1e-8)


# Schedules. The cases of plateaus run in one program, with traced settings.


def plateau_path(hparams: Hparams, losses: jax.Array) -> jax.Array:
    """Returns our learning rate of each epoch."""
    config = Config(optimizer="sgd", schedule="plateau")

    def epoch(schedule: Any, loss: jax.Array) -> Any:
        rate = epoch_learning_rate(config, hparams, schedule, jnp.int32(0))
        return next_schedule(config, hparams, schedule, loss), rate

    return jax.lax.scan(epoch, init_schedule(config, hparams), losses)[1]


def plateau_hparams(case: reference.Plateau) -> Hparams:
    return Hparams(
        learning_rate=case.learning_rate,
        plateau_factor=case.factor,
        plateau_patience=case.patience,
        plateau_threshold=case.threshold,
        min_learning_rate=case.min_learning_rate,
    )


@functools.cache
def our_plateaus() -> np.ndarray:
    cases = [plateau_hparams(case) for case in reference.PLATEAUS]
    losses = [reference.plateau_losses(case.losses) for case in reference.PLATEAUS]
    hparams = jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *cases)
    losses_32 = jnp.asarray(np.stack(losses), jnp.float32)
    return np.asarray(jax.jit(jax.vmap(plateau_path))(hparams, losses_32))


def test_plateaus_equal_pytorch() -> None:
    expected = COMMITTED["plateaus"]
    np.testing.assert_allclose(our_plateaus(), expected, rtol=1e-5)
    assert len({tuple(rates) for rates in expected}) == len(reference.PLATEAUS)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jitted"])
def test_a_plateau_alone_equals_that_among_others(transform: Any) -> None:
    case = reference.PLATEAUS[7]
    losses = jnp.asarray(reference.plateau_losses(case.losses), jnp.float32)
    actual = transform(plateau_path)(plateau_hparams(case), losses)
    np.testing.assert_array_equal(actual, our_plateaus()[7])


def our_cosine(
    epochs: int, learning_rate: float, min_learning_rate: float
) -> jax.Array:
    """Returns our learning rate of each epoch, vmapped over the epochs."""
    config = Config(schedule="cosine", num_epochs=epochs)
    hparams = Hparams(learning_rate=learning_rate, min_learning_rate=min_learning_rate)

    def of_epoch(epoch: jax.Array) -> jax.Array:
        return epoch_learning_rate(config, hparams, None, epoch)

    return jax.jit(jax.vmap(of_epoch))(jnp.arange(epochs))


def test_cosines_equal_pytorch() -> None:
    for case, expected in zip(reference.COSINES, COMMITTED["cosines"], strict=True):
        np.testing.assert_allclose(our_cosine(*case), expected, rtol=1e-6, atol=1e-8)


def test_schedules_equal_pytorch_run_live() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    plateaus = [reference.plateau_learning_rates(case) for case in reference.PLATEAUS]
    np.testing.assert_allclose(our_plateaus(), plateaus, rtol=1e-5)
    np.testing.assert_allclose(COMMITTED["plateaus"], plateaus, rtol=1e-8)
    for case, committed in zip(reference.COSINES, COMMITTED["cosines"], strict=True):
        np.testing.assert_allclose(
            committed, reference.cosine_learning_rates(*case), rtol=1e-8
        )


def test_initial_weights_have_the_distribution_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    layer = torch.nn.Linear(50, 4000)
    config = Config(hidden_sizes=(), initializer="pytorch")
    model = make_model(config, Hparams(), 4000)
    ours = init_variables(model, jax.random.key(0), jnp.zeros((1, 50)))["params"]
    for name, tensor in (("kernel", layer.weight), ("bias", layer.bias)):
        both = ours["Dense_0"][name], tensor.detach().numpy()
        for statistic in (np.min, np.max, np.std):
            a, b = (statistic(np.asarray(values)) for values in both)
            np.testing.assert_allclose(a, b, rtol=0.03, err_msg=name)
