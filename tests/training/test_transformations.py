"""The table of docs/reference/transformations.md: JAX's transformations against NumPy.

Every cell compares a transformed function with float64 values, differences and loops of
an implementation in NumPy. The functions map a vector, of parameters and two settings
or of logits, to the vector of all floating-point outputs.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fmnist_jax import MLP, Config, Dataset, Hparams, evaluate, train_epoch, train_step
from fmnist_jax.training import init
from fmnist_jax.training.losses import clipped, softmax
from fmnist_jax.training.optimizers import make_optimizer
from tests.networks.test_mlp import forward_64
from tests.training.test_losses import reference
from tests.training.test_training import gradients_64, measure_64

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "transformations.md"
CONFIG = Config(hidden_sizes=(3,), initializer="pytorch", batch_size=4)
EPS = 0.01  # far larger than the steps of the differences
STATE = init(CONFIG, Hparams(), jax.random.key(0), (4,), 3)
FLAT, UNRAVEL = ravel_pytree(STATE.params)


def make_data() -> Dataset:
    """Returns 10 vectors, whose first pixel is always 0."""
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (10, 4)).astype(np.uint8)
    images[:, 0] = 0
    return Dataset(images, random.randint(0, 3, 10).astype(np.int32))


DATA = make_data()


def unpack(values: Any) -> tuple[Hparams, Any]:
    """Returns settings and parameters of a vector."""
    hparams = Hparams(divisor=50 * values[-2], learning_rate=0.1 * values[-1], eps=EPS)
    params, flat = {}, values[:-2]
    for layer, shape in {"Dense_0": (4, 3), "Dense_1": (3, 3)}.items():
        size = shape[0] * shape[1]
        bias, kernel, flat = flat[:3], flat[3 : 3 + size], flat[3 + size :]
        params[layer] = {"bias": bias, "kernel": kernel.reshape(shape)}
    return hparams, params


def started(values: Any) -> tuple[Hparams, Any]:
    """Returns settings and a state before the first step."""
    hparams, params = unpack(values)
    opt_state = make_optimizer(CONFIG, hparams).init(params)
    return hparams, dataclasses.replace(STATE, params=params, opt_state=opt_state)


def apply_mlp(values: Any) -> Any:
    hparams, params = unpack(values)
    x = jnp.asarray(DATA.images, float) / hparams.divisor
    return MLP(3, (3,)).apply({"params": params}, x).ravel()  # type: ignore[union-attr]


def step_outputs(values: Any) -> Any:
    hparams, state = started(values)
    batch, key = Dataset(DATA.images[:4], DATA.labels[:4]), jax.random.key(1)
    after, metrics = train_step(CONFIG, hparams, state, key, batch)
    return jnp.append(ravel_pytree(after.params)[0], metrics["loss"])


def epoch_outputs(values: Any) -> Any:
    hparams, state = started(values)
    key, order = jax.random.key(1), jnp.arange(8)
    after, metrics = train_epoch(CONFIG, hparams, state, key, DATA, order)
    return jnp.append(ravel_pytree(after.params)[0], metrics["loss"])


def evaluation(values: Any) -> Any:
    hparams, state = started(values)
    return evaluate(CONFIG, hparams, state, DATA)["loss"][None]


def loss_outputs(function: Any, values: Any) -> Any:
    return function(values.reshape(10, 3), DATA.labels)


# The same in NumPy, float64.


def apply_64(values: Any) -> Any:
    hparams, params = unpack(values)
    return forward_64(params, DATA.images / hparams.divisor)[0].ravel()


def adam_64(values: Any, starts: tuple[int, ...]) -> Any:
    """Returns parameters and mean loss after Adam's steps on some batches."""
    hparams, _ = unpack(values)
    flat, unravel = values[:-2], lambda flat: unpack(np.append(flat, [1, 1]))[1]
    mean, square, losses = 0 * flat, 0 * flat, np.array([])
    for step, start in enumerate(starts, start=1):
        batch = Dataset(*(array[start : start + 4] for array in DATA))
        measured = measure_64(unravel(flat), hparams.divisor, batch)
        losses = np.append(losses, measured["loss"])
        gradients = gradients_64(unravel(flat), hparams.divisor, batch)
        g = np.concatenate([x.ravel() for x in jax.tree.leaves(gradients)])
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        roots = np.sqrt(square / (1 - 0.999**step))
        flat = flat - hparams.learning_rate * mean / (1 - 0.9**step) / (roots + EPS)
    return np.append(flat, np.mean(losses))


def evaluation_64(values: Any) -> Any:
    hparams, params = unpack(values)
    return measure_64(params, hparams.divisor, DATA)["loss"].mean(keepdims=True)


def loss_64(name: str, values: Any) -> Any:
    return reference(name, values.reshape(10, 3), DATA.labels)[0]


PARAMS = np.append(np.asarray(FLAT, np.float64), [1, 1])
PARAMS[0] = -100  # of the first unit's bias: it is dead
LOGITS = np.random.RandomState(1).standard_normal(30)
LOGITS[:3] = 0, 40, 0  # saturated
ROWS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], np.ndarray]] = {
    "`MLP.apply`": (apply_mlp, apply_64, PARAMS),
    "the loss `softmax`": (
        functools.partial(loss_outputs, softmax),
        functools.partial(loss_64, "softmax"),
        LOGITS,
    ),
    "the loss `clipped`": (
        functools.partial(loss_outputs, clipped),
        functools.partial(loss_64, "clipped"),
        LOGITS,
    ),
    "`train_step`": (step_outputs, lambda v: adam_64(v, (0,)), PARAMS),
    "`train_epoch`": (epoch_outputs, lambda v: adam_64(v, (0, 4)), PARAMS),
    "`evaluate`": (evaluation, evaluation_64, PARAMS),
}


class Expected(NamedTuple):
    """What NumPy says of a function: values, and differences of them."""

    value: Any  # [O]
    jacobian: Any  # [O, I]
    hessian: Any  # [I], of the outputs times ``weights``, times a tangent
    many: Any  # [3, O], at three points
    grid: Any  # [3, 3, O], at sums of these points and shifts


def weights(size: int) -> np.ndarray:
    return np.linspace(1, 2, size)


def differences(function: Callable[[Any], Any], point: Any, step: float) -> Any:
    """Returns central differences by each entry of a point, as the last axis."""
    steps = step * np.eye(len(point))
    slopes = [(function(point + s) - function(point - s)) / (2 * step) for s in steps]
    return np.stack(slopes, axis=-1)


POINTS = np.array([1.0, 0.9, 1.2])[:, None]  # factors of a point
SHIFTS = np.array([0.0, 0.01, 0.02])[:, None]


def expect(function: Callable[[Any], Any], point: np.ndarray) -> Expected:
    value = function(point)

    def slopes(point: Any) -> Any:
        total = functools.partial(np.dot, weights(len(value)))
        return differences(lambda p: total(function(p)), point, 1e-5)

    many = [function(p) for p in POINTS * point]
    grid = [[function(p + s) for s in SHIFTS] for p in POINTS * point]
    jacobian = differences(function, point, 1e-6)
    t = 1e-5 * np.linspace(-1, 1, len(point))
    hessian = (slopes(point + t) - slopes(point - t)) / 2e-5
    return Expected(value, jacobian, hessian, np.array(many), np.array(grid))


def transformations(function: Callable[[Any], Any], size: int) -> dict[str, Any]:
    """Returns each transformation, and what it is compared with."""

    def total(x: Any, of: Any = function) -> Any:
        return jnp.dot(jnp.asarray(weights(size), float), of(x))

    def scanned(points: Any) -> Any:
        return jax.lax.scan(lambda carry, x: (carry, function(x)), None, points)[1]

    def inner(points: Any, shifts: Any) -> Any:
        return jax.vmap(lambda s: function(points + s))(shifts)

    def tangent(x: Any) -> Any:
        return jnp.linspace(-1, 1, len(x))

    def by_tangent(e: Expected) -> Any:
        return e.jacobian @ np.linspace(-1, 1, e.jacobian.shape[-1])

    def gradient(e: Expected) -> Any:
        return weights(size) @ e.jacobian

    def points(x: Any) -> Any:
        return jnp.asarray(POINTS, float) * x[None]

    shifts = jnp.asarray(SHIFTS, float)
    checkpointed = functools.partial(total, of=jax.checkpoint(function))
    return {
        "grad": (jax.grad(total), gradient),
        "jvp": (lambda x: jax.jvp(function, (x,), (tangent(x),))[1], by_tangent),
        "linearize": (lambda x: jax.linearize(function, x)[1](tangent(x)), by_tangent),
        "jacfwd": (jax.jacfwd(function), lambda e: e.jacobian),
        "jacrev": (jax.jacrev(function), lambda e: e.jacobian),
        "hessian": (lambda x: jax.hessian(total)(x) @ tangent(x), lambda e: e.hessian),
        "vmap": (lambda x: jax.vmap(function)(points(x)), lambda e: e.many),
        "nested vmap": (
            lambda x: jax.vmap(lambda p: inner(p, shifts))(points(x)),
            lambda e: e.grid,
        ),
        "checkpoint": (jax.grad(checkpointed), gradient),
        "scan": (lambda x: scanned(points(x)), lambda e: e.many),
        "jit": (jax.jit(function), lambda e: e.value),
    }


def verdict(call: Callable[[], Any], expected: Any, tolerance: float) -> str:
    """Returns a check mark, the error of a value, or the name of an exception."""
    try:
        actual = np.asarray(call())
    except Exception as error:  # whatever a transformation raises is a cell
        return type(error).__name__
    difference = np.abs(actual - expected).max() / np.abs(expected).max()
    return "✓" if difference < tolerance else f"error {difference:.0e}"


def cells(row: str) -> dict[str, str]:
    function, in_numpy, point = ROWS[row]
    expected = expect(in_numpy, point)
    x, size, results = jnp.asarray(point, jnp.float32), len(expected.value), {}
    for name, (transformed, select) in transformations(function, size).items():
        call = functools.partial(jax.jit(transformed), x)
        tolerance = 1e-2 if name == "hessian" else 1e-3
        results[name] = verdict(call, select(expected), tolerance)
    with jax.enable_x64(True):
        call = functools.partial(jax.jit(function), jnp.asarray(point))
        assert call().dtype == jnp.float64
        results["float64"] = verdict(call, expected.value, 1e-12)
    return results


def lines(row: str, results: dict[str, str]) -> list[str]:
    """Returns the lines of the table: its head, and one row."""
    head = ["", *(f"`{name}`" for name in results)]
    table = [head, ["---"] * len(head), [row, *results.values()]]
    return [f"| {' | '.join(line)} |".replace("|  |", "| |", 1) for line in table]


@pytest.mark.slow
@pytest.mark.usefixtures("_unoptimised")
@pytest.mark.parametrize("row", ROWS)
def test_the_table_of_transformations(row: str) -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    for line in lines(row, cells(row)):
        assert line in page, f"the table of {PAGE.name} lacks this line"


def test_the_table_has_no_other_rows() -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    table = [line for line in page if line.startswith("|")]
    assert [line.split(" | ")[0] for line in table[2:]] == [f"| {r}" for r in ROWS]
