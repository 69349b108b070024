from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fmnist_jax.config import Config, Hparams
from fmnist_jax.data.dataset import Data, Dataset
from fmnist_jax.errors import UserError
from fmnist_jax.networks.mlp import MLP
from fmnist_jax.probes.health import health
from fmnist_jax.probes.probe import Probe
from fmnist_jax.sweeps import cost
from fmnist_jax.sweeps.cost import expected_seconds, memory_bytes
from fmnist_jax.sweeps.model_size import num_parameters, state_bytes
from fmnist_jax.sweeps.planning import axis_values, plan, run_hparams


def test_static_axes_make_programs_and_traced_axes_do_not() -> None:
    axes = {
        "optimizer": ["sgd", "adam"],
        "divisor": [1, 255, 1000],
        "learning_rate": np.logspace(-5, 0, 16),
        "seed": range(5),
    }
    planned = plan(axes, Config(), Hparams(), 2)
    assert planned.num_runs == 2 * 3 * 16 * 5
    assert planned.num_programs == 2
    assert list(planned.axes) == ["optimizer", "divisor", "learning_rate", "seed"]


def test_every_run_belongs_to_one_group_of_its_program() -> None:
    axes = {
        "seed": range(3),
        "divisor": [1.0, 2.0, 3.0],
        "loss": ["softmax", "clipped"],
    }
    planned = plan(axes, Config(), Hparams(), 2, max_width=2)
    runs = [run for group in planned.groups for run in group.runs]
    assert sorted(runs) == list(range(18))
    for group in planned.groups:
        assert len(group.runs) <= group.width * 2
        for run in group.runs:
            assert axis_values(planned, run)["loss"] == group.config.loss
    assert list(planned.axes)[-1] == "seed"  # whatever its position among the axes
    assert axis_values(planned, 0) == {"divisor": 1.0, "loss": "softmax", "seed": 0}
    assert axis_values(planned, 17) == {"divisor": 3.0, "loss": "clipped", "seed": 2}


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("runs", [1, 2, 7, 9, 18, 64, 100])
def test_widths_pad_little(devices: int, runs: int) -> None:
    planned = plan({"seed": range(runs)}, Config(), Hparams(), devices)
    assert len({group.width for group in planned.groups}) == 1
    width, slots = planned.groups[0].width, len(planned.groups) * planned.num_devices
    assert runs <= width * slots < runs + slots  # never a row of empty slots
    suits = min(int(8.2e6 / state_bytes(Config())), -(-runs // planned.num_devices))
    assert suits / 2 <= width <= suits


def test_the_data_decide_how_many_runs_the_cache_holds() -> None:
    """10 inputs and 2 classes: 4 arrays of 1,666 numbers, so that 300 runs fit."""
    few, labels = np.zeros((4, 10), np.float32), np.arange(4) % 2
    wide, arguments = (
        np.zeros((4, 64, 64, 3)),
        ({"seed": range(300)}, Config(), Hparams()),
    )
    table, photographs = (
        Data(Dataset(images, labels), Dataset(images, labels)) for images in (few, wide)
    )
    size = 4 * 4 * (11 * 128 + 129 * 2)
    assert state_bytes(Config(), table) == size == 26_656
    assert [group.width for group in plan(*arguments, data=table).groups] == [300]
    assert {group.width for group in plan(*arguments, data=photographs).groups} == {1}
    assert {group.width for group in plan(*arguments).groups} == {5}


def test_a_run_with_a_large_state_runs_alone() -> None:
    config = Config(hidden_sizes=(1000,))
    planned = plan({"seed": range(8)}, config, Hparams(), 2)
    assert {group.width for group in planned.groups} == {1}


@pytest.mark.parametrize(
    ("sizes", "optimizer", "runs", "devices", "used"),
    [
        ((1000,), "adam", 9, 2, 1),  # 12.7 MB each, twice
        ((1000,), "sgd", 9, 2, 2),  # 6.4 MB
        ((1000, 1000), "sgd", 9, 2, 1),  # 14.4 MB
        ((1000, 1000), "sgd", 9, 4, 4),
        ((1000, 1000), "sgd", 2, 4, 2),
    ],
)
def test_two_devices_share_runs_that_fit_into_a_cache_together(
    sizes: tuple[int, ...], optimizer: str, runs: int, devices: int, used: int
) -> None:
    config = Config(hidden_sizes=sizes, optimizer=optimizer)
    axes = {"seed": range(runs)}
    planned = plan(axes, config, Hparams(), devices)
    assert (planned.num_devices, planned.groups[0].width) == (used, 1)
    alone = plan(axes, config, Hparams(), devices, max_width=1)
    mixed = plan({"hidden_sizes": [sizes, (8,)], **axes}, config, Hparams(), devices)
    assert alone.num_devices == mixed.num_devices == min(runs, devices)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"divisors": [1]}, "Unknown axis 'divisors'.*Did you mean divisor"),
        ({"num_epochs": [1, 2]}, "num_epochs must be the same in all runs"),
        ({"divisor": []}, "divisor has no values"),
        ({"divisor": [1, 1.0]}, "divisor has 1.0 twice"),
        ({"divisor": [1e6, 1000000.0001]}, "divisor has 1000000.0 twice"),
        ({"divisor": 255}, "axis divisor is 255; expected a list"),
        ({"optimizer": "adam"}, "axis optimizer is 'adam'; expected a list"),
        ({"seed": range(2_000_000)}, "2,000,000 runs; expected at most 1,000,000"),
        ({"seed": [2**32]}, "seed is 4294967296"),
        ({"model": [dict]}, "model is the class dict; expected a Flax Linen module"),
        ({"model": [3]}, "model is a int; expected a Flax Linen module"),
        ({"divisor": [1, 0]}, "divisor is 0; expected a positive number"),
        ({"seed": [-1]}, "seed is -1"),
        ({"optimizer": ["adam", "x"]}, "optimizer is 'x'; expected one of"),
        ({"loss": [object()]}, "^loss is of type object; expected one of softmax"),
        (
            {"momentum": [0, 0.9]},
            r"^momentum \(--momenta\) has no effect here: it needs optimizer "
            r"\(--optimizers\) momentum or nesterov\. Choose that, or leave momentum "
            r"out\.$",
        ),
        (
            {"hidden_sizes": [128]},
            r"_sizes is 128; .*in Python, tuples: \(\), \(128,\)",
        ),
        (
            {"batch_norm": ["on"], "hidden_sizes": [()]},
            r"\(--batch_norms\) has no effect here: .* MLP with hidden layers",
        ),
        ({"penalized": ["all"]}, "has no effect here: it needs a penalty: --l1s, "),
        (["divisor"], "axes is a list; expected a dict"),
        ({"first_kernel_eps": [0]}, "first_kernel_eps is 0; expected a positive"),
        (
            {"first_kernel_eps": [1, 255], "optimizer": ["sgd"]},
            "first_kernel_eps has no effect.*MLP and optimizer .* rmsprop or adagrad",
        ),
        (
            {"first_kernel_rate": [1, 2], "model": [MLP(10)]},
            "^first_kernel_rate .* has no effect here: it needs the built-in MLP. "
            "Choose that, or leave first_kernel_rate out",
        ),
    ],
)
def test_mistakes_are_one_clear_line(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(axes, Config(), Hparams(), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "how", "message"),
    [
        ([Hparams(), Config()], {}, "config is a Hparams; expected a Config"),
        ([Config(), Config()], {}, "hparams is a Config; expected an Hparams"),
        ([Config(), Hparams()], {"probes": print}, "probes is a .*; expected a list"),
        ([Config(), Hparams()], {"max_width": 0}, "max_width is 0; expected a whole"),
        ([Config(), Hparams()], {"max_width": "2"}, "max_width is '2'; expected a"),
    ],
)
def test_arguments_of_other_types_are_one_clear_line(
    given: list[Any], how: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan({"divisor": [1]}, *given, **how)


def test_a_setting_that_some_program_uses_is_allowed() -> None:
    axes = {"momentum": [0.0, 0.9], "optimizer": ["adam", "nesterov"]}
    assert plan(axes, Config(), Hparams()).num_runs == 4


def test_run_hparams_are_resolved_numbers() -> None:
    axes = {"divisor": [1, 255], "optimizer": ["sgd", "adam"]}
    planned = plan(axes, Config(), Hparams(eps=1e-7))
    hparams = run_hparams(planned, Config(optimizer="adam"), 3)
    used = {n: v for n, v in vars(hparams).items() if v not in (None, {})}
    assert used == {
        "divisor": 255, "learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-7
    }  # fmt: skip


def test_numbers_of_numpy_and_jax_are_those_of_python() -> None:
    rates = (0.001, 0.01)
    expected = plan(
        {"learning_rate": rates, "batch_size": (8, 16), "seed": (0, 1)},
        Config(num_epochs=2),
        Hparams(divisor=100.0),
    )
    for np_ in (np, jnp):
        axes = {
            "learning_rate": np_.asarray(rates, "float32"),
            "batch_size": np_.asarray([8, 16]),
            "seed": np_.arange(2),
        }
        config = Config(num_epochs=np_.int32(2), hidden_sizes=(np_.asarray(128),))
        actual = plan(axes, config, Hparams(divisor=np_.float32(100)))
        assert actual == expected
        assert type(actual.config.num_epochs) is type(actual.axes["seed"][0]) is int
        axes = {
            "learning_rate": [np_.float32(0.001), np_.asarray(0.01, "float32")],
            "batch_size": pd.Series([8, 16]),
            "seed": xr.DataArray([0, 1], dims="seed"),
        }
        actual = plan(axes, config, Hparams(divisor=np_.int32(100)), np_.int32(1))
        assert repr(actual) == repr(expected).replace("divisor=100.0", "divisor=100")
    with pytest.raises(UserError, match=r"learning_rate is .*nan"):
        plan({"learning_rate": jnp.array([jnp.nan])}, Config(), Hparams())
    with pytest.raises(UserError, match="learning_rate"):
        plan({"learning_rate": jnp.ones((2, 2))}, Config(), Hparams())
    with pytest.raises(UserError, match="divisor is 3; expected a list of values"):
        plan({"divisor": np.array(3)}, Config(), Hparams())


@pytest.mark.parametrize("lib", [np, jnp], ids=["numpy", "jax"])
def test_axes_of_numpy_and_jax_are_those_of_python(lib: Any) -> None:
    axes = {
        "hidden_sizes": lib.asarray([[4, 5], [3, 2]]),
        "optimizer": np.array(["sgd", "adam"]),
        "plateau_patience": lib.arange(2),
        "schedule": [np.str_("plateau")],
        "whitening_eps": lib.asarray([0.25, 0.5], "float32"),
        "normalization": np.array(["whiten"], object),
    }
    axes_of_python = {
        "hidden_sizes": [(4, 5), (3, 2)],
        "optimizer": ["sgd", "adam"],
        "plateau_patience": [0, 1],
        "schedule": ["plateau"],
        "whitening_eps": [0.25, 0.5],
        "normalization": ["whiten"],
    }
    expected = plan(axes_of_python, Config(), Hparams(), max_width=2)
    actual = plan(axes, Config(), Hparams(), max_width=lib.int32(2))
    assert repr(actual) == repr(expected)


def test_costs_grow_with_the_work() -> None:
    assert num_parameters(Config(hidden_sizes=(128,))) == 784 * 128 + 128 + 1290
    assert num_parameters(Config(hidden_sizes=())) == 7850
    assert state_bytes(Config(hidden_sizes=())) == 4 * 4 * 7850  # adam: p, g, m, v
    data = Data(Dataset(np.zeros((600, 28, 28), np.uint8), np.arange(600) % 10),
                Dataset(np.zeros((10, 28, 28), np.uint8), np.arange(10)))  # fmt: skip
    few = plan({"seed": range(2)}, Config(hidden_sizes=(1000,)), Hparams())
    many = plan({"seed": range(80)}, Config(hidden_sizes=(1000,)), Hparams())
    assert expected_seconds(many, data) > expected_seconds(few, data)
    start = cost.SECONDS_TO_START + cost.SECONDS_PER_PROGRAM * few.num_programs
    assert expected_seconds(few, data, share=0) == start
    # Two simultaneous runs: their states, and the data on the host and each device.
    two = plan({"seed": [0, 1]}, Config(hidden_sizes=()), Hparams(), 2)
    data_bytes = 610 * (784 + 4)
    assert memory_bytes(two, data) == 2 * 2 * 16 * 7850 + 3 * data_bytes


def test_the_expected_time_includes_what_probes_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cost, "_measured_speed", lambda: (1e9, 1e9))
    monkeypatch.setattr(cost, "num_cpu_cores", lambda: 1)
    data = Data(Dataset(np.zeros((600, 28, 28), np.uint8), np.arange(600) % 10),
                Dataset(np.zeros((10, 28, 28), np.uint8), np.arange(10)))  # fmt: skip
    config = Config(hidden_sizes=(), num_epochs=3)
    bare = expected_seconds(plan({}, config, Hparams()), data)
    for when, times in (("init", 1), ("epoch", 3), ("end", 1)):
        probe = Probe(health, when, examples=100, gradients=20)
        planned = plan({}, config, Hparams(), probes=[probe])
        flops = times * 20 * 100 * 6 * 7850
        np.testing.assert_allclose(
            expected_seconds(planned, data) - bare, flops / 1e9 / cost.EFFICIENCY
        )


def test_the_measured_speed_is_plausible() -> None:
    flops, traffic = cost._measured_speed()
    assert 1e9 < flops < 1e13
    assert 1e9 < traffic < 1e13


def test_a_hundred_thousand_runs_are_planned_at_once() -> None:
    axes = {
        "divisor": np.logspace(-2, 6, 500),
        "learning_rate": np.logspace(-9, 3, 200),
        "loss": ["softmax", "clipped"],
    }
    planned = plan(axes, Config(), Hparams(), max_width=1000)
    assert planned.num_runs == 200_000
    assert len(planned.groups) == 200
    assert axis_values(planned, planned.groups[-1].runs[-1]) == {
        "divisor": 1e6, "learning_rate": 1e3, "loss": "clipped", "seed": 0
    }  # fmt: skip


def test_few_runs_take_few_devices() -> None:
    planned = plan(
        {"loss": ["softmax", "clipped"], "seed": [0, 1, 2]}, Config(), Hparams(), 8
    )
    assert planned.num_devices == 3
    assert {group.width for group in planned.groups} == {1}
    assert plan({}, Config(), Hparams(), 8).num_devices == 1
