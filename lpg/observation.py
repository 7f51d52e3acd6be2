"""Observations of environments that are not ours as agents read them: one array near one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def one_array(observation: Any, byte: int = 255) -> Array:
    """An image [H, W, C] as planes [C, H, W], other arrays as they are; the arrays of a dictionary
    or tuple one after the other, as float32 [n].

    Args:
        byte: what arrays of bytes are shares of. Unscaled, a newborn policy is certain of one
            action on a screen, and never explores.
    """
    if jax.tree.structure(observation) != jax.tree.structure(0):
        parts = [_scaled(x, byte).reshape(-1) for x in jax.tree.leaves(observation)]
        return jnp.concatenate([x.astype(jnp.float32) for x in parts])
    array = _scaled(observation, byte)
    return jnp.moveaxis(array, -1, 0) if array.ndim == 3 else array


def _scaled(x: Any, byte: int) -> Array:
    array = jnp.asarray(x)
    return array.astype(jnp.float32) / byte if array.dtype == jnp.uint8 and byte != 1 else array


def highest(space: Any) -> float:
    """The largest number in a space of gymnax's; infinity where it does not say."""
    if (parts := getattr(space, "spaces", None)) is not None:
        parts = parts.values() if isinstance(parts, dict) else parts
        return max(map(highest, parts))
    high = getattr(space, "high", None)
    return float("inf") if high is None else float(np.max(high))
