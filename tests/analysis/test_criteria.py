"""Which runs count as trained, by status and by thresholds."""

import numpy as np
import pytest
import xarray as xr

from fmnist_jax.analysis.criteria import judge, trains
from fmnist_jax.errors import UserError

STATUSES = [
    "trained",
    "not trained",
    "frozen",
    "stopped",
    "finished",
    "dead",
    "missing",
]


def make() -> xr.Dataset:
    """A run of each status at accuracies of 0.9 and 0.2, with losses of 0.1 and 2."""
    accuracy = np.array([[0.9] * len(STATUSES), [0.2] * len(STATUSES)])
    dims = ("divisor", "seed")
    return xr.Dataset(
        {
            "status": (dims, [STATUSES, STATUSES], {"trained": "by status"}),
            "final_train_accuracy": (dims, accuracy),
            "final_train_loss": (dims, np.where(accuracy > 0.5, 0.1, 2.0)),
        }
    )


@pytest.mark.parametrize("criterion", ["accuracy>=0.9", "loss<=0.1"])
def test_a_threshold_decides_except_for_dead_diverged_and_missing_runs(
    criterion: str,
) -> None:
    results = make()
    judged = judge(results, criterion)
    high, low = judged.status.values.tolist()
    assert high == ["trained"] * 5 + ["dead", "missing"]
    assert low == [
        *("not trained", "not trained", "frozen", "stopped", "not trained"),
        *("dead", "missing"),
    ]
    assert criterion in judged.status.attrs["trained"]
    assert results.status.attrs == {"trained": "by status"}  # unchanged
    assert results.status.values[1].tolist() == STATUSES


def test_by_status_nothing_changes_and_most_seeds_decide() -> None:
    results = make()
    assert judge(results) is results
    assert trains(results).values.tolist() == [False, False]
    assert trains(results, "accuracy>=0.5").values.tolist() == [True, False]
    assert trains(results, "accuracy>=0.91").values.tolist() == [False, False]
    nan = results.assign(final_train_loss=results.final_train_loss * np.nan)
    assert not trains(nan, "loss<=5").any()


@pytest.mark.parametrize(
    "criterion",
    [
        *("accuracy", "accuracy>=", "accuracy<=0.5", "loss>=1", "loss<=0", "loss<=nan"),
        *("accuracy>=1.5", "trained", "loss<=inf", ""),
    ],
)
def test_other_criteria_are_refused(criterion: str) -> None:
    with pytest.raises(UserError, match="expected status, accuracy>=SHARE or loss<="):
        judge(make(), criterion)


def test_results_without_the_variable_are_refused() -> None:
    with pytest.raises(UserError, match="have no final_train_loss"):
        judge(make().drop_vars("final_train_loss"), "loss<=1")
