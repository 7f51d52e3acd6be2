"""Quantile regression (Dabney et al. 2018): a critic that keeps N quantiles of the return."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def midpoints(num_quantiles: int) -> Float[Array, "N"]:
    """tau_q = (q - 1/2) / N, the levels whose quantiles stand for a distribution best."""
    return (jnp.arange(num_quantiles) + 0.5) / num_quantiles


def huber(error: Float[Array, "*batch"], kappa: float) -> Float[Array, "*batch"]:
    """error^2 / 2 up to |error| = kappa, linear beyond."""
    size = jnp.abs(error)
    return jnp.where(size <= kappa, 0.5 * error**2, kappa * (size - 0.5 * kappa))


def quantile_loss(
    quantiles: Float[Array, "*batch N"], targets: Float[Array, "*batch M"], kappa: float = 1.0
) -> Float[Array, "*batch N"]:
    """Of each quantile: the mean over target samples of |tau - 1{u < 0}| Huber(u), u what a sample
    exceeds it by.

    Source: Dabney et al. 2018, Eq. 10 (there over kappa), as Eqs. 1 to 3 of DrMG have it.
    """
    error = targets[..., None, :] - quantiles[..., :, None]
    level = jnp.expand_dims(midpoints(quantiles.shape[-1]), (*range(quantiles.ndim - 1), -1))
    weight = jnp.abs(level - (error < 0).astype(error.dtype))
    return jnp.mean(weight * huber(error, kappa), axis=-1)
