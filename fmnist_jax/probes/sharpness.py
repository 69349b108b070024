"""The sharpness of the loss: the largest eigenvalue of its Hessian.

Shapes in names: B examples, C classes, P parameters, K most steps of the iteration.
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
from fmnist_jax.probes.probe import Probe
from fmnist_jax.stability import has_stability_limit
from fmnist_jax.training.losses import get_loss
from fmnist_jax.training.models import PRECISIONS
from fmnist_jax.training.optimizers import EPS_IN_ROOT, scale_first_kernel
from fmnist_jax.training.step import State, forward

TOLERANCE = 1e-5  # of the residual, relative to the eigenvalue
MOST_STEPS = 60  # each costs a product with the Hessian and keeps a vector
SQUARINGS = 24  # what float32 tells apart differs by a factor after so many
EXAMPLES = 2000
GRADIENTS = 25.0  # that an eigenvalue costs, or so: two for each product
EXACT = "float32"  # the curvature of the loss itself, however products are rounded


class _Lanczos(NamedTuple):
    """What the iteration carries.

    Attributes:
      basis: orthonormal, ``[K, P]``; the rows from ``steps + 1`` on are 0.
      diagonal: of the tridiagonal matrix that the Hessian is in this basis, ``[K]``.
      beside: beside its diagonal, ``[K]``; the last leads out of the basis.
      weights: of the basis in what comes nearest to the eigenvector, ``[K]``.
      steps: how many are done.
      has_converged: whether its residual is small enough.
    """

    basis: Array
    diagonal: Array
    beside: Array
    weights: Array
    steps: Array
    has_converged: Array


def largest_eigenvalue(
    product: Callable[[Array], Array], start_P: Array
) -> tuple[Array, Array]:
    """Returns a symmetric matrix's largest (not largest absolute) eigenvalue.

    Lanczos's iteration with full reorthogonalisation (Golub and Van Loan 2013, section
    10.3), until the residual is below ``TOLERANCE``, but ``MOST_STEPS`` at most.

    Args:
      product: of the matrix and a vector ``[P]``.
      start_P: a vector with a share of the eigenvector in it, such as a random one.

    Returns:
      λ, and the length of ``A v - λ v`` over that of ``λ v``, computed for the
      approximate eigenvector v that was found. The second says how good the first is;
      both are NaN where the matrix is.
    """
    size = min(MOST_STEPS, start_P.size)

    def step(s: _Lanczos) -> _Lanczos:
        k = s.steps
        image_P = product(s.basis[k])
        diagonal_K = s.diagonal.at[k].set(s.basis[k] @ image_P)
        for _ in range(2):  # the second time for what rounding left over
            image_P -= (s.basis @ image_P) @ s.basis
        length = jnp.linalg.norm(image_P)
        following_P = jnp.where(length > 0, image_P / length, 0)
        basis_KxP = s.basis.at[k + 1].set(following_P, mode="drop")
        beside_K = s.beside.at[k].set(length)
        value, weights_K = _top(diagonal_K, beside_K, k + 1)
        # A NaN has converged, too: it will stay.
        has_converged = ~(length * jnp.abs(weights_K[k]) > TOLERANCE * jnp.abs(value))
        return _Lanczos(
            basis_KxP, diagonal_K, beside_K, weights_K, k + 1, has_converged
        )

    zeros_K = jnp.zeros(size, start_P.dtype)
    basis_KxP = jnp.zeros((size, start_P.size), start_P.dtype)
    basis_KxP = basis_KxP.at[0].set(start_P / jnp.linalg.norm(start_P))
    first = _Lanczos(
        basis_KxP, zeros_K, zeros_K, zeros_K, jnp.int32(0), jnp.zeros((), bool)
    )
    last = jax.lax.while_loop(
        lambda s: (s.steps < size) & ~s.has_converged, step, first
    )
    vector_P = last.weights @ last.basis
    vector_P /= jnp.linalg.norm(vector_P)
    image_P = product(vector_P)
    value = vector_P @ image_P
    residual = jnp.linalg.norm(image_P - value * vector_P)
    return value, jnp.where(residual == 0, 0, residual / jnp.abs(value))


def _top(diagonal_K: Array, beside_K: Array, count: Array) -> tuple[Array, Array]:
    """Returns the largest eigenvalue of the first ``count`` rows, and its vector.

    By squaring the matrix until only that vector is left. (LAPACK's ``eigh`` of many
    runs' matrices waits, inside a thread of XLA's pool, for threads of that pool: where
    each of as many devices waits, none ever goes on.)
    """
    there_K = jnp.arange(diagonal_K.size) < count
    diagonal = jnp.where(there_K, diagonal_K, 0)
    beside = jnp.where(there_K, beside_K, 0)[:-1] * there_K[1:]
    matrix_KxK = jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)
    # Shifted to be positive (Gershgorin's discs); but 0 what is not there.
    shift = 2 * (jnp.max(jnp.abs(diagonal)) + jnp.max(beside, initial=0))
    shift = jnp.where(shift == 0, 1, shift)

    def squared(_: Any, power_KxK: Array) -> Array:
        power_KxK = power_KxK / jnp.trace(power_KxK)
        return power_KxK @ power_KxK

    shifted_KxK = matrix_KxK + jnp.diag(jnp.where(there_K, shift, 0))
    power_KxK = jax.lax.fori_loop(0, SQUARINGS, squared, shifted_KxK)
    vector_K = power_KxK[:, jnp.argmax(jnp.diag(power_KxK))]
    vector_K /= jnp.linalg.norm(vector_K)
    return vector_K @ matrix_KxK @ vector_K, vector_K


Loss = Callable[[Array, Dataset], Array]


def _mean_loss(config: Config, hparams: Hparams, state: State) -> tuple[Loss, Array]:
    """Returns the mean loss of a batch as a function of all parameters, and these."""
    config = dataclasses.replace(config, precision=EXACT)
    hparams = dataclasses.replace(hparams, dropout_rate=None)
    params_P, unravel = ravel_pytree(state.params)

    def loss(params_P: Array, batch: Dataset) -> Array:
        here = dataclasses.replace(state, params=unravel(params_P))
        train = config.model is None
        logits, _ = forward(config, hparams, here, None, batch.images, train)
        return jnp.mean(get_loss(config.loss)(logits, batch.labels))

    return loss, params_P


def _curvature(
    loss: Loss, params_P: Array, key: Array, batch: Dataset, root_P: Array | float = 1.0
) -> tuple[Array, Array]:
    """Returns the largest eigenvalue of R H R, R diagonal, and its residual."""
    _, product = jax.linearize(jax.grad(lambda p: loss(p, batch)), params_P)
    start_P = jax.random.normal(key, params_P.shape, params_P.dtype)
    return largest_eigenvalue(lambda v: root_P * product(root_P * v), start_P)


def sharpness(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """The largest eigenvalue of the Hessian; a probe's function.

    The Hessian is that of the mean loss of the batch, without penalty and without
    dropout, with respect to all parameters. Batch norm takes the statistics of the
    batch, as in training: before it, those that it keeps say nothing. A network of the
    user's is called as in evaluation.

    Returns:
      ``sharpness``: the eigenvalue λ; gradient descent on the batch is stable up to a
      learning rate of 2/λ, others as ``stability.stable_rate`` says.
      ``sharpness_residual``: how exact, relative to λ.
    """
    loss, params_P = _mean_loss(config, hparams, state)
    with jax.default_matmul_precision(PRECISIONS[EXACT].name):
        value, residual = _curvature(loss, params_P, key, batch)
    return {"sharpness": value, "sharpness_residual": residual}


def preconditioned_sharpness(
    config: Config, hparams: Hparams, state: State, key: Array, batch: Dataset
) -> dict[str, Array]:
    """The largest eigenvalue of P^-1/2 H P^-1/2; a probe's function.

    H is the Hessian of ``sharpness``, and P what the optimizer divides the gradients
    by, as ``stability.stable_rate`` takes it: nothing (sgd, momentum, nesterov); √ν + ε
    (adam, adamw; Cohen et al. 2022) or √(ν + ε) (rmsprop), where ν is the
    mean over mini-batches of the squares of their gradients, which is what the
    optimizer's own average would come to if training stayed here. A first kernel's
    ``first_kernel_rate`` and ``first_kernel_eps`` are in it.

    The batch is cut into mini-batches of the run's size; a rest is left out, of the
    Hessian too: what only the rest moves would have curvature, but a P of ε.

    Returns:
      ``preconditioned_sharpness``, and ``preconditioned_sharpness_residual``: how
      exact, relative to it. NaN for an optimizer that settles on no P (adagrad, lion).
    """
    loss, params_P = _mean_loss(config, hparams, state)
    size = min(config.batch_size, len(batch.labels))
    count = len(batch.labels) // size
    batch = Dataset(*(jnp.asarray(array)[: count * size] for array in batch))
    parts = Dataset(*(a.reshape(count, size, *a.shape[1:]) for a in batch))

    def add(total_P: Array, part: Dataset) -> tuple[Array, None]:
        return total_P + jax.grad(loss)(params_P, part) ** 2, None

    with jax.default_matmul_precision(PRECISIONS[EXACT].name):
        total_P, _ = jax.lax.scan(add, jnp.zeros_like(params_P), parts)
        root_P = _step_root(config, hparams, state, total_P / count)
        value, residual = _curvature(loss, params_P, key, batch, root_P)
    return {
        "preconditioned_sharpness": value,
        "preconditioned_sharpness_residual": residual,
    }


def _step_root(
    config: Config, hparams: Hparams, state: State, square_P: Array
) -> Array:
    """Returns P^-1/2, 0 where P is 0: there is no gradient, nor curvature."""
    if not has_stability_limit(config.optimizer):
        return jnp.full_like(square_P, jnp.nan)
    h = resolve(config, hparams)
    ones = jax.tree.map(jnp.ones_like, state.params)

    def times_first(factor: Any) -> Array:
        of_all = ones if factor is None else scale_first_kernel(ones, factor)
        return ravel_pytree(of_all)[0]

    divisor_P = jnp.ones_like(square_P)
    if uses_setting(config, "eps"):
        eps_P = h.eps * times_first(h.first_kernel_eps)
        divisor_P = jnp.sqrt(square_P) + eps_P
        if config.optimizer in EPS_IN_ROOT:
            divisor_P = jnp.sqrt(square_P + eps_P)
    rate_P = times_first(h.first_kernel_rate)
    return jnp.sqrt(jnp.where(divisor_P == 0, 0, rate_P / divisor_P))


def sharpness_probe(when: str = "init", examples: int = EXAMPLES) -> Probe:
    """Returns the probe of ``sharpness`` on the first training images."""
    return Probe(sharpness, when, examples=examples, gradients=GRADIENTS)


def preconditioned_sharpness_probe(
    when: str = "init", examples: int = EXAMPLES
) -> Probe:
    """Returns that of ``preconditioned_sharpness``, on the first training images."""
    return Probe(preconditioned_sharpness, when, examples=examples, gradients=GRADIENTS)
