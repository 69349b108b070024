"""The configurations of the sources as settings, each of them once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fmnist_jax.config import PRESETS, Config, Hparams, resolve
from fmnist_jax.errors import choose
from fmnist_jax.runner.jobs import with_settings
from fmnist_jax.sweeps.axes import drop_unread

TINY_INPUTS = 255e4  # divisor


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A configuration that is trained once for all rows that share it."""

    preset: str  # in ``PRESETS``
    epochs: int  # of the longest row that shares it
    # Those that differ from the preset.
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: tuple[str, ...] = ()  # ids of published rows; each has its first epochs
    dataset: str = "fashion_mnist"

    def resolved(self) -> tuple[Config, Hparams]:
        """Returns the settings of a run."""
        config, hparams = choose("preset", self.preset, PRESETS)
        settings = {"num_epochs": self.epochs, **self.settings}
        return drop_unread({}, *with_settings(config, hparams, settings))


def _keras(*rows: str, **settings: Any) -> Configuration:
    return Configuration("keras", 30, settings, rows)


def _lab(*rows: str, dataset: str = "fashion_mnist", **settings: Any) -> Configuration:
    return Configuration("lab", 10, settings, rows, dataset)


def _book(epochs: int, *rows: str, **settings: Any) -> Configuration:
    return Configuration("book", epochs, settings, rows)


def _adam(epochs: int, *rows: str, **settings: Any) -> Configuration:
    defaults = {"optimizer": "adam", "learning_rate": 1e-3}
    return _book(epochs, *rows, **(defaults | settings))


def _never_cleared(divisor: float) -> Configuration:
    """Gradients that are never cleared add up: SGD with momentum 1."""
    momentum = {"optimizer": "momentum", "momentum": 1.0}
    return _book(5, "scale-book-nozerograd", divisor=divisor, **momentum)


_PLATEAU = {
    "schedule": "plateau",
    "plateau_factor": 0.5,
    "plateau_patience": 0.0,
    "plateau_threshold": 1e-3,
    "min_learning_rate": 1e-5,
}
# In the order of training, the shortest first. Claims need those without rows.
CONFIGURATIONS: Mapping[str, Configuration] = {
    "keras-255": _keras("scale-keras-255", divisor=255.0),
    "keras-1": _keras("scale-keras-1", divisor=1.0),
    "keras-1000": _keras("scale-keras-1000", divisor=1000.0),
    "keras-1-logits": _keras("scale-keras-1-logits", divisor=1.0, loss="softmax"),
    "lab-mnist-1": _lab("lab-mixup", dataset="mnist", divisor=1.0),
    "lab-mnist-255": _lab("lab-mixup", dataset="mnist", divisor=255.0),
    "lab-fashion_mnist-1": _lab("lab-mixup", divisor=1.0),
    "lab-fashion_mnist-255": _lab("lab-mixup", divisor=255.0),
    "order-file": _lab(order="file"),
    "order-sorted": _lab(order="sorted"),
    "depth-0": _adam(5, "depth-0", hidden_sizes=()),
    "batch-10000": _adam(5, "batch-10000", learning_rate=1e-2, batch_size=10_000),
    "book-1": _book(5, "scale-book-1", divisor=1.0),
    "nozerograd-1": _never_cleared(divisor=1.0),
    "nozerograd-255": _never_cleared(divisor=255.0),
    "book-1-rate-0.0001": _book(5, divisor=1.0, learning_rate=1e-4),
    "book-1-rate-1e-06": _book(5, divisor=1.0, learning_rate=1e-6),
    "lr-.1-scaled": _adam(5, "lr-.1-scaled", learning_rate=0.1),
    "lr-1e-5-scaled": _adam(5, "lr-1e-5-scaled", learning_rate=1e-5),
    "lr-.1-unscaled": _adam(5, "lr-.1-unscaled", learning_rate=0.1, divisor=1.0),
    "lr-1e-3-unscaled": _adam(5, "lr-1e-3-unscaled", divisor=1.0),
    "lr-1e-5-unscaled": _adam(5, "lr-1e-5-unscaled", learning_rate=1e-5, divisor=1.0),
    "depth-2": _adam(5, "depth-2", hidden_sizes=(1000, 1000)),
    "book-255": _book(10, "scale-book-255", "opt-sgd"),
    "adam-1e-2": _adam(10, "batch-32", "opt-adam", learning_rate=1e-2),
    "adam-1e-3": _adam(30, "lr-1e-3-scaled", "depth-1", "no-reg", "no-dropout"),
    "annealing": _adam(30, "annealing", **_PLATEAU),
    "dropout": _adam(30, "dropout", dropout_rate=0.25, evaluate_dropout=True),
    "l1": _adam(30, "l1", l1=1e-4),
    "l2": _adam(30, "l2", l2=1e-2),
    "l2-squared": _adam(30, "l2-squared", l2_squared=1e-2),
    "tiny-input": _adam(100, "tiny-input", divisor=TINY_INPUTS),
    "tiny-input-bn-frozen": _adam(
        100, "tiny-input-bn", divisor=TINY_INPUTS, batch_norm="frozen"
    ),
    "tiny-input-bn": _adam(100, divisor=TINY_INPUTS, batch_norm="on"),
}
# Bug of a source -> pairs of configurations: as the source ran it, and corrected.
BUGS: Mapping[str, tuple[str, ...]] = {
    "Batch norm frozen after epoch 1 (the network was left in evaluation mode), and "
    "corrected": ("tiny-input-bn-frozen", "tiny-input-bn"),
    "Gradients never cleared (nozerograd: the article's listing lacks `zero_grad`), "
    "and cleared (book), at ÷1 and ÷255": (
        *("nozerograd-1", "book-1"),
        *("nozerograd-255", "book-255"),
    ),
}


def configurations_of(row: str) -> list[str]:
    """Returns the configurations whose first epochs are a published row."""
    return [name for name, c in CONFIGURATIONS.items() if row in c.rows]


def published_settings() -> dict[str, list[dict[str, float]]]:
    """Returns the traced settings of the published rows, by optimizer."""
    settings: dict[str, list[dict[str, float]]] = {}
    for configuration in CONFIGURATIONS.values():
        config, hparams = configuration.resolved()
        if configuration.rows:
            values = vars(resolve(config, hparams)).items()
            numbers = {name: value for name, value in values if value is not None}
            settings.setdefault(config.optimizer, []).append(numbers)
    return settings
