"""Runs continued for more epochs are those of a sweep that had them from the start."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import xarray as xr

from fmnist_jax import Config, Data, Hparams, Notice, Probe, UserError, sweep
from fmnist_jax.sweeps import resuming
from fmnist_jax.sweeps.state_files import load_states, save_states
from tests.sweeps.runs import CONFIG, DATA, HPARAMS

AXES: dict[str, Any] = {
    "optimizer": ["sgd", "adam"],
    "divisor": [1.0, 100.0],
    "seed": range(3),
}
SHORT = dataclasses.replace(CONFIG, num_epochs=2)
LONG = dataclasses.replace(SHORT, num_epochs=4)


def first_bias(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"first_bias": state.params["Dense_0"]["bias"][0]}


def first_scale(config: Any, hparams: Any, state: Any, key: Any, batch: Any) -> Any:
    return {"first_scale": abs(state.params["Dense_0"]["kernel"]).mean()}


PROBES = [Probe(first_scale, when="init"), Probe(first_bias)]


def assert_same_runs(one: Any, other: Any) -> None:
    """Results and states are the same, bit for bit."""
    xr.testing.assert_identical(one[0], other[0])
    assert one[1].settings == other[1].settings
    for settings in one[1].settings:
        states = (sweep[1].sel(**settings).state for sweep in (one, other))
        jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.slow
def test_continued_runs_are_those_of_a_longer_sweep(tmp_path: Path) -> None:
    """From what a sweep returned, and from what was saved and loaded."""
    static: dict[str, Any] = {
        "batch_norm": "frozen",
        "evaluate_dropout": True,
        "record_every": 2,
        "schedule": "plateau",
    }
    short, long = (dataclasses.replace(c, **static) for c in (SHORT, LONG))
    hparams = Hparams(learning_rate=0.01, dropout_rate=0.1, target_accuracy=0.9)
    on = DATA.with_validation(16)
    how: dict[str, Any] = {"probes": PROBES, "keep_states": "all"}
    expected: Any = sweep(AXES, on, long, hparams, **how)
    first: Any = sweep(AXES, on, short, hparams, **how)
    first[0].to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    save_states(first[1], tmp_path / "states")
    results = xr.load_dataset(tmp_path / "results.nc", engine="h5netcdf")
    for earlier in (first, (results, load_states(tmp_path / "states"))):
        more: Any = sweep(AXES, on, long, hparams, continue_from=earlier, **how)
        assert_same_runs(more, expected)
    assert len({*expected[0].stopped_epoch.values.ravel()}) > 1


@pytest.mark.slow
def test_some_runs_are_continued_with_functions_of_ones_own() -> None:
    """Other axes may select them: what counts is the settings of each run."""
    mine = dataclasses.replace(
        SHORT,
        optimizer=lambda h: optax.adam(h.learning_rate),
        schedule=lambda h: optax.exponential_decay(h.learning_rate, 3, 0.9),
    )
    axes = {"learning_rate": [0.01, 0.1], "seed": range(3)}
    first = sweep(axes, DATA, mine, keep_states="all")
    longer = dataclasses.replace(mine, num_epochs=3)
    one = {"learning_rate": [0.1], "seed": [2, 0]}
    more = sweep(one, DATA, longer, continue_from=first, max_width=1)
    expected = sweep(one, DATA, longer, max_width=1)
    assert len(more.epoch) == 3
    for name in ("test_loss", "train_loss"):  # two programs of other widths
        np.testing.assert_allclose(more[name], expected[name], rtol=2e-5)


@pytest.mark.slow
def test_other_probes_may_be_passed() -> None:
    """Those that are left out are not in the results; new ones lack earlier epochs."""
    columns = Probe(lambda *run: {"bias": run[2].params["Dense_0"]["bias"]})
    columns = dataclasses.replace(columns, dims={"bias": ("unit",)})
    last = Probe(lambda *run: {"last": run[2].epoch}, when="end")
    axes = {"seed": range(2)}
    how: dict[str, Any] = {"keep_states": "all", "probes": [columns, last]}
    first = sweep(axes, DATA, SHORT, HPARAMS, **how)
    more = sweep(axes, DATA, LONG, HPARAMS, [Probe(first_bias)], continue_from=first)
    assert {"bias", "last"}.isdisjoint(more.data_vars)
    expected = sweep(axes, DATA, LONG, HPARAMS, [Probe(first_bias)])
    np.testing.assert_array_equal(more.test_loss, expected.test_loss)
    np.testing.assert_array_equal(more.first_bias[:, 2:], expected.first_bias[:, 2:])
    assert np.isnan(more.first_bias[:, :2]).all()


@pytest.mark.slow
def test_continuing_is_interrupted_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep(AXES, DATA, SHORT, HPARAMS, keep_states="all")
    run_sweeps = resuming.run_sweeps

    def interrupted(*args: Any) -> Any:
        for number, part in enumerate(run_sweeps(*args)):
            yield part
            if number == 2:  # the first program is finished
                raise KeyboardInterrupt

    monkeypatch.setattr(resuming, "run_sweeps", interrupted)
    with pytest.raises(KeyboardInterrupt, match="6 of 12 runs are finished"):
        sweep(AXES, DATA, LONG, HPARAMS, folder=tmp_path, continue_from=first)
    monkeypatch.undo()
    more = sweep(AXES, DATA, LONG, HPARAMS, folder=tmp_path, continue_from=first)
    xr.testing.assert_identical(more, sweep(AXES, DATA, LONG, HPARAMS))


def test_what_cannot_be_continued_is_refused() -> None:
    axes = {"divisor": [1.0, 100.0], "seed": range(2)}
    first = sweep(axes, DATA, SHORT, HPARAMS, keep_states="best")

    def refused(match: str, **changed: Any) -> None:
        given: dict[str, Any] = {
            "axes": {"divisor": [first[1].settings[0]["divisor"]]},
            "data": DATA,
            "config": LONG,
            "hparams": HPARAMS,
            "continue_from": first,
        }
        with pytest.raises(UserError, match=match):
            sweep(**given | changed)

    refused("has no state for 2 of 4 runs", axes=axes)
    refused(
        "no state for 1 of 1 runs. The nearest one differs in learning_rate. Only",
        hparams=dataclasses.replace(HPARAMS, learning_rate=0.5),
    )
    refused("already has 2 epochs", config=SHORT)
    shifted = Data(DATA.test, DATA.train)
    refused("data differ from", data=shifted)
    refused("cosine", config=dataclasses.replace(LONG, schedule="cosine"))
    refused(r"not the pair \(results, states\)", continue_from=first[1])


def test_a_batch_size_of_ones_own_is_a_different_run() -> None:
    first = sweep({"seed": [0]}, DATA, SHORT, HPARAMS, keep_states="all")
    other: Config = dataclasses.replace(LONG, batch_size=8)
    with pytest.raises(UserError, match="Only num_epochs may differ"):
        sweep({"seed": [0]}, DATA, other, HPARAMS, continue_from=first)


def test_results_of_other_states_are_refused() -> None:
    """What was selected, sorted, changed or is of another sweep would be mixed up."""
    axes = {"divisor": [1.0, 100.0], "seed": [0, 1]}
    results, states = sweep(axes, DATA, SHORT, HPARAMS, keep_states="all")
    other = sweep(axes, DATA, SHORT, Hparams(learning_rate=0.5, divisor=None))
    swapped = Data(DATA.test, DATA.train)
    for wrong, problem in [
        (results.sortby("divisor", ascending=False), "divisor differs"),
        (results.isel(seed=[1]), "seed differs"),
        (results.sel(seed=0), "seed differs"),
        (results.isel(epoch=[1, 0]), "epoch differs"),
        (results.isel(epoch=[0]), "epoch differs"),
        (other, "learning_rate differs"),
        (sweep(axes, swapped, SHORT, HPARAMS), "they are of other data"),
        (results.drop_attrs(), "they are of other data"),
        (results[["test_loss"]], "train_loss has not the dimensions"),
        (results.assign(test_loss=results.test_loss.T), "test_loss has not the dim"),
    ]:
        with pytest.raises(UserError, match=problem):
            sweep(axes, DATA, LONG, HPARAMS, continue_from=(wrong, states))
    names = ("0", "1", "2", "3")
    more_classes = Data(DATA.train, DATA.test, class_names=names)
    unused = pytest.warns(Notice, match="No split has an example of class 3")
    with unused, pytest.raises(UserError, match="data differ"):
        sweep(axes, more_classes, LONG, HPARAMS, continue_from=(results, states))
    added = results.assign(mean=results.test_loss.mean("seed"), gap=results.test_loss)
    more = sweep(axes, DATA, LONG, HPARAMS, continue_from=(added, states))
    assert {"mean", "gap"}.isdisjoint(more.data_vars)
    vector = Probe(lambda *run: {"bias": run[2].params["Dense_0"]["bias"]})
    vector = dataclasses.replace(vector, dims={"bias": ("unit",)})
    scalar = results.assign(bias=results.test_loss)
    how: dict[str, Any] = {"continue_from": (scalar, states), "probes": [vector]}
    with pytest.raises(UserError, match="'bias' has shape"):
        sweep(axes, DATA, LONG, HPARAMS, **how)


def test_functions_may_be_defined_again() -> None:
    def with_loss(epochs: int) -> Config:
        loss = lambda logits, labels: optax.losses.squared_error(logits).mean(-1)  # noqa: E731
        return dataclasses.replace(
            SHORT, loss=loss, num_epochs=epochs, name=f"{epochs}"
        )

    first = sweep({"seed": [0]}, DATA, with_loss(2), HPARAMS, keep_states="all")
    more = sweep({"seed": [0]}, DATA, with_loss(3), HPARAMS, continue_from=first)
    expected = sweep({"seed": [0]}, DATA, with_loss(3), HPARAMS)
    np.testing.assert_array_equal(more.test_loss, expected.test_loss)
