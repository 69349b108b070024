"""Recommendations, against sweeps of the settings that they lead to."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis.recommendation import (
    best_position,
    recommendation,
    table,
)
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.figures.recommendation import figure
from fmnist_jax.search import recommending
from fmnist_jax.search.candidates import SCALINGS
from fmnist_jax.search.finalists import finalists
from fmnist_jax.search.recommending import recommend
from fmnist_jax.search.scalings import part_of, traced_scalings
from fmnist_jax.sweeps import engine
from fmnist_jax.sweeps.planning import plan
from fmnist_jax.sweeps.program_data import share_statistics
from fmnist_jax.sweeps.sweep import sweep
from tests.sweeps.runs import make_data

DATA = Data(make_data(240, 0), make_data(100, 1)).with_validation(40)
PARTS = [part for part in DATA.splits if part is not None]
CONFIG = Config(hidden_sizes=(6,), batch_size=16, num_epochs=6)
AXES = {
    "optimizer": ["sgd"],
    "learning_rate": [1e-4, 0.003, 0.03, 1e30],
    "seed": range(3),
}


@pytest.fixture(scope="module")
def shorter() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommending, "MIN_STEPS", 40)
        patch.setattr(recommending, "BATCHES", 5)
        yield


@pytest.fixture(scope="module")
def advice(shorter: None) -> recommending.Recommendation:
    return recommend(DATA, config=CONFIG, axes=AXES)


@pytest.mark.slow
def test_settings_trained_in_full_are_runs_of_a_sweep(
    advice: recommending.Recommendation,
) -> None:
    results = advice.results
    for label in results.setting.values:
        one = results.sel(setting=label)
        config = dataclasses.replace(
            CONFIG, optimizer=one.optimizer.item(), evaluate_train=False
        )
        scaling = SCALINGS[one.scaling.item()]
        config = dataclasses.replace(
            config, normalization=scaling.get("normalization", "none")
        )
        hparams = Hparams(learning_rate=one.learning_rate.item())
        if one.scaling == "raw":
            hparams = dataclasses.replace(hparams, divisor=1.0)
        alone = sweep({"seed": range(3)}, DATA, config, hparams)
        for name in ("validation_loss", "test_accuracy", "train_loss"):
            np.testing.assert_allclose(one[name], alone[name], rtol=2e-4, atol=1e-5)


def test_an_accurate_setting_with_a_high_loss_is_a_finalist() -> None:
    """Networks that overfit few images have a higher loss than those that guess."""
    axes: dict[str, Any] = {"learning_rate": [1e-4, 0.01, 0.1, 1.0], "seed": [0]}
    dims = "learning_rate", "seed", "epoch"
    shape = 4, 1, 1
    searched = xr.Dataset(
        {
            "validation_accuracy": (dims, np.reshape([0.1, 0.8, 0.7, np.nan], shape)),
            "validation_loss": (dims, np.reshape([2.3, 9.0, 8.0, np.nan], shape)),
        }
    )
    settings = finalists(searched, plan(axes, CONFIG, Hparams()))
    assert [s["learning_rate"] for s in settings.values()] == [0.01, 0.1]


@pytest.mark.slow
def test_the_best_by_validation_is_recommended(
    advice: recommending.Recommendation,
) -> None:
    results = advice.results
    accuracies = results.validation_accuracy.isel(epoch=-1).mean("seed").values
    best = results.isel(setting=best_position(results))
    chosen = best.validation_accuracy.isel(epoch=-1).mean("seed")
    assert chosen >= accuracies.max() - 1 / 40 - 1e-6
    assert advice.accuracy.estimate == pytest.approx(
        best.test_accuracy.isel(epoch=-1).mean().item()
    )
    assert advice.settings["learning_rate"] == best.learning_rate.item()
    rows = table(results)
    assert rows.recommended.sum() == 1
    behind = 100 * (chosen.item() - accuracies)
    np.testing.assert_allclose(rows.behind, behind, atol=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["unit", "per_feature"])
def test_the_search_is_a_sweep_of_the_part(
    advice: recommending.Recommendation, scaling: str
) -> None:
    results, part = advice.results, part_of(DATA, 80)
    assert len(part.train.labels) == 80
    assert len(part.test.labels) == 1
    assert np.bincount(part.train.labels).tolist() == pytest.approx(
        np.bincount(DATA.train.labels) * 80 / 200, abs=1
    )
    epochs = results.attrs["part_epochs"]
    config = dataclasses.replace(
        CONFIG,
        num_epochs=epochs,
        evaluate_train=False,
        optimizer="sgd",
        normalization=scaling,
    )
    share_statistics(part, DATA, [config])  # not those of the part
    rates = [1e-4, 0.003, 0.03]
    alone = sweep({"learning_rate": rates}, part, config)
    first = alone.validation_accuracy.sel(epoch=results.attrs["first_rung"])
    tried = results.tried_accuracy.sel(tried_scaling=scaling, tried_optimizer="sgd")
    tried = tried.sel(tried_learning_rate=rates)
    np.testing.assert_array_equal(tried, first.isel(seed=0))
    if advice.scaling == scaling:
        last = alone.validation_accuracy.isel(epoch=-1, seed=0)
        again = results.window_accuracy.sel(tried_learning_rate=rates)
        np.testing.assert_array_equal(again, last)


@pytest.mark.slow
def test_a_figure_is_drawn_and_the_sentences_say_the_numbers(
    advice: recommending.Recommendation,
) -> None:
    panels = figure(advice).axes
    titles = [panel.get_title() for panel in panels]
    assert titles == ["sgd", "all training data, 6 epochs", ""]
    first, second, *_ = advice.sentences
    assert f"{100 * advice.accuracy.estimate:.1f} %" in first
    assert f"{100 * advice.accuracy.low:.1f} to" in first
    assert f"learning rate of {advice.settings['learning_rate']:g}:" in first
    assert "guessing" in second
    assert {*advice.code} == {"Keras", "PyTorch", "Flax"}


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    original, count = engine.run_groups_resumably, 0

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        for group, steps in original(*args, **kwargs):

            def counted(steps: Any = steps) -> Any:
                nonlocal count
                for pair in steps:
                    yield pair
                    count += 1
                    if count == after:
                        raise KeyboardInterrupt

            yield group, counted()

    monkeypatch.setattr("fmnist_jax.sweeps.resuming.run_groups_resumably", run)


@pytest.mark.slow
@pytest.mark.parametrize("after", [4, 16])
def test_an_interrupted_recommendation_resumes_to_the_same(
    after: int,
    advice: recommending.Recommendation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(SweepInterrupted, match=r"Interrupted: \d+ of (2|3|4)\d "):
            recommend(DATA, config=CONFIG, axes=AXES, folder=tmp_path / "parts")
    again = recommend(DATA, config=CONFIG, axes=AXES, folder=tmp_path / "parts")
    xr.testing.assert_identical(again.results, advice.results)
    assert again.sentences == advice.sentences


def test_scalings_are_numbers_where_they_can_be() -> None:
    traced = traced_scalings(SCALINGS, DATA)
    assert [*traced] == ["raw", "unit", "symmetric", "standard", "per_feature"]
    images = DATA.train.images.astype(float)
    assert traced["unit"] == {"normalization": "none", "offset": 0.0, "divisor": 255.0}
    assert traced["symmetric"]["offset"] == traced["symmetric"]["divisor"] == 127.5
    assert traced["standard"]["offset"] == pytest.approx(images.mean(), rel=1e-6)
    assert traced["standard"]["divisor"] == pytest.approx(images.std(), rel=1e-6)
    assert traced["per_feature"] == {
        "normalization": "per_feature",
        "offset": 0.0,
        "divisor": 1.0,
    }


def test_scalings_that_do_the_same_are_tried_once() -> None:
    images = np.random.default_rng(0).uniform(size=(40, 5, 4, 3)).astype(np.float32)
    images[0, 0, 0], images[1, 0, 0] = 0, 1  # so that unit changes nothing
    part = Dataset(images, np.arange(40, dtype=np.int32) % 2)
    traced = traced_scalings(SCALINGS, Data(part, part))
    names = ["raw", "symmetric", "standard", "per_feature", "per_channel"]
    assert [*traced] == names


def made_up(inside: list[bool], rates: list[float], accuracy: float) -> xr.Dataset:
    """Results with two settings; the second is recommended, at 0.01."""
    shape = ("setting", "seed", "epoch")
    accuracies = np.full((2, 3, 1), accuracy)
    accuracies[0] -= 0.1
    return xr.Dataset(
        {
            "validation_accuracy": (shape, accuracies),
            "validation_loss": (shape, 1 - accuracies),
            "test_accuracy": (shape, accuracies - 0.1),
            "in_window": ("tried_learning_rate", inside),
        },
        coords={
            "setting": ["raw, sgd, 0.1", "unit, sgd, 0.01"],
            "scaling": ("setting", ["raw", "unit"]),
            "tried_learning_rate": rates,
            "learning_rate": ("setting", [0.1, 0.01]),
            "divisor": ("setting", [1.0, 255.0]),
            "offset": 0.0,
            "batch_size": ("setting", [16, 8]),
            "normalization": "none",
            "optimizer": "sgd",
        },
        attrs={
            "largest_class_share": 0.1,
            "validation_examples": 1000,
            "test_examples": 500,
            "image_shape": [28, 28],
            "part_examples": 64,
            "part_epochs": 9,
            "searched": ["offset", "divisor", "learning_rate", "batch_size"],
        },
    )


def test_sentences_give_the_window_and_every_setting() -> None:
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    inside = [False, False, True, True, False, False]
    advice = recommendation(made_up(inside, rates, 0.8))
    assert advice.window == (1e-3, 1e-2)
    first, second, *more = advice.sentences
    assert first.startswith(
        "Divide the pixels by 255, and train with sgd at a learning rate of 0.01, "
        "batch size 8: after 1 epoch, the test accuracy is 70.0 % (95 % interval "
    )
    assert first.endswith("3 seeds, 500 test images).")
    assert "learning rates from 0.001 to 0.01 (1.0 decades) get at least" in second
    assert second.endswith(". Theory gives no limit for this optimizer.")
    assert more == []
    assert advice.settings["batch_size"] == 8
    _, second, *more = recommendation(made_up([False, True], [1e-3, 1e-2], 0.8))[5]
    assert "of the learning rates that were tried, only 0.01 gets at least" in second
    assert more == [
        "This learning rate is the largest of those that were tried; try larger ones "
        "too."
    ]


def test_a_recommendation_says_if_nothing_was_learned() -> None:
    rates = [1e-3, 1e-2, 1e-1]
    advice = recommendation(made_up([False] * 3, rates, 0.22))
    assert np.isnan(advice.window).all()
    _, second, *more = advice.sentences
    assert second.startswith("No learning rate is clearly better than guessing (10 %)")
    assert more == [
        "This accuracy is not clearly better than that of always predicting the "
        "largest class."
    ]


def test_offsets_and_divisors_of_scalings_are_kept() -> None:
    scalings: Any = {
        "mine": {"offset": 1.5, "divisor": 2},
        "usual": {"normalization": "none"},
        "half": {"normalization": "per_feature", "divisor": 2},
    }
    traced = traced_scalings(scalings, DATA)
    assert traced == {
        "mine": {"normalization": "none", "offset": 1.5, "divisor": 2.0},
        "usual": {"normalization": "none", "offset": 0.0, "divisor": 255.0},
        "half": {"normalization": "per_feature", "offset": 0.0, "divisor": 2.0},
    }
    with pytest.raises(
        UserError, match="'mine' sets first_kernel_scale; expected only"
    ):
        traced_scalings({"mine": {"first_kernel_scale": 2.0}}, DATA)


def test_what_cannot_be_answered_is_refused(shorter: None) -> None:
    raw = {"scaling": {"raw": {"divisor": 1.0}}, "learning_rate": [1e30, 1e32]}
    with pytest.raises(UserError, match="Every run of the search diverged"):
        recommend(DATA, config=CONFIG, axes={**AXES, **raw})
    train, test, _ = (part._replace(labels=part.images[:, :1]) for part in PARTS)
    given = Data(train, test, targets="as_given")
    with pytest.raises(UserError, match="these targets have no classes"):
        recommend(given, config=CONFIG)
    few = Data(make_data(5, 0), make_data(5, 1))
    with pytest.raises(
        UserError, match=r"5 training examples are too few to hold 0\.17 of"
    ):
        recommend(few, config=CONFIG)
    with pytest.raises(UserError, match="is for one loss; choose one"):
        recommend(DATA, axes={"loss": ["softmax", "clipped"]})
    with pytest.raises(UserError, match="hparams sets divisor, but so do the scalings"):
        recommend(DATA, hparams=Hparams(divisor=2.0))
    with pytest.raises(UserError, match="axis 'scaling'"):
        recommend(DATA, axes={"scaling": ["raw"]})
