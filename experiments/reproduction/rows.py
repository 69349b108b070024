"""What the sources ran, as settings: each distinct configuration once."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fmnist_jax.config import PRESETS, Config, Hparams, resolve
from fmnist_jax.errors import choose
from fmnist_jax.runner.jobs import with_settings

if TYPE_CHECKING:
    from fmnist_jax.probes.probe import Probe

ADAM = {"optimizer": "adam", "learning_rate": 1e-3}
TINY = 255e4


@dataclasses.dataclass(frozen=True)
class Training:
    """A configuration that is trained, as long as the longest row that shares it.

    Attributes:
      preset: name in ``PRESETS``.
      epochs: how many.
      settings: what differs from the preset.
      rows: ids of the rows of the sources that are the first epochs of it.
      dataset: name of the data set.
    """

    preset: str
    epochs: int
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: tuple[str, ...] = ()
    dataset: str = "fashion_mnist"

    def resolved(self) -> tuple[Config, Hparams]:
        """Returns the settings of a run."""
        config, hparams = choose("preset", self.preset, PRESETS)
        settings = {"num_epochs": self.epochs, **self.settings}
        return with_settings(config, hparams, settings)


def _book(epochs: int, *rows: str, **settings: Any) -> Training:
    return Training("book", epochs, settings, rows)


def _adam(epochs: int, *rows: str, **settings: Any) -> Training:
    return Training("book", epochs, ADAM | settings, rows)


# The quick ones first. What bears no row's id is there for a claim.
TRAININGS: Mapping[str, Training] = {
    "keras-255": Training("keras", 30, {"divisor": 255.0}, ("scale-keras-255",)),
    "keras-1": Training("keras", 30, {"divisor": 1.0}, ("scale-keras-1",)),
    "keras-1000": Training("keras", 30, {"divisor": 1000.0}, ("scale-keras-1000",)),
    "keras-1-logits": Training(
        "keras", 30, {"divisor": 1.0, "loss": "softmax"}, ("scale-keras-1-logits",)
    ),
    **{
        f"lab-{dataset}-{divisor}": Training(
            "lab", 10, {"divisor": float(divisor)}, ("lab-mixup",), dataset
        )
        for dataset in ("mnist", "fashion_mnist")
        for divisor in (1, 255)
    },
    "order-file": Training("lab", 10, {"order": "file"}),
    "order-sorted": Training("lab", 10, {"order": "sorted"}),
    "depth-0": _adam(5, "depth-0", hidden_sizes=()),
    "batch-10000": _adam(5, "batch-10000", learning_rate=1e-2, batch_size=10_000),
    "book-1": _book(5, "scale-book-1", divisor=1.0),
    # Gradients that are never cleared add up: momentum 1 is that sum.
    **{
        f"nozerograd-{divisor}": _book(
            5, "scale-book-nozerograd", divisor=float(divisor),
            optimizer="momentum", momentum=1.0,
        )
        for divisor in (1, 255)
    },
    **{
        f"book-1-rate-{rate:g}": _book(5, divisor=1.0, learning_rate=rate)
        for rate in (1e-4, 1e-6)
    },
    "lr-.1-scaled": _adam(5, "lr-.1-scaled", learning_rate=0.1),
    "lr-1e-5-scaled": _adam(5, "lr-1e-5-scaled", learning_rate=1e-5),
    "lr-.1-unscaled": _adam(5, "lr-.1-unscaled", learning_rate=0.1, divisor=1.0),
    "lr-1e-3-unscaled": _adam(5, "lr-1e-3-unscaled", divisor=1.0),
    "lr-1e-5-unscaled": _adam(5, "lr-1e-5-unscaled", learning_rate=1e-5, divisor=1.0),
    "depth-2": _adam(5, "depth-2", hidden_sizes=(1000, 1000)),
    "book-255": _book(10, "scale-book-255", "opt-sgd"),
    "adam-1e-2": _adam(10, "batch-32", "opt-adam", learning_rate=1e-2),
    "adam-1e-3": _adam(
        30, "lr-1e-3-scaled", "depth-1", "no-reg", "no-dropout"
    ),
    "annealing": _adam(
        30, "annealing", schedule="plateau", plateau_factor=0.5,
        plateau_patience=0.0, plateau_threshold=1e-3, min_learning_rate=1e-5,
    ),
    "dropout": _adam(30, "dropout", dropout_rate=0.25, evaluate_dropout=True),
    "l1": _adam(30, "l1", l1=1e-4),
    "l2": _adam(30, "l2", l2=1e-2),
    "l2-squared": _adam(30, "l2-squared", l2_squared=1e-2),
    "tiny-input": _adam(100, "tiny-input", divisor=TINY),
    "tiny-input-bn-frozen": _adam(
        100, "tiny-input-bn", divisor=TINY, batch_norm="frozen"
    ),
    "tiny-input-bn": _adam(100, divisor=TINY, batch_norm="on"),
}  # fmt: skip


def points() -> dict[str, list[dict[str, float]]]:
    """Returns by optimizer the traced settings of the sources' rows."""
    found: dict[str, list[dict[str, float]]] = {}
    for training in TRAININGS.values():
        config, hparams = training.resolved()
        settings = vars(resolve(config, hparams))
        if training.rows:
            numbers = {name: v for name, v in settings.items() if v is not None}
            found.setdefault(config.optimizer, []).append(numbers)
    return found


def probes(training: Training) -> tuple["Probe", ...]:
    """Returns what is recorded of each epoch beside the metrics."""
    from fmnist_jax.probes.health import saturation
    from fmnist_jax.probes.histograms import (
        hidden_probe,
        parameter_probe,
        predictions_probe,
    )
    from fmnist_jax.probes.probe import Probe

    config, _ = training.resolved()
    return (
        parameter_probe([config]),
        hidden_probe(),
        predictions_probe(),
        Probe(saturation),
    )
