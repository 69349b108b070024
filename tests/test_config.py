from typing import Any

import numpy as np
import pytest

from fmnist_jax.config import (
    INITIALIZERS,
    LOSS_LEGENDS,
    NORMALIZATIONS,
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
)
from fmnist_jax.effects import (
    choices_using,
    no_effect_error,
    owning_choice,
    uses_setting,
)
from fmnist_jax.errors import UserError, unknown
from fmnist_jax.networks.mlp import MLP


def test_presets_have_the_settings_of_the_sources() -> None:
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


def test_tables_list_what_is_implemented() -> None:
    from fmnist_jax.networks import matmul, mlp
    from fmnist_jax.training import losses, optimizers

    assert set(losses.LOSSES) == set(LOSS_LEGENDS)
    assert set(mlp._INITIALIZERS) == set(INITIALIZERS)
    assert set(matmul.PRECISIONS) == set(PRECISIONS)
    for name in OPTIMIZERS:
        optimizers.make_optimizer(Config(optimizer=name), Hparams())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resolve_fills_in_the_defaults_of_the_optimizer(optimizer: str) -> None:
    config = Config(optimizer=optimizer)
    defaults = OPTIMIZERS[optimizer]
    resolved = vars(resolve(config, Hparams()))
    numbers = {name: v for name, v in resolved.items() if v is not None and v != {}}
    assert numbers == {"divisor": 255.0, **defaults}
    assert resolve(config, Hparams(learning_rate=0.25)).learning_rate == 0.25
    optimizer_settings = {name for table in OPTIMIZERS.values() for name in table}
    schedule_settings = {name for table in SCHEDULES.values() for name in table}
    others = SETTINGS.keys() - optimizer_settings - schedule_settings
    others -= {"model", "whitening", "whitening_eps"}
    if "eps" not in defaults:
        others -= {"first_kernel_eps"}
    used = {name for name in SETTINGS if uses_setting(config, name)}
    assert used == others | defaults.keys()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resolve_fills_in_the_defaults_of_the_schedule(schedule: str) -> None:
    config, defaults = Config(optimizer="sgd", schedule=schedule), SCHEDULES[schedule]
    resolved = resolve(config, Hparams())
    assert {name: getattr(resolved, name) for name in defaults} == defaults
    names = {name for table in SCHEDULES.values() for name in table}
    assert {name for name in names if uses_setting(config, name)} == set(defaults)


def test_the_divisor_is_255_without_a_normalization_and_1_with_one() -> None:
    divisors = {
        name: resolve(Config(normalization=name), Hparams()).divisor
        for name in NORMALIZATIONS
    }
    assert divisors.pop("none") == 255.0
    assert set(divisors.values()) == {1.0}
    hparams = resolve(Config(normalization="standard"), Hparams(divisor=7.0))
    assert hparams.divisor == 7.0


def test_settings_have_labels_and_descriptions() -> None:
    for name, setting in SETTINGS.items():
        assert setting.help, name
        assert setting.help[-1] != ".", name
        assert "\n" not in setting.help, name
    assert SETTINGS["min_learning_rate"].label == "minimum learning rate"
    assert SETTINGS["batch_size"].label == "batch size"
    assert SETTINGS["momentum"].help == (
        "fraction of the previous update that is added to the next; with 1, gradients "
        "accumulate without decay"
    )


def test_settings_of_the_mlp_have_no_effect_on_another_network() -> None:
    config = Config(model=MLP(10))
    for name in ("hidden_sizes", "dropout_rate", "batch_norm", "first_kernel_eps"):
        assert not uses_setting(config, name)
    assert uses_setting(config, "model")
    assert not uses_setting(Config(hidden_sizes=()), "batch_norm")


def test_choices_of_a_setting() -> None:
    assert (owning_choice("eps"), owning_choice("min_learning_rate")) == (
        "optimizer",
        "schedule",
    )
    assert owning_choice("divisor") == "normalization"
    assert owning_choice("l1") is owning_choice("first_kernel_eps") is None
    assert choices_using("plateau_factor") == ["plateau"]
    assert choices_using("first_kernel_eps") == choices_using("eps")
    assert choices_using("l1") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "momentum",
            "momentum (--momenta) has no effect here: it needs optimizer "
            "(--optimizers) momentum or nesterov. Choose that, or leave momentum out.",
        ),
        (
            "first_kernel_eps",
            "first_kernel_eps has no effect here: it needs the built-in MLP and "
            "optimizer (--optimizers) rmsprop or adagrad or adam or adamw. Choose "
            "that, or leave first_kernel_eps out.",
        ),
    ],
)
def test_the_error_names_what_a_setting_needs(name: str, message: str) -> None:
    assert str(no_effect_error(name)) == message


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


def test_the_error_for_an_unknown_name_lists_the_choices_and_the_nearest() -> None:
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
