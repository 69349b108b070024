"""Recommendations, against sweeps of the settings that they lead to."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis.recommendation import (
    best_position,
    learning_rate_window,
    middle_accuracy,
    recommendation,
    table,
)
from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.figures.recommendation import figure
from fmnist_jax.search import recommending
from fmnist_jax.search.candidates import SCALINGS
from fmnist_jax.search.recommending import recommend
from fmnist_jax.search.scalings import part_of, traced_scalings
from fmnist_jax.sweeps import engine
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


def test_the_search_is_a_sweep_of_the_part(advice: recommending.Recommendation) -> None:
    results = advice.results
    part = part_of(DATA, 80)
    assert len(part.train.labels) == 80
    assert len(part.test.labels) == 1
    assert np.bincount(part.train.labels).tolist() == pytest.approx(
        np.bincount(DATA.train.labels) * 80 / 200, abs=1
    )
    scaling = {"normalization": "none", "divisor": 255.0, "offset": 0.0}
    epochs = results.attrs["part_epochs"]
    config = dataclasses.replace(CONFIG, num_epochs=epochs, evaluate_train=False)
    rates = [1e-4, 0.003, 0.03]
    alone = sweep(
        {"recipe": [scaling], "optimizer": ["sgd"], "learning_rate": rates},
        part,
        config,
    )
    first = alone.validation_accuracy.sel(epoch=results.attrs["first_rung"])
    tried = results.tried_accuracy.sel(tried_scaling="unit")
    tried = tried.sel(tried_learning_rate=rates)
    np.testing.assert_allclose(tried, first.isel(recipe=0, seed=0), atol=0.026)
    best = results.isel(setting=best_position(results))
    assert results.window_accuracy.dims == ("tried_learning_rate",)
    assert results.window_accuracy.max() > best.attrs["largest_class_share"]


def test_a_figure_is_drawn_and_the_sentences_say_the_numbers(
    advice: recommending.Recommendation,
) -> None:
    panels = figure(advice).axes
    titles = [panel.get_title() for panel in panels]
    assert titles == ["sgd", "all training data, 6 epochs"]
    first, second, *_ = advice.sentences
    assert f"{100 * advice.accuracy.estimate:.1f} %" in first
    assert f"{100 * advice.accuracy.low:.1f} to" in first
    assert f"at {advice.settings['learning_rate']:g}:" in first
    assert "from guessing" in second
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


@pytest.mark.parametrize("after", [4, 16])
def test_an_interrupted_recommendation_resumes_to_the_same(
    after: int,
    advice: recommending.Recommendation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(SweepInterrupted):
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
    assert traced["per_feature"] == {"normalization": "per_feature"}


def test_scalings_that_do_the_same_are_tried_once() -> None:
    images = np.random.default_rng(0).uniform(size=(40, 5, 4, 3)).astype(np.float32)
    images[0, 0, 0], images[1, 0, 0] = 0, 1  # so that unit changes nothing
    part = Dataset(images, np.arange(40, dtype=np.int32) % 2)
    traced = traced_scalings(SCALINGS, Data(part, part))
    names = ["raw", "symmetric", "standard", "per_feature", "per_channel"]
    assert [*traced] == names


def made_up(window: list[float], rates: list[float]) -> xr.Dataset:
    """Results with two settings; the second is recommended, at 0.01."""
    shape = ("setting", "seed", "epoch")
    accuracy = np.full((2, 3, 1), 0.8)
    accuracy[0] = 0.7
    return xr.Dataset(
        {
            "validation_accuracy": (shape, accuracy),
            "validation_loss": (shape, 1 - accuracy),
            "test_accuracy": (shape, accuracy - 0.1),
            "window_accuracy": ("tried_learning_rate", window),
            "tried_accuracy": ("tried_learning_rate", window),
        },
        coords={
            "setting": ["raw, sgd, 0.1", "unit, sgd, 0.01"],
            "scaling": ("setting", ["raw", "unit"]),
            "tried_learning_rate": rates,
            "learning_rate": ("setting", [0.1, 0.01]),
            "divisor": ("setting", [1.0, 255.0]),
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
            "first_rung": 1,
        },
    )


def test_window_is_the_stretch_around_the_recommended_learning_rate() -> None:
    rates = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    results = made_up([0.9, 0.2, 0.5, 0.9, np.nan, 0.9], rates)
    assert middle_accuracy(results) == pytest.approx(0.5)
    assert learning_rate_window(results) == (1e-3, 1e-2)
    first, second, *more = recommendation(results).sentences
    assert first.startswith(
        "Divide the pixels by 255, and train with sgd at 0.01: the test accuracy is "
        "then 70.0 % (95 % interval "
    )
    assert "from 0.001 to 0.01 (1.0 decades)" in second
    assert second.endswith("; theory gives no limit for this optimizer.")
    assert more == []
    at_end = made_up([0.1, 0.9], [1e-3, 1e-2])
    first, second, *more = recommendation(at_end).sentences
    assert "from 0.01 to 0.01 (at least 0.0 decades)" in second
    assert "the largest of those that were tried" in more[0]


def test_no_window_if_nothing_was_learned() -> None:
    results = made_up([0.1, 0.11, 0.12], [1e-3, 1e-2, 1e-1])
    assert np.isnan(learning_rate_window(results)).all()
    assert recommendation(results).sentences[1].startswith("No learning rate gets")


def test_what_cannot_be_answered_is_refused(shorter: None) -> None:
    raw = {"scaling": {"raw": {"divisor": 1.0}}, "learning_rate": [1e30, 1e32]}
    with pytest.raises(UserError, match="Every run of the search diverged"):
        recommend(DATA, config=CONFIG, axes={**AXES, **raw})
    train, test, _ = (part._replace(labels=part.images[:, :1]) for part in PARTS)
    given = Data(train, test, targets="as_given")
    with pytest.raises(UserError, match="these targets have no classes"):
        recommend(given, config=CONFIG)
