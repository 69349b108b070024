"""Derivatives through training, against finite differences in float64.

The data have constant pixels and the networks have dead units, so that the gradients of
some parameters are 0 in all steps.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fmnist_jax import training
from fmnist_jax.config import OPTIMIZERS, Config, Hparams
from fmnist_jax.data.dataset import Dataset, Splits
from fmnist_jax.effects import uses_setting
from fmnist_jax.training.optimizers import make_optimizer

STEP = 1e-7  # of the finite differences
COMMON = {
    "divisor": 50.0, "learning_rate": 0.02, "min_learning_rate": 0.01, "eps": 0.05,
    "plateau_patience": 0.5, "plateau_threshold": 9.0, "plateau_factor": 0.5,
    "b2": 0.9, "target_accuracy": np.inf,
}  # fmt: skip
# The values at which a setting is not used.
EDGE = COMMON | {
    "momentum": 0.0, "decay": 0.0, "b1": 0.0, "weight_decay": 0.0, "offset": 0.0,
    "initial_accumulator_value": 0.0, "l1": 0.0, "l2": 0.0, "l2_squared": 0.0,
}  # fmt: skip
INSIDE = COMMON | {
    "momentum": 0.6, "decay": 0.7, "b1": 0.8, "weight_decay": 0.1, "offset": 3.0,
    "initial_accumulator_value": 0.3, "l1": 0.01, "l2": 0.1, "l2_squared": 0.02,
}  # fmt: skip
STOPPED = INSIDE | {"momentum": 1.0, "target_accuracy": 0.01}
SIZES: Any = {"batch_size": 12, "num_epochs": 3}


class Units(nn.Module):
    """Three differences of two units as logits; small, so that it is soon compiled."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        kernel = self.param("kernel", nn.initializers.uniform(0.5), (5, 6))
        bias = self.param("bias", nn.initializers.zeros, (6,))
        units = nn.relu(x @ (kernel - 0.25) + bias[None])
        return units[:, :3] - units[:, 3:]


def make_data(seed: int) -> Dataset:
    """Returns vectors whose first two pixels are always 0."""
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, (12, 5)).astype(np.uint8)
    images[:, :2] = 0
    return Dataset(images, random.randint(0, 3, 12).astype(np.int32))


DATA = Splits(make_data(0), make_data(1))


def final_loss(config: Config, hparams: Hparams, added: Any) -> jax.Array:
    """Returns the test loss after training; ``added`` is added to the parameters."""
    state = training.init(config, hparams, jax.random.key(0), (5,), 3)
    params = jax.tree.map(lambda p, a: p + a, state.params, added)
    opt_state = make_optimizer(config, hparams).init(params)
    state = dataclasses.replace(state, params=params, opt_state=opt_state)

    def epoch(state: Any, number: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(1), number)
        return training.run_epoch(config, hparams, state, key, DATA, jnp.arange(12))

    _, metrics = jax.lax.scan(epoch, state, jnp.arange(config.num_epochs))
    return metrics["test_loss"][-1]


def assert_differentiable(config: Config, *points: dict[str, float]) -> None:
    """Asserts that derivatives by settings and parameters are the slopes at points.

    Each point has the values of the same settings; those that the run does not use are
    left out. One unit is dead.
    """
    names = [name for name in points[0] if uses_setting(config, name)]
    state = training.init(config, Hparams(), jax.random.key(0), (5,), 3)
    random = np.random.RandomState(1)
    direction = jax.tree.map(lambda p: random.standard_normal(p.shape), state.params)
    # Nothing is exactly 0, where penalties have kinks.
    added = jax.tree.map(lambda d: np.where(d > 0, 0.3, -0.3), direction)
    is_normalized = config.batch_norm != "off"
    layer = added.get("BatchNorm_0" if is_normalized else "Dense_0", added)
    layer["bias"][0] = -100

    def loss(values: Any, added: Any) -> Any:
        hparams = Hparams(**dict(zip(names, values, strict=False)))
        moved = jax.tree.map(lambda a, d: a + values[-1] * d, added, direction)
        return final_loss(config, hparams, moved)

    @jax.jit
    def derive(values: Any, tangents: Any) -> Any:
        value, (slopes, gradient) = jax.value_and_grad(loss, (0, 1))(values, added)
        _, along = jax.jvp(lambda v: loss(v, added), (values,), (tangents,))
        return value, slopes, along, gradient

    for point in points:
        values = np.array([*(point[name] for name in names), 0])
        steps = STEP * np.where(values < np.inf, np.maximum(1, np.abs(values)), 1)
        tangents = random.standard_normal(len(values))
        _, reverse, along, gradient = derive(values, tangents)
        assert reverse.dtype == jnp.float64
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
        np.testing.assert_allclose(along, reverse @ tangents, rtol=1e-8, atol=1e-9)
        for name, actual, step in zip(
            [*names, None], reverse, np.diag(steps), strict=True
        ):
            above, below = (derive(values + s * step, tangents)[0] for s in (1, -1))
            slope = (above - below) / (2 * step.sum())
            message = f"{name} at {point}"
            np.testing.assert_allclose(actual, slope, 1e-4, 1e-6, err_msg=message)
        assert np.abs(reverse[names.index("learning_rate")]) > 1e-3


@pytest.fixture
def _float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_unoptimised", "_float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_is_differentiable(optimizer: str) -> None:
    """With the plateau rule and penalties, and before and after the target accuracy."""
    config = Config(model=Units(), optimizer=optimizer, schedule="plateau", **SIZES)
    points = [EDGE, INSIDE, STOPPED]
    if optimizer == "lion":  # Where a gradient is 0, its updates jump with a penalty.
        points.remove(EDGE)
    assert_differentiable(config, *points)


@pytest.mark.slow
@pytest.mark.usefixtures("_unoptimised", "_float64")
@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"optimizer": "rmsprop", "batch_norm": "on"}, {"dropout_rate": 0.0}),
        (
            {"schedule": "cosine", "batch_norm": "frozen", "loss": "clipped"},
            {"dropout_rate": 0.3},
        ),
    ],
    ids=["constant", "cosine"],
)
def test_the_mlp_and_the_other_schedules_are_differentiable(
    options: dict[str, Any], settings: dict[str, float]
) -> None:
    config = Config(hidden_sizes=(3,), penalized="kernels", **SIZES, **options)
    first = {f"first_kernel_{name}": 1.5 for name in ("scale", "rate", "eps")}
    point = {k: v for k, v in INSIDE.items() if k != "target_accuracy"}
    assert_differentiable(config, point | first | settings)
