import dataclasses
from typing import Any

import flax.linen as nn
import pytest

from fmnist_jax.config import OPTIMIZERS, SCHEDULES, TRACED, Config, Hparams
from fmnist_jax.errors import UserError
from fmnist_jax.networks.mlp import MLP
from fmnist_jax.sweeps.axes import check_sweep, drop_unread

# Each with a value that is not its default.
VALUES: dict[str, Any] = {
    **dict.fromkeys(TRACED, 0.5),
    "plateau_patience": 3,
    "hidden_sizes": (7,),
    "initializer": "flax",
    "batch_norm": "on",
    "whitening": "pca",
    "whitening_eps": 0.5,
    "penalized": "kernels",
}
CONFIGS = {
    **{name: Config(optimizer=name) for name in OPTIMIZERS},
    **{name: Config(schedule=name) for name in SCHEDULES},
    "own network": Config(model=MLP(10)),
    "no hidden layers": Config(hidden_sizes=()),
}


def line(axes: dict[str, Any], config: Config, hparams: Hparams) -> str | None:
    try:
        check_sweep(axes, config, hparams)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("case", CONFIGS)
def test_a_fixed_setting_is_refused_as_the_axis_is(case: str) -> None:
    config, refused = CONFIGS[case], 0
    for name, value in VALUES.items():
        if name == "hidden_sizes" and case == "no hidden layers":
            continue  # replaces the case
        is_static = name in {f.name for f in dataclasses.fields(Config)}
        fixed = dataclasses.replace(config if is_static else Hparams(), **{name: value})
        settings = (fixed, Hparams()) if is_static else (config, fixed)
        expected = line({name: [value]}, config, Hparams())
        assert line({}, *settings) == expected, name
        assert expected is None or f"leave {name} out" in expected
        refused += expected is not None
    assert refused >= 5  # at least whitening, its epsilon, penalized, and others


def test_a_setting_that_one_program_reads_is_accepted() -> None:
    check_sweep({"optimizer": ["sgd", "adam"]}, Config(), Hparams(eps=1e-7))
    check_sweep({"l1": [0.0, 1.0]}, Config(penalized="kernels"), Hparams())
    check_sweep({"model": [None, nn.Dense(9)]}, Config(hidden_sizes=(7,)), Hparams())


def test_unread_settings_are_dropped_and_all_others_kept() -> None:
    config = Config(optimizer="sgd", penalized="kernels", whitening="pca", batch_size=8)
    hparams = Hparams(eps=1e-7, learning_rate=0.1, momentum=0.0, l2=None)
    kept = drop_unread({"divisor": [1, 255]}, config, hparams)
    assert kept == (Config(optimizer="sgd", batch_size=8), Hparams(learning_rate=0.1))
    settings = Config(penalized="kernels"), Hparams(eps=1e-7)
    axes = {"l1": [0, 1], "optimizer": ["sgd", "adam"]}
    assert drop_unread(axes, *settings) == settings


def test_dropping_refuses_settings_that_are_not_allowed() -> None:
    with pytest.raises(UserError, match="eps is -1; expected"):
        drop_unread({}, Config(optimizer="sgd"), Hparams(eps=-1))
