"""What the interactive figures hold, against the results that they show."""

import json
import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.figures import interactive, interactive_curves, interactive_map
from fmnist_jax.figures.map_points import MAX_SEEDS, STATUSES, TWO_BYTES, columns
from tests.analysis.test_trainability import made_up

EVIL = "<script>alert(1)</script>"


def grid(losses: tuple[str, ...] = ("softmax", EVIL)) -> xr.Dataset:
    """Results of 2 divisors, some losses, 3 seeds and 4 epochs."""
    random = np.random.default_rng(0)
    dims = ("divisor", "loss", "seed", "epoch")
    shape = (2, len(losses), 3, 4)
    names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    variables = {name: (dims, random.random(shape, np.float32)) for name in names}
    status = np.full(shape[:3], "trained", object)
    status[1, 0, 2] = "diverged"
    results = xr.Dataset(
        {**variables, "status": (dims[:3], status.astype(str))},
        {"divisor": [1.0, 255.0], "loss": list(losses), "seed": [0, 1, 2]}
        | {"epoch": [1, 2, 3, 4]},
    )
    results.test_loss[1, 0, 2, 1:] = np.inf
    return results


def map_of_two(epochs: int = 3) -> xr.Dataset:
    """A map for each of two losses, whose points differ in all values."""
    random = np.random.default_rng(1)
    results = xr.concat([made_up()] * epochs, "epoch", data_vars="all").assign_coords(
        epoch=range(1, epochs + 1)
    )
    results = results.assign(status=results.status.isel(epoch=0, drop=True))
    for name in ("sharpness", "stable_rate"):
        results[name] = results[name].isel(epoch=0, drop=True)
    results = xr.concat(
        [results] * 2, xr.Variable("loss", ["softmax", EVIL]), data_vars="all"
    )
    dims = ("divisor", "learning_rate", "loss", "seed")
    results = results.transpose(*dims, "epoch")
    shape = tuple(results.sizes[d] for d in (*dims, "epoch"))
    results["test_accuracy"] = ((*dims, "epoch"), random.random(shape))
    results["train_loss"] = ((*dims, "epoch"), 10 * random.random(shape))
    results["test_loss"], results["train_accuracy"] = (
        results.train_loss,
        results.test_accuracy,
    )
    results["final_train_accuracy"] = (dims, random.random(shape[:-1]))
    results.attrs |= {"largest_class_share": 0.1, "dataset": "synthetic"}
    results.status.attrs["dead"] = EVIL
    return results


def test_curves_hold_every_value_of_every_run() -> None:
    results = grid()
    drawn = interactive_curves.curves(results, "divisor", "divisor")
    assert drawn is not None
    sources = {}
    renderers: Any = drawn.figures["Learning curves (linear scale)"].renderers
    for renderer in renderers:
        data, (tag,) = renderer.data_source.data, renderer.data_source.tags
        if tag == "seeds":
            sources[data["setting"][0]] = data
    assert list(sources) == [
        "÷1, softmax",
        f"÷1, {EVIL}",
        "÷255, softmax",
        f"÷255, {EVIL}",
    ]
    for data, (divisor, loss) in zip(
        sources.values(), [(d, e) for d in (0, 1) for e in (0, 1)], strict=True
    ):
        runs = results.isel(divisor=divisor, loss=loss)
        for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            values = data[name].reshape(3, 5)
            expected = runs[name].values.astype(float)
            expected[~np.isfinite(expected)] = np.nan
            np.testing.assert_array_equal(values[:, :4], expected)
            assert np.isnan(values[:, 4]).all()  # a gap after each run
        assert data["seed"] == [0] * 5 + [1] * 5 + [2] * 5
        assert data["status"][::5] == runs.status.values.tolist()
        assert set(data["x"]) == {results.divisor.values[divisor]}


def test_bands_are_means_and_ranges_over_seeds() -> None:
    results = grid()
    drawn = interactive_curves.curves(results)
    assert drawn is not None
    renderers: Any = drawn.figures["Learning curves (log scale)"].renderers
    sources = [renderer.data_source for renderer in renderers]
    band, mean = (
        next(s.data for s in sources if s.tags == [t]) for t in ("bands", "mean")
    )
    first = results.test_loss[0, 0].values
    np.testing.assert_allclose(mean["test_loss"][:4], first.mean(0), rtol=1e-6)
    outline = [*first.min(0), *first.max(0)[::-1]]
    np.testing.assert_allclose(band["test_loss"][:8], outline, rtol=1e-6)
    assert band["epoch"][:8].tolist() == [1, 2, 3, 4, 4, 3, 2, 1]


def test_switches_choose_the_loss_and_the_rescaled_layer() -> None:
    drawn = interactive_curves.curves(grid(("clipped", "softmax")))
    assert drawn is not None
    assert drawn.controls[0].label == "Clip the loss"
    assert drawn.data["shown"] == {
        "clip": {
            "on": ["÷1, clipped", "÷255, clipped"],
            "off": ["÷1, softmax", "÷255, softmax"],
        }
    }
    sides = grid(("÷1", "÷255", "÷1 as ÷255")).isel(divisor=0, drop=True)
    sides = sides.rename(loss="side")
    drawn = interactive_curves.curves(sides, rescaled={"÷1 as ÷255": "÷255"})
    assert drawn is not None
    assert drawn.controls[0].label == "Rescale the first layer"
    shown = {"off": ["÷1", "÷255"], "on": ["÷255", "÷1 as ÷255"]}
    assert drawn.data["shown"] == {"rescale": shown}


def test_too_many_settings_and_no_axes_have_no_curves() -> None:
    many = xr.concat(
        [grid(("a",))] * 51, xr.Variable("depth", range(51)), data_vars="all"
    )
    many["status"] = many.status.transpose("depth", "divisor", "loss", "seed")
    assert interactive_curves.curves(many) is None
    assert interactive_curves.curves(grid().isel(divisor=0, loss=0)) is None


def test_maps_hold_means_medians_and_the_most_frequent_status() -> None:
    results = map_of_two().isel(loss=0).transpose("learning_rate", "divisor", ...)
    results["train_loss"][0, 0, 0, -1] = np.inf
    points = columns(results)
    accuracy = results.test_accuracy.isel(epoch=-1).mean("seed")
    np.testing.assert_allclose(
        points["accuracy"] / (TWO_BYTES - 1), accuracy, atol=1e-5
    )
    assert points["loss"][0, 0] == TWO_BYTES
    losses = 10 ** (points["loss"] / (TWO_BYTES - 1) * 12 - 6)
    expected = results.train_loss.isel(epoch=-1).median("seed")
    np.testing.assert_allclose(
        losses.ravel()[1:], expected.values.ravel()[1:], rtol=5e-4
    )
    names = np.array(STATUSES)[points["status"]]
    assert names[1, 0] == "trained"
    assert names[3, 0] == "dead"  # one seed of three is trained
    assert points["agree"][3, 0] == 0
    assert points["agree"][1, 0] == 1
    for seed in range(3):
        statuses = np.array(STATUSES)[points[f"seed_{seed}"]]
        assert (statuses == results.status.isel(seed=seed).values).all()
    second = results.test_accuracy.isel(epoch=1).mean("seed")
    np.testing.assert_allclose(points["epoch_1"] / (TWO_BYTES - 1), second, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.55, 0.9])
def test_the_bar_is_what_most_seeds_reach(threshold: float) -> None:
    results = map_of_two().isel(loss=0).transpose("learning_rate", "divisor", ...)
    points = columns(results)
    counted = (results.final_train_accuracy >= threshold) & (results.status != "dead")
    most = counted.mean("seed").transpose("learning_rate", "divisor") > 0.5
    reached = points["bar"] / (TWO_BYTES - 1) >= threshold
    assert (np.where(points["bar"] == TWO_BYTES, False, reached) == most).all()


def test_large_maps_have_a_page_each_and_no_seeds() -> None:
    random = np.random.default_rng(0)
    size = 129
    results = xr.Dataset(
        {
            "status": (
                ("divisor", "eps", "loss", "seed"),
                np.full((size, size, 2, 1), "dead"),
            ),
            "train_loss": (
                ("divisor", "eps", "loss", "seed", "epoch"),
                random.random((size, size, 2, 1, 1)),
            ),
        },
        {"divisor": np.logspace(0, 1, size), "eps": np.logspace(-8, 0, size)}
        | {
            "loss": ["softmax", "clipped"],
            "seed": [0],
            "epoch": [1],
            "optimizer": "sgd",
        },
        {"num_classes": 10, "largest_class_share": 0.1},
    )
    results["test_accuracy"] = results.train_loss
    pages = interactive_map.map_pages(results)
    assert list(pages) == ["", "clipped"]
    assert [next(iter(page.figures)) for page in pages.values()] == [
        "Map: loss: softmax",
        "Map: loss: clipped",
    ]
    assert size > MAX_SEEDS
    assert pages[""].data["command"] == ""


def test_values_that_are_not_evenly_spaced_are_drawn_at_their_positions() -> None:
    results = map_of_two().assign_coords(divisor=[1.0, 10.0, 255.0])
    page = interactive_map.map_pages(results)[""]
    first: Any = page.figures["Map: loss: softmax"]
    assert (first.x_range.start, first.x_range.end) == (-0.5, 2.5)
    assert first.xaxis[0].major_label_overrides == {0: "÷1", 1: "÷10", 2: "÷255"}
    assert not page.data["x"]["isEven"]
    assert page.data["y"]["isEven"]


def test_the_same_results_give_the_same_document() -> None:
    texts = []
    for _ in range(2):
        drawn = interactive_map.map_pages(map_of_two())[""]
        texts.append(
            interactive.as_json(interactive.document([*drawn.figures.values()]))
        )
    assert texts[0] == texts[1]
    assert "<" not in texts[0]
    ids = re.findall(r'"id":"(\w+)"', texts[0])
    assert set(ids) == {f"m{i}" for i in range(len(set(ids)))}


def test_json_in_a_page_closes_no_element_and_is_read_back() -> None:
    value = {"a": f"</script>{EVIL}<!--&\u2028", "b": [1.5, None]}
    text = interactive.as_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
