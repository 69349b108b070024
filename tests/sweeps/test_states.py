"""What was trained comes out: kept, saved, loaded, evaluated, bit for bit."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from fmnist_jax import (
    Config,
    Hparams,
    Notice,
    States,
    UserError,
    ensemble,
    evaluate,
    from_haiku,
    load_states,
    predict,
    save_states,
    sweep,
    train,
)
from fmnist_jax.sweeps import cost
from fmnist_jax.sweeps import sweep as sweep_module
from fmnist_jax.sweeps.cost import kept_state_bytes
from fmnist_jax.sweeps.planning import Group
from fmnist_jax.sweeps.states import keep_best
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

SMALL = dataclasses.replace(CONFIG, num_epochs=2)
HELD_OUT = DATA.with_validation(16)
AXES: dict[str, Any] = {
    "optimizer": ["sgd", "adam"],
    "divisor": [1.0, 100.0],
    "seed": range(3),
}


def assert_equal(one: Any, other: Any) -> None:
    def check(a: Any, b: Any) -> None:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)

    jax.tree.map(check, one, other)  # which compares the structures


@pytest.mark.slow
def test_kept_states_give_the_recorded_results(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, batch_norm="on", schedule="plateau")
    hparams = dataclasses.replace(HPARAMS, target_accuracy=0.9, dropout_rate=0.1)
    results, states = sweep(AXES, HELD_OUT, config, hparams, keep_states="all")
    plain = sweep(AXES, HELD_OUT, config, hparams)
    for name in plain.data_vars:  # keeping states changes no bit
        np.testing.assert_array_equal(plain[name], results[name], err_msg=name)
    assert set(plain.data_vars) == set(results.data_vars)
    assert len(states) == 12
    save_states(states, tmp_path)
    names = {"states.json", "0.safetensors", "1.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names
    loaded = load_states(tmp_path)
    assert loaded.settings == states.settings
    for settings in states.settings:
        run, same = states.sel(**settings), loaded.sel(**settings)
        assert run[:2] == same[:2]
        assert run.config.optimizer == settings["optimizer"]
        assert_equal(run.state, same.state)
        last = results.sel(**settings).isel(epoch=-1)
        test = jax.jit(evaluate, static_argnums=0)(*same, HELD_OUT.test)
        assert float(test["accuracy"]) == float(last.test_accuracy)
        np.testing.assert_allclose(test["loss"], last.test_loss, rtol=1e-6)
        logits = predict(*same, HELD_OUT.test.images)
        is_correct = np.argmax(logits, axis=-1) == HELD_OUT.test.labels
        np.testing.assert_allclose(is_correct.mean(), last.test_accuracy, rtol=1e-6)


@pytest.mark.slow
def test_a_kept_state_is_that_of_the_run_alone() -> None:
    _, states = sweep(AXES, DATA, SMALL, HPARAMS, keep_states="all")
    config, hparams, state = states.sel(optimizer="adam", divisor=100, seed=1)
    alone, _ = train(config, hparams, 1, DATA)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        alone, state,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("normalization", ["standard", "whiten"])
def test_the_normalization_is_kept(normalization: str, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, normalization=normalization)
    results, states = sweep({}, DATA, config, Hparams(), keep_states="all")
    save_states(states, tmp_path)
    run = load_states(tmp_path).sel()
    test = evaluate(*run, DATA.test)
    np.testing.assert_allclose(test["loss"], results.test_loss[0, -1], rtol=1e-5)


@pytest.mark.slow
def test_the_best_setting_is_chosen_on_validation_images() -> None:
    axes = {"divisor": [1e6, 100.0, 1e5], "seed": range(3)}
    results, states = sweep(axes, HELD_OUT, SMALL, HPARAMS, keep_states="best")
    means = results.validation_accuracy.isel(epoch=-1).mean("seed")
    best = float(means.idxmax("divisor"))
    expected = [{"divisor": best, "seed": seed} for seed in range(3)]
    assert states.settings == expected
    # Without a validation set, by the test accuracy.
    results, states = sweep(axes, DATA, SMALL, HPARAMS, keep_states="best")
    means = results.test_accuracy.isel(epoch=-1).mean("seed")
    assert {s["divisor"] for s in states.settings} == {float(means.idxmax("divisor"))}


def test_a_setting_with_a_diverged_seed_is_not_the_best() -> None:
    axes = {"divisor": (1.0, 2.0), "seed": (0, 1)}
    arrays: Any = {run: {} for run in range(4)}
    states = States(axes, SMALL, HPARAMS, arrays, ((10,), 3), {})
    values = np.array([[0.9, np.nan], [0.5, 0.6]])[..., None]
    results = xr.Dataset({"test_accuracy": (("divisor", "seed", "epoch"), values)})
    kept = keep_best(states, results)
    assert [settings["divisor"] for settings in kept.settings] == [2.0, 2.0]
    assert not len(keep_best(states, results.isel(divisor=[0, 0])))
    losses = xr.Dataset({"test_loss": results.test_accuracy.fillna(np.inf)})
    kept = keep_best(states, losses)
    assert [settings["divisor"] for settings in kept.settings] == [2.0, 2.0]
    assert not len(keep_best(states, losses + np.inf))


@pytest.mark.slow
def test_an_ensemble_averages_probabilities() -> None:
    _, states = sweep(AXES, DATA, SMALL, HPARAMS, keep_states="all")
    runs = states.runs(optimizer="adam", divisor=100)
    result = ensemble(runs, DATA.test)
    logits = np.stack([predict(*run, DATA.test.images) for run in runs]).astype(float)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = (p / p.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(result["probabilities"], p, rtol=1e-5)
    right = logits.argmax(-1) == DATA.test.labels
    np.testing.assert_allclose(result["accuracies"], right.mean(1))
    accuracy = (p.argmax(-1) == DATA.test.labels).mean()
    assert result["accuracy"] == pytest.approx(accuracy)
    assert result["gain"] == pytest.approx(accuracy - right.mean())
    gains = (p.argmax(-1) == DATA.test.labels) - right.mean(0)
    half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5
    assert result["gain_high"] - result["gain_low"] == pytest.approx(2 * half)
    with pytest.raises(UserError, match="at least two runs; these are 1"):
        ensemble(runs[:1], DATA.test)


class Tiny(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x: Any) -> Any:
        dense = nn.Dense(self.width, param_dtype=jnp.bfloat16, dtype=jnp.float32)
        return nn.Dense(3)(nn.relu(dense(x)))


def negative_log(logits: Any, labels: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


@pytest.mark.slow
def test_code_is_given_again_and_checked(tmp_path: Path) -> None:
    config = dataclasses.replace(
        SMALL, model=Tiny(), loss=negative_log, hidden_sizes=(128,)
    )
    _, states = sweep({"seed": [0]}, DATA, config, HPARAMS, keep_states="all")
    save_states(states, tmp_path)
    state = load_states(tmp_path, config).sel().state
    assert_equal(state, states.sel().state)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)}
    assert dtypes == {"bfloat16", "float32"}
    with pytest.raises(UserError, match=r"the model .*Tiny.* but none was given. Pass"):
        load_states(tmp_path)
    other = dataclasses.replace(config, loss=lambda z, y: negative_log(z, y))
    with pytest.raises(UserError, match=r"loss tests.*negative_log .*, but .*lambda"):
        load_states(tmp_path, other)
    wider = dataclasses.replace(config, model=Tiny(width=5))
    with pytest.raises(UserError, match=r"the model .*width=4.*, but .*width=5"):
        load_states(tmp_path, wider)
    axes = {"model": [Tiny(), nn.Dense(3)]}
    base = dataclasses.replace(SMALL, loss="softmax", hidden_sizes=(128,))
    _, states = sweep(axes, DATA, base, HPARAMS, keep_states="all")
    save_states(states, tmp_path / "axis")
    loaded = load_states(tmp_path / "axis", axes=axes)
    name = "Dense(features=3)"
    assert_equal(loaded.sel(model=name).state, states.sel(model=name).state)


@pytest.fixture(scope="module")
def small_states() -> States:
    axes = {"divisor": [1.0, 100.0], "seed": range(2)}
    config = dataclasses.replace(SMALL, num_epochs=1)
    return sweep(axes, DATA, config, HPARAMS, keep_states="all")[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"divisor": 1}, "2 of 4 kept runs have divisor=1; expected one. .* by seed"),
        ({}, "4 of 4 kept runs have these settings; .* by divisor, seed"),
        ({"divisor": 2}, "None of the 4 kept runs has divisor=2"),
        ({"optimizer": "sgd"}, "optimizer is no axis of these runs; .* divisor, seed"),
    ],
)
def test_selections_that_fail(
    settings: Any, message: str, small_states: States
) -> None:
    with pytest.raises(UserError, match=message):
        small_states.sel(**settings)


def test_images_of_another_shape_are_refused(small_states: States) -> None:
    run = small_states.runs()[0]
    with pytest.raises(UserError, match=r"failed on images \[N, 3\]: .* trained on"):
        predict(*run, DATA.test.images[:, :3])


def test_damaged_folders_are_one_line(small_states: States, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no saved states: No such file"):
        load_states(tmp_path)
    save_states(small_states, tmp_path)
    text, weights = tmp_path / "states.json", tmp_path / "0.safetensors"
    content, data = text.read_text(), weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="are damaged or were saved by another vers"):
        load_states(tmp_path)
    weights.write_bytes(data)
    for broken in ("{", "[]", "{}", json.dumps({**json.loads(content), "config": 3})):
        text.write_text(broken)
        with pytest.raises(UserError, match="are damaged or were saved by another"):
            load_states(tmp_path)
    changed = json.loads(content)
    changed["config"]["hidden_sizes"] = [7]
    text.write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"The array params/Dense_0/bias .* is float32"):
        load_states(tmp_path).runs()


def test_an_unknown_choice_of_states_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown keep_states 'some'; expected one of"):
        sweep({}, DATA, SMALL, HPARAMS, keep_states="some")  # type: ignore[call-overload]


def test_the_config_is_not_read_beside_its_code(
    small_states: States, tmp_path: Path
) -> None:
    save_states(small_states, tmp_path)
    loaded = load_states(tmp_path, Config(optimizer="lion", hidden_sizes=()))
    assert loaded.config == small_states.config


@pytest.mark.slow
def test_without_a_finite_setting_nothing_is_kept_and_no_result_is_lost() -> None:
    hparams = Hparams(learning_rate=1e30)
    config = dataclasses.replace(SMALL, optimizer="sgd")
    with pytest.warns(Notice, match="No states were kept"):
        results, states = sweep(
            {"seed": [0]}, DATA, config, hparams, keep_states="best"
        )
    assert not len(states)
    assert results.status.item() == "diverged"


@pytest.mark.slow
def test_the_memory_of_the_states_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"seed": range(3)}
    monkeypatch.setattr(sweep_module, "MUCH_MEMORY", 100)
    with pytest.warns(Notice, match="states of 3 runs need 0.0 GB of memory until"):
        _, states = sweep(axes, DATA, SMALL, HPARAMS, keep_states="all")
    planned = states.plan
    groups = [Group(SMALL, (0, 1, 2), 3)]
    size = kept_state_bytes(dataclasses.replace(planned, groups=tuple(groups)), DATA)
    counters = 3 * 2 * 4  # of epochs and of Adam's steps
    assert size == states.nbytes - counters
    monkeypatch.setattr(cost, "host_bytes", lambda: 1000)
    with pytest.raises(UserError, match="divide the sweep into smaller"):
        sweep(axes, DATA, SMALL, HPARAMS, keep_states="all")


class Dotted(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3, name="out.put")(x)


def mlp_of_haiku(x: Any) -> Any:
    import haiku as hk

    return hk.nets.MLP([4, 3])(x)  # parameters named "mlp/~/linear_0"


@pytest.mark.slow
def test_parameters_may_have_any_names(tmp_path: Path) -> None:
    hk = pytest.importorskip("haiku")
    networks = [Dotted(), from_haiku(hk.transform(mlp_of_haiku))]
    for number, network in enumerate(networks):
        config = Config(model=network, batch_size=16, num_epochs=1)
        results, states = sweep({"seed": [0]}, DATA, config, keep_states="all")
        save_states(states, tmp_path / str(number))
        loaded = load_states(tmp_path / str(number), config)
        logits = predict(*loaded.sel(seed=0), DATA.test.images)
        is_correct = np.argmax(logits, axis=-1) == DATA.test.labels
        assert is_correct.mean() == pytest.approx(
            float(results.test_accuracy.squeeze())
        )


def test_saving_leaves_other_files_alone(tmp_path: Path) -> None:
    _, states = sweep({"seed": [0]}, DATA, SMALL, HPARAMS, keep_states="all")
    others = [tmp_path / name for name in ("pretrained.safetensors", "1.safetensors")]
    for path in others:
        path.write_bytes(b"")
    save_states(states, tmp_path)
    assert all(path.exists() for path in others)
    save_states(states, tmp_path)  # the numbered one may be a program's
    assert [path.exists() for path in others] == [True, False]


@pytest.mark.slow
def test_seeds_that_float32_cannot_tell_apart_are_two_runs() -> None:
    """2²⁴ and 2²⁴ + 1, which float32 rounds to 2²⁴."""
    seeds = [2**24, 2**24 + 1]
    _, states = sweep({"seed": seeds}, DATA, SMALL, HPARAMS, keep_states="all")
    params = [states.sel(seed=seed).state.params for seed in seeds]
    alone = train(SMALL, HPARAMS, seeds[1], DATA)[0].params
    first, second, expected = (
        np.concatenate([*map(np.ravel, jax.tree.leaves(tree))])
        for tree in (*params, alone)
    )
    np.testing.assert_allclose(second, expected, rtol=2e-5, atol=1e-6)
    assert not np.allclose(first, second)
