"""Every setting of a run: default, allowed values, flag, label and help.

A setting in ``Hparams`` is traced: it can be an axis of one compiled program. A setting
in ``Config`` is static: each value makes a separate program. The descriptions in the
docstrings of both classes are the help texts of the flags. This module imports neither
jax nor NumPy, so that command lines are checked quickly.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType as Frozen
from typing import Any

from fmnist_jax import network_values
from fmnist_jax.choices import (
    BATCH_NORMS,
    INITIALIZERS,
    LOSS_LEGENDS,
    NORMALIZATIONS,
    OPTIMIZERS,
    ORDERS,
    PENALIZED,
    PRECISIONS,
    SCHEDULES,
    WHITENINGS,
)
from fmnist_jax.errors import UserError, check_is, choose, shown
from fmnist_jax.values import (
    BELOW_1,
    COUNT,
    FINITE,
    HIDDEN_SIZES,
    MODEL,
    NAME,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SWITCH,
    TARGET,
    UP_TO_1,
    WHOLE_COUNT,
    WHOLE_NUMBER,
    Setting,
    Traced,
    ValueType,
    choice,
    choice_or_function,
    plain,
    setting,
    settings_of,
)
from fmnist_jax.values import show as show


@dataclasses.dataclass(frozen=True)
class Hparams:
    """The traced settings of a run: numbers, or arrays with a value per run if vmapped.

    ``None`` is the default of the optimizer (``OPTIMIZERS``), the schedule
    (``SCHEDULES``) or, for the divisor, the normalization (``NORMALIZATIONS``);
    ``resolve`` fills it in. For the offset, dropout, penalties, the target and the
    first kernel, ``None`` means "not used", and nothing is computed.

    Attributes:
      divisor: number that the pixels are divided by, after the normalization and the
        offset.
      offset: number that is subtracted from the pixels after the normalization.
      learning_rate: step size of the optimizer.
      momentum: fraction of the previous update that is added to the next; with 1,
        gradients accumulate without decay.
      decay: decay of the mean squared gradient of rmsprop.
      b1: decay of the mean gradient (adam, adamw, lion).
      b2: decay of the mean squared gradient (adam, adamw) or the mean gradient (lion).
      eps: term added to the denominator of the step.
      initial_accumulator_value: initial value of adagrad's sum of squared gradients.
      weight_decay: decoupled weight decay (adamw, lion).
      dropout_rate: share of the inputs of each layer set to 0 in training.
      l1: factor of the sum of |parameters|.
      l2: factor of the sum, over parameter arrays, of their Euclidean norms.
      l2_squared: factor of the sum of parameters².
      target_accuracy: running training accuracy at which a run stops.
      plateau_factor: factor that reduces the learning rate on a plateau.
      plateau_patience: epochs without improvement before the learning rate drops.
      plateau_threshold: decrease of the test loss that counts as an improvement.
      min_learning_rate: minimum of the learning rate in a schedule.
      first_kernel_scale: factor for the first layer's initial weights, not its bias.
      first_kernel_rate: factor for the learning rate of the first layer's weights.
      first_kernel_eps: factor for epsilon, and for adagrad's initial accumulator,
        of the first layer's weights.
      extra: settings of the caller's own optimizer or schedule, name to number, which
        reads them as ``hparams.extra["clip_norm"]``; each can be an axis.
    """

    divisor: Traced = setting(
        None, POSITIVE, "divisors", "pixel divisor", span=(1e-2, 1e6)
    )
    offset: Traced = setting(
        None, FINITE, "offsets", "pixel offset", off=0.0, span=(0, 255)
    )
    learning_rate: Traced = setting(None, POSITIVE, "learning_rates", span=(1e-9, 1e3))
    momentum: Traced = setting(None, UP_TO_1, "momenta", span=(0, 0.99))
    decay: Traced = setting(
        None, BELOW_1, "decays", "decay of the squared gradients", span=(0, 0.999)
    )
    b1: Traced = setting(None, BELOW_1, "b1s", span=(0, 0.99))
    b2: Traced = setting(None, BELOW_1, "b2s", span=(0, 0.999))
    eps: Traced = setting(None, NOT_NEGATIVE, "eps", "epsilon", span=(1e-12, 1))
    initial_accumulator_value: Traced = setting(
        None, NOT_NEGATIVE, "initial_accumulator_values", span=(1e-6, 100)
    )
    weight_decay: Traced = setting(None, NOT_NEGATIVE, "weight_decays", span=(1e-6, 10))
    dropout_rate: Traced = setting(
        None, BELOW_1, "dropout_rates", off=0.0, span=(0, 0.9)
    )
    l1: Traced = setting(
        None, NOT_NEGATIVE, "l1s", "L1 penalty", off=0.0, span=(1e-8, 0.1)
    )
    l2: Traced = setting(
        None, NOT_NEGATIVE, "l2s", "L2 penalty (norm)", off=0.0, span=(1e-6, 1)
    )
    l2_squared: Traced = setting(
        None, NOT_NEGATIVE, "l2s_squared", "squared L2 penalty", off=0.0, span=(1e-8, 1)
    )
    target_accuracy: Traced = setting(None, TARGET, "target_accuracies", off=math.inf)
    plateau_factor: Traced = setting(None, UP_TO_1, "plateau_factors")
    plateau_patience: Traced = setting(None, WHOLE_NUMBER, "plateau_patiences")
    plateau_threshold: Traced = setting(None, NOT_NEGATIVE, "plateau_thresholds")
    min_learning_rate: Traced = setting(
        None, NOT_NEGATIVE, "min_learning_rates", "minimum learning rate"
    )
    first_kernel_scale: Traced = setting(
        None, NOT_NEGATIVE, "first_kernel_scales", off=1.0, span=(1e-6, 1000)
    )
    first_kernel_rate: Traced = setting(
        None,
        NOT_NEGATIVE,
        "first_kernel_rates",
        "first kernel learning-rate factor",
        off=1.0,
        span=(1e-12, 1e4),
    )
    first_kernel_eps: Traced = setting(
        None, POSITIVE, "first_kernel_eps", off=1.0, span=(1e-4, 1e6)
    )
    extra: Any = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Config:
    """The static settings of a run: a program is compiled for each distinct ``Config``.

    ``model`` is a Flax Linen module or a ``Network``. It gets x, float32
    ``[B, *image_shape]``, already normalized and divided, and its switch between
    training and evaluation, such as ``train``, and returns logits ``[B, num_classes]``.

    In Python, ``loss``, ``optimizer`` and ``schedule`` can also be functions: a loss
    from logits ``[B, C]`` and labels to losses ``[B]``; an optimizer from ``Hparams``
    to an ``optax.GradientTransformation``; a schedule from ``Hparams`` to a function
    from the number of steps taken to the learning rate, as optax's are.

    Attributes:
      name: name of the model in results; None: that of the network or of its class.
      model: network that replaces the MLP of hidden_sizes.
      normalization: of the pixels, by statistics of the training set: to 0…1 (unit) or
        -1…1 (symmetric); to mean 0 and deviation 1 of all pixels (standard), each pixel
        or column (per_feature) or each channel; or to uncorrelated pixels (whiten).
      whitening: rotation of whitened pixels: back to pixels (zca) or none (pca).
      whitening_eps: share of the mean variance of a pixel, added to each variance
        before whitening divides by its root.
      hidden_sizes: units of each hidden layer.
      initializer: library whose default initial weights are used.
      loss: loss function.
      optimizer: optimizer, as in optax.
      schedule: learning rate by epoch: constant, lower on a plateau, or half a cosine.
      batch_norm: batch normalisation before each ReLU, as in PyTorch; frozen: after the
        first epoch, always with the running statistics.
      penalized: parameters in the penalties: all, or kernels only (no biases).
      order: order of the training examples: shuffled in each epoch, as in the file, or
        sorted by class.
      batch_size: examples per step; the last batch of an epoch may be smaller.
      precision: rounding of the operands of matrix products (sums are float32); on a
        CPU, a user's network always uses float32.
      num_epochs: passes over the training set.
      record_every: steps between further records within an epoch; 0: none.
      evaluate_train: whether each epoch ends with a pass over the training set.
      evaluate_dropout: whether each epoch also ends with an evaluation with dropout on.
    """

    name: str | None = setting(None, NAME)
    model: Any = setting(None, MODEL)
    normalization: str = setting("none", choice(NORMALIZATIONS), "normalizations")
    whitening: str = setting("zca", choice(WHITENINGS), "whitenings")
    whitening_eps: float = setting(
        1e-2, NOT_NEGATIVE, "whitening_eps", "whitening epsilon"
    )
    hidden_sizes: tuple[int, ...] = setting(
        (128,), HIDDEN_SIZES, "hidden_sizes", "hidden layers"
    )
    initializer: str = setting(
        "keras", choice(INITIALIZERS), "initializers", "initialiser"
    )
    loss: Any = setting("softmax", choice_or_function(LOSS_LEGENDS), "losses")
    optimizer: Any = setting("adam", choice_or_function(OPTIMIZERS), "optimizers")
    schedule: Any = setting("constant", choice_or_function(SCHEDULES), "schedules")
    batch_norm: str = setting("off", choice(BATCH_NORMS), "batch_norms")
    penalized: str = setting(
        "all", choice(PENALIZED), "penalized", "penalised parameters"
    )
    order: str = setting("shuffled", choice(ORDERS), "orders", "order of the examples")
    batch_size: int = setting(32, COUNT, "batch_sizes")
    precision: str = setting(
        "float32", choice(PRECISIONS), "precisions", "matmul precision"
    )
    num_epochs: int = setting(5, COUNT, None, "epochs")
    record_every: int = setting(0, WHOLE_COUNT, "record_every", "steps between records")
    evaluate_train: bool = setting(True, SWITCH, None, "evaluate on the training set")
    evaluate_dropout: bool = setting(False, SWITCH, None, "evaluate with dropout on")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # of NumPy, JAX or Python
            object.__setattr__(self, name, plain(value))


# Settings of the sources: Modern Computer Vision with PyTorch, chapter 3, and question
# 13722 on AI StackExchange; C1_W2_Lab1 of a Coursera course, as Keras runs it today.
_BOOK = Config(hidden_sizes=(1000,), initializer="pytorch", optimizer="sgd")
_KERAS = Config(hidden_sizes=(128,), initializer="keras", loss="clipped")
_LAB = Config(hidden_sizes=(128,), initializer="keras", num_epochs=10)
_SGD, _ADAM = Hparams(learning_rate=1e-2), Hparams(learning_rate=1e-3, eps=1e-7)
PRESETS: Mapping[str, tuple[Config, Hparams]] = Frozen(
    {"book": (_BOOK, _SGD), "keras": (_KERAS, _ADAM), "lab": (_LAB, _ADAM)}
)

STATIC, TRACED = settings_of(Config), settings_of(Hparams)
SETTINGS: Mapping[str, Setting] = {**TRACED, **STATIC}


def check(name: str, value: Any) -> None:
    """Raises UserError if ``value`` is not allowed for the setting ``name``."""
    value_type = _value_type(name)
    if not value_type.accepts(value):
        if name == "model":
            raise UserError(network_values.problem(value))
        raise UserError(f"{name} is {shown(value)}; expected {value_type.allowed}.")


def check_all(config: Config, hparams: Hparams) -> None:
    """Raises UserError for the first setting whose value is not allowed."""
    check_is("config", config, Config, "a Config")
    check_is("hparams", hparams, Hparams, "an Hparams")
    for name in SETTINGS:
        value = getattr(config if name in STATIC else hparams, name)
        if name in STATIC or value is not None:
            check(name, value)


def resolve(config: Config, hparams: Hparams) -> Hparams:
    """Returns ``hparams`` with the defaults of optimizer, schedule and normalization.

    Settings that none of these uses stay as they are, including ``None``.
    """
    tables: Mapping[str, Mapping[str, Mapping[str, float]]] = {
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "normalization": NORMALIZATIONS,
    }
    defaults: dict[str, float] = {}
    for name, table in tables.items():
        chosen = getattr(config, name)
        if not callable(chosen):  # a function has no defaults
            defaults |= choose(name, chosen, table)
    missing = {n: v for n, v in defaults.items() if getattr(hparams, n) is None}
    return dataclasses.replace(hparams, **missing)


def coordinate(name: str, value: Any) -> Any:
    """Returns the coordinate of a value on the axis ``name`` of the results."""
    value_type = _value_type(name)
    return value if value_type.numeric else value_type.text(value)


def is_log(name: str) -> bool:
    """Whether an axis of the results is logarithmic, which only settings can be."""
    linear = (BELOW_1, FINITE, UP_TO_1, TARGET, WHOLE_NUMBER)
    return name in SETTINGS and SETTINGS[name].value_type not in linear


def axis_label(name: str) -> str:
    """Returns the label of an axis of the results."""
    return SETTINGS[name].label if name in SETTINGS else name


def _value_type(name: str) -> ValueType:
    if name == "seed":
        return SEED
    return SETTINGS[name].value_type if name in SETTINGS else FINITE  # of Hparams.extra
