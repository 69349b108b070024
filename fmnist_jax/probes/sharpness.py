"""Probes of the sharpness of the loss: the largest eigenvalue of its Hessian.

Shapes in names: P parameters, K the maximum number of steps of the iteration.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from fmnist_jax.config import Config, Hparams, resolve
from fmnist_jax.data.dataset import Dataset
from fmnist_jax.effects import uses_setting
from fmnist_jax.networks.matmul import default_precision
from fmnist_jax.networks.mlp import PREACTIVATION
from fmnist_jax.probes.probe import Probe, mini_batches
from fmnist_jax.stability import has_stability_limit
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.optimizers import EPS_IN_ROOT, scale_first_kernel
from fmnist_jax.training.step import (
    State,
    forward,
    hidden_values,
    with_fast_convolutions,
)

TOLERANCE = 1e-5  # of the residual, relative to the eigenvalue
MAX_STEPS = 60  # a step costs a product with the Hessian and the memory of a vector
SQUARINGS = 24  # enough to separate eigenvalues that differ in float32
EXAMPLES = 2000
GRADIENTS = 25.0  # approximate cost of an eigenvalue: two gradients for each product
EXACT = "float32"  # even if the run trains with less precision
# Settings of training that the preconditioned sharpness depends on.
PRECONDITIONED_BY = (
    *("batch_size", "optimizer", "eps", "first_kernel_rate", "first_kernel_eps"),
)


class _Lanczos(NamedTuple):
    """The state of the iteration. In its basis the Hessian is tridiagonal."""

    basis: Array  # orthonormal rows, [K, P]; rows from steps + 1 on are 0
    diagonal: Array  # of the tridiagonal matrix, [K]
    off_diagonal: Array  # of the tridiagonal matrix, [K]; the last is outside it
    weights: Array  # of the rows of the basis in the approximate eigenvector, [K]
    steps: Array  # number of completed steps
    has_converged: Array  # whether the residual is below TOLERANCE


def largest_eigenvalue(
    product: Callable[[Array], Array], start_P: Array
) -> tuple[Array, Array]:
    """Returns the largest (not largest absolute) eigenvalue of a symmetric matrix A.

    Lanczos iteration with full reorthogonalisation (Golub and Van Loan 2013, section
    10.3) until the residual is below ``TOLERANCE``, in at most ``MAX_STEPS``
    steps. The start vector must not be orthogonal to the eigenvector; use a random one.

    Returns the eigenvalue λ, and its residual: the norm of ``A v - λ v`` divided by
    that of ``λ v`` for the approximate eigenvector v. Both are NaN if A contains NaN.
    """
    size = min(MAX_STEPS, start_P.size)

    def step(s: _Lanczos) -> _Lanczos:
        k = s.steps
        product_P = product(s.basis[k])
        diagonal_K = s.diagonal.at[k].set(s.basis[k] @ product_P)
        for _ in range(2):  # the second time removes rounding errors of the first
            product_P -= (s.basis @ product_P) @ s.basis
        length = jnp.linalg.norm(product_P)
        next_basis_P = jnp.where(length > 0, product_P / length, 0)
        basis_KxP = s.basis.at[k + 1].set(next_basis_P, mode="drop")
        off_diagonal_K = s.off_diagonal.at[k].set(length)
        value, weights_K = _largest_eigenpair(diagonal_K, off_diagonal_K, k + 1)
        # NaN counts as converged, because it cannot change any more.
        has_converged = ~(length * jnp.abs(weights_K[k]) > TOLERANCE * jnp.abs(value))
        return _Lanczos(
            basis_KxP, diagonal_K, off_diagonal_K, weights_K, k + 1, has_converged
        )

    zeros_K = jnp.zeros(size, start_P.dtype)
    basis_KxP = jnp.zeros((size, start_P.size), start_P.dtype)
    basis_KxP = basis_KxP.at[0].set(start_P / jnp.linalg.norm(start_P))
    start = _Lanczos(
        basis_KxP, zeros_K, zeros_K, zeros_K, jnp.int32(0), jnp.zeros((), bool)
    )
    last = jax.lax.while_loop(
        lambda s: (s.steps < size) & ~s.has_converged, step, start
    )
    vector_P = last.weights @ last.basis
    vector_P /= jnp.linalg.norm(vector_P)
    product_P = product(vector_P)
    value = vector_P @ product_P
    residual = jnp.linalg.norm(product_P - value * vector_P)
    return value, jnp.where(residual == 0, 0, residual / jnp.abs(value))


def _largest_eigenpair(
    diagonal_K: Array, off_diagonal_K: Array, count: Array
) -> tuple[Array, Array]:
    """Returns the largest eigenvalue of a tridiagonal matrix, and its eigenvector.

    The matrix has ``count`` rows. It is squared until the eigenvector dominates.
    (LAPACK's ``eigh`` of the matrices of many runs waits, inside a thread of XLA's
    pool, for threads of that pool: with as many devices as threads it deadlocks.)
    """
    is_row_K = jnp.arange(diagonal_K.size) < count
    diagonal = jnp.where(is_row_K, diagonal_K, 0)
    off_diag = jnp.where(is_row_K, off_diagonal_K, 0)[:-1] * is_row_K[1:]
    matrix_KxK = jnp.diag(diagonal) + jnp.diag(off_diag, 1) + jnp.diag(off_diag, -1)
    # A shift makes the matrix positive (Gershgorin's discs); unused rows stay 0.
    shift = 2 * (jnp.max(jnp.abs(diagonal)) + jnp.max(off_diag, initial=0))
    shift = jnp.where(shift == 0, 1, shift)

    def squared(_: Any, power_KxK: Array) -> Array:
        power_KxK = power_KxK / jnp.trace(power_KxK)
        return power_KxK @ power_KxK

    shifted_KxK = matrix_KxK + jnp.diag(jnp.where(is_row_K, shift, 0))
    power_KxK = jax.lax.fori_loop(0, SQUARINGS, squared, shifted_KxK)
    vector_K = power_KxK[:, jnp.argmax(jnp.diag(power_KxK))]
    vector_K /= jnp.linalg.norm(vector_K)
    return vector_K @ matrix_KxK @ vector_K, vector_K


Loss = Callable[[Any, Dataset], Array]
Gradient = Callable[[Any, Dataset], Any]


def _undisturbed(config: Config, hparams: Hparams) -> tuple[Config, Hparams]:
    """Returns the settings of the network without rounding and dropout."""
    config = dataclasses.replace(config, precision=EXACT)
    return config, dataclasses.replace(hparams, dropout_rate=None)


def mean_loss(config: Config, hparams: Hparams, state: State) -> Loss:
    """Returns the mean loss of a batch, as a function of the parameters and the batch.

    Without penalty, dropout and rounding. Batch norm uses the statistics of the batch,
    as in training, because its running statistics mean nothing before training. A
    user's network is called in evaluation mode.
    """
    config, hparams = _undisturbed(config, hparams)
    train = config.model is None

    def loss(params: Any, batch: Dataset) -> Array:
        perturbed = dataclasses.replace(state, params=params)
        logits, _ = forward(config, hparams, perturbed, None, batch.images, train)
        return jnp.mean(get_loss(config.loss)(logits, batch.labels))

    return loss


def loss_gradient(config: Config, hparams: Hparams, state: State) -> Gradient:
    """Returns the gradient of that mean loss, of the parameters and the batch."""
    gradient = jax.grad(mean_loss(config, hparams, state))
    return with_fast_convolutions(config, gradient)


def preactivations(
    config: Config, hparams: Hparams, state: State, params: Any, images: Array
) -> tuple[Array, ...]:
    """Returns the inputs of the ReLUs of each hidden layer, in the mode of the loss."""
    config, hparams = _undisturbed(config, hparams)
    state, train = dataclasses.replace(state, params=params), config.model is None
    return hidden_values(config, hparams, state, images, PREACTIVATION, train)[1]


def _flat_gradient(
    config: Config, hparams: Hparams, state: State
) -> tuple[Gradient, Array]:
    """Returns ``loss_gradient`` of a vector instead; the parameters as a vector."""
    params_P, unravel = ravel_pytree(state.params)
    loss = mean_loss(config, hparams, state)
    gradient = jax.grad(lambda params_P, batch: loss(unravel(params_P), batch))
    return with_fast_convolutions(config, gradient), params_P


def _curvature(
    gradient: Gradient,
    params_P: Array,
    key: Array,
    batch: Dataset,
    root_P: Array | float = 1.0,
) -> tuple[Array, Array]:
    """Returns the largest eigenvalue of R H R and its residual; ``root_P`` is R."""
    _, product = jax.linearize(lambda params_P: gradient(params_P, batch), params_P)
    start_P = jax.random.normal(key, params_P.shape, params_P.dtype)
    return largest_eigenvalue(lambda v: root_P * product(root_P * v), start_P)


def sharpness(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the largest eigenvalue of the Hessian.

    The Hessian is that of the mean loss of the batch, without penalty and dropout, with
    respect to all parameters. Batch norm uses the statistics of the batch, as in
    training, because its running statistics mean nothing before training. A user's
    network is called in evaluation mode.

    Returns:
      ``sharpness``: the eigenvalue λ. Gradient descent on the batch is stable up to a
      learning rate of 2/λ, other optimizers up to that of ``stability.stable_rate``.
      ``sharpness_residual``: the accuracy relative to λ.
    """
    gradient, params_P = _flat_gradient(config, hparams, state)
    with default_precision(EXACT):
        value, residual = _curvature(gradient, params_P, key, batch)
    return {"sharpness": value, "sharpness_residual": residual}


def preconditioned_sharpness(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """Measures the largest eigenvalue of P^-1/2 H P^-1/2.

    H is the Hessian of ``sharpness``, and P the preconditioner, which the optimizer
    divides the gradients by: 1 (sgd, momentum, nesterov); √ν + ε (adam, adamw; Cohen et
    al. 2022, arXiv 2207.14484); or √(ν + ε) (rmsprop). ν is the mean over mini-batches
    of their squared gradients, the limit of the optimizer's average at constant
    parameters. P includes ``first_kernel_rate`` and ``first_kernel_eps``.

    The batch is cut into mini-batches of the run's size. The Hessian, too, omits a
    partial last one: parameters with gradients only there would have P = ε.

    Returns:
      ``preconditioned_sharpness``, and ``preconditioned_sharpness_residual``, its
      relative accuracy. NaN for an optimizer without a limiting P (adagrad, lion).
    """
    gradient, params_P = _flat_gradient(config, hparams, state)
    parts = mini_batches(batch, config.batch_size)
    count = len(parts.labels)
    batch = Dataset(*(a.reshape(-1, *a.shape[2:]) for a in parts))

    def add(total_P: Array, part: Dataset) -> tuple[Array, None]:
        return total_P + gradient(params_P, part) ** 2, None

    with default_precision(EXACT):
        total_P, _ = jax.lax.scan(add, jnp.zeros_like(params_P), parts)
        root_P = _inverse_root_preconditioner(config, hparams, state, total_P / count)
        value, residual = _curvature(gradient, params_P, key, batch, root_P)
    return {
        "preconditioned_sharpness": value,
        "preconditioned_sharpness_residual": residual,
    }


def _inverse_root_preconditioner(
    config: Config, hparams: Hparams, state: State, square_P: Array
) -> Array:
    """Returns P^-1/2; 0 where P is 0, because gradient and curvature are 0 there."""
    if not has_stability_limit(config.optimizer):
        return jnp.full_like(square_P, jnp.nan)
    h = resolve(config, hparams)
    ones = jax.tree.map(jnp.ones_like, state.params)

    def factors(first: Any) -> Array:
        tree = ones if first is None else scale_first_kernel(ones, first)
        return ravel_pytree(tree)[0]

    divisor_P = jnp.ones_like(square_P)
    if uses_setting(config, "eps"):
        eps_P = h.eps * factors(h.first_kernel_eps)
        divisor_P = jnp.sqrt(square_P) + eps_P
        if config.optimizer in EPS_IN_ROOT:
            divisor_P = jnp.sqrt(square_P + eps_P)
    factor_P = factors(h.first_kernel_rate)
    return jnp.sqrt(jnp.where(divisor_P == 0, 0, factor_P / divisor_P))


def sharpness_probe(when: str = "init", examples: int = EXAMPLES) -> Probe:
    """Returns the probe of ``sharpness`` on the first training images."""
    return Probe(sharpness, when, examples=examples, gradients=GRADIENTS)


def preconditioned_sharpness_probe(
    when: str = "init", examples: int = EXAMPLES
) -> Probe:
    """Returns the probe of ``preconditioned_sharpness`` on those images."""
    return Probe(preconditioned_sharpness, when, examples=examples, gradients=GRADIENTS)
