import dataclasses
from typing import Any

import numpy as np
import pytest

from fmnist_jax.config import (
    INITIALIZERS,
    LOSS_LEGENDS,
    OPTIMIZERS,
    PRECISIONS,
    PRESETS,
    SCHEDULES,
    SETTINGS,
    Config,
    Hparams,
    check,
    check_all,
    coordinate,
    resolve,
    show,
    uses_setting,
)
from fmnist_jax.errors import UserError, unknown


def test_presets_are_the_sources() -> None:
    config, hparams = PRESETS["keras"]
    assert (config.hidden_sizes, config.initializer) == ((128,), "keras")
    assert (config.loss, config.optimizer) == ("clipped", "adam")
    assert (config.batch_size, config.num_epochs) == (32, 5)
    assert (hparams.learning_rate, hparams.eps) == (1e-3, 1e-7)
    config, hparams = PRESETS["book"]
    assert (config.hidden_sizes, config.initializer) == ((1000,), "pytorch")
    assert (config.loss, config.optimizer) == ("softmax", "sgd")
    assert (config.batch_size, config.num_epochs) == (32, 5)
    assert hparams.learning_rate == 1e-2
    for config, hparams in PRESETS.values():
        check_all(config, hparams)


def test_tables_name_what_is_implemented() -> None:
    from fmnist_jax.training import losses, models, optimizers

    assert set(losses.LOSSES) == set(LOSS_LEGENDS)
    assert set(models._INITIALIZERS) == set(INITIALIZERS)
    assert set(models.PRECISIONS) == set(PRECISIONS)
    for name in OPTIMIZERS:
        optimizers.make_optimizer(Config(optimizer=name), Hparams())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resolve_fills_in_what_the_optimizer_reads(optimizer: str) -> None:
    config = Config(optimizer=optimizer)
    own = OPTIMIZERS[optimizer]
    resolved = dataclasses.asdict(resolve(config, Hparams()))
    read = {name: v for name, v in resolved.items() if v is not None}
    assert read == {"divisor": 255.0, **own}
    given = resolve(config, Hparams(learning_rate=0.25))
    assert given.learning_rate == 0.25
    assert {name for name in SETTINGS if uses_setting(config, name)} == {
        "divisor", *own, "hidden_sizes", "initializer", "loss", "optimizer",
        "batch_size", "num_epochs", "name", "evaluate_train", "evaluate_dropout",
        "order", "schedule", "batch_norm", "penalized", "dropout_rate", "l1", "l2",
        "l2_squared", "target_accuracy", "precision",
        "first_kernel_scale", "first_kernel_rate",
        *(["first_kernel_eps"] if "eps" in own else []),
    }  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resolve_fills_in_what_the_schedule_reads(schedule: str) -> None:
    config, own = Config(optimizer="sgd", schedule=schedule), SCHEDULES[schedule]
    resolved = resolve(config, Hparams())
    assert {name: getattr(resolved, name) for name in own} == own
    every = {name for settings in SCHEDULES.values() for name in settings}
    assert {name for name in every if uses_setting(config, name)} == set(own)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("divisor", [1, 0.5, np.float32(3)], [0, -1, np.nan, np.inf, 1e-39, "1", True]),
        ("momentum", [0, 0.99, 1], [1.1, -0.1, np.nan]),
        ("b1", [0, 0.99], [1, -0.1, np.nan]),
        ("eps", [0, 1e-8], [-1e-8, 1e-45, np.inf]),
        ("hidden_sizes", [(), (1,), (5, 7)], [(0,), [128], 128, (1.5,)]),
        ("batch_size", [1, np.int64(3)], [0, 2.0, True]),
        ("target_accuracy", [0, 0.9, np.inf], [1.1, -0.1, np.nan]),
        ("plateau_patience", [0, 3.0], [0.5, -1, np.inf, np.nan]),
        ("optimizer", ["sgd"], ["SGD", None]),
        ("seed", [0, 7], [-1, 0.5]),
    ],
)
def test_check(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check(name, value)
    for value in bad:
        with pytest.raises(UserError, match=f"{name} is .*; expected"):
            check(name, value)


def test_unknown_names_the_choices_and_the_nearest() -> None:
    message = str(unknown("optimizer", "adm", ["sgd", "adam"]))
    assert message == (
        "Unknown optimizer 'adm'; expected one of adam, sgd. Did you mean adam?"
    )


def test_coordinates_and_texts() -> None:
    assert coordinate("hidden_sizes", ()) == "none"
    assert coordinate("hidden_sizes", (1000, 10)) == "1000x10"
    assert coordinate("divisor", 255) == 255
    assert show("divisor", 255.0) == "÷255"
    assert show("learning_rate", 0.001) == "0.001"
    assert show("loss", "clipped") == "clipped"
