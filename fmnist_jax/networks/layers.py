"""Layers of Flax Linen whose settings may be traced: dropout and batch norm.

Shapes in names: B examples, F features.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

BATCH_NORM_MOMENTUM, BATCH_NORM_EPS = 0.1, 1e-5  # PyTorch's


def dropout(key: Array, rate: Any, x: Array) -> Array:
    """Sets a random share of ``x`` to 0 and divides the rest by ``1 - rate``.

    Inverted dropout (Srivastava et al. 2014, section 10). Unlike ``nn.Dropout`` it
    takes a traced dropout rate; a dropout rate of 0 returns ``x`` exactly.
    """
    is_retained = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(is_retained, x / (1.0 - rate), 0)


class BatchNorm(nn.Module):
    """Batch normalisation of vectors with the semantics of PyTorch's ``BatchNorm1d``.

    Ioffe and Szegedy 2015. The running statistics are exponential averages with weight
    0.1 for the current batch, and the running variance is unbiased. With ``frozen``,
    which may be traced, training also uses the running statistics, unchanged.
    ``flax.linen.BatchNorm`` keeps the biased variance and cannot be frozen in this way.
    """

    frozen: Any = False

    @nn.compact
    def __call__(self, x_BxF: Array, train: bool) -> Array:
        """Returns ``x`` normalised by its batch or by the running statistics."""
        shape = x_BxF.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        mean, var = running_mean.value, running_var.value
        if train:
            batch_mean, batch_var = jnp.mean(x_BxF, axis=0), jnp.var(x_BxF, axis=0)
            count = x_BxF.shape[0]
            unbiased = batch_var * (count / max(1, count - 1))
            if not self.is_initializing():
                momentum = jnp.where(self.frozen, 0, BATCH_NORM_MOMENTUM)
                running_mean.value = mean + momentum * (batch_mean - mean)
                running_var.value = var + momentum * (unbiased - var)
            mean = jnp.where(self.frozen, mean, batch_mean)
            var = jnp.where(self.frozen, var, batch_var)
        factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPS)
        return (x_BxF - mean[None, :]) * factor[None, :] + bias[None, :]
