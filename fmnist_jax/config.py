"""Every setting of a run, stated once: default, allowed values, flag, label and help.

A setting in ``Hparams`` is traced: it can be an axis of one compiled program. A setting
in ``Config`` is static: each of its values makes a program of its own. This module
imports no jax, so that command lines can be read, and refused, in no time.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from fmnist_jax.errors import UserError, check_is, choose
from fmnist_jax.values import (
    COUNT,
    FRACTION,
    HIDDEN_SIZES,
    MODEL,
    NAME,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SHARE,
    SWITCH,
    TARGET,
    WHOLE,
    ValueType,
    choice,
)

INITIALIZERS = ("flax", "keras", "pytorch")
PRECISIONS = ("float32", "tf32", "bf16")
LOSS_LEGENDS = {
    "softmax": "cross-entropy computed from the logits",
    "clipped": "cross-entropy of probabilities clipped to [1e-7, 1 - 1e-7], as Keras "
    "computed it until TensorFlow 1.13: no gradient outside that range, so a "
    "saturated wrong example costs 16.1 and teaches nothing",
}
# The settings that each optimizer reads, with its own defaults: optax's, and for the
# learning rates, which optax leaves open: PyTorch's for adagrad, adam and adamw,
# Keras's for sgd and rmsprop, and a tenth of Adam's for lion (Chen et al. 2023,
# section 5).
OPTIMIZERS: Mapping[str, Mapping[str, float]] = {
    "sgd": {"learning_rate": 1e-2},
    "momentum": {"learning_rate": 1e-2, "momentum": 0.9},
    "nesterov": {"learning_rate": 1e-2, "momentum": 0.9},
    "rmsprop": {"learning_rate": 1e-3, "decay": 0.9, "eps": 1e-8},
    "adagrad": {"learning_rate": 1e-2, "initial_accumulator_value": 0.1, "eps": 1e-7},
    "adam": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adamw": {
        "learning_rate": 1e-3,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 1e-4,
    },
    "lion": {"learning_rate": 1e-4, "b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
}
# The settings that each schedule reads, with PyTorch's defaults for plateaus; its
# threshold is absolute, as Keras's min_delta is.
SCHEDULES: Mapping[str, Mapping[str, float]] = {
    "constant": {},
    "plateau": {
        "plateau_factor": 0.1,
        "plateau_patience": 10,
        "plateau_threshold": 1e-4,
        "min_learning_rate": 0.0,
    },
    "cosine": {"min_learning_rate": 0.0},
}
_FIRST_KERNEL = ("first_kernel_scale", "first_kernel_rate", "first_kernel_eps")
_OF_THE_MLP = (
    *("hidden_sizes", "initializer", "dropout_rate", "batch_norm"),
    *_FIRST_KERNEL,
)
_READ_WITH = {"first_kernel_eps": "eps"}  # by the same optimizers
# Which table a choice's own settings stand in.
_OWN_SETTINGS = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
ORDERS = ("shuffled", "file", "sorted")
BATCH_NORMS = ("off", "on", "frozen")
PENALIZED = ("all", "kernels")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of one field of ``Config`` or ``Hparams`` beside its default.

    Attributes:
      value_type: its values.
      label: on figures and in tables.
      help: on the command line.
      flag: on the command line; None for the library only.
      off: the value that None stands for where it means "not used".
      span: least and greatest on a map, where nobody says otherwise.
    """

    value_type: ValueType
    label: str
    help: str
    flag: str | None
    off: float | None = None
    span: tuple[float, float] | None = None


def _setting(
    default: Any,
    value_type: ValueType,
    label: str,
    help: str,
    flag: str | None,
    off: float | None = None,
    span: tuple[float, float] | None = None,
) -> Any:
    setting = Setting(value_type, label, help, flag, off, span)
    return dataclasses.field(default=default, metadata={"setting": setting})


@dataclasses.dataclass(frozen=True)
class Hparams:
    """The traced settings of a run: numbers, or arrays of one per run when vmapped.

    ``None`` stands for the optimizer's or the schedule's own default (``OPTIMIZERS``,
    ``SCHEDULES``), and ``resolve`` puts the number there. For dropout, penalties,
    the target and the first kernel it means that nothing of the kind is computed.
    """

    divisor: Any = _setting(
        255.0, POSITIVE, "pixel divisor", "what the pixels (0…255) are divided by",
        "divisors",
        span=(1e-2, 1e6),
    )  # fmt: skip
    learning_rate: Any = _setting(
        None, POSITIVE, "learning rate", "step size of the optimizer", "learning_rates",
        span=(1e-9, 1e3),
    )  # fmt: skip
    momentum: Any = _setting(
        None, SHARE, "momentum",
        "share of the last step kept in the next; 1: gradients are never cleared",
        "momenta",
        span=(0, 0.99),
    )  # fmt: skip
    decay: Any = _setting(
        None, FRACTION, "decay of the squared gradients", "rmsprop's memory", "decays",
        span=(0, 0.999),
    )  # fmt: skip
    b1: Any = _setting(
        None, FRACTION, "b1", "memory of the mean gradient (adam, adamw, lion)", "b1s",
        span=(0, 0.99),
    )  # fmt: skip
    b2: Any = _setting(
        None, FRACTION, "b2", "memory of the squared gradient, in lion of the mean",
        "b2s",
        span=(0, 0.999),
    )  # fmt: skip
    eps: Any = _setting(
        None, NOT_NEGATIVE, "epsilon", "added to the divisor of the step", "eps",
        span=(1e-12, 1),
    )  # fmt: skip
    initial_accumulator_value: Any = _setting(
        None, NOT_NEGATIVE, "initial accumulator", "where adagrad's sum starts",
        "initial_accumulator_values",
        span=(1e-6, 100),
    )  # fmt: skip
    weight_decay: Any = _setting(
        None, NOT_NEGATIVE, "weight decay", "decoupled decay (adamw, lion)",
        "weight_decays",
        span=(1e-6, 10),
    )  # fmt: skip
    dropout_rate: Any = _setting(
        None, FRACTION, "dropout rate",
        "share of the inputs of each layer set to 0 in training", "dropout_rates", 0.0,
        span=(0, 0.9),
    )  # fmt: skip
    l1: Any = _setting(
        None, NOT_NEGATIVE, "L1 penalty", "times the sum of |parameters|", "l1s", 0.0,
        span=(1e-8, 0.1),
    )  # fmt: skip
    l2: Any = _setting(
        None, NOT_NEGATIVE, "L2 penalty (norm)",
        "times the sum over parameter arrays of their Euclidean norms", "l2s", 0.0,
        span=(1e-6, 1),
    )  # fmt: skip
    l2_squared: Any = _setting(
        None, NOT_NEGATIVE, "L2 penalty (squared)", "times the sum of parameters²",
        "l2s_squared", 0.0,
        span=(1e-8, 1),
    )  # fmt: skip
    target_accuracy: Any = _setting(
        None, TARGET, "target accuracy",
        "running training accuracy at which a run stops", "target_accuracies", math.inf,
    )  # fmt: skip
    plateau_factor: Any = _setting(
        None, SHARE, "plateau factor", "what the rate is multiplied by on a plateau",
        "plateau_factors",
    )  # fmt: skip
    plateau_patience: Any = _setting(
        None, WHOLE, "plateau patience", "epochs without a better test loss to bear",
        "plateau_patiences",
    )  # fmt: skip
    plateau_threshold: Any = _setting(
        None, NOT_NEGATIVE, "plateau threshold",
        "how much lower a test loss must be to count as better", "plateau_thresholds",
    )  # fmt: skip
    min_learning_rate: Any = _setting(
        None, NOT_NEGATIVE, "least learning rate", "where a schedule ends",
        "min_learning_rates",
    )  # fmt: skip
    first_kernel_scale: Any = _setting(
        None, NOT_NEGATIVE, "first kernel's scale",
        "what the first layer's initial weights (not its bias) are multiplied by",
        "first_kernel_scales", 1.0,
        span=(1e-6, 1000),
    )  # fmt: skip
    first_kernel_rate: Any = _setting(
        None, NOT_NEGATIVE, "first kernel's rate",
        "what the learning rate of the first layer's weights is multiplied by",
        "first_kernel_rates", 1.0,
        span=(1e-12, 1e4),
    )  # fmt: skip
    first_kernel_eps: Any = _setting(
        None, POSITIVE, "first kernel's epsilon",
        "what epsilon, and adagrad's initial accumulator, are multiplied by for the "
        "first layer's weights", "first_kernel_eps", 1.0,
        span=(1e-4, 1e6),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """The static settings of a run: a program is compiled for each distinct one.

    ``model`` is called as ``apply(variables, x, train=…, rngs={"dropout": key})`` with
    x float32 ``[B, *image_shape]``, divided, and gives logits ``[B, num_classes]``.
    """

    name: str | None = _setting(
        None, NAME, "name", "what results call the model; None: the module's name or "
        "its class's", None,
    )  # fmt: skip
    model: Any = _setting(
        None, MODEL, "model",
        "a Flax module in place of the MLP of hidden_sizes", None,
    )  # fmt: skip
    hidden_sizes: tuple[int, ...] = _setting(
        (128,), HIDDEN_SIZES, "hidden layers",
        "units of each hidden layer", "hidden_sizes",
    )  # fmt: skip
    initializer: str = _setting(
        "keras", choice(INITIALIZERS), "initialiser",
        "initial weights as each library draws them", "initializers",
    )  # fmt: skip
    loss: str = _setting(
        "softmax", choice(LOSS_LEGENDS), "loss", "loss function", "losses"
    )
    optimizer: str = _setting(
        "adam", choice(OPTIMIZERS), "optimizer", "optimizer, as in optax", "optimizers"
    )
    schedule: str = _setting(
        "constant", choice(SCHEDULES), "schedule",
        "learning rate from epoch to epoch: constant, less on a plateau of the test "
        "loss, or half a cosine", "schedules",
    )  # fmt: skip
    batch_norm: str = _setting(
        "off", choice(BATCH_NORMS), "batch norm",
        "batch normalisation before each ReLU, as in PyTorch; frozen: its statistics "
        "are those of the first epoch ever after", "batch_norms",
    )  # fmt: skip
    penalized: str = _setting(
        "all", choice(PENALIZED), "penalised parameters",
        "what the penalties count: all parameters, or kernels without biases",
        "penalized",
    )  # fmt: skip
    order: str = _setting(
        "shuffled", choice(ORDERS), "order of the examples",
        "shuffled each epoch, as in the file, or sorted by class", "orders",
    )  # fmt: skip
    batch_size: int = _setting(
        32, COUNT, "batch size", "examples per step; a partial last batch is kept",
        "batch_sizes",
    )  # fmt: skip
    precision: str = _setting(
        "float32", choice(PRECISIONS), "matmul precision",
        "what operands of matrix products are rounded to (sums are float32); to a "
        "network of one's own on a CPU it is float32 always", "precisions",
    )  # fmt: skip
    num_epochs: int = _setting(5, COUNT, "epochs", "passes over the training set", None)
    evaluate_train: bool = _setting(
        True, SWITCH, "evaluate on the training set",
        "whether each epoch ends with a pass over the training set", None,
    )  # fmt: skip
    evaluate_dropout: bool = _setting(
        False, SWITCH, "evaluate with dropout on",
        "whether each epoch also ends with an evaluation with dropout on", None,
    )  # fmt: skip


# Setting tables of the sources: Modern Computer Vision with PyTorch, chapter 3, and the
# question 13722 on AI StackExchange; the lab C1_W2_Lab1 of a Coursera course, as Keras
# runs it today.
PRESETS: Mapping[str, tuple[Config, Hparams]] = {
    "book": (
        Config(hidden_sizes=(1000,), initializer="pytorch", optimizer="sgd"),
        Hparams(learning_rate=1e-2),
    ),
    "keras": (
        Config(hidden_sizes=(128,), initializer="keras", loss="clipped"),
        Hparams(learning_rate=1e-3, eps=1e-7),
    ),
    "lab": (
        Config(hidden_sizes=(128,), initializer="keras", num_epochs=10),
        Hparams(learning_rate=1e-3, eps=1e-7),
    ),
}


def _settings(cls: type) -> dict[str, Setting]:
    return {f.name: f.metadata["setting"] for f in dataclasses.fields(cls)}


STATIC, TRACED = _settings(Config), _settings(Hparams)
SETTINGS: Mapping[str, Setting] = {**TRACED, **STATIC}
_VALUE_TYPES = {name: setting.value_type for name, setting in SETTINGS.items()} | {
    "seed": SEED
}


def check(name: str, value: Any) -> None:
    """Raises UserError where ``value`` is not allowed for the setting ``name``."""
    value_type = _VALUE_TYPES[name]
    if not value_type.accepts(value):
        given = f"a {type(value).__name__}" if name == "model" else repr(value)
        raise UserError(f"{name} is {given}; expected {value_type.allowed}.")


def check_all(config: Config, hparams: Hparams) -> None:
    """Raises UserError for the first setting with a value that is not allowed."""
    check_is("config", config, Config, "a Config")
    check_is("hparams", hparams, Hparams, "an Hparams")
    for name in STATIC:
        check(name, getattr(config, name))
    for name in TRACED:
        if getattr(hparams, name) is not None:
            check(name, getattr(hparams, name))


def choice_defaults(config: Config) -> dict[str, float]:
    """Returns what optimizer and schedule of ``config`` read, and its defaults.

    Raises:
      UserError: for one that there is none of.
    """
    own: dict[str, float] = {}
    for name, table in _OWN_SETTINGS.items():
        own |= choose(name, getattr(config, name), table)
    return own


def resolve(config: Config, hparams: Hparams) -> Hparams:
    """Returns ``hparams`` with the own defaults of its optimizer and its schedule.

    What neither reads stays as it is, ``None`` included.
    """
    own = choice_defaults(config)
    missing = {name: v for name, v in own.items() if getattr(hparams, name) is None}
    return dataclasses.replace(hparams, **missing)


def owning_choice(name: str) -> str | None:
    """Returns the choice whose own settings include ``name``; None for no such one."""
    for field, table in _OWN_SETTINGS.items():
        if any(name in own for own in table.values()):
            return field
    return None


def choices_using(name: str) -> list[str]:
    """Returns the optimizers or schedules that read a setting; none if all runs do."""
    name = _READ_WITH.get(name, name)
    table = _OWN_SETTINGS.get(owning_choice(name) or "", {})
    return [each for each, own in table.items() if name in own]


def uses_setting(config: Config, name: str) -> bool:
    """Whether a run of ``config`` depends on the setting ``name``."""
    if name in _OF_THE_MLP and config.model is not None:
        return False
    if choices_using(name):
        return _READ_WITH.get(name, name) in choice_defaults(config)
    if name == "batch_norm":
        return bool(config.hidden_sizes)
    return name != "model" or config.model is not None


def setting_with_flag(name: str) -> str:
    """Returns a setting's name with its flag, as library and command line know it."""
    flag = SETTINGS[name].flag
    return f"{name} (--{flag})" if flag not in (None, name) else name


def no_effect_error(name: str) -> UserError:
    """Returns the error for a setting that no run depends on."""
    of, names, by = [], choices_using(name), owning_choice(_READ_WITH.get(name, name))
    if name in _OF_THE_MLP or not names:
        hidden = " with hidden layers" if name == "batch_norm" else ""
        of.append(f"the built-in MLP{hidden}")
    if by:
        of.append(f"the {by}{'s' * (len(names) > 1)} {', '.join(names)}")
    choose_one = f"choose one with {setting_with_flag(by)}, or " if by else ""
    return UserError(
        f"{setting_with_flag(name)} has no effect here: it is a setting of {' under '.join(of)}; "
        f"{choose_one}leave it out."
    )


def check_first_kernel(config: Config, hparams: Hparams) -> None:
    """Raises UserError where a network of the user's is to have a first kernel."""
    for name in _FIRST_KERNEL:
        if config.model is not None and getattr(hparams, name) is not None:
            raise no_effect_error(name)


def coordinate(name: str, value: Any) -> Any:
    """Returns what stands for ``value`` on the axis ``name`` of the results."""
    value_type = _VALUE_TYPES[name]
    return value if value_type.numeric else value_type.text(value)


def show(name: str, value: Any) -> str:
    """Returns a coordinate as it is written on figures and in tables: ``÷255``."""
    if isinstance(value, str):
        return value
    number = float(value)
    if math.isinf(number) and name == "target_accuracy":
        return "never"
    is_short = number.is_integer() and abs(number) < 1e8
    text = f"{number:.0f}" if is_short else f"{number:g}"
    return f"÷{text}" if name == "divisor" else text


def is_log(name: str) -> bool:
    """Whether what matters of a setting's values is their ratio."""
    return SETTINGS[name].value_type not in (FRACTION, SHARE, TARGET, WHOLE)


def axis_label(name: str) -> str:
    """Returns the label of an axis of the results."""
    return SETTINGS[name].label if name in SETTINGS else name
