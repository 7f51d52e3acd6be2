"""Observations as agents read them: one array, of numbers near one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array


def as_numbers(observation: Array, dtype: DTypeLike = jnp.float32) -> Array:
    """Bytes, which screens are made of, as shares of 255; anything else as it is.

    Unscaled, a newborn policy is certain of one action and never explores.
    """
    numbers = observation.astype(dtype)
    return numbers / 255 if observation.dtype == jnp.uint8 else numbers


def one_array(observation: Any) -> Array:
    """An image [H, W, C] as planes [C, H, W], other arrays as they are; the arrays of a dictionary
    or tuple one after the other, as numbers [n]."""
    if jax.tree.structure(observation) != jax.tree.structure(0):
        parts = [as_numbers(jnp.asarray(x)).reshape(-1) for x in jax.tree.leaves(observation)]
        return jnp.concatenate(parts)
    array = jnp.asarray(observation)
    return jnp.moveaxis(array, -1, 0) if array.ndim == 3 else array
