"""The same weights and batches through PyTorch give the same losses.

The comparison with the committed losses runs everywhere, the live one where PyTorch is
installed.
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
from fmnist_jax.data import Dataset
from fmnist_jax.models import init_variables, make_model
from fmnist_jax.optimizers import make_optimizer
from fmnist_jax.training import State, init, train_epoch, train_step
from tests import pytorch_reference as reference
from tests.pytorch_reference import RUNS, Run

TOLERANCE = 1e-4
COMMITTED = json.loads(reference.PATH.read_text(encoding="utf-8"))
RUN = pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])

jit_step = jax.jit(train_step, static_argnums=0)
jit_epoch = jax.jit(train_epoch, static_argnums=0)


def settings(run: Run) -> tuple[Config, Hparams]:
    """The run as a user would ask for it: a preset with a few changes."""
    config, hparams = PRESETS[run.preset]
    config = dataclasses.replace(config, optimizer=run.optimizer, loss=run.loss)
    hparams = dataclasses.replace(hparams, divisor=run.divisor)
    if run.optimizer == "sgd":  # the rate of the keras preset is its Adam's
        hparams = dataclasses.replace(hparams, learning_rate=1e-2)
    return config, resolve(config, hparams)


def initial_state(run: Run) -> State:
    config, hparams = settings(run)
    state = init(config, hparams, jax.random.key(0), (28, 28), reference.NUM_CLASSES)
    params = jax.tree.map(jnp.asarray, reference.initial_weights(run.preset))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, state.params)
    return dataclasses.replace(state, params=params)


@functools.cache
def losses_of_steps(run: Run) -> tuple[np.ndarray, State]:
    """Our losses, float64 ``[steps]``, and the state after the last step."""
    config, hparams = settings(run)
    state = initial_state(run)
    key = jax.random.key(0)
    losses = []
    for step, (images, labels) in enumerate(zip(*reference.batches(), strict=True)):
        step_key = jax.random.fold_in(key, step)
        batch = Dataset(images, labels)
        state, metrics = jit_step(config, hparams, state, step_key, batch)
        losses.append(metrics["loss"])
    return np.asarray(jnp.stack(losses), np.float64), state


def deviation(actual: Any, expected: Any) -> float:
    """The largest relative deviation."""
    expected = np.asarray(expected, np.float64)
    return float(np.max(np.abs(np.asarray(actual) / expected - 1)))


def compare_parameters(actual: Any, expected: Any) -> None:
    for name, numbers in expected.items():
        (norm, change, along), (norm_0, change_0, along_0) = actual[name], numbers
        np.testing.assert_allclose(norm, norm_0, rtol=TOLERANCE, err_msg=name)
        np.testing.assert_allclose(change, change_0, rtol=TOLERANCE, err_msg=name)
        assert abs(along - along_0) <= TOLERANCE * change_0, (name, along, along_0)


def test_committed_losses_belong_to_these_inputs() -> None:
    found = reference.inputs_fingerprint()
    assert found == COMMITTED["inputs_sha256"], (
        "The weights or batches of the parity test are no longer those that the "
        "committed PyTorch losses were computed from: was the synthetic data set "
        "changed? If so on purpose, install PyTorch and write them anew: "
        f"`{reference.COMMAND}`. Until then the other tests here mean nothing."
    )
    assert set(COMMITTED["runs"]) == {run.name for run in RUNS}


@RUN
def test_losses_are_pytorchs(run: Run) -> None:
    losses, _ = losses_of_steps(run)
    expected = COMMITTED["runs"][run.name]["float32"]
    assert len(expected) == reference.STEPS == 100
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)


@RUN
def test_losses_are_as_close_to_float64_as_pytorchs(run: Run) -> None:
    losses, _ = losses_of_steps(run)
    committed = COMMITTED["runs"][run.name]
    ours = deviation(losses, committed["float64"])
    pytorchs = deviation(committed["float32"], committed["float64"])
    assert ours <= 3 * pytorchs + 1e-6, (ours, pytorchs)


@RUN
def test_parameters_after_the_last_step_are_pytorchs(run: Run) -> None:
    _, state = losses_of_steps(run)
    expected = COMMITTED["runs"][run.name]["parameters"]
    compare_parameters(reference.summary(run.preset, state.params), expected)


@RUN
def test_an_epoch_in_a_given_order_is_pytorchs(run: Run) -> None:
    config, hparams = settings(run)
    images, labels = (x.reshape(-1, *x.shape[2:]) for x in reference.batches())
    # The data set stands in another order, which the order given undoes.
    shuffle = np.random.RandomState(3).permutation(len(labels))
    dataset = Dataset(images[shuffle], labels[shuffle])
    order = jnp.asarray(np.argsort(shuffle))
    key = jax.random.key(0)
    state, metrics = jit_epoch(config, hparams, initial_state(run), key, dataset, order)
    expected = COMMITTED["runs"][run.name]
    mean_loss = np.mean(expected["float32"])
    np.testing.assert_allclose(metrics["loss"], mean_loss, rtol=TOLERANCE)
    actual = reference.summary(run.preset, state.params)
    compare_parameters(actual, expected["parameters"])


@RUN
def test_losses_are_those_of_pytorch_run_live(run: Run) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    live, params = reference.train(run, "float32")
    committed = COMMITTED["runs"][run.name]
    np.testing.assert_allclose(losses_of_steps(run)[0], live, rtol=TOLERANCE)
    np.testing.assert_allclose(
        committed["float32"],
        live,
        rtol=TOLERANCE,
        err_msg=f"This PyTorch gives other losses: `{reference.COMMAND}`.",
    )
    _, state = losses_of_steps(run)
    for (path, ours), theirs in zip(
        jax.tree.leaves_with_path(state.params), jax.tree.leaves(params), strict=True
    ):
        name, start = jax.tree_util.keystr(path), reference.initial_weights(run.preset)
        change = np.linalg.norm(theirs - start[path[0].key][path[1].key])
        error = np.linalg.norm(np.asarray(ours) - theirs)
        assert error <= TOLERANCE * change, (name, error, change)


# PyTorch's names of the settings, in ours.
SETTINGS = {
    "lr": "learning_rate",
    "alpha": "decay",
    **{
        name: name
        for name in ("momentum", "eps", "weight_decay", "initial_accumulator_value")
    },
}


def path_hparams(name: str) -> Hparams:
    _, given = reference.PATHS[name]
    values = {SETTINGS[key]: value for key, value in given.items() if key in SETTINGS}
    if "betas" in given:
        values["b1"], values["b2"] = given["betas"]
    return Hparams(**values)


@functools.partial(jax.jit, static_argnums=0)
def our_path(name: str, hparams: Hparams) -> jax.Array:
    """Our parameters after each gradient, ``[steps, size]``; all settings traced."""
    optimizer = make_optimizer(Config(optimizer=name), hparams)
    start = jnp.asarray(reference.path_start())

    def step(carry: Any, gradient: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (params + updates, opt_state), params + updates

    carry = start, optimizer.init(start)
    return jax.lax.scan(step, carry, jnp.asarray(reference.gradients()))[1]


@pytest.mark.parametrize("name", reference.PATHS)
def test_optimizer_is_pytorchs(name: str) -> None:
    expected = np.reshape(COMMITTED["optimizers"][name], (-1, reference.PATH_SIZE))
    ours = our_path(name, path_hparams(name))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", reference.PATHS)
def test_optimizer_is_pytorchs_run_live(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = reference.optimizer_path(name)
    ours = our_path(name, path_hparams(name))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    committed = np.reshape(COMMITTED["optimizers"][name], expected.shape)
    np.testing.assert_allclose(committed, expected, rtol=1e-8)


def test_initial_weights_are_drawn_as_pytorch_draws_them() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    layer = torch.nn.Linear(50, 4000)
    config = Config(hidden_sizes=(), initializer="pytorch")
    model = make_model(config, Hparams(), 4000)
    ours = init_variables(model, jax.random.key(0), jnp.zeros((1, 50)))["params"]
    for mine, theirs in (("kernel", layer.weight), ("bias", layer.bias)):
        both = ours["Dense_0"][mine], theirs.detach().numpy()
        for statistic in (np.min, np.max, np.std):
            a, b = (statistic(np.asarray(values)) for values in both)
            np.testing.assert_allclose(a, b, rtol=0.03, err_msg=mine)
