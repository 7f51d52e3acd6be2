"""Lives and rows: a rule reads the environments of all lives side by side."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lpg.rule import RuleInputs


def lives_to_rows(x: Array) -> Array:
    """[L, T, B, ...] to [T, L * B, ...]."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape((x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]))


def rows_to_lives(x: Array, num_lives: int) -> Array:
    """[T, L * B, ...] to [L, T, B, ...]."""
    x = x.reshape((x.shape[0], num_lives, x.shape[1] // num_lives, *x.shape[2:]))
    return jnp.moveaxis(x, 1, 0)


def inputs_to_rows(inputs: RuleInputs) -> RuleInputs:
    """Inputs of lives, each leaf with a leading axis L, as one life of L * B rows."""
    rows: Any = jax.tree.map(lives_to_rows, inputs._replace(gamma=()))
    return rows._replace(gamma=inputs.gamma.reshape(-1))
