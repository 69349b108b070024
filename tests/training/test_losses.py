"""Losses and penalties against float64, near saturation and far from it."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_jax import config
from fmnist_jax.config import Config, Hparams
from fmnist_jax.networks.matmul import PRECISIONS
from fmnist_jax.training.losses import (
    CLIP,
    LOSSES,
    clipped,
    penalty,
    softmax,
)

LOSS = pytest.mark.parametrize("loss", [softmax, clipped])
# The float32 number closest to 1 - 1e-7, which the loss clips at.
LARGEST = float(np.float32(1 - CLIP))


def softmax_64(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def reference(name: str, logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Losses ``[B]`` and their gradients with respect to the logits, float64."""
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))
    probabilities = softmax_64(logits)
    gradient = probabilities - np.eye(logits.shape[-1])[labels]
    if name == "softmax":
        shifted = logits - logits.max(-1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(-1)) - shifted[rows, labels]
        return losses, gradient
    p_true = probabilities[rows, labels]
    inside = (p_true > CLIP) & (p_true < LARGEST)
    return -np.log(np.clip(p_true, CLIP, LARGEST)), gradient * inside[:, None]


def random_batch(scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(seed)
    logits = (scale * random.standard_normal((64, 10))).astype(np.float32)
    return logits, random.randint(0, 10, 64).astype(np.int32)


def losses_and_gradients(loss: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """Losses and gradients of each example; the examples are independent."""
    gradient = jax.grad(lambda x: jnp.sum(loss(x, labels)))
    return loss(logits, labels), gradient(jnp.asarray(logits))


def test_config_has_a_legend_for_every_loss() -> None:
    assert set(LOSSES) == set(config.LOSS_LEGENDS) == {"softmax", "clipped"}
    assert LOSSES["softmax"] is softmax
    assert LOSSES["clipped"] is clipped


@LOSS
@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0])
def test_values_and_gradients_equal_float64(loss: Any, scale: float) -> None:
    logits, labels = random_batch(scale)
    losses, gradients = losses_and_gradients(loss, logits, labels)
    expected, expected_gradients = reference(loss.__name__, logits, labels)
    np.testing.assert_allclose(losses, expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(gradients, expected_gradients, rtol=1e-5, atol=2e-7)


def test_softmax_is_exact_at_huge_logits() -> None:
    logits, labels = random_batch(1e4)
    losses, gradients = losses_and_gradients(softmax, logits, labels)
    expected, expected_gradients = reference("softmax", logits, labels)
    assert np.max(expected) > 1e4
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradients, expected_gradients, rtol=1e-3, atol=1e-6)


def test_clipped_has_two_values_and_zero_gradient_at_huge_logits() -> None:
    logits, labels = random_batch(1e4)
    losses, gradients = losses_and_gradients(clipped, logits, labels)
    is_right = logits.argmax(-1) == labels
    assert 0 < is_right.sum() < len(labels)
    expected = np.where(is_right, -np.log(LARGEST), -np.log(CLIP))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(gradients, 0)


def test_a_saturated_wrong_example_costs_16_1() -> None:
    logits = jnp.array([[0.0, 50.0], [0.0, 1e4], [1e4, 0.0]])
    losses = clipped(logits, jnp.array([0, 0, 1]))
    np.testing.assert_allclose(losses, 16.1180957, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("log_odds", "is_zero"), [(-16.2, True), (-16.0, False), (15.0, False), (17, True)]
)
def test_the_gradient_of_clipped_is_zero_outside_the_clip(
    log_odds: float, is_zero: bool
) -> None:
    logits, labels = jnp.array([[log_odds, 0.0]]), jnp.array([0])
    _, gradients = losses_and_gradients(clipped, logits, labels)
    size = 0 if is_zero else 1 / (1 + np.exp(log_odds))
    # Probabilities near 1 have the rounding errors of float32.
    np.testing.assert_allclose(gradients, [[-size, size]], rtol=0, atol=1.2e-7)
    assert np.all((gradients == 0) == is_zero)


@LOSS
def test_gradients_equal_finite_differences(loss: Any) -> None:
    logits, labels = random_batch(1.0)
    name, step = loss.__name__, 1e-5
    direction = np.random.RandomState(1).standard_normal(logits.shape)
    above, _ = reference(name, logits + step * direction, labels)
    below, _ = reference(name, logits - step * direction, labels)
    _, gradients = losses_and_gradients(loss, logits, labels)
    slopes = np.sum(np.asarray(gradients) * direction, axis=-1)
    np.testing.assert_allclose(slopes, (above - below) / (2 * step), atol=2e-6)


@LOSS
def test_each_label_selects_its_logit(loss: Any) -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.7]] * 3, np.float32))
    losses = loss(logits, np.arange(3))
    np.testing.assert_allclose(losses, -np.log([0.1, 0.2, 0.7]), rtol=1e-6)


@LOSS
def test_an_example_does_not_depend_on_the_others(loss: Any) -> None:
    logits, labels = random_batch(5.0)
    changed = logits.copy()
    changed[1:] = np.nan
    losses = loss(changed, labels)
    np.testing.assert_allclose(losses[0], loss(logits, labels)[0], rtol=1e-6)
    assert np.all(np.isnan(losses[1:]))


@pytest.mark.slow
@LOSS
@given(shift=st.floats(-20, 20, width=32), seed=st.integers(0, 99))
def test_a_constant_added_to_all_logits_changes_nothing(
    loss: Any, shift: float, seed: int
) -> None:
    logits, labels = random_batch(2.0, seed)
    before, after = loss(logits, labels), loss(logits + np.float32(shift), labels)
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@LOSS
def test_plain_jitted_and_vmapped_agree(loss: Any) -> None:
    batches = [random_batch(5.0, seed) for seed in range(3)]
    logits, labels = (np.stack(x) for x in zip(*batches, strict=True))

    def both(x: Any, y: Any) -> tuple[Any, Any]:
        return losses_and_gradients(loss, x, y)

    plain = [both(*batch) for batch in batches]
    jitted = [jax.jit(both)(*batch) for batch in batches]
    vmapped = jax.jit(jax.vmap(both))(logits, labels)
    for run in range(3):
        for part in range(2):
            expected = plain[run][part]
            np.testing.assert_allclose(jitted[run][part], expected, 1e-5, 1e-6)
            np.testing.assert_allclose(vmapped[part][run], expected, 1e-5, 1e-6)


# Penalties.

# Name -> value and gradient of one array, float64.
PENALTIES: dict[str, Callable[[np.ndarray], tuple[Any, Any]]] = {
    "l1": lambda p: (np.abs(p).sum(), np.sign(p)),
    "l2": lambda p: (
        np.sqrt(np.sum(p**2)),
        p / (np.sqrt(np.sum(p**2)) or 1),  # 0 if all values are 0, as in PyTorch
    ),
    "l2_squared": lambda p: (np.sum(p**2), 2 * p),
}


def random_params() -> dict[str, dict[str, np.ndarray]]:
    """Two layers; a weight and the biases of the second layer are 0."""
    random = np.random.RandomState(0)
    first = {"kernel": random.standard_normal((5, 4)), "bias": random.uniform(-1, 1, 4)}
    second = {"kernel": random.standard_normal((4, 3)), "bias": np.zeros(3)}
    first["kernel"][1, 2] = 0
    params = {"Dense_0": first, "Dense_1": second}
    return jax.tree.map(lambda p: p.astype(np.float32), params)


def penalty_64(weights: dict[str, float], penalized: str) -> tuple[float, Any]:
    params = jax.tree.map(lambda p: p.astype(np.float64), random_params())
    total, gradient = 0.0, jax.tree.map(np.zeros_like, params)
    for layer, arrays in params.items():
        for leaf in arrays if penalized == "all" else ["kernel"]:
            for name, weight in weights.items():
                value, slope = PENALTIES[name](arrays[leaf])
                total += weight * value
                gradient[layer][leaf] += weight * slope
    return total, gradient


@pytest.mark.slow
@pytest.mark.parametrize("penalized", config.PENALIZED)
@pytest.mark.parametrize(
    "weights",
    [{"l1": 0.1}, {"l2": 0.5}, {"l2_squared": 2.0}, {}, dict.fromkeys(PENALTIES, 0.3)],
    ids=lambda weights: "+".join(weights) or "none",
)
def test_penalties_equal_numpy(weights: dict[str, float], penalized: str) -> None:
    settings = Config(penalized=penalized)

    def both(weights: Any) -> Any:
        hparams = Hparams(**weights)
        return jax.value_and_grad(lambda p: penalty(settings, hparams, p))(
            jax.tree.map(jnp.asarray, random_params())
        )

    def assert_close(actual: Any, factor: float) -> None:
        expected = jax.tree.map(lambda x: factor * x, penalty_64(weights, penalized))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            actual,
            expected,
        )

    assert_close(both(weights), 1)
    several = {name: weight * jnp.arange(3.0) for name, weight in weights.items()}
    vmapped = jax.jit(jax.vmap(both, axis_size=3))(several)
    for run in range(3):
        assert_close(jax.tree.map(operator.itemgetter(run), vmapped), run)


@pytest.mark.parametrize(
    "table",
    [
        LOSSES,
        PRECISIONS,
        config.OPTIMIZERS,
        config.SCHEDULES,
        config.NORMALIZATIONS,
        config.PRESETS,
    ],
)
def test_tables_that_decide_a_program_are_read_only(table: Any) -> None:
    """A changed entry would not reach programs that are compiled already."""
    name, entry = next(iter(table.items()))
    entries: Any = entry
    with pytest.raises(TypeError, match="does not support item assignment"):
        table[name] = entry
    if isinstance(entry, Mapping):
        with pytest.raises(TypeError, match="does not support item assignment"):
            entries["learning_rate"] = 1.0
