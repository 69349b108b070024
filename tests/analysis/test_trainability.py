"""The learning rates that train, and their ratio to the stable one."""

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis import trainability

DIVISORS, LEARNING_RATES = (1.0, 10.0, 100.0), (1e-3, 1e-2, 1e-1, 1.0)


def made_up(seeds: int = 3) -> xr.Dataset:
    """Results in which learning rates from 1e-2 to divisor / 100 train."""
    shape = (len(DIVISORS), len(LEARNING_RATES), seeds)
    grid = np.meshgrid(DIVISORS, LEARNING_RATES, indexing="ij")
    divisor, learning_rate = grid
    trains = (learning_rate <= divisor / 100 * 1.01) & (learning_rate >= 0.99e-2)
    status = np.where(trains, "trained", "dead")[..., None].repeat(seeds, -1)
    status[0, 3, 0] = "trained"  # one seed is not most of three
    loss = np.where(status == "trained", 0.5, 30.0)[..., None]
    loss[2, 0] = np.inf
    sharpness = 100 / np.asarray(DIVISORS)[:, None] * 2.0 ** np.arange(seeds)
    dims = ("divisor", "learning_rate", "seed")
    results = xr.Dataset(
        {
            "status": (dims, status),
            "train_loss": ((*dims, "epoch"), loss),
            "test_accuracy": ((*dims, "epoch"), np.full((*shape, 1), 0.5)),
            "sharpness": (("divisor", "seed"), sharpness),
            "stable_rate": (("divisor", "seed"), 2 / sharpness),
        },
        {
            "divisor": list(DIVISORS),
            "learning_rate": list(LEARNING_RATES),
            "optimizer": "sgd",
            "seed": range(seeds),
            "epoch": [1],
        },
    )
    results.attrs = {
        "dataset_title": "made up", "num_classes": 10, "train_examples": 100,
    }  # fmt: skip
    return results


def test_trainable_learning_rates_and_their_ratio_to_the_stable_one() -> None:
    table = trainability.trainable_range(made_up())
    assert table.divisor.tolist() == list(DIVISORS)
    np.testing.assert_allclose(table.sharpness, [200, 20, 2])  # the geometric mean
    np.testing.assert_allclose(table.sharpness_min, [100, 10, 1])
    np.testing.assert_allclose(table.sharpness_max, [400, 40, 4])
    np.testing.assert_allclose(table.stable_rate, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.least_trainable, [0.01, 0.01, 0.01])
    np.testing.assert_allclose(table.largest_trainable, [0.01, 0.1, 1])
    np.testing.assert_allclose(table.ratio, [1, 1, 1])


def test_sentences_give_the_ratios_or_that_nothing_trains() -> None:
    results = made_up()
    results["stable_rate"] = results.stable_rate / xr.DataArray(
        [0.5, 1, 4], dims="divisor"
    )
    count, ratios, step = trainability.sentences(
        results, trainability.trainable_range(results)
    )
    assert count == "In 6 of 12 settings, most seeds are trained."
    assert ratios == (
        "All settings: largest trainable learning rate, divided by the stable one: "
        "minimum 0.5 (at ÷1), maximum 4 (at ÷100), median 1."
    )
    assert step == "Neighbouring learning rates differ by a factor of 10."
    unknown = results.assign(stable_rate=results.stable_rate * np.nan)
    lines = trainability.sentences(unknown, trainability.trainable_range(unknown))
    assert lines[1].startswith("All settings: no stable learning rate is known")
    results["status"] = xr.full_like(results.status, "not trained")
    lines = trainability.sentences(results, trainability.trainable_range(results))
    assert lines[1] == "All settings: no learning rate met the criterion."


def test_without_learning_rates_there_is_no_table() -> None:
    results = made_up().isel(learning_rate=0)
    table = trainability.trainable_range(results)
    assert table.empty
    assert len(trainability.sentences(results, table)) == 1


def test_islands_above_the_lowest_stretch_do_not_count() -> None:
    results = made_up()
    results["status"] = xr.full_like(results.status, "dead").astype("<U11")
    trained = {1.0: [1], 10.0: [0, 1, 3], 100.0: [0, 2, 3]}
    for divisor, indices in trained.items():
        learning_rates = [LEARNING_RATES[i] for i in indices]
        where = {"divisor": divisor, "learning_rate": learning_rates}
        results.status.loc[where] = "trained"
    for dataset in (results, results.sortby("learning_rate", ascending=False)):
        table = trainability.trainable_range(dataset)
        assert table.least_trainable.tolist() == [1e-2, 1e-3, 1e-3]
        assert table.largest_trainable.tolist() == [1e-2, 1e-2, 1e-3]
        assert table.islands.tolist() == [0, 1, 2]


def test_headlines_are_given_for_several_criteria() -> None:
    results = made_up()
    status = results.status.where(results.status == "trained", "not trained")
    results["status"] = status
    # Rises with the divisor and falls with the learning rate, from 0.9 to 0.2.
    accuracy = 0.3 + 0.1 * np.log10(results.divisor / results.learning_rate)
    accuracy = accuracy.clip(0, 1)
    results["final_train_accuracy"] = accuracy.broadcast_like(results.status)
    results["final_train_loss"] = 1.3 - results.final_train_accuracy
    results.attrs["largest_class_share"] = 0.1
    table = trainability.by_criterion(results).set_index("criterion")
    assert list(table.index) == [
        "status", "accuracy>=0.325", "accuracy>=0.775", "loss<=1.151"
    ]  # fmt: skip
    expected = [
        int((results.status == "trained").mean("seed").values.__gt__(0.5).sum()),
        int((accuracy >= 0.325).sum()),
        int((accuracy >= 0.775).sum()),
        int((1.3 - accuracy <= 1.151).sum()),
    ]
    assert table.trained.tolist() == expected
    row = table.loc["status"]
    assert (row.largest_trainable_min, row.largest_trainable_max) == (0.01, 1)
    assert row.slope == pytest.approx(-1)  # the largest is 2/λ
    assert row.ratio_median == pytest.approx(1)
    assert np.isnan(table.slope["accuracy>=0.775"])  # two points only
    assert table.dimension.isna().all()  # of so small a map


def test_the_boundary_has_a_dimension_if_it_was_trained() -> None:
    values = np.logspace(0, 6, 64)
    x, y = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    status = np.where(x + y < 64, "trained", "dead")[..., None]
    small = made_up(1).isel(divisor=0, learning_rate=0, drop=True)
    dims = ("divisor", "learning_rate", "seed")
    results = small.assign_coords(divisor=values, learning_rate=values)
    results["status"] = (dims, status)
    for name in ("final_train_accuracy", "final_train_loss"):
        results[name] = (dims, (status == "trained").astype(float))
    results["sharpness"] = results["stable_rate"] = (
        results.divisor * results.status.seed
    )
    results.attrs["largest_class_share"] = 0.1
    table = trainability.by_criterion(results)
    # A diagonal: in boxes of s points, 64 / s and their neighbours.
    assert table.dimension[0] == pytest.approx(1, abs=0.05)
    assert table.dimension_low[0] <= table.dimension[0] <= table.dimension_high[0]
    assert table.dimension[1] == table.dimension[0]
    refined = results.assign(is_trained=(dims[:2], x + y > 60))
    refined.attrs["criterion"] = "accuracy>=0.775"
    table = trainability.by_criterion(refined).set_index("criterion")
    known = table.dimension.notna()
    assert known.to_dict() == {
        "status": True,
        "accuracy>=0.325": False,
        "accuracy>=0.775": True,
        "loss<=1.151": False,
    }
    (line, *_) = trainability.sentences(refined, trainability.trainable_range(refined))
    assert line == "53.8 % of 4,096 points were run; the others are filled in."
