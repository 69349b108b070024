"""Axes of bundles of settings, and runs that are the same run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.data.normalization import fit_normalization
from fmnist_jax.errors import UserError
from fmnist_jax.networks.mlp import MLP
from fmnist_jax.sweeps.engine import run_groups
from fmnist_jax.sweeps.labelling import join
from fmnist_jax.sweeps.memory import fit_to_memory
from fmnist_jax.sweeps.planning import Plan, plan
from fmnist_jax.sweeps.precompile import lower_programs
from fmnist_jax.sweeps.state_files import load_states, save_states
from fmnist_jax.sweeps.sweep import sweep
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

RECIPES: dict[str, dict[str, Any]] = {
    "raw": {"divisor": 1.0},
    "usual": {"divisor": 255.0, "l2": 1e-3},
    "momentum": {"optimizer": "momentum", "momentum": 0.5, "learning_rate": 0.003},
    "wide": {"hidden_sizes": (9,), "dropout_rate": 0.25},
    "standard": {"normalization": "standard", "divisor": 1.0},
}
METRICS = ["train_loss", "test_loss", "test_accuracy", "status"]
SETTINGS = ["divisor", "l2", "momentum", "optimizer", "hidden_sizes", "dropout_rate"]


def planned(axes: Any, config: Config = CONFIG, hparams: Hparams = HPARAMS) -> Plan:
    return plan(axes, config, hparams, num_devices=2, data=DATA)


def alone(settings: dict[str, Any], seed: int, width: int = 1) -> xr.Dataset:
    """A run of its own, in a batch of ``width`` equal runs, without bundles."""
    static = {n: v for n, v in settings.items() if n in vars(CONFIG)}
    traced = {n: v for n, v in settings.items() if n in vars(HPARAMS)}
    config = Config(**{**vars(CONFIG), **static})
    hparams = Hparams(**{**vars(HPARAMS), **traced})
    seeds = [seed, *range(100, 99 + width)]
    return sweep({"seed": seeds}, DATA, config, hparams).sel(seed=seed)


def assert_close(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in METRICS[:-1]:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-5, atol=2e-5)
    assert a.status.item() == b.status.item()


@pytest.mark.slow
def test_each_bundle_is_the_run_with_its_settings() -> None:
    results = sweep({"recipe": RECIPES, "seed": [0, 3]}, DATA, CONFIG, HPARAMS)
    assert list(results.recipe.values) == [*RECIPES]
    assert results.test_loss.dims == ("recipe", "seed", "epoch")
    for label, settings in RECIPES.items():
        for seed in (0, 3):
            run = results.sel(recipe=label, seed=seed)
            assert_close(run, alone(settings, seed))
            for name in set(settings) & {"divisor", "momentum", "dropout_rate"}:
                assert run[name] == settings[name]


@pytest.mark.slow
def test_a_bundle_has_the_same_bits_as_the_run_at_equal_width() -> None:
    pairs = [(1.0, 0.1), (255.0, 0.01), (50.0, 0.03), (10.0, 0.001)]
    points = [{"divisor": d, "learning_rate": r} for d, r in pairs]
    results = sweep({"point": points}, DATA, CONFIG, HPARAMS, max_width=4)
    grid = {"divisor": [d for d, _ in pairs], "learning_rate": [0.1, 0.01]}
    product = sweep(grid, DATA, CONFIG, HPARAMS, max_width=4)
    for number in (0, 1):
        d, r = pairs[number]
        same = product.sel(divisor=d, learning_rate=r)
        for name in METRICS:
            np.testing.assert_array_equal(results.isel(point=number)[name], same[name])
    assert results.point.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(results.divisor, [d for d, _ in pairs])
    np.testing.assert_array_equal(results.learning_rate, [r for _, r in pairs])
    assert results.divisor.dims == ("point",)


@pytest.mark.slow
def test_settings_lie_along_the_axis_that_sets_them_or_their_choice() -> None:
    axes = {"recipe": RECIPES, "eps": [1e-8, 1e-3]}
    results = sweep(axes, DATA, CONFIG, HPARAMS)
    along = {name: results[name].dims for name in SETTINGS}
    assert set(along.values()) == {("recipe",)}
    assert results.hidden_sizes.values.tolist() == ["6", "6", "6", "9", "6"]
    assert (
        results.optimizer.values.tolist() == ["adam"] * 2 + ["momentum"] + ["adam"] * 2
    )
    np.testing.assert_array_equal(results.l2, [0, 1e-3, 0, 0, 0])
    np.testing.assert_array_equal(results.momentum, [np.nan] * 2 + [0.5] + [np.nan] * 2)
    np.testing.assert_array_equal(results.divisor, [1, 255, 100, 100, 1])
    assert results.batch_size.dims == ()
    # The run under momentum does not depend on epsilon.
    losses = results.test_loss.sel(recipe="momentum")
    np.testing.assert_array_equal(losses[0], losses[1])
    assert (
        results.test_loss.sel(recipe="raw")[0] != results.test_loss.sel(recipe="raw")[1]
    ).any()


@pytest.mark.parametrize(
    ("axes", "programs", "distinct"),
    [
        ({"optimizer": ["sgd", "momentum"], "momentum": [0.1, 0.5, 0.9]}, 2, 4),
        ({"optimizer": ["sgd", "adam"], "eps": [1e-8, 1e-3], "seed": range(5)}, 2, 15),
        ({"normalization": ["none", "whiten"], "whitening": ["zca", "pca"]}, 3, 3),
        ({"recipe": RECIPES}, 4, 5),
        ({"recipe": RECIPES, "seed": range(3)}, 4, 15),
        ({"recipe": [{"divisor": 100.0}, {}, {"l2": 0.0}]}, 1, 1),
        ({"recipe": [{"l2": 0.1}, {"l2": 0.2, "penalized": "kernels"}]}, 2, 2),
        ({"a": [{"divisor": 1}, {}], "b": [{"l2": 0.1}, {"optimizer": "sgd"}]}, 2, 4),
        ({"schedule": ["constant", "cosine"], "min_learning_rate": [0, 1e-4]}, 2, 3),
    ],
)
def test_the_fewest_programs_and_runs(axes: Any, programs: int, distinct: int) -> None:
    it = planned(axes)
    assert (it.num_programs, it.num_distinct_runs) == (programs, distinct)
    trained = sorted(run for group in it.groups for run in group.runs)
    assert trained == sorted({*it.trained_runs.tolist()})
    assert len(it.trained_runs) == it.num_runs


@pytest.mark.slow
def test_a_run_that_does_not_depend_on_an_axis_is_that_run() -> None:
    axes = {"optimizer": ["sgd", "momentum"], "momentum": [0.1, 0.5, 0.9]}
    results = sweep({**axes, "seed": [0, 1]}, DATA, CONFIG, HPARAMS)
    sgd = results.sel(optimizer="sgd")
    for name in METRICS:
        values = sgd[name].transpose("momentum", ...).values
        np.testing.assert_array_equal(values[0], values[1])
        np.testing.assert_array_equal(values[0], values[2])
    assert_close(sgd.sel(momentum=0.9, seed=1), alone({"optimizer": "sgd"}, 1))
    run: dict[str, Any] = {"optimizer": "momentum", "momentum": 0.9}
    assert_close(results.sel(run).sel(seed=1), alone(run, 1))


@pytest.mark.slow
def test_states_are_kept_saved_and_continued_for_every_run(tmp_path: Path) -> None:
    axes = {"recipe": RECIPES, "eps": [1e-8, 1e-3]}
    results, states = sweep(axes, DATA, CONFIG, HPARAMS, keep_states="all")
    assert len(states) == 10
    kept = [states.sel(recipe="momentum", eps=eps) for eps in (1e-8, 1e-3)]
    assert kept[0].hparams == kept[1].hparams
    assert kept[0].config.optimizer == "momentum"
    assert states.sel(recipe="standard", eps=1e-8).state.normalization is not None
    fitted = fit_normalization(Config(normalization="standard"), DATA.train)
    folder = tmp_path / "states"
    save_states(states, folder)
    loaded = load_states(folder)
    assert loaded.settings == states.settings
    assert loaded.axes == states.axes
    run = loaded.sel(recipe="standard", eps=1e-3).state
    assert run.normalization is not None
    assert fitted is not None
    np.testing.assert_array_equal(run.normalization.shift, fitted.shift)
    for name, leaf in run.params["Dense_0"].items():
        same = states.sel(recipe="standard", eps=1e-3).state.params["Dense_0"][name]
        np.testing.assert_array_equal(leaf, same)
    longer = Config(**{**vars(CONFIG), "num_epochs": 9})
    more = sweep(axes, DATA, longer, HPARAMS, continue_from=(results, loaded))
    whole = sweep(axes, DATA, longer, HPARAMS)
    np.testing.assert_array_equal(more.test_loss, whole.test_loss)


@pytest.mark.slow
def test_bundles_resume_from_a_folder(tmp_path: Path) -> None:
    axes = {"recipe": RECIPES, "seed": range(2)}
    first = sweep(axes, DATA, CONFIG, HPARAMS, folder=tmp_path)
    xr.testing.assert_identical(
        first, sweep(axes, DATA, CONFIG, HPARAMS, folder=tmp_path)
    )
    other = {**RECIPES, "raw": {"divisor": 2.0}}
    with pytest.raises(UserError, match=r"recipe is raw \(divisor=1\).*\(divisor=2\)"):
        sweep({**axes, "recipe": other}, DATA, CONFIG, HPARAMS, folder=tmp_path)


def clipped_sgd(hparams: Hparams) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(hparams.extra["clip"])
    return optax.chain(clip, optax.sgd(hparams.learning_rate, hparams.momentum))


@pytest.mark.slow
def test_own_functions_and_settings_may_be_in_bundles() -> None:
    hparams = Hparams(learning_rate=0.01, momentum=0.9, extra={"clip": 1.0})
    bundles = {"own": {"optimizer": clipped_sgd, "clip": 0.5}, "usual": {}}
    it = plan({"optimizers": bundles}, CONFIG, hparams)
    assert (it.num_programs, it.num_distinct_runs) == (2, 2)
    results = sweep({"optimizers": bundles}, DATA, CONFIG, hparams)
    np.testing.assert_array_equal(results["clip"], [0.5, np.nan])


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ({"r": [{"momentum": 0.5}]}, "momentum .* has no effect here"),
        (
            {"r": {"x": {"optimizer": "sgd", "momentum": 0.1}, "y": {}}, "eps": [1, 2]},
            "momentum .* has no effect here",
        ),
        (
            {"r": {"a": {"optimizer": "momentum"}, "b": {"momentum": 0.1}}},
            "r 'b': momentum .* has no effect here",
        ),
        ({"divisor": {"raw": {"divisor": 1}}}, "The axis 'divisor' has bundles"),
        ({"test loss": [{"divisor": 1}]}, "an identifier"),
        ({"test_loss": [{"divisor": 1}]}, "axis test_loss has the name of a result"),
        ({"r": [{"divisor": 1}], "divisor": [1, 2]}, "set by the axes r and divisor"),
        ({"r": [{"divisor": 1}, 3]}, "has 1: 3; expected a label with a dict"),
        ({"r": [{"num_epochs": 1}]}, "num_epochs must be the same in all runs"),
        ({"r": [{"seed": 1}]}, "seed cannot be in a bundle"),
        ({"r": [{"divisors": 1}]}, "Did you mean divisor"),
        ({"r": [{"divisor": -1}]}, "divisor is -1; expected a positive"),
        ({"r": {}}, "has no values"),
        ({"r": {1: {"divisor": 1}, "1": {}}}, "has the labels 1, '1'; expected diff"),
        ({"r": {1: {"divisor": 1}, "a": {}}}, "all texts or all whole numbers"),
        ({"r": {True: {"divisor": 1}}}, "has True: .*; expected a label with"),
        (
            {"r": [{"optimizer": clipped_sgd}, {"momentum": 0.1}]},
            "r 0 does not set momentum",
        ),
        (
            {
                "r": [
                    {"optimizer": clipped_sgd, "momentum": 0.1},
                    {"optimizer": clipped_sgd},
                ]
            },
            "r 1 does not set momentum",
        ),
    ],
)
def test_mistakes_are_explained(axes: Any, line: str) -> None:
    hparams = Hparams(
        learning_rate=0.01, extra={"clip": 1.0} if "clipped_sgd" in str(axes) else {}
    )
    with pytest.raises(UserError, match=line):
        sweep(axes, DATA, CONFIG, hparams)


@pytest.mark.slow
def test_a_bundle_of_a_plan_is_trained_and_labelled_by_hand() -> None:
    it = planned({"recipe": RECIPES})
    results = join(it, run_groups(it, DATA), DATA)
    xr.testing.assert_identical(
        results, sweep({"recipe": RECIPES}, DATA, CONFIG, HPARAMS)
    )


def test_a_bundle_axis_is_no_setting_of_the_users() -> None:
    hparams = Hparams(learning_rate=0.01, extra={"clip": 1.0})
    config = dataclasses.replace(CONFIG, optimizer=clipped_sgd)
    axes = {"clip": [{"clip": 0.5, "momentum": 0.1}, {"clip": 2.0, "momentum": 0.2}]}
    with pytest.raises(
        UserError, match="its name must be an identifier that is neither"
    ):
        sweep(axes, DATA, config, hparams)


def plain_sgd(hparams: Hparams) -> optax.GradientTransformation:
    return optax.sgd(hparams.learning_rate)


def test_programs_are_compiled_for_their_runs() -> None:
    """The first run of the plan has no learning rate; the second program needs one."""
    bundles = {"adam": {}, "plain": {"optimizer": plain_sgd, "learning_rate": 0.01}}
    it = plan({"recipe": bundles}, CONFIG, Hparams(), data=DATA)
    for group in it.groups:
        assert list(lower_programs(it, group.config, DATA, group.width))
    fitted = fit_to_memory(it, DATA, 10**9)
    assert sum(len(group.runs) for group in fitted.groups) == 2


def test_targets_as_given_have_no_target_accuracy() -> None:
    labels = np.zeros((64, 2), np.float32)
    data = Data(
        Dataset(DATA.train.images, labels),
        Dataset(DATA.train.images, labels),
        targets="as_given",
    )
    config = dataclasses.replace(CONFIG, loss=squared_error)
    axes = {"r": [{"target_accuracy": 0.9}, {}]}
    with pytest.raises(UserError, match="target_accuracy needs class labels"):
        sweep(axes, data, config)


def squared_error(outputs: Any, targets: Any) -> Any:
    return ((outputs - targets) ** 2).sum(-1)


@pytest.mark.slow
def test_networks_in_bundles_are_given_again_by_label(tmp_path: Path) -> None:
    bundles = {"small": {"model": MLP(3, (4,))}, "large": {"model": MLP(3, (8,))}}
    config = dataclasses.replace(CONFIG, hidden_sizes=Config().hidden_sizes)
    _, states = sweep({"net": bundles}, DATA, config, keep_states="all")
    save_states(states, tmp_path)
    with pytest.raises(UserError, match=r"axes=.'net': ….\) as in the sweep"):
        load_states(tmp_path)
    again = {label: bundles[label] for label in ("large", "small")}
    loaded = load_states(tmp_path, axes={"net": again})
    for label, bundle in bundles.items():
        assert loaded.sel(net=label).config.model == bundle["model"]
