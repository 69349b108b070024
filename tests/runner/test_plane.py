"""The plane of a map, from the command line."""

from typing import Any

import numpy as np
import pytest

from experiments.scale_sweep import EXPERIMENT as SCALE_SWEEP
from experiments.trainability_map import EXPERIMENT
from fmnist_jax.errors import UserError
from fmnist_jax.runner import flags, jobs


def axes(*arguments: str) -> dict[str, Any]:
    parsed = flags.parse(["program", *arguments], [EXPERIMENT])
    return dict(jobs.make_job(EXPERIMENT, parsed).axes)


def test_the_plane_spans_the_ranges_of_its_settings() -> None:
    results = axes()
    assert list(results) == ["divisor", "learning_rate", "seed"]
    np.testing.assert_allclose(results["divisor"], np.logspace(-2, 6, 24), rtol=1e-11)
    np.testing.assert_allclose(
        results["learning_rate"], np.logspace(-9, 3, 24), rtol=1e-11
    )


def test_another_plane() -> None:
    results = axes("--optimizers=momentum", "--y=momentum", "--divisors=9,3")
    assert list(results) == ["divisor", "momentum", "seed"]
    assert results["divisor"] == [3.0, 9.0]
    np.testing.assert_allclose(results["momentum"], np.linspace(0, 0.99, 24))
    results = axes("--x=learning_rate", "--y=divisor", "--losses=softmax,clipped")
    assert list(results) == ["learning_rate", "divisor", "loss", "seed"]


def test_a_zoom_has_as_many_values_in_its_window() -> None:
    results = axes("--zoom=1:100,1e-3:1e-1", "--divisors=1e-2:1e6:5")
    np.testing.assert_allclose(results["divisor"], np.logspace(0, 2, 5))
    np.testing.assert_allclose(results["learning_rate"], np.logspace(-3, -1, 24))
    results = axes(
        "--zoom=1:100,.5:.9", "--optimizers=momentum", "--y=momentum", "--momenta=0,.1"
    )
    assert results["momentum"] == [0.5, 0.9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--x=divisors", "Unknown setting for --x 'divisors'.*mean divisor"),
        ("--y=optimizer", "Unknown setting for --y 'optimizer'"),
        ("--x=learning_rate", "--x and --y are both learning_rate"),
        ("--divisors=3", "--divisors: 3 is one value, but --x needs several"),
        ("--y=target_accuracy", "give values with --target_accuracies="),
        ("--zoom=1:2", "--zoom=1:2 is not x0:x1,y0:y1"),
        ("--zoom=1,2", "--zoom=1,2 is not x0:x1,y0:y1"),
        ("--zoom=a:b,1:2", "--zoom=a:b,1:2 is not x0:x1,y0:y1"),
        ("--zoom=2:1,1:2", "'2:1' is not a window"),
        ("--zoom=0:1,1:2", "'0:1' is not a window; .* a positive number"),
    ],
)
def test_mistakes_are_explained(arguments: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        axes(*arguments.split())


def test_other_experiments_take_no_plane() -> None:
    with pytest.raises(UserError, match="--zoom has no effect: scale_sweep draws no"):
        flags.parse(["program", "--zoom=1:2,1:2"], [SCALE_SWEEP])
