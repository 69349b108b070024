"""The initial sharpness knows every setting that it depends on."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import SETTINGS, TRACED, Config, Hparams
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.probes import sharpness
from fmnist_jax.sweeps.initial_sharpness import DEPENDS_ON, PRECONDITIONED_BY


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(x.reshape(len(x), -1))


# Two values of every setting. A new setting needs an entry.
VALUES: dict[str, tuple[Any, Any]] = {
    "divisor": (1.0, 2.0),  # saturates outputs, so that the losses differ
    "learning_rate": (0.1, 0.2),
    "momentum": (0.9, 0.5),
    "decay": (0.9, 0.5),
    "b1": (0.9, 0.5),
    "b2": (0.99, 0.5),
    "eps": (0.1, 0.2),
    "initial_accumulator_value": (0.1, 0.2),
    "weight_decay": (0.1, 0.2),
    "dropout_rate": (0.1, 0.5),
    "l1": (0.1, 0.2),
    "l2": (0.1, 0.2),
    "l2_squared": (0.1, 0.2),
    "target_accuracy": (0.5, 0.9),
    "plateau_factor": (0.1, 0.5),
    "plateau_patience": (1.0, 2.0),
    "plateau_threshold": (0.1, 0.2),
    "min_learning_rate": (0.01, 0.02),
    "first_kernel_scale": (1.0, 2.0),
    "first_kernel_rate": (1.0, 2.0),
    "first_kernel_eps": (1.0, 2.0),
    "name": (None, "another"),
    "model": (None, Linear()),
    "hidden_sizes": ((6,), (5,)),
    "initializer": ("keras", "pytorch"),
    "loss": ("softmax", "clipped"),
    "optimizer": ("adam", "rmsprop"),
    "schedule": ("constant", "cosine"),
    "batch_norm": ("off", "on"),
    "penalized": ("all", "kernels"),
    "order": ("shuffled", "sorted"),
    "batch_size": (20, 10),
    "precision": ("float32", "bf16"),
    "num_epochs": (2, 3),
    "evaluate_train": (True, False),
    "evaluate_dropout": (False, True),
}
FIRST = {name: values[0] for name, values in VALUES.items()}
HPARAMS = Hparams(**{name: FIRST[name] for name in TRACED})
CONFIG = Config(**{name: FIRST[name] for name in SETTINGS.keys() - TRACED.keys()})
KERNEL_SETTINGS = ("first_kernel_scale", "first_kernel_rate", "first_kernel_eps")


def test_every_setting_has_two_values() -> None:
    assert VALUES.keys() == SETTINGS.keys()


@functools.partial(
    jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0}
)
def measured(config: Config, hparams: Hparams, batch: Dataset) -> Any:
    state = training.init(config, hparams, jax.random.key(0), (3, 3), 3)
    probes = (sharpness.sharpness, sharpness.preconditioned_sharpness)
    outputs: dict[str, Any] = {}
    for number, probe in enumerate(probes, start=1):
        outputs |= probe(config, hparams, state, jax.random.key(number), batch)
    return outputs


@pytest.mark.slow
def test_settings_that_change_the_sharpness_are_listed() -> None:
    """Otherwise it would be computed for one value and broadcast to the others."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 3), dtype=np.uint8)
    batch = Dataset(images, rng.integers(0, 3, 40).astype(np.int32))
    first = measured(CONFIG, HPARAMS, batch)
    changing: dict[str, set[str]] = {"sharpness": set()}
    changing["preconditioned_sharpness"] = set()
    for name, (_, value) in VALUES.items():
        config, hparams = CONFIG, HPARAMS
        if name in TRACED:
            hparams = dataclasses.replace(hparams, **{name: value})
        else:
            config = dataclasses.replace(config, **{name: value})
        if name == "model":
            hparams = dataclasses.replace(hparams, **dict.fromkeys(KERNEL_SETTINGS))
        second = measured(config, hparams, batch)
        for output, names in changing.items():
            if not np.allclose(first[output], second[output], rtol=1e-3):
                names.add(name)
    expected = {*DEPENDS_ON} - {"seed"}
    assert changing["sharpness"] == expected
    assert changing["preconditioned_sharpness"] == expected | {*PRECONDITIONED_BY}
