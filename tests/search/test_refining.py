"""Adaptive maps: cells by hand, and runs against those of the whole map."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.errors import SweepInterrupted, UserError
from fmnist_jax.search import refinement
from fmnist_jax.search.cells import (
    UNKNOWN,
    Cell,
    coarse_cells,
    divided,
    leaves,
    nearest_corners,
    unknown_points,
)
from fmnist_jax.search.refinement import Refinement
from fmnist_jax.search.refining import refined_map
from fmnist_jax.sweeps import engine
from fmnist_jax.sweeps.sweep import sweep
from tests.sweeps.runs import DATA

CONFIG = Config(hidden_sizes=(4,), batch_size=16, num_epochs=2, optimizer="sgd")
PLANE = {
    "divisor": np.logspace(-1, 4, 13).round(6).tolist(),
    "learning_rate": np.logspace(-6, 4, 11).round(8).tolist(),
}


def explore(truth: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The filled labels of a map, and where they are known, point by point."""
    labels = np.full(truth.shape, UNKNOWN)
    while points := unknown_points(cells := leaves(labels, step), labels):
        for point in points:
            labels[point] = truth[point]
    x, y = nearest_corners(cells, labels)
    return labels[x, y], labels != UNKNOWN


def test_a_disc_is_restored_from_few_points() -> None:
    x, y = np.ogrid[:257, :193]
    truth = ((x - 120) ** 2 + (y - 90) ** 2 < 60**2).astype(int)
    filled, known = explore(truth, 16)
    np.testing.assert_array_equal(filled, truth)
    assert known.mean() < 0.04
    # Of a boundary along a row of cells, the points between equal corners are spared.
    straight = np.zeros((33, 33), int)
    straight[:, 17:] = 1
    filled, known = explore(straight, 8)
    np.testing.assert_array_equal(filled, straight)
    assert known[:, 17].all()
    assert known[::2, 16].all()
    assert not known[1::2, 16].any()


def test_an_island_between_the_points_is_missed_and_one_on_a_point_is_not() -> None:
    truth = np.zeros((65, 65), int)
    truth[3:6, 3:6] = 1
    assert explore(truth, 8)[0].sum() == 0
    truth[8, 8] = 1
    assert explore(truth, 8)[0][8, 8] == 1


def test_cells_tile_the_map_and_their_parts_the_cell() -> None:
    for shape, step in (((9, 9), 4), ((10, 7), 4), ((3, 30), 8), ((12, 12), 1)):
        covered = np.zeros(np.array(shape) - 1, int)
        for cell in coarse_cells(shape, step):
            covered[cell.x0 : cell.x1, cell.y0 : cell.y1] += 1
        assert (covered == 1).all()
    parts = divided(Cell(2, 7, 4, 5))
    assert parts == [Cell(2, 4, 4, 5), Cell(4, 7, 4, 5)]
    assert not Cell(0, 1, 0, 1).is_divisible


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return sweep({**PLANE, "seed": range(2)}, DATA, CONFIG, max_width=1)


def recorded_levels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The plan of each level that is trained."""
    levels: list[Any] = []
    original = refinement._level

    def recorded(plan: Any, runs: set[int]) -> Any:
        levels.append(original(plan, runs))
        assert {r for g in levels[-1].groups for r in g.runs} == runs
        return levels[-1]

    monkeypatch.setattr(refinement, "_level", recorded)
    return levels


@pytest.mark.slow
@pytest.mark.parametrize("device", ["", "a GPU"])
def test_no_level_is_wider_than_given(
    device: str, whole: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement, "accelerator", lambda: device)
    levels = recorded_levels(monkeypatch)
    axes = {"seed": range(2)}
    results = refined_map(PLANE, axes, DATA, CONFIG, step=4, max_width=3)
    assert len(levels) > 2
    assert {group.width for level in levels for group in level.groups} <= {1, 2, 3}
    # In other batches, runs near the boundary amplify rounding.
    same = results.status == whole.status
    assert same.where(results.is_trained).mean() > 0.98


@pytest.mark.slow
def test_trained_points_are_the_runs_of_the_whole_map(whole: xr.Dataset) -> None:
    axes = {"seed": range(2)}
    results = refined_map(PLANE, axes, DATA, CONFIG, step=4, max_width=1)
    assert results.status.dims == whole.status.dims
    at = results.is_trained
    assert 0.2 < at.mean() < 0.9
    for name in whole.data_vars:
        ours, others = (data[name].where(at) for data in (results, whole))
        xr.testing.assert_equal(ours, others)
    assert (results.status == whole.status).mean() > 0.95
    assert results.coords.keys() == whole.coords.keys()
    assert not (results.status == "missing").any()


@pytest.mark.slow
def test_a_criterion_divides_more_cells(whole: xr.Dataset) -> None:
    axes = {"seed": range(2)}
    by_status = refined_map(PLANE, axes, DATA, CONFIG, step=4)
    losses = whole.final_train_loss.values
    criterion = f"loss<={np.quantile(losses[np.isfinite(losses)], 0.3):.6g}"
    more = refined_map(PLANE, axes, DATA, CONFIG, step=4, criterion=criterion)
    assert more.is_trained.sum() > by_status.is_trained.sum()
    assert (more.is_trained | ~by_status.is_trained).all()


@pytest.mark.slow
def test_an_interrupted_map_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = refined_map(PLANE, {}, DATA, CONFIG, step=4)
    original, calls = engine._train_epoch, []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(engine, "_train_epoch", failing)
    with pytest.raises(SweepInterrupted, match=r"runs are finished. To resume"):
        refined_map(PLANE, {}, DATA, CONFIG, step=4, folder=tmp_path)
    resumed = refined_map(PLANE, {}, DATA, CONFIG, step=4, folder=tmp_path)
    xr.testing.assert_identical(resumed, undisturbed)
    other: Any = {"criterion": "loss<=1.1", "folder": tmp_path}
    with pytest.raises(UserError, match=r"map is step 4, by status .* by loss<=1\.1"):
        refined_map(PLANE, {}, DATA, CONFIG, step=4, **other)
    narrow: Any = {"max_width": 1, "folder": tmp_path}
    with pytest.raises(UserError, match=r"map is step 4, by status .*, max_width 1"):
        refined_map(PLANE, {}, DATA, CONFIG, step=4, **narrow)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"plane": {"divisor": [1, 2, 3]}}, "plane needs two settings"),
        ({"axes": {"divisor": [1]}}, "plane needs two settings"),
        ({"step": 3}, "step is 3; expected a power of 2"),
        ({"step": 0}, "step is 0"),
        ({"plane": {**PLANE, "divisor": [1, 1, 2]}}, r"plane\['divisor'\] needs at"),
        ({"plane": {**PLANE, "divisor": [1, 2]}}, r"plane\['divisor'\] needs at"),
        ({"plane": {**PLANE, "divisors": [1, 2, 3]}}, "plane needs two settings"),
        ({"criterion": "acc>1"}, "criterion is 'acc>1'"),
        ({"max_width": 0}, "max_width is 0"),
        ({"hparams": Hparams(momentum=0.5)}, "momentum .* has no effect"),
    ],
)
def test_mistakes_are_explained(changes: dict[str, Any], line: str) -> None:
    given = {"plane": PLANE, "axes": {}, "data": DATA, "config": CONFIG, **changes}
    with pytest.raises(UserError, match=line):
        refined_map(**given)


@pytest.mark.slow
def test_on_an_accelerator_all_levels_share_a_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Narrow levels have empty slots; the results are those of other widths."""
    expected = refined_map(PLANE, {}, DATA, CONFIG, step=4)
    monkeypatch.setattr(refinement, "accelerator", lambda: "a GPU")
    monkeypatch.setattr(refinement, "LEVEL_WIDTH", 8)
    levels = recorded_levels(monkeypatch)
    results = refined_map(PLANE, {}, DATA, CONFIG, step=4)
    assert len(levels) > 2
    assert len({group.width for level in levels for group in level.groups}) == 1
    assert len(Refinement(4)._coarse(levels[0])) == levels[0].num_distinct_runs
    np.testing.assert_array_equal(results.is_trained, expected.is_trained)
    np.testing.assert_allclose(results.train_loss, expected.train_loss, rtol=1e-3)
