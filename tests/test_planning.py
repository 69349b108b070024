import dataclasses
from typing import Any

import numpy as np
import pytest

from fmnist_jax.config import Config, Hparams, UserError
from fmnist_jax.cost import expected_seconds, num_parameters, state_bytes
from fmnist_jax.planning import plan, run_hparams, run_settings


def test_static_axes_make_programs_and_traced_axes_do_not() -> None:
    axes = {
        "optimizer": ["sgd", "adam"],
        "divisor": [1, 255, 1000],
        "learning_rate": np.logspace(-5, 0, 16),
        "seed": range(5),
    }
    todo = plan(axes, Config(), Hparams(), 2)
    assert todo.num_runs == 2 * 3 * 16 * 5
    assert todo.num_programs == 2
    assert list(todo.axes) == ["optimizer", "divisor", "learning_rate", "seed"]


def test_every_run_stands_in_one_group_of_its_program() -> None:
    axes = {
        "seed": range(3),
        "divisor": [1.0, 2.0, 3.0],
        "loss": ["softmax", "clipped"],
    }
    todo = plan(axes, Config(), Hparams(), 2, max_width=2)
    runs = [run for group in todo.groups for run in group.runs]
    assert sorted(runs) == list(range(18))
    for group in todo.groups:
        assert len(group.runs) <= group.width * 2
        for run in group.runs:
            assert run_settings(todo, run)["loss"] == group.config.loss
    assert list(todo.axes)[-1] == "seed"  # wherever it was named
    assert run_settings(todo, 0) == {"divisor": 1.0, "loss": "softmax", "seed": 0}
    assert run_settings(todo, 17) == {"divisor": 3.0, "loss": "clipped", "seed": 2}


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("runs", [1, 2, 7, 9, 18, 64, 100])
def test_widths_pad_little(devices: int, runs: int) -> None:
    todo = plan({"seed": range(runs)}, Config(), Hparams(), devices)
    assert len({group.width for group in todo.groups}) == 1
    slots = sum(group.width * devices for group in todo.groups)
    assert runs <= slots < runs + devices  # never a row of empty places
    assert todo.groups[0].width * state_bytes(Config()) <= 10e6


def test_a_large_state_goes_through_alone() -> None:
    config = Config(hidden_sizes=(1000,))
    todo = plan({"seed": range(8)}, config, Hparams(), 2)
    assert {group.width for group in todo.groups} == {1}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"divisors": [1]}, "Unknown axis 'divisors'.*Did you mean divisor"),
        ({"num_epochs": [1, 2]}, "Unknown axis 'num_epochs'"),
        ({"divisor": []}, "divisor has no values"),
        ({"divisor": [1, 1.0]}, "divisor has a value twice"),
        ({"divisor": [1, 0]}, "divisor is 0; expected a positive number"),
        ({"seed": [-1]}, "seed is -1"),
        ({"optimizer": ["adam", "x"]}, "optimizer is 'x'; expected one of"),
        ({"momentum": [0, 0.9]}, "momentum has no effect.*momentum, nesterov"),
        ({"hidden_sizes": [128]}, "hidden_sizes is 128"),
    ],
)
def test_mistakes_are_one_clear_line(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(axes, Config(), Hparams(), 1)
    assert "\n" not in str(caught.value)


def test_a_setting_that_some_program_reads_is_allowed() -> None:
    axes = {"momentum": [0.0, 0.9], "optimizer": ["adam", "nesterov"]}
    assert plan(axes, Config(), Hparams()).num_runs == 4


def test_run_hparams_are_resolved_numbers() -> None:
    axes = {"divisor": [1, 255], "optimizer": ["sgd", "adam"]}
    todo = plan(axes, Config(), Hparams(eps=1e-7))
    hparams = run_hparams(todo, Config(optimizer="adam"), 3)
    read = {n: v for n, v in dataclasses.asdict(hparams).items() if v is not None}
    assert read == {
        "divisor": 255, "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-7
    }  # fmt: skip


def test_costs_grow_with_the_work() -> None:
    assert num_parameters(Config(hidden_sizes=(128,))) == 784 * 128 + 128 + 1290
    assert num_parameters(Config(hidden_sizes=())) == 7850
    assert state_bytes(Config(hidden_sizes=())) == 4 * 4 * 7850  # adam: p, g, m, v
    few = plan({"seed": range(2)}, Config(hidden_sizes=(1000,)), Hparams())
    many = plan({"seed": range(80)}, Config(hidden_sizes=(1000,)), Hparams())
    assert expected_seconds(many, 60000, 10000) > expected_seconds(few, 60000, 10000)
